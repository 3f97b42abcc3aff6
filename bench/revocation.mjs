// npm run bench:revocation [-- --json]: four figures of revocation.
// 1. From the revocation call to the first refused request, on the local stack in a process of its own, while 500 requests a
//    second run against its edge: the session asks again and again from the call on until it is refused. Beside it, in
//    turns, the same for a call of the API that changes nothing: what the machine does meets both alike.
// 2. Calls to CloudFront KeyValueStore: those of one change while a list of 100,000 is published, of its first publication,
//    and of a process that begins without a mirror. Counted on a store in memory; time and money are reckoned from them.
// 3. How many sessions of 12 characters fit into an edge store, and into WAF rule groups of 1,500 and 5,000 WCU.
// 4. What such a group, full, costs the local edge for a request that it lets through; beside it, in turns, no rules at all.
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import autocannon from 'autocannon';
import { EdgeStore } from '../dist/lib/edge-functions/store/edge-store.js';
import { STORE_LIMITS, StoreError } from '../dist/lib/edge-functions/store/key-value-store.js';
import { countRevocations, replaceRevocations } from '../dist/lib/edge-functions/store/revocations.js';
import { compileRuleGroup } from '../dist/lib/local/edge/rule-group.js';
import { edgePublisher } from '../dist/lib/revocation/publish/edge-store.js';
import { compileSessions } from '../dist/lib/revocation/publish/rule-group.js';
import { startStack } from './stack.mjs';

const REVOCATIONS = 200;
const REQUESTS_PER_SECOND = 500;
const CONNECTIONS = 16;
const LISTED = 100_000;
const CHANGES = 50;
/** Capacities of rule groups: that of a web ACL without a surcharge, and the largest. */
const CAPACITIES_WCU = [1500, 5000];
const ROUNDS = 20;
const REQUESTS_A_ROUND = 100;
/** What a call to the store is taken to last; AWS promises nothing. */
const CALL_MS = 50;
/** Of the API of KeyValueStore (CloudFront pricing, November 2026). */
const DOLLARS_PER_CALL = 1 / 1000;

const at = (values, share) => values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1];
const quantiles = (values) => ({ p50: at(values, 0.5), p99: at(values, 0.99), most: at(values, 1) });
const sessionId = (i) => `Bench${String(i).padStart(7, '0')}`;

const agent = new Agent({ keepAlive: true });
/** The status of a request for a URL. */
const statusOf = (url) =>
  new Promise((resolve, reject) => {
    get(url, { agent }, (answer) => {
      answer.resume().once('end', () => resolve(answer.statusCode));
    }).once('error', reject);
  });

