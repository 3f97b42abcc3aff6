import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { runInNjs } from '../../edge-functions/runtime/njs.ts';
import type { EdgeRuntime } from '../../edge-functions/runtime/runtime.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import type { ViewerRequestEvent } from '../../edge-functions/viewer-request/event.ts';
import { mintCompat } from '../../token/compat/mint.ts';
import { parseCompat } from '../../token/compat/parse.ts';
import { verifyCompat } from '../../token/compat/verify.ts';
import { mint, parse } from '../../token/index.ts';
import { compatKey } from '../../token-api/key-ring/compat.ts';
import { deriveKeys, parseKeyRing, verificationKeys } from '../../token-api/key-ring/key-ring.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import {
  buildCompat,
  type CompatVector,
  compatRingKeys,
  decisionOf,
  readCompatVectors,
  type Secrets,
} from '../harness/compat.ts';
import { describeVectors } from '../harness/corpora.ts';
import { builtFunction, EDGE_DEFAULTS } from '../harness/edge.ts';
import { NOW, TEST_CLAIMS, TEST_RING, TEST_VIEWING } from '../harness/minting.ts';
import { describeWith } from '../harness/programs.ts';
import { readVectors } from '../harness/vectors.ts';

const ENGINES: [string, EdgeRuntime][] = [
  ['node:vm', runInVm],
  ['njs', runInNjs],
];
const groups = readCompatVectors();
const [{ secrets } = { secrets: {} as Secrets }] = groups;

/** Runs a suite in both engines; that in njs is skipped by name where njs is missing. */
function inBothEngines(name: string, suite: (run: EdgeRuntime) => void): void {
  for (const [engine, run] of ENGINES) {
    if (engine === 'njs') describeWith('njs', `${name} in njs`, () => suite(run));
    else describe(`${name} in ${engine}`, () => suite(run));
  }
}

/** Runs events of several moments, a run for each moment. */
async function runAll(run: EdgeRuntime, code: string, cases: { now: number; event: unknown }[]) {
  const results: ReturnType<typeof decisionOf>[] = [];
  for (const now of new Set(cases.map((item) => item.now))) {
    const batch = cases.filter((item) => item.now === now);
    const answers = await run(
      code,
      batch.map(({ event }) => event),
      { now, store: new Map() },
    );
    for (const [i, item] of batch.entries()) results[cases.indexOf(item)] = decisionOf(answers[i]);
  }
  return results;
}

inBothEngines('our vectors on the built function', (run) => {
  test.each(groups)('$group: $vectors.length vectors', async ({ vectors }) => {
    const results = await runAll(run, await buildCompat(secrets, TEST_RING.keys), vectors);
    for (const [i, { name, rule, expected }] of vectors.entries()) {
      expect(results[i], `${name}: ${rule}`).toEqual(expected);
    }
  });

  test('our tokens are decided about as without the dialect', async () => {
    for (const { keys, vectors } of readVectors()) {
      const known = vectors.filter(
        ({ store }) => store.revoked.length === 0 && store.before === 0 && Object.keys(store.blocks).length === 0,
      );
      const { code } = await builtFunction('compat', EDGE_DEFAULTS, keys);
      const results = await runAll(run, code, known);
      // A token that says it is a plain JWT, or does not say what it is, is one of the dialect, with a key that is not known.
      const isPlain = (decision: unknown) => JSON.stringify(decision) === '{"reason":"token-key-unknown"}';
      for (const [i, { name, expected }] of known.entries()) {
        if (JSON.stringify(expected).includes('token-malformed') && isPlain(results[i])) continue;
        expect(results[i], name).toEqual(expected);
      }
    }
  });
});

