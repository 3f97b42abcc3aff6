import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { runInNjs } from '../../edge-functions/runtime/njs.ts';
import type { EdgeRuntime, InvocationResult } from '../../edge-functions/runtime/runtime.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { assetBlockName, keyName, revocationName } from '../../edge-functions/store/names.ts';
import type { EdgeRequest, EdgeResponse } from '../../edge-functions/viewer-request/event.ts';
import { packagePath } from '../../local/package-root.ts';
import { isBlocked, parse, statusOf, type VerificationKey, verify } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { builtFunction, EDGE_DEFAULTS } from '../harness/edge.ts';
import { describeWith } from '../harness/programs.ts';
import { readVectors, type Vector } from '../harness/vectors.ts';

const groups = readVectors();
const storeBundle = readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8');

/** Runs vectors in one engine, as few processes as clocks and stores allow; results in the order of the vectors. */
async function runAll(
  run: EdgeRuntime,
  code: string,
  vectors: Vector[],
  keys: Record<string, VerificationKey>,
): Promise<InvocationResult[]> {
  const results: InvocationResult[] = [];
  for (const batch of groupBy(vectors, keyOf).values()) {
    const [{ now, store } = { now: 0, store: { revoked: [], before: 0, blocks: {} } }] = batch;
    const entries = new Map(store.revoked.map((sid) => [revocationName(sid), '1']));
    const hasBlocks = Object.keys(store.blocks).length > 0;
    for (const [asset, blocks] of Object.entries(store.blocks))
      entries.set(assetBlockName(asset), JSON.stringify(blocks));
    for (const [kid, { sign, bind }] of Object.entries(keys)) {
      entries.set(keyName(kid), JSON.stringify({ sign, bind, before: store.before, blocks: hasBlocks || undefined }));
    }
    const answers = await run(
      code,
      batch.map(({ event }) => event),
      { now, store: entries },
    );
    for (const [i, vector] of batch.entries()) results[vectors.indexOf(vector)] = answers[i] as InvocationResult;
  }
  return results;
}

function keyOf({ now, store }: Vector): string {
  return JSON.stringify([now, store]);
}

function groupBy<Item>(items: Item[], key: (item: Item) => string): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

function expectAnswer(vector: Vector, result: InvocationResult | undefined): void {
  expect(result, `${vector.name}: ${vector.rule}`).toHaveProperty('value');
  const answer = (result as { value: EdgeRequest & EdgeResponse }).value;
  if ('uri' in vector.expected) {
    expect(answer, `${vector.name}: ${vector.rule}`).toEqual({ ...vector.event.request, uri: vector.expected.uri });
    return;
  }
  const { reason } = vector.expected;
  expect(answer.headers?.['x-portcullis-reason'], `${vector.name}: ${vector.rule}`).toEqual({ value: reason });
  expect(answer.statusCode).toBe(statusOf(reason));
  expect(answer.headers['cache-control']).toEqual({ value: 'no-store' });
  expect(answer.headers['access-control-allow-origin']).toEqual({ value: '*' });
}

/** What the embedded variant can know: it has no store, so a revoked session passes. */
const inEmbedded = ({ store }: Vector) =>
  store.revoked.length === 0 && store.before === 0 && Object.keys(store.blocks).length === 0;

function suite(run: EdgeRuntime): void {
  for (const { group, keys, vectors } of groups) {
    test(`${group}: ${vectors.length} vectors, edge store`, async () => {
      const results = await runAll(run, storeBundle, vectors, keys);
      for (const [i, vector] of vectors.entries()) expectAnswer(vector, results[i]);
    });
    const applicable = vectors.filter(inEmbedded);
    test(`${group}: ${applicable.length} vectors, embedded keys`, async () => {
      const built = await builtFunction('embedded', EDGE_DEFAULTS, keys);
      const results = await runAll(run, built.code, applicable, keys);
      for (const [i, vector] of applicable.entries()) expectAnswer(vector, results[i]);
    });
  }
}

describe('vectors on the built function in node:vm', () => suite(runInVm));
describeWith('njs', 'vectors on the built function in njs', () => suite(runInNjs));

describe('vectors on the library', () => {
  for (const { group, keys, vectors } of groups) {
    test.each(vectors)(`${group}: $name: $rule`, ({ event, now, store, expected }) => {
      const parsed = parse(event.request.uri, '/', nodeCrypto);
      if (typeof parsed === 'string') {
        expect({ reason: parsed }).toEqual(expected);
        return;
      }
      const key = Object.hasOwn(keys, parsed.kid) ? (keys[parsed.kid] ?? null) : null;
      const revocation = { session: store.revoked.includes(parsed.sid), before: store.before };
      const rules = { crypto: nodeCrypto, maxLifetimeSeconds: 86400, leewaySeconds: 0 };
      const decision = verify(parsed, key, revocation, event, now, rules);
      const blocks = typeof decision === 'string' ? [] : (store.blocks[decision.aid] ?? []);
      const reason = isBlocked(blocks, event, now) ? 'asset-withdrawn' : decision;
      expect(typeof reason === 'string' ? { reason } : { uri: parsed.path }).toEqual(expected);
    });
  }
});
