// npm run bench:api [-- --json]: the API under load on loopback, beside an empty route of the same server in the same run.
// The stack runs in a process of its own, and so does the load, which is this process. Rounds are interleaved, so that what
// else the machine does meets all of them alike; figures are medians of the rounds. CPU time a request is that of the whole
// server process (proc(5), Linux), and holds on a busy machine too. Everything that the API asks of DynamoDB is answered by
// dynalite in that process, which a Lambda function would not pay for: compare, do not quote.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { startStack } from './stack.mjs';

const ROUNDS = 5;
const SECONDS = 3;
const CONNECTIONS = 16;

const SCENARIOS = {
  'empty route': { method: 'GET', path: '/healthz' },
  // Authorised and logged, but asks no table: what the API costs by itself.
  'GET /v1/edge/modes': { method: 'GET', path: '/v1/edge/modes', role: 'security' },
  'GET /v1/assets': { method: 'GET', path: '/v1/assets', role: 'player' },
  'POST /v1/playback': { method: 'POST', path: '/v1/playback', role: 'player', body: { asset: 'aurora' } },
  'POST /v1/tokens': {
    method: 'POST',
    path: '/v1/tokens',
    role: 'backend',
    body: { asset: 'aurora', viewer: { ip: '203.0.113.7', country: 'DE', subject: 'viewer-7' } },
  },
};

function requestOf({ method, path, role, body }, { api, tokens }) {
  return {
    url: `${api}${path}`,
    method,
    headers: {
      ...(role && { authorization: `Bearer ${tokens[role]}` }),
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
  };
}

/** CPU time that a process has taken, user and system, in milliseconds; a clock tick is a hundredth of a second. */
function cpuMilliseconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** One round: requests per second, the 99th percentile of the latency and the CPU time a request, both in milliseconds. */
async function load(name, request, pid, duration) {
  const before = cpuMilliseconds(pid);
  const result = await autocannon({ ...request, connections: CONNECTIONS, duration });
  // Something that refuses is faster than something that works.
  if (result.non2xx > 0 || result.errors > 0) {
    throw new Error(`${name}: ${result.non2xx} of ${result.requests.total} were refused, ${result.errors} failed`);
  }
  return {
    requestsPerSecond: result.requests.average,
    p99Milliseconds: result.latency.p99,
    cpuMilliseconds: (cpuMilliseconds(pid) - before) / result.requests.total,
  };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

const data = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
let stack;
try {
  stack = await startStack(data);
  const requests = {};
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    const { url, ...init } = requestOf(scenario, stack);
    const { status } = await fetch(url, init);
    if (status === 200) requests[name] = { url, ...init };
    else process.stderr.write(`${name} answers ${status}: left out\n`);
  }
  const rounds = Object.fromEntries(Object.keys(requests).map((name) => [name, []]));
  for (const [name, request] of Object.entries(requests)) await load(name, request, stack.pid, 1);
  for (let round = 1; round <= ROUNDS; round++) {
    for (const [name, request] of Object.entries(requests))
      rounds[name].push(await load(name, request, stack.pid, SECONDS));
    process.stderr.write(`round ${round} of ${ROUNDS}\n`);
  }
  const rows = Object.entries(rounds).map(([name, measured]) => ({
    name,
    requestsPerSecond: Math.round(median(measured.map(({ requestsPerSecond }) => requestsPerSecond))),
    p99Milliseconds: median(measured.map(({ p99Milliseconds }) => p99Milliseconds)),
    cpuMilliseconds: Number(median(measured.map(({ cpuMilliseconds }) => cpuMilliseconds)).toFixed(3)),
  }));
  const report = { node: process.version, connections: CONNECTIONS, rounds: ROUNDS, seconds: SECONDS, rows };
  if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    process.stdout.write(`\nAPI on loopback, Node ${report.node}, ${CONNECTIONS} connections\n\n`);
    process.stdout.write(`${''.padEnd(22)}requests/s   p99 ms   CPU ms each\n`);
    for (const { name, requestsPerSecond, p99Milliseconds, cpuMilliseconds } of rows) {
      const figures = [String(requestsPerSecond).padStart(10), String(p99Milliseconds).padStart(8)];
      process.stdout.write(`${name.padEnd(22)}${figures.join(' ')} ${cpuMilliseconds.toFixed(3).padStart(13)}\n`);
    }
  }
} catch (error) {
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
} finally {
  await stack?.stop();
  rmSync(data, { recursive: true, force: true });
}