describe('our vectors on the library', () => {
  for (const { group, vectors } of groups) {
    test.each(vectors)(`${group}: $name: $rule`, (vector) => {
      const parsed = parseCompat(vector.event.request.uri, nodeCrypto);
      const key = parsed && Object.hasOwn(secrets, parsed.kid) ? compatKey(secrets[parsed.kid] ?? '') : undefined;
      // What has no token of the dialect is denied with the reason that the parser of ours gives.
      const reason = parsed
        ? verifyCompat(parsed, key, vector.event, vector.now, 0, nodeCrypto)
        : parse(vector.event.request.uri, '/', nodeCrypto);
      expect(reason === '' ? { uri: parsed?.path } : { reason }).toEqual(vector.expected);
    });
  }
});

inBothEngines('the keys of the dialects', (run) => {
  const eventOf = (token: string): ViewerRequestEvent => {
    const [{ event } = {} as CompatVector] = groups[0]?.vectors ?? [];
    return { ...event, request: { ...event.request, uri: `/${token}/aurora/x.m3u8` } };
  };
  const decide = async (code: string, token: string) =>
    (await runAll(run, code, [{ now: NOW, event: eventOf(token) }]))[0];
  const allowed = { uri: '/aurora/x.m3u8' };
  const [ours] = TEST_RING.keys;
  const minting = { now: NOW, crypto: nodeCrypto, createSessionId: () => 'AbCdEf012345' };
  const policy = { paths: ['/aurora/'], exp: '+1h' };
  const text = Object.values(secrets)[0] ?? '';
  const claims = { ...TEST_CLAIMS, sid: 'AbCdEf012345' };
  const oursBy = (kid: string, secret: string) =>
    mint(claims, { kid, ...deriveKeys(secret) }, TEST_VIEWING, nodeCrypto);
  const theirsBy = (kid: string, key: string) => mintCompat(policy, {}, null, { kid, key, ...minting }).token;

  test('one function takes the tokens of both, each by its own key', async () => {
    const code = await buildCompat({ other: text }, TEST_RING.keys);
    expect(await decide(code, oursBy('k1', ours.secret))).toEqual(allowed);
    expect(await decide(code, theirsBy('other', compatKey(text)))).toEqual(allowed);
  });

  test('a key verifies nothing of the other dialect, by its id', async () => {
    const code = await buildCompat({ other: text }, TEST_RING.keys);
    expect(await decide(code, oursBy('other', ours.secret))).toEqual({ reason: 'token-key-unknown' });
    expect(await decide(code, theirsBy('k1', compatKey(text)))).toEqual({ reason: 'token-key-unknown' });
  });

  test('nor where both have the same id', async () => {
    const code = await buildCompat({ k1: text }, TEST_RING.keys);
    expect(await decide(code, oursBy('k1', ours.secret))).toEqual(allowed);
    expect(await decide(code, theirsBy('k1', compatKey(text)))).toEqual(allowed);
    const { sign, bind } = deriveKeys(ours.secret);
    for (const key of [sign, bind, ours.secret, compatKey(ours.secret)]) {
      expect(await decide(code, theirsBy('k1', key))).toEqual({ reason: 'token-signature-invalid' });
    }
    const effective = compatKey(text);
    for (const key of [
      effective,
      Buffer.from(text).toString('base64url'),
      Buffer.from(text, 'hex').toString('base64url'),
    ]) {
      const token = mint(claims, { kid: 'k1', sign: key, bind }, TEST_VIEWING, nodeCrypto);
      expect(await decide(code, token)).toEqual({ reason: 'token-signature-invalid' });
    }
    // The same secret in both roles still makes different keys.
    const same = await buildCompat({ k1: ours.secret }, TEST_RING.keys);
    expect(await decide(same, theirsBy('k1', sign))).toEqual({ reason: 'token-signature-invalid' });
  });

  test('the strict function knows no key of the dialect', async () => {
    const ring = parseKeyRing({ version: 1, keys: [...TEST_RING.keys, ...compatRingKeys({ other: text, k1: text })] });
    expect(verificationKeys(ring)).toEqual({ k1: deriveKeys(ours.secret) });
  });
});

test('the key of a secret makes the MACs of its text', () => {
  for (const secret of [text64(1), text64(2), 'a'.repeat(63), 'a'.repeat(64), 'a'.repeat(65)]) {
    expect(nodeCrypto.hmac(compatKey(secret))('x')).toBe(createHmac('sha256', secret).update('x').digest('base64url'));
  }
});

