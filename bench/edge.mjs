// npm run bench:edge [-- --json]: what the built functions cost in njs, in instructions a call, under valgrind's callgrind:
// the difference between two numbers of calls, so that start-up drops out. Beside it, in the same run, what no validator
// can do without: one HMAC over the same input, and HMAC + decoding + JSON.parse. Counts repeat to within a few percent,
// whatever else the machine is doing; seconds would not. Heap bytes are taken the same way, from the peak that valgrind's
// dhat sees. Loading is the difference between two whole processes, one of which has only the imports.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readKeys, withKeys } from '../dist/lib/edge-functions/store/keys-line.js';
import { mint } from '../dist/lib/token/index.js';
import { nodeCrypto } from '../dist/lib/token-api/minting/crypto.js';

const NOW = 1_760_000_000;
const FEW = 20;
const MANY = 220;
const KEY = {
  kid: 'k20261122-57fee3',
  sign: Buffer.alloc(32, 1).toString('base64url'),
  bind: Buffer.alloc(32, 2).toString('base64url'),
};
const PATH = '/vod/title-000417-uncut/hls/720p/segment-00001.m4s';
const field = (value) => ({ value });
const HEADERS = {
  host: field('media.example.com'),
  accept: field('*/*'),
  'user-agent': field(
    'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36',
  ),
  'cloudfront-viewer-country': field('DE'),
  'x-session': field('5f0c9a7e21b44d0c'),
};
const CLAIMS = {
  sid: 'AbCdEf012345',
  aid: 'title-000417-uncut',
  iat: NOW,
  exp: NOW + 3600,
  sst: NOW,
  paths: ['/vod/title-000417-uncut/hls/', '/vod/title-000417-uncut/dash/'],
};
const VIEWING = { viewer: { ip: '203.0.113.7' }, request: { method: 'GET', headers: HEADERS, querystring: {} } };
const BINDINGS = ['ip', 'country', 'header:x-session', 'user-agent'];

const simple = mint(CLAIMS, KEY, VIEWING, nodeCrypto);
const bound = mint({ ...CLAIMS, bnd: BINDINGS }, KEY, VIEWING, nodeCrypto);
const changed = `${simple.slice(0, -6)}${simple.at(-6) === 'A' ? 'B' : 'A'}${simple.slice(-5)}`;
const SCENARIOS = {
  'valid, simple': { uri: `/${simple}${PATH}`, now: NOW + 10, reason: '' },
  'valid, four bindings': { uri: `/${bound}${PATH}`, now: NOW + 10, reason: '' },
  'bad signature': { uri: `/${changed}${PATH}`, now: NOW + 10, reason: 'token-signature-invalid' },
  expired: { uri: `/${simple}${PATH}`, now: NOW + 3600, reason: 'token-expired' },
  'no token': { uri: PATH, now: NOW + 10, reason: 'token-missing' },
};

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
const store = { [`k/${KEY.kid}`]: { sign: KEY.sign, bind: KEY.bind, before: 0 } };
writeFileSync(
  join(scratch, 'cloudfront'),
  `var ENTRIES = ${JSON.stringify(store)};
export default { logCustomData: function (text) {}, kvs: function () { return {
  get: function (key) { return ENTRIES[key] ? Promise.resolve(ENTRIES[key]) : Promise.reject('KeyNotFound'); },
  exists: function (key) { return Promise.resolve(false); } }; } };`,
);

/** Names long enough not to meet those of a minified bundle, which share the top level with them. */
function program(code, { uri, now }, calls, print) {
  const event = { version: '1.0', context: {}, viewer: VIEWING.viewer };
  event.request = { method: 'GET', uri, querystring: {}, headers: HEADERS, cookies: {} };
  const report = `Promise.resolve(benchResult).then(function (benchValue) { console.log(JSON.stringify(benchValue)); });`;
  return `${code}
;Date.now = function () { return ${now} * 1000; };
var benchEvent = JSON.parse(${JSON.stringify(JSON.stringify(event))});
var benchUri = benchEvent.request.uri;
var benchResult;
for (var benchCall = 0; benchCall < ${calls}; benchCall++) {
  benchEvent.request.uri = benchUri;
  benchResult = handler(benchEvent);
}
${print ? report : ''}`;
}

function njs(text, ...before) {
  const file = join(scratch, 'program.js');
  writeFileSync(file, text);
  const [command, ...args] = [...before, 'njs', '-p', scratch, file];
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.error || /Thrown:|Error/.test(result.stdout + result.stderr)) {
    throw new Error(`${command}: ${result.error?.message ?? `${result.stdout}${result.stderr}`.slice(0, 500)}`);
  }
  return result;
}

/** The tools of valgrind and the figure that each reports of a whole process; dhat's is the most heap held at once. */
const INSTRUCTIONS = { tool: 'callgrind', figure: /Collected : (\d+)/ };
const HEAP_BYTES = { tool: 'dhat', figure: /At t-gmax: ([\d,]+) bytes/ };

function measure(text, { tool, figure }) {
  const { stderr } = njs(text, 'valgrind', `--tool=${tool}`, `--${tool}-out-file=/dev/null`);
  const [, digits] = figure.exec(stderr) ?? [];
  if (!digits) throw new Error(`${tool} reported nothing`);
  return Number(digits.replaceAll(',', ''));
}