async function ask({ api, tokens }, role, path, body) {
  const headers = { authorization: `Bearer ${tokens[role]}`, 'content-type': 'application/json' };
  const answer = await fetch(`${api}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

const newSession = (stack) => ask(stack, 'backend', '/v1/tokens', { asset: 'aurora', viewer: {} });

/** Milliseconds that a call of the API takes which only reads what it has at hand. */
async function readAfter({ api, tokens }) {
  const began = performance.now();
  const answer = await fetch(`${api}/v1/edge/modes`, { headers: { authorization: `Bearer ${tokens.security}` } });
  await answer.text();
  return performance.now() - began;
}

/** Milliseconds from the revocation call to the answer to the first request that is refused. */
async function revokedAfter(stack) {
  const { playbackUrl, sessionId } = await newSession(stack);
  if ((await statusOf(playbackUrl)) !== 200) throw new Error('the session does not play before it is revoked');
  const began = performance.now();
  const answered = ask(stack, 'security', `/v1/sessions/${sessionId}/revocation`, {});
  while ((await statusOf(playbackUrl)) !== 403);
  const elapsed = performance.now() - began;
  await answered;
  return elapsed;
}

async function effect() {
  const data = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
  const stack = await startStack(data);
  try {
    const { playbackUrl: url } = await newSession(stack);
    const load = autocannon({ url, connections: CONNECTIONS, overallRate: REQUESTS_PER_SECOND, duration: 3600 });
    const elapsed = [];
    const reading = [];
    for (let i = 0; i < REVOCATIONS; i++) {
      elapsed.push(await revokedAfter(stack));
      reading.push(await readAfter(stack));
    }
    load.stop();
    const { requests, non2xx } = await load;
    if (non2xx > 0) throw new Error(`${non2xx} requests of another session were refused`);
    return {
      revocations: REVOCATIONS,
      requestsPerSecond: requests.average,
      milliseconds: quantiles(elapsed),
      readingMilliseconds: quantiles(reading),
    };
  } finally {
    await stack.stop();
    agent.destroy();
    rmSync(data, { recursive: true, force: true });
  }
}

/** KeyValueStore in memory, which counts the calls that `AwsKeyValueStore` makes: 50 entries a page, ETag before and after. */
function countedStore() {
  const entries = new Map();
  const counted = { calls: 0 };
  let version = 0;
  const store = {
    async list() {
      counted.calls += 2 + Math.max(1, Math.ceil(entries.size / 50));
      return { entries: new Map(entries), etag: String(version) };
    },
    async etag() {
      counted.calls++;
      return String(version);
    },
    async update({ puts, deletes }, ifMatch) {
      counted.calls++;
      if (ifMatch !== String(version)) throw new StoreError('ERR_STORE_ETAG', 'changed');
      if (puts.length + deletes.length > STORE_LIMITS.keysPerUpdate)
        throw new StoreError('ERR_STORE_LIMIT', 'too many');
      for (const { key, value } of puts) entries.set(key, value);
      for (const key of deletes) entries.delete(key);
      return String(++version);
    },
  };
  return { store, counted };
}

async function calls() {
  const { store, counted } = countedStore();
  const listed = new Map();
  const add = (i) => {
    const id = sessionId(i);
    listed.set(id, { kind: 'session', id, source: 'manual', reasons: [], by: 'bench', revokedAt: i });
  };
  const list = {
    active: async () => [...listed.values()],
    holding: async (keys) => keys.flatMap(({ id }) => listed.get(id) ?? []),
  };
  const counting = async (run) => {
    const [before, began] = [counted.calls, performance.now()];
    await run();
    return { calls: counted.calls - before, milliseconds: performance.now() - began };
  };
  const priced = ({ calls }) => ({ calls, dollars: calls * DOLLARS_PER_CALL, minutes: (calls * CALL_MS) / 60_000 });
  const open = () => edgePublisher(list, new EdgeStore(store), () => 0);

  for (let i = 0; i < LISTED; i++) add(i);
  const publisher = open();
  const first = await counting(() => publisher.reconcile());
  const changes = [];
  for (let i = 0; i < CHANGES; i++) {
    add(LISTED + i);
    changes.push(await counting(() => publisher.publish([{ kind: 'session', id: sessionId(LISTED + i) }])));
  }
  const unchanged = await counting(() => publisher.reconcile());
  const cold = await counting(() => open().reconcile());
  return {
    listed: LISTED,
    callMilliseconds: CALL_MS,
    change: {
      calls: Math.max(...changes.map(({ calls }) => calls)),
      milliseconds: at(
        changes.map(({ milliseconds }) => milliseconds),
        0.5,
      ),
    },
    reconciliation: { calls: unchanged.calls, milliseconds: unchanged.milliseconds },
    firstPublication: priced(first),
    coldLoad: priced(cold),
  };
}

function capacity() {
  const entries = new Map();
  const sessions = Array.from({ length: 500_000 }, (_, i) => sessionId(i));
  replaceRevocations(entries, { sessions, assets: [], before: 0 });
  return { sessions: countRevocations(entries), bytes: STORE_LIMITS.totalBytes };
}

/** A rule group with as many sessions as fit, and milliseconds for a request of another session, with it and with none. */
function ruleGroup(wcu) {
  const sessions = Array.from({ length: 25_000 }, (_, i) => sessionId(i));
  const options = { tokenPrefix: '/', allowedOrigins: ['*'], capacityWcu: wcu };
  const { rules, capacityWcu, included } = compileSessions(sessions, options);
  const path = `/AbCdEf123456.${'h'.repeat(80)}.${'p'.repeat(220)}.${'s'.repeat(43)}/aurora/360p/segment-001.m4s`;
  const request = { method: 'GET', path, query: '', headers: {}, country: 'DE' };
  const timed = (group) => {
    const began = performance.now();
    for (let i = 0; i < REQUESTS_A_ROUND; i++) if (group(request)) throw new Error('another session was blocked');
    return (performance.now() - began) / REQUESTS_A_ROUND;
  };
  const [full, none] = [compileRuleGroup(rules), compileRuleGroup([])];
  const rounds = Array.from({ length: ROUNDS }, () => [timed(full), timed(none)]);
  const median = (column) =>
    at(
      rounds.map((round) => round[column]),
      0.5,
    );
  return {
    ...{ groupWcu: wcu, capacityWcu, sessions: included.length, rules: rules.length },
    ...{ bytes: JSON.stringify(rules).length, milliseconds: median(0), withoutRulesMilliseconds: median(1) },
  };
}

try {
  const report = {
    node: process.version,
    effect: await effect(),
    store: await calls(),
    capacity: capacity(),
    ruleGroups: CAPACITIES_WCU.map(ruleGroup),
  };
  if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    const { effect, store, capacity, ruleGroups } = report;
    const told = ({ p50, p99, most }) =>
      `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, most ${most.toFixed(1)} ms`;
    const rate = `${Math.round(effect.requestsPerSecond)} requests/s`;
    const price = ({ calls, dollars, minutes }) =>
      `${calls} calls, $${dollars.toFixed(2)}, ${minutes.toFixed(1)} minutes at ${CALL_MS} ms a call`;
    const groupLine = ({ groupWcu, capacityWcu, sessions, rules, bytes, milliseconds, withoutRulesMilliseconds }) =>
      `that fit into a rule group of ${groupWcu} WCU: ${sessions} in ${capacityWcu} WCU, ${rules} rules, ${Math.round(bytes / 1000)} KB; ` +
      `${milliseconds.toFixed(3)} ms a request, ${withoutRulesMilliseconds.toFixed(4)} ms without rules`;
    process.stdout.write(`revocation call to first refused request, ${effect.revocations} of them, ${rate}:
  ${told(effect.milliseconds)}
a call that only reads, in the same run:
  ${told(effect.readingMilliseconds)}
one change on a list of ${store.listed}: ${store.change.calls} call, ${store.change.milliseconds.toFixed(0)} ms of its own
a reconciliation that changes nothing: ${store.reconciliation.calls} calls, ${store.reconciliation.milliseconds.toFixed(0)} ms
its first publication: ${price(store.firstPublication)}
a process without a mirror: ${price(store.coldLoad)}
sessions of 12 characters that fit: ${capacity.sessions} in ${capacity.bytes} bytes
${ruleGroups.map(groupLine).join('\n')}
`);
  }
} catch (error) {
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
}