function text64(times: number): string {
  return '0123456789abcdef'.repeat(4 * times);
}

interface Case {
  id: string;
  name: string;
  secrets: Secrets;
  event: ViewerRequestEvent;
  now: number;
  expected: 'allow' | 'deny';
  expected_uri?: string;
  recommended?: 'allow' | 'deny';
  defect?: string;
  mint?: Minting & { output: string };
}

interface Minting {
  policy: object;
  viewer_attributes: object;
  playback_url: string | null;
  now: number;
}

interface Shared {
  vectors: Case[];
  mint: (Minting & {
    id: string;
    name: string;
    keys: { primary: { uuid: string; value: string } };
    expected_output?: string;
    expected_error?: string;
  })[];
}

/**
 * Every key of the shared vectors by its id. A rotation that drops a key while its tokens live cuts viewers off; a ring
 * keeps it as previous, so a vector is run with the key of its token beside those that it names.
 */
function keptSecrets(cases: Case[]): Secrets {
  return Object.assign({}, ...cases.map((item) => item.secrets));
}

describeVectors<Shared>('compat-tokens.json', 'requests of the AWS solution v1', (shared) => {
  const kept = keptSecrets(shared.vectors);
  inBothEngines(`${shared.vectors.length} vectors`, (run) => {
    test.each(shared.vectors)('$id $name', async (item) => {
      const lacksKey = item.defect === 'ROTATION_WINDOW';
      const code = await buildCompat(lacksKey ? { ...kept, ...item.secrets } : item.secrets);
      const [decision] = await runAll(run, code, [item]);
      const wanted = item.recommended ?? item.expected;
      if (wanted === 'deny') expect(decision).toHaveProperty('reason');
      else expect(decision).toEqual({ uri: item.expected_uri ?? item.event.request.uri.replace(/^\/[^/]*/, '') });
      if (!lacksKey) return;
      const [dropped] = await runAll(run, await buildCompat(item.secrets), [item]);
      expect(dropped).toEqual({ reason: 'token-key-unknown' });
    });
  });
});

describeVectors<Shared>('compat-tokens.json', 'minting for the AWS solution v1', (shared) => {
  /** Policies that are refused although that solution mints for them: what they ask for is not protected. */
  const REFUSED: Record<string, string> = {
    M038: 'ERR_COMPAT_BINDING_MISSING',
    V017: 'ERR_COMPAT_SESSION',
    V067: 'ERR_COMPAT_BINDING_NAME',
    V091: 'ERR_COMPAT_PATHS',
    V099: 'ERR_COMPAT_PATHS',
  };
  const attempt = (kid: string, secret: string, item: Minting, output = '') => {
    // A made-up session id is random: the one that was drawn is in the output.
    const drawn = /(?:^|\/)([A-Za-z0-9]{12})\.ey/.exec(output)?.[1] ?? '';
    const minting = { kid, key: compatKey(secret), now: item.now, crypto: nodeCrypto, createSessionId: () => drawn };
    try {
      const { url, token } = mintCompat(item.policy, item.viewer_attributes, item.playback_url, minting);
      return url ?? token;
    } catch (error) {
      return (error as { code?: string }).code;
    }
  };

  test.each(shared.mint)('$id $name', (item) => {
    const { uuid, value } = item.keys.primary;
    const minted = attempt(uuid, value, item, item.expected_output);
    if (item.expected_error) expect(minted).toMatch(/^ERR_COMPAT_/);
    else expect(minted).toBe(REFUSED[item.id] ?? item.expected_output);
  });

  test.each(shared.vectors.flatMap((item) => (item.mint ? [{ ...item, mint: item.mint }] : [])))(
    '$id $name',
    (item) => {
      const [[kid, secret] = ['', '']] = Object.entries(item.secrets);
      expect(attempt(kid, secret, item.mint, item.mint.output)).toBe(REFUSED[item.id] ?? item.mint.output);
    },
  );
});
