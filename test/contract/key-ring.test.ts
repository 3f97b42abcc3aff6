import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateSecretCommand,
  DescribeSecretCommand,
  PutSecretValueCommand,
  RotateSecretCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { mockClient } from 'aws-sdk-client-mock';
import { afterAll, describe, expect, test } from 'vitest';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { FileKeyValueStore } from '../../edge-functions/store/file.ts';
import { keyName } from '../../edge-functions/store/names.ts';
import { fileKeyRing, writeKeyRing } from '../../token-api/key-ring/file.ts';
import { edgeStorePublisher } from '../../token-api/key-ring/key-publisher.ts';
import { createKeyRing, type KeyRing, timestamp } from '../../token-api/key-ring/key-ring.ts';
import type { KeyRingStore } from '../../token-api/key-ring/key-ring-store.ts';
import { createRotation } from '../../token-api/key-ring/rotation.ts';
import { rotateSecret, secretsManagerKeyRing } from '../../token-api/key-ring/secrets-manager.ts';
import { withNextKey } from '../../token-api/key-ring/transitions.ts';
import { NOW } from '../harness/minting.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-rings-'));
const PLACEHOLDER = { version: 1, keys: [] };

/** A store that holds `content`, opened as by another process each time. */
type Open = (content: object) => Promise<() => KeyRingStore>;

let files = 0;
const openFile: Open = async (content) => {
  const path = join(scratch, `ring-${++files}.json`);
  writeFileSync(path, JSON.stringify(content), { mode: 0o600 });
  return () => fileKeyRing(path);
};

const moto = useMoto();
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
/** A client of moto_server, once it is asked for. */
const motoClient = async () => new SecretsManagerClient(await moto());
const openSecret: Open = async (content) => {
  const client = await motoClient();
  const Name = `ring-${randomUUID()}`;
  await client.send(new CreateSecretCommand({ Name, SecretString: JSON.stringify(content) }));
  return () => secretsManagerKeyRing(client, Name);
};

afterAll(() => {
  rmSync(scratch, { recursive: true });
});

const ADAPTERS: [name: string, open: Open, isHere: boolean][] = [
  ['file', openFile, true],
  ['Secrets Manager (moto_server)', openSecret, HAS_MOTO],
];

