// npm run bench:keys [-- --json]: what a change of content keys costs when many viewers watch.
// 1. Through the local stack, in a process of its own: at each change all viewers ask for the new key at once, each with a token of
//    its own, over 100 connections; after that once more, when the edge holds it. KMS calls are counted from the audit trail.
// 2. The key server alone, over HTTP: all viewers ask for the same key, which KMS has just decrypted.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getRequestListener } from '@hono/node-server';
import { EmbeddedKms } from '../dist/lib/enclave-render/kms/embedded.js';
import { contentKeysFrom } from '../dist/lib/enclave-render/packaging/content-keys.js';
import { createKeyServer } from '../dist/lib/enclave-render/packaging/key-server.js';

const CLI = fileURLToPath(new URL('../dist/lib/cli/portcullis.js', import.meta.url));
const UNLIMITED = { api: { requestsPerMinute: { player: 10_000_000, backend: 10_000_000 } } };
const VIEWERS = 500;
const CONNECTIONS = 100;
const REQUESTS = 20_000;

const at = (values, share) => values.toSorted((a, b) => a - b)[Math.ceil(values.length * share) - 1];
const round = (value) => Number(value.toFixed(1));

async function startStack(data) {
  const config = join(data, 'portcullis.json');
  writeFileSync(config, JSON.stringify(UNLIMITED));
  const args = [CLI, 'up', '--port', '0', '--data', data, '--config', config, '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const line = await Promise.race([
    new Promise((resolve) => child.stdout.once('data', (chunk) => resolve(String(chunk)))),
    ended.then((code) => Promise.reject(new Error(`the stack ended with ${code}`))),
  ]);
  const { edge, tokenFile } = JSON.parse(line);
  const stop = () => {
    child.kill('SIGTERM');
    return ended;
  };
  return { edge, tokens: JSON.parse(readFileSync(tokenFile, 'utf8')), stop };
}

const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });

/** Asks for a key; resolves to how long that took in milliseconds, its wait for a connection included. */
const fetchKey = (url) =>
  new Promise((resolve, reject) => {
    const began = performance.now();
    http
      .get(url, { agent }, (answer) => {
        let bytes = 0;
        answer.on('data', (chunk) => {
          bytes += chunk.length;
        });
        answer.once('end', () => {
          if (answer.statusCode === 200 && bytes === 16) resolve(performance.now() - began);
          else reject(new Error(`${answer.statusCode}, ${bytes} bytes`));
        });
      })
      .once('error', reject);
  });

/** The names of the content keys that KMS decrypted so far. */
const decrypted = (keystore) =>
  readFileSync(`${keystore}.audit.jsonl`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ operation, context }) => operation === 'Decrypt' && context?.purpose === 'hls-content-key')
    .map(({ context }) => context.name);

async function measureStack(data) {
  const { edge, tokens, stop } = await startStack(data);
  try {
    const headers = { authorization: `Bearer ${tokens.player}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ asset: 'aurora' });
    const urls = [];
    for (let i = 0; i < VIEWERS; i++) {
      const { playbackUrl } = await (await fetch(`${edge}/v1/playback`, { method: 'POST', headers, body })).json();
      urls.push(playbackUrl);
    }
    const { keys } = JSON.parse(readFileSync(join(data, 'titles', 'aurora', 'keys.json'), 'utf8'));
    const keystore = join(data, 'kms', 'keystore.json');
    const before = decrypted(keystore).length;
    const [cold, held] = [[], []];
    for (const { name } of keys) {
      const all = (times) =>
        Promise.all(urls.map((url) => fetchKey(new URL(`keys/${name}.key`, url)))).then((took) => times.push(...took));
      await all(cold);
      await all(held);
    }
    const kmsCalls = decrypted(keystore).slice(before);
    if (new Set(kmsCalls).size !== keys.length) throw new Error('KMS was not asked for every key');
    const quantiles = (values) => ({ p50: round(at(values, 0.5)), p99: round(at(values, 0.99)) });
    return {
      viewers: VIEWERS,
      keys: keys.length,
      requests: cold.length + held.length,
      kmsCalls: kmsCalls.length,
      newKeyMs: quantiles(cold),
      heldKeyMs: quantiles(held),
    };
  } finally {
    await stop();
  }
}

async function measureKeyServer(data) {
  const keystore = join(data, 'alone.json');
  const kms = new EmbeddedKms({ keystore });
  await kms.createKey({ alias: 'alias/bench' });
  const { wrapped } = await contentKeysFrom(kms, 'alias/bench')('bench-1');
  const table = { format: 'portcullis-content-keys/1', keys: [wrapped] };
  const keyServer = createKeyServer({ readKeyTable: async () => table, dataKeys: kms, report: console.error });
  const server = http.createServer(getRequestListener(keyServer.fetch));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/aurora/keys/bench-1.key`;
  const began = performance.now();
  await Promise.all(Array.from({ length: REQUESTS }, () => fetchKey(url)));
  const seconds = (performance.now() - began) / 1000;
  agent.destroy();
  server.close();
  return {
    requests: REQUESTS,
    kmsCalls: decrypted(keystore).length,
    requestsPerSecond: Math.round(REQUESTS / seconds),
  };
}

const data = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
try {
  const stack = await measureStack(data);
  const keyServer = await measureKeyServer(data);
  if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify({ stack, keyServer })}\n`);
  else {
    const { viewers, keys, requests, kmsCalls, newKeyMs, heldKeyMs } = stack;
    const ms = ({ p50, p99 }) => `median ${p50} ms, p99 ${p99} ms`;
    process.stdout.write(
      [
        `${viewers} viewers, ${keys} keys in turn, ${requests} requests through the edge: ${kmsCalls} KMS calls`,
        `  a new key, all at once over ${CONNECTIONS} connections: ${ms(newKeyMs)}`,
        `  a key that the edge holds: ${ms(heldKeyMs)}`,
        `key server alone: ${keyServer.requestsPerSecond} requests a second on one core with its client, ` +
          `${keyServer.kmsCalls} KMS call for ${keyServer.requests} requests`,
        '',
      ].join('\n'),
    );
  }
} finally {
  rmSync(data, { recursive: true, force: true });
}