/** njs frees no object before its process ends, so that a call needs what the heap grows by; its temporaries included. */
function perCall(code, scenario, unit) {
  const after = (calls) => measure(program(code, scenario, calls, false), unit);
  return Math.round((after(MANY) - after(FEW)) / (MANY - FEW));
}

/** Refuses to measure something that does not give the right answer. */
function check(name, code, scenario) {
  const answer = JSON.parse(njs(program(code, scenario, 1, true)).stdout);
  const reason = answer.headers['x-portcullis-reason']?.value ?? '';
  if (reason !== scenario.reason || (reason === '' && answer.uri !== PATH))
    throw new Error(`${name} answers ${reason}`);
}

const edge = (name) => readFileSync(new URL(`../dist/edge/${name}`, import.meta.url), 'utf8');
const FUNCTIONS = {
  embedded: withKeys(readKeys(edge('viewer-request.embedded.js')).body, { [KEY.kid]: KEY }),
  store: edge('viewer-request.js'),
};

const signed = simple.slice(simple.indexOf('.') + 1, simple.lastIndexOf('.'));
const payload = signed.split('.')[1];
const floor = (rest) => `import crypto from 'crypto';
var benchKey = Buffer.from(${JSON.stringify(KEY.sign)}, 'base64url');
function handler(event) {
  var mac = crypto.createHmac('sha256', benchKey).update(${JSON.stringify(signed)}).digest('base64url');
  ${rest}
}`;
const FLOORS = {
  'one HMAC': floor('return mac;'),
  'HMAC + decode + JSON.parse': floor(
    `return JSON.parse(Buffer.from(${JSON.stringify(payload)}, 'base64url').toString());`,
  ),
};

/** The stub of the module `cloudfront` is JavaScript here and not on CloudFront: it belongs to no function's loading. */
const IMPORTS = `import benchCloudfront from 'cloudfront'; import benchCrypto from 'crypto';`;
const EMPTY = 'function handler(event) { return event.request; }';
const MEMORY_LIMIT = 2 * 1024 * 1024;

/** A figure of each function. */
const each = (figure) => Object.fromEntries(Object.entries(FUNCTIONS).map(([name, code]) => [name, figure(code)]));

try {
  const empty = perCall(EMPTY, SCENARIOS['no token'], INSTRUCTIONS);
  const emptyHeap = perCall(EMPTY, SCENARIOS['no token'], HEAP_BYTES);
  const rows = [];
  for (const [scenarioName, scenario] of Object.entries(SCENARIOS)) {
    const row = { scenario: scenarioName };
    for (const [name, code] of Object.entries(FUNCTIONS)) {
      check(`${scenarioName}, ${name}`, code, scenario);
      row[name] = perCall(code, scenario, INSTRUCTIONS) - empty;
    }
    row.heapBytes = each((code) => perCall(code, scenario, HEAP_BYTES) - emptyHeap);
    rows.push(row);
    process.stderr.write(`${scenarioName}: ${row.embedded} embedded, ${row.store} with the store\n`);
  }
  const floors = Object.fromEntries(
    Object.entries(FLOORS).map(([name, code]) => [
      name,
      perCall(code, SCENARIOS['valid, simple'], INSTRUCTIONS) - empty,
    ]),
  );
  const bytes = each((code) => Buffer.byteLength(code));
  const load = (unit) => each((code) => measure(code, unit) - measure(IMPORTS, unit));
  const loading = { instructions: load(INSTRUCTIONS), heapBytes: load(HEAP_BYTES) };
  const oneCall = (code) => measure(program(code, SCENARIOS['valid, four bindings'], 1, false), HEAP_BYTES);
  const peakHeapBytes = { ...each(oneCall), emptyHandler: oneCall(EMPTY) };
  const version = spawnSync('njs', ['-v'], { encoding: 'utf8' }).stdout.trim();
  const report = {
    engine: `njs ${version}`,
    tokenCharacters: { simple: simple.length, bound: bound.length },
    rows,
    floors,
    bytes,
    loading,
    peakHeapBytes,
  };
  if (process.argv.includes('--json')) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } else {
    const n = (value) => value.toLocaleString('en').padStart(10);
    process.stdout.write(
      `\ninstructions a call, ${report.engine}, token of ${simple.length} characters (${bound.length} bound)\n\n`,
    );
    process.stdout.write(`${''.padEnd(28)}  embedded      store\n`);
    for (const { scenario, embedded, store } of rows)
      process.stdout.write(`${scenario.padEnd(28)}${n(embedded)} ${n(store)}\n`);
    for (const [name, value] of Object.entries(floors))
      process.stdout.write(`${`floor: ${name}`.padEnd(34)}${n(value).trim()}\n`);
    const line = (title, { embedded, store }) =>
      process.stdout.write(`${title.padEnd(28)}${n(embedded)} ${n(store)}\n`);
    line('bytes', bytes);
    line('loading, instructions', loading.instructions);
    process.stdout.write(`\nheap bytes a call; CloudFront gives ${n(MEMORY_LIMIT).trim()} to everything\n\n`);
    for (const { scenario, heapBytes } of rows) line(scenario, heapBytes);
    line('loading', loading.heapBytes);
    line('whole process, one call', peakHeapBytes);
    process.stdout.write(`${'the same, empty handler'.padEnd(28)}${n(peakHeapBytes.emptyHandler)}\n`);
  }
} catch (error) {
  const hint = /ENOENT/.test(error.message) ? ' (apt-get install valgrind njs; npm run build)' : '';
  process.stderr.write(`bench: ${error.message}${hint}\n`);
  process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