for (const [name, open, isHere] of ADAPTERS) {
  describe.skipIf(!isHere)(`KeyRingStore: ${name}${isHere ? '' : ' (not on the PATH)'}`, () => {
    const ring = createKeyRing(NOW);
    const prepared = (of: KeyRing, run: string, basedOn: string): KeyRing => ({
      ...withNextKey(of, run, NOW),
      basedOn,
      preparedAt: timestamp(NOW),
    });

    test('holds a ring; a placeholder is none', async () => {
      const store = (await open(ring))();
      expect((await store.current()).ring).toEqual(ring);
      expect(await store.pending()).toBeUndefined();
      expect((await (await open(PLACEHOLDER))().current()).ring).toBeNull();
    });

    test('a prepared ring lies beside the current one until it takes its place', async () => {
      const reopen = await open(ring);
      const run = randomUUID();
      const { version } = await reopen().current();
      const next = prepared(ring, run, version);
      await reopen().prepare(run, next);
      expect((await reopen().current()).ring).toEqual(ring);
      expect(await reopen().pending()).toMatchObject({ run, ring: next, since: expect.any(Number) });
      await reopen().promote(run, version);
      const after = await reopen().current();
      expect(after.ring?.keys).toEqual(next.keys);
      expect(after.version).not.toBe(version);
      expect(await reopen().pending()).toBeUndefined();
    });

    test('what was prepared for another version than the current one is refused, and the ring stays', async () => {
      const reopen = await open(ring);
      const run = randomUUID();
      const { version } = await reopen().current();
      await reopen().prepare(run, prepared(ring, run, version));
      const changed = { ...ring, keys: ring.keys.map((key) => ({ ...key, publishedAt: timestamp(NOW) })) };
      await reopen().replace(changed, version);
      await expect(reopen().promote(run, version)).rejects.toMatchObject({ code: 'ERR_RING_CONFLICT' });
      expect((await reopen().current()).ring).toEqual(changed);
    });

    test('of two who replace the same version one is refused', async () => {
      const reopen = await open(ring);
      const { version } = await reopen().current();
      const others = [1, 2].map((day) => ({
        ...ring,
        keys: ring.keys.map((key) => ({ ...key, publishedAt: timestamp(NOW + day) })),
      }));
      const outcomes = await Promise.allSettled(others.map((other) => reopen().replace(other, version)));
      const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []));
      expect(refused).toEqual(['ERR_RING_CONFLICT']);
      const winner = others[outcomes.findIndex(({ status }) => status === 'fulfilled')];
      expect((await reopen().current()).ring).toEqual(winner);
    });

    test('what is abandoned is gone; abandoning another rotation, or again, does nothing', async () => {
      const reopen = await open(ring);
      const run = randomUUID();
      const { version } = await reopen().current();
      await reopen().prepare(run, prepared(ring, run, version));
      await reopen().abandon(randomUUID());
      expect((await reopen().pending())?.run).toBe(run);
      await reopen().abandon(run);
      await reopen().abandon(run);
      expect(await reopen().pending()).toBeUndefined();
      expect((await reopen().current()).ring).toEqual(ring);
    });

    test('a later rotation takes the place of an earlier one that did not end', async () => {
      const reopen = await open(ring);
      const [first, second] = [randomUUID(), randomUUID()];
      const { version } = await reopen().current();
      await reopen().prepare(first, prepared(ring, first, version));
      await reopen().prepare(second, prepared(ring, second, version));
      expect((await reopen().pending())?.run).toBe(second);
    });

    test('a whole rotation, a compromised key, and what the edge has after each', async () => {
      const reopen = await open(ring);
      const edge = await FileKeyValueStore.open(join(scratch, `edge-${++files}.json`));
      const published = async () => [...(await edge.list()).entries.keys()].sort();
      let now = NOW;
      const probed: string[] = [];
      const rotation = createRotation({
        store: reopen(),
        publisher: edgeStorePublisher(new EdgeStore(edge)),
        probe: async ({ kid }) => {
          expect(await published()).toContain(keyName(kid));
          probed.push(kid);
        },
        times: { bakeSeconds: 600, maxStaleSeconds: 900, maxTokenLifetimeSeconds: 3600, leewaySeconds: 0 },
        now: () => now,
      });
      const states = async () =>
        Object.fromEntries((await reopen().current()).ring?.keys.map(({ kid, state }) => [kid, state]) ?? []);
      const first = ring.keys[0]?.kid ?? '';
      await rotation.rotate(randomUUID());
      const [second = ''] = probed;
      expect(await states()).toEqual({ [first]: 'current', [second]: 'next' });
      now += 600;
      await rotation.advance();
      expect(await states()).toEqual({ [first]: 'previous', [second]: 'current' });
      const { mintingResumesAt, ring: left } = await rotation.dropKey(second, randomUUID());
      expect(mintingResumesAt).toBe(now + 600);
      const third = left.keys.find(({ state }) => state === 'next')?.kid ?? '';
      expect(await published()).toEqual([first, third].map(keyName).sort());
      // Repeated, as after a reply that was lost.
      expect((await rotation.dropKey(second, randomUUID())).mintingResumesAt).toBe(now + 600);
      now += 900 + 3600;
      await rotation.advance();
      expect(await states()).toEqual({ [first]: 'retired', [second]: 'retired', [third]: 'current' });
      expect(await published()).toEqual([keyName(third)]);
      expect(await reopen().pending()).toBeUndefined();
    });

    test('what is no ring is refused, and its text told to nobody', async () => {
      const secret = 'aVerySecretThingThatIsNoKeyRing';
      const store = (await open({ version: 1, keys: [{ kid: 'k1', secret }] }))();
      const error = await store.current().catch((thrown: Error) => thrown);
      expect(error).toMatchObject({ code: 'ERR_RING_INVALID' });
      expect(String((error as Error).message)).not.toContain(secret);
      await expect(store.replace({ version: 1, keys: [] }, 'any')).rejects.toMatchObject({
        code: expect.stringMatching(/^ERR_RING_/),
      });
    });
  });
}

describe('the file', () => {
  test('and what is prepared beside it are private', async () => {
    const path = join(scratch, 'private.json');
    await writeKeyRing(path, createKeyRing(NOW));
    const store = fileKeyRing(path);
    const { ring, version } = await store.current();
    await store.prepare('run', { ...withNextKey(ring, 'run', NOW), basedOn: version });
    expect([path, `${path}.pending`].map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600]);
    await store.promote('run', version);
    expect(existsSync(`${path}.pending`)).toBe(false);
    expect(JSON.parse(readFileSync(path, 'utf8')).keys).toHaveLength(2);
  });
});

