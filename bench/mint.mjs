// npm run bench:mint [-- --json]: tokens a CPU-second on one thread, for a policy with address, country, session and two
// paths, beside what no minting can do without (the floor) and two JWT libraries, each with its key in the form that suits it
// best. All take turns in one run, in rounds, and the medians count; CPU time is the process's own, so that what else the
// machine does matters little.
import { createHmac, createSecretKey, webcrypto } from 'node:crypto';
import { SignJWT } from 'jose';
import jwt from 'jsonwebtoken';
import { createMinter, loadPolicy } from 'portcullis/token-api';
import { parse, verify } from '../dist/lib/token/index.js';
import { nodeCrypto } from '../dist/lib/token-api/minting/crypto.js';
import { edgeView } from '../dist/lib/token-api/minting/minter.js';

const ROUNDS = 15;
const TOKENS_A_ROUND = 20_000;
const MAX_LIFETIME_SECONDS = 86_400;
const KEY = {
  kid: 'k20261122-57fee3',
  sign: Buffer.alloc(32, 1).toString('base64url'),
  bind: Buffer.alloc(32, 2).toString('base64url'),
};
const SIGNING_KEY = Buffer.from(KEY.sign, 'base64url');
const BINDING_KEY = Buffer.from(KEY.bind, 'base64url');
const POLICY = {
  lifetime: 'PT1H',
  paths: ['/vod/title-000417-uncut/hls/', '/vod/title-000417-uncut/dash/'],
  bindings: ['ip', 'country'],
};
const PATH = '/vod/title-000417-uncut/hls/master.m3u8';
const URL_OF_TITLE = `https://media.example.com${PATH}`;
/** Viewers differ from call to call, as they do in a CMS. */
const VIEWERS = Array.from({ length: 256 }, (_, i) => ({
  ip: `203.0.113.${i}`,
  country: 'DE',
  subject: `viewer-${i}`,
}));

const minter = createMinter({ key: () => KEY, maxLifetimeSeconds: MAX_LIFETIME_SECONDS });
const policy = loadPolicy(POLICY, { maxLifetimeSeconds: MAX_LIFETIME_SECONDS });

// The others mint the claims of a token of ours, with the same header.
const sample = minter.mint({ policy, viewer: VIEWERS[0], url: URL_OF_TITLE });
const [, encodedHeader, encodedPayload] = sample.token.split('.');
const text = (encoded) => Buffer.from(encoded, 'base64url').toString();
const HEADER = JSON.parse(text(encodedHeader));
const CLAIMS = JSON.parse(text(encodedPayload));
/** As long as what the binding MAC of the token is computed over. */
const BOUND = `sid=${CLAIMS.sid}\nip=${VIEWERS[0].ip}\ncountry=${VIEWERS[0].country}\n`;

/** Two MACs, the JSON and its encoding: what remains when all else is known beforehand. */
function floorWith(bind, sign) {
  const signed = `${encodedHeader}.${Buffer.from(JSON.stringify(CLAIMS)).toString('base64url')}`;
  return { bmac: bind(BOUND), jws: `${signed}.${sign(signed)}` };
}
const streamed = (key) => (input) => createHmac('sha256', key).update(input).digest('base64url');
const [bindStreamed, signStreamed] = [streamed(BINDING_KEY), streamed(SIGNING_KEY)];
const [bindInOne, signInOne] = [nodeCrypto.hmac(KEY.bind), nodeCrypto.hmac(KEY.sign)];

const KEY_OBJECT = createSecretKey(SIGNING_KEY);
const HMAC = { name: 'HMAC', hash: 'SHA-256' };
const CRYPTO_KEY = await webcrypto.subtle.importKey('raw', SIGNING_KEY, HMAC, false, ['sign']);
const joseWith = (key) => new SignJWT(CLAIMS).setProtectedHeader(HEADER).sign(key);

/** By name, what mints token number `i`; jose alone does it asynchronously. */
const CANDIDATES = {
  portcullis: (i) => minter.mint({ policy, viewer: VIEWERS[i % VIEWERS.length], url: URL_OF_TITLE }),
  'portcullis, plain policy': (i) =>
    minter.mint({ policy: POLICY, viewer: VIEWERS[i % VIEWERS.length], url: URL_OF_TITLE }),
  floor: () => floorWith(bindStreamed, signStreamed),
  'floor, MACs as ours': () => floorWith(bindInOne, signInOne),
  jose: () => joseWith(CRYPTO_KEY),
  'jose, key as bytes': () => joseWith(SIGNING_KEY),
  jsonwebtoken: () => jwt.sign(CLAIMS, KEY_OBJECT, { algorithm: 'HS256', header: HEADER }),
};

/** Refuses to measure what makes no token that the edge takes. */
function check(name, made) {
  const { uri, viewing } = made.token
    ? { uri: new URL(made.url).pathname, viewing: edgeView(VIEWERS[1], '') }
    : { uri: `/${CLAIMS.sid}.${made.jws ?? made}${PATH}`, viewing: edgeView(VIEWERS[0], '') };
  const rules = { crypto: nodeCrypto, maxLifetimeSeconds: MAX_LIFETIME_SECONDS, leewaySeconds: 0 };
  const parsed = parse(uri, '/', nodeCrypto);
  const decision =
    typeof parsed === 'string'
      ? parsed
      : verify(parsed, KEY, { session: false, before: 0 }, viewing, Date.now() / 1000, rules);
  if (typeof decision === 'string') throw new Error(`${name} makes a token that is refused: ${decision}`);
  if (made.bmac !== undefined && made.bmac !== CLAIMS.bmac) throw new Error(`${name} makes another binding MAC`);
  if (decision.paths.length !== 2 || decision.bnd.length !== 2) throw new Error(`${name} leaves claims out`);
}

/** CPU seconds for so many tokens. */
async function cpuSeconds(candidate, tokens) {
  const before = process.cpuUsage();
  for (let i = 0; i < tokens; i++) {
    const made = candidate(i);
    if (made instanceof Promise) await made;
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

const rates = Object.fromEntries(Object.keys(CANDIDATES).map((name) => [name, []]));
for (const [name, candidate] of Object.entries(CANDIDATES)) {
  check(name, await candidate(1));
  await cpuSeconds(candidate, TOKENS_A_ROUND);
}
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, candidate] of Object.entries(CANDIDATES)) {
    rates[name].push(TOKENS_A_ROUND / (await cpuSeconds(candidate, TOKENS_A_ROUND)));
  }
}

const perSecond = Object.fromEntries(Object.entries(rates).map(([name, values]) => [name, Math.round(median(values))]));
const times = (name) => Number((perSecond.portcullis / perSecond[name]).toFixed(2));
const others = Object.keys(CANDIDATES).filter((name) => name !== 'portcullis');
const report = {
  node: process.version,
  tokenCharacters: sample.token.length,
  tokensPerCpuSecond: perSecond,
  portcullisTimes: Object.fromEntries(others.map((name) => [name, times(name)])),
};
if (process.argv.includes('--json')) {
  process.stdout.write(`${JSON.stringify(report)}\n`);
} else {
  const n = (value) => value.toLocaleString('en').padStart(10);
  process.stdout.write(`tokens a CPU-second, Node ${report.node}, token of ${sample.token.length} characters\n\n`);
  for (const [name, value] of Object.entries(perSecond)) {
    const share = name === 'portcullis' ? '' : `portcullis: ${times(name)} times that`;
    process.stdout.write(`${name.padEnd(28)}${n(value)}   ${share}\n`);
  }
}