describe('Secrets Manager', () => {
  const failing = (name: string) =>
    secretsManagerKeyRing(
      { send: async () => Promise.reject(Object.assign(new Error('no'), { name })) } as unknown as SecretsManagerClient,
      'portcullis/ring',
    );

  test.each([
    ['ThrottlingException', 'ERR_RING_THROTTLED'],
    ['AccessDeniedException', 'ERR_RING_DENIED'],
    ['DecryptionFailure', 'ERR_RING_DENIED'],
    ['ResourceNotFoundException', 'ERR_RING_MISSING'],
    ['InvalidRequestException', 'ERR_RING_MISSING'],
    ['TimeoutError', 'ERR_RING_UNREACHABLE'],
  ])('%s is %s, and names the secret', async (name, code) => {
    const store = failing(name);
    for (const call of [store.current, store.pending, () => store.replace(createKeyRing(NOW), 'v')]) {
      await expect(call()).rejects.toMatchObject({ code, message: expect.stringContaining('portcullis/ring') });
    }
  });

  test.skipIf(!HAS_MOTO)('a version that a rotation began and wrote nothing of its own into is pending', async () => {
    const client = await motoClient();
    const Name = `ring-${randomUUID()}`;
    const ring = createKeyRing(NOW);
    await client.send(new CreateSecretCommand({ Name, SecretString: JSON.stringify(ring) }));
    const run = randomUUID();
    const copy = { SecretId: Name, ClientRequestToken: run, SecretString: JSON.stringify(ring) };
    await client.send(new PutSecretValueCommand({ ...copy, VersionStages: ['AWSPENDING'] }));
    expect(await secretsManagerKeyRing(client, Name).pending()).toMatchObject({ run, ring: null });
  });
});

describe('a rotation by Secrets Manager', () => {
  const PATIENCE_SECONDS = 9;
  const denied = Object.assign(new Error('no'), { name: 'AccessDeniedException', $fault: 'client', $metadata: {} });

  /** Rotates a secret of which each round, the last one again and again, says which labels the version of the run has. */
  async function rotate(
    rounds: (string[] | undefined)[],
    refused?: typeof RotateSecretCommand | typeof DescribeSecretCommand,
  ) {
    const client = new SecretsManagerClient({ region: 'us-east-1', credentials });
    const service = mockClient(client);
    let run = '';
    service.on(RotateSecretCommand).callsFake(async ({ ClientRequestToken }) => {
      run = ClientRequestToken;
      return {};
    });
    service.on(DescribeSecretCommand).callsFake(async () => {
      const labels = rounds.length > 1 ? rounds.shift() : rounds[0];
      return { VersionIdsToStages: { another: ['AWSCURRENT'], ...(labels && { [run]: labels }) } };
    });
    if (refused) service.on(refused).rejects(denied);
    const told: string[] = [];
    const waits: number[] = [];
    const outcome = await rotateSecret(
      client,
      'portcullis/ring',
      PATIENCE_SECONDS,
      (line) => told.push(line),
      async (milliseconds) => waits.push(milliseconds),
    ).then(
      () => 'rotated',
      (error: unknown) => error,
    );
    const asked = service.calls().map(({ args: [command] }) => command.input);
    return { outcome, run, told, waits, asked };
  }

  test.each([[['AWSCURRENT', 'AWSPENDING']], [['AWSCURRENT']], [['AWSPREVIOUS']]])(
    'has ended when its version is %j',
    async (labels) => {
      const { outcome, run, told, waits, asked } = await rotate([labels]);
      expect([outcome, waits]).toEqual(['rotated', []]);
      expect(told).toEqual([`rotation ${run} of portcullis/ring has begun`]);
      const SecretId = 'portcullis/ring';
      expect(asked).toEqual([{ SecretId, ClientRequestToken: run }, { SecretId }]);
    },
  );

  test('is waited for while it is pending, and says so', async () => {
    const { outcome, told, waits } = await rotate([['AWSPENDING'], ['AWSPENDING'], ['AWSCURRENT']]);
    expect([outcome, waits]).toEqual(['rotated', [3000, 3000]]);
    expect(told.slice(1)).toEqual(['still under way after 0 s', 'still under way after 3 s']);
  });

  test.each([[undefined], [[]], [['PORTCULLIS_CANDIDATE']]])(
    'was abandoned when it is pending no more and was never current: %j',
    async (labels) => {
      const { outcome, run } = await rotate([['AWSPENDING'], labels]);
      expect(outcome).toMatchObject({ code: 'ERR_RING_CONFLICT', message: expect.stringContaining(run) });
    },
  );

  test('may be unheard of at first', async () => {
    const { outcome } = await rotate([[], ['AWSPENDING'], ['AWSCURRENT']]);
    expect(outcome).toBe('rotated');
  });

  test('is no longer waited for when patience ends', async () => {
    const { outcome, waits } = await rotate([['AWSPENDING']]);
    expect(outcome).toMatchObject({
      code: 'ERR_RING_UNREACHABLE',
      message: expect.stringMatching(/^key ring portcullis\/ring: .* has not ended after 9 s/),
    });
    expect(waits).toEqual([3000, 3000, 3000]);
  });

  test.each([
    ['begin', RotateSecretCommand],
    ['watch', DescribeSecretCommand],
  ] as const)('that these credentials may not %s names the secret', async (_, refused) => {
    const { outcome, waits } = await rotate([['AWSPENDING']], refused);
    expect(outcome).toMatchObject({ code: 'ERR_RING_DENIED', message: expect.stringContaining('portcullis/ring') });
    expect(waits).toEqual([]);
  });
});
