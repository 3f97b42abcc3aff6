import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import {
  CancelKeyDeletionCommand,
  CreateAliasCommand,
  CreateKeyCommand,
  DisableKeyCommand,
  EnableKeyCommand,
  KMSClient,
  RotateKeyOnDemandCommand,
  ScheduleKeyDeletionCommand,
  UpdateAliasCommand,
} from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { DataKeyBits, DataKeys, EncryptionContext } from '../../enclave-render/kms/data-keys.ts';
import { EmbeddedKms } from '../../enclave-render/kms/embedded.ts';
import { awsDataKeys, kmsClient } from '../../enclave-render/kms/kms.ts';
import { isOnPath } from '../harness/programs.ts';
import { freePort, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

/** What makes and changes keys, each by its ARN. */
interface KeyAdministration {
  create(): Promise<string>;
  alias(name: string, keyId: string): Promise<unknown>;
  moveAlias(name: string, keyId: string): Promise<unknown>;
  disable(keyId: string): Promise<unknown>;
  enable(keyId: string): Promise<unknown>;
  scheduleDeletion(keyId: string): Promise<unknown>;
  cancelDeletion(keyId: string): Promise<unknown>;
  rotate(keyId: string): Promise<unknown>;
}

interface Kms {
  keys: DataKeys;
  /** A key that the tests may use. */
  keyId: string;
  /** Absent where the tests may make no keys. */
  administration?: KeyAdministration;
}

const scratch = temporaryDirectory();
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
let motoServer: ChildProcess | undefined;
afterAll(() => {
  motoServer?.kill();
  removeDirectory(scratch);
});

async function openEmbedded(): Promise<Kms> {
  const kms = new EmbeddedKms({ keystore: join(scratch, `${randomUUID()}.json`) });
  const administration: KeyAdministration = {
    create: async () => (await kms.createKey()).arn,
    alias: (name, keyId) => kms.createAlias(name, keyId),
    moveAlias: (name, keyId) => kms.updateAlias(name, keyId),
    disable: (keyId) => kms.disableKey(keyId),
    enable: (keyId) => kms.enableKey(keyId),
    scheduleDeletion: (keyId) => kms.scheduleKeyDeletion(keyId, 7),
    cancelDeletion: (keyId) => kms.cancelKeyDeletion(keyId),
    rotate: (keyId) => kms.rotateKey(keyId),
  };
  return { keys: kms, keyId: await administration.create(), administration };
}

async function openMoto(): Promise<Kms> {
  const port = await freePort();
  motoServer = spawn('moto_server', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  const endpoint = `http://127.0.0.1:${port}`;
  await vi.waitFor(() => fetch(`${endpoint}/moto-api/`), { timeout: 40_000, interval: 200 });
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new KMSClient({ endpoint, region: 'us-east-1', credentials });
  const administration: KeyAdministration = {
    create: async () => (await client.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? '',
    alias: (name, keyId) => client.send(new CreateAliasCommand({ AliasName: name, TargetKeyId: keyId })),
    moveAlias: (name, keyId) => client.send(new UpdateAliasCommand({ AliasName: name, TargetKeyId: keyId })),
    disable: (KeyId) => client.send(new DisableKeyCommand({ KeyId })),
    enable: (KeyId) => client.send(new EnableKeyCommand({ KeyId })),
    scheduleDeletion: (KeyId) => client.send(new ScheduleKeyDeletionCommand({ KeyId, PendingWindowInDays: 7 })),
    cancelDeletion: (KeyId) => client.send(new CancelKeyDeletionCommand({ KeyId })),
    rotate: (KeyId) => client.send(new RotateKeyOnDemandCommand({ KeyId })),
  };
  return { keys: awsDataKeys(client), keyId: await administration.create(), administration };
}

/** The key on AWS that these tests may use, with the credentials of the environment; they make and change none. */
const AWS_KEY = process.env.PORTCULLIS_TEST_KMS_KEY;
const hasCredentials = Boolean(process.env.AWS_ACCESS_KEY_ID ?? process.env.AWS_PROFILE);
const openAws = async (): Promise<Kms> => ({
  keys: awsDataKeys(kmsClient(AWS_KEY?.split(':')[3] ?? process.env.AWS_REGION ?? 'us-east-1')),
  keyId: AWS_KEY ?? '',
});

const ADAPTERS: [name: string, open: () => Promise<Kms>, isHere: boolean, why: string][] = [
  ['embedded', openEmbedded, true, ''],
  ['AWS KMS (moto_server)', openMoto, isOnPath('moto_server'), 'not on the PATH'],
  ['AWS KMS', openAws, AWS_KEY !== undefined && hasCredentials, 'no PORTCULLIS_TEST_KMS_KEY and credentials'],
];

/** What moto_server 5.2.1 does otherwise than AWS KMS: these tests have to fail on it, or the row goes. */
const MOTO_DEVIATIONS: Record<string, string> = {
  'contexts that would be one when written one pair after the other are two': 'it joins names and values',
  'what is under another key than the one that is named is refused': 'it answers AccessDenied',
  'a disabled key does nothing until it is enabled': 'it looks at no state',
  'a key that is pending deletion does nothing, and is disabled when that is cancelled': 'it looks at no state',
};

const CONTEXT = { service: 'mediaconvert.amazonaws.com', title: 'tt-000123' };
const BITS: DataKeyBits[] = [128, 192, 256];
/** What a damaged ciphertext may be taken for: one of another key, or of none. */
const REFUSALS = /^ERR_KMS_(?:INVALID_CIPHERTEXT|ACCESS|INCORRECT_KEY|VALIDATION)$/;

for (const [name, open, isHere, why] of ADAPTERS) {
  describe.skipIf(!isHere)(`DataKeys: ${name}${isHere ? '' : ` (${why})`}`, () => {
    const deviations = name.includes('moto_server') ? MOTO_DEVIATIONS : {};
    const declared: string[] = [];
    let kms: Kms;
    beforeAll(async () => {
      kms = await open();
    }, 60_000);

    const check = (title: string, run: () => Promise<void>, mayRun = true) => {
      declared.push(title);
      const deviation = deviations[title];
      if (deviation) test.fails(`${title} (not here: ${deviation})`, run);
      else test.skipIf(!mayRun)(title, run);
    };
    /** A test that makes and changes keys, which is not done on AWS. */
    const checkAdministration = (title: string, run: (administration: KeyAdministration) => Promise<void>) => {
      const administration = () => kms.administration ?? expect.fail('nothing makes keys here');
      check(title, async () => run(administration()), open !== openAws);
    };
    const refused = (code: string) => ({ name: 'KmsError', code });
    const secret = Uint8Array.from(randomBytes(32));
    const encrypted = async (context: EncryptionContext = CONTEXT, keyId = kms.keyId) =>
      (await kms.keys.encrypt(keyId, secret, context)).encrypted;

    check('a data key has so many bits, and comes back from its ciphertext', async () => {
      for (const bits of BITS) {
        const key = await kms.keys.generate(kms.keyId, bits, CONTEXT);
        expect(key.plaintext).toHaveLength(bits / 8);
        expect(key.keyId).toMatch(/^arn:aws:kms:[a-z0-9-]+:\d{12}:key\/[0-9a-f-]{36}$/);
        expect(await kms.keys.decrypt(key.encrypted, CONTEXT)).toEqual({ plaintext: key.plaintext, keyId: key.keyId });
        expect(await kms.keys.decrypt(key.encrypted, CONTEXT, key.keyId)).toMatchObject({ plaintext: key.plaintext });
        // Overwritten by whoever is done with it: only their copy.
        const copy = Uint8Array.from(key.plaintext);
        key.plaintext.fill(0);
        expect((await kms.keys.decrypt(key.encrypted, CONTEXT)).plaintext).toEqual(copy);
      }
    });

    check('two data keys differ, and so do two ciphertexts of one plaintext', async () => {
      const [a, b] = [await kms.keys.generate(kms.keyId, 128, {}), await kms.keys.generate(kms.keyId, 128, {})];
      expect(a.plaintext).not.toEqual(b.plaintext);
      expect(await encrypted()).not.toEqual(await encrypted());
    });

    check('1 to 4,096 bytes are encrypted', async () => {
      for (const length of [1, 4096]) {
        const plaintext = Uint8Array.from(randomBytes(length));
        const answer = await kms.keys.encrypt(kms.keyId, plaintext, CONTEXT);
        expect((await kms.keys.decrypt(answer.encrypted, CONTEXT)).plaintext).toEqual(plaintext);
      }
      for (const length of [0, 4097]) {
        const attempt = kms.keys.encrypt(kms.keyId, new Uint8Array(length), CONTEXT);
        await expect(attempt).rejects.toMatchObject(refused('ERR_KMS_VALIDATION'));
      }
    });

    check('the order of a context does not matter; an empty one is one', async () => {
      const { service, title } = CONTEXT;
      expect((await kms.keys.decrypt(await encrypted(), { title, service })).plaintext).toEqual(secret);
      expect((await kms.keys.decrypt(await encrypted({}), {})).plaintext).toEqual(secret);
    });

    check('in another context nothing is decrypted', async () => {
      const { service, title } = CONTEXT;
      const others = [
        {},
        { service },
        { title },
        { ...CONTEXT, more: '' },
        { ...CONTEXT, title: 'TT-000123' },
        { ...CONTEXT, title: `${title} ` },
        { service, Title: title },
        { service: title, title: service },
      ];
      const ciphertext = await encrypted();
      for (const other of others) {
        const attempt = kms.keys.decrypt(ciphertext, other);
        await expect(attempt).rejects.toMatchObject(refused('ERR_KMS_INVALID_CIPHERTEXT'));
      }
    });

    check('contexts that would be one when written one pair after the other are two', async () => {
      const pairs: [EncryptionContext, EncryptionContext][] = [
        [{ a: 'bc' }, { ab: 'c' }],
        [{ a: 'b,c' }, { a: 'b', c: '' }],
        [{ a: 'b', c: 'd' }, { a: 'bcd' }],
        [{ a: 'b"},{"c":"d' }, { a: 'b', c: 'd' }],
        [{ a: 'b=c' }, { 'a=b': 'c' }],
        [{ é: '1' }, { 'e\u0301': '1' }],
      ];
      for (const [context, other] of pairs) {
        const attempt = kms.keys.decrypt(await encrypted(context), other);
        await expect(attempt).rejects.toMatchObject(refused('ERR_KMS_INVALID_CIPHERTEXT'));
      }
    });

    check('what is no context is refused', async () => {
      for (const context of [{ a: 1 }, ['a'], { a: '\ud800' }] as unknown as EncryptionContext[]) {
        await expect(encrypted(context)).rejects.toMatchObject(refused('ERR_KMS_VALIDATION'));
      }
    });

    check('a ciphertext with a bit flipped or a byte less or more is refused', async () => {
      const whole = await encrypted();
      const steps = name === 'embedded' ? 1 : 17;
      for (let bit = 0; bit < whole.length * 8; bit += steps) {
        const altered = Uint8Array.from(whole, (byte, i) => (i === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
        const attempt = kms.keys.decrypt(altered, CONTEXT);
        await expect(attempt, `bit ${bit}`).rejects.toMatchObject({ code: expect.stringMatching(REFUSALS) });
      }
      for (const length of [1, 16, whole.length - 17, whole.length - 16, whole.length - 1]) {
        const attempt = kms.keys.decrypt(whole.slice(0, length), CONTEXT);
        await expect(attempt, `${length} bytes`).rejects.toMatchObject({ code: expect.stringMatching(REFUSALS) });
      }
      const longer = kms.keys.decrypt(Uint8Array.of(...whole, 0), CONTEXT);
      await expect(longer).rejects.toMatchObject({ code: expect.stringMatching(REFUSALS) });
    });

    check('what is no ciphertext is refused', async () => {
      for (const bytes of [Uint8Array.from(randomBytes(200)), secret, Buffer.from('a'.repeat(150))]) {
        const attempt = kms.keys.decrypt(bytes, CONTEXT);
        await expect(attempt).rejects.toMatchObject({ code: expect.stringMatching(REFUSALS) });
      }
    });

    check('a key or alias that is not there is not found', async () => {
      const missing = [randomUUID(), `alias/${randomUUID()}`, kms.keyId.replace(/[^/]+$/, randomUUID())];
      for (const keyId of missing) {
        const notFound = refused('ERR_KMS_NOT_FOUND');
        await expect(kms.keys.generate(keyId, 128, CONTEXT)).rejects.toMatchObject(notFound);
        await expect(kms.keys.encrypt(keyId, secret, CONTEXT)).rejects.toMatchObject(notFound);
        await expect(kms.keys.reEncrypt(await encrypted(), CONTEXT, keyId, CONTEXT)).rejects.toMatchObject(notFound);
      }
    });

    check('re-encryption changes the context, and the old one opens nothing any more', async () => {
      const to = { service: 'elastictranscoder.amazonaws.com' };
      const moved = await kms.keys.reEncrypt(await encrypted(), CONTEXT, kms.keyId, to);
      expect((await kms.keys.decrypt(moved.encrypted, to)).plaintext).toEqual(secret);
      const wrong = refused('ERR_KMS_INVALID_CIPHERTEXT');
      await expect(kms.keys.decrypt(moved.encrypted, CONTEXT)).rejects.toMatchObject(wrong);
      await expect(kms.keys.reEncrypt(moved.encrypted, CONTEXT, kms.keyId, to)).rejects.toMatchObject(wrong);
    });

    checkAdministration('a key goes by its id, its ARN, its alias and the ARN of that', async ({ create, alias }) => {
      const arn = await create();
      const name = `alias/test/${randomUUID()}`;
      await alias(name, arn);
      const id = arn.slice(-36);
      for (const keyId of [id, arn, name, arn.replace(`key/${id}`, name)]) {
        const key = await kms.keys.generate(keyId, 256, CONTEXT);
        expect(key.keyId).toBe(arn);
        expect((await kms.keys.decrypt(key.encrypted, CONTEXT, keyId)).keyId).toBe(arn);
      }
    });

    checkAdministration('what is under another key than the one that is named is refused', async ({ create }) => {
      const other = await create();
      const attempt = kms.keys.decrypt(await encrypted(), CONTEXT, other);
      await expect(attempt).rejects.toMatchObject(refused('ERR_KMS_INCORRECT_KEY'));
    });

    checkAdministration('an alias that is moved counts for what is encrypted from then on', async (of) => {
      const [before, after] = [await of.create(), await of.create()];
      const name = `alias/test-${randomUUID()}`;
      await of.alias(name, before);
      const old = await encrypted(CONTEXT, name);
      await of.moveAlias(name, after);
      expect((await kms.keys.encrypt(name, secret, CONTEXT)).keyId).toBe(after);
      expect((await kms.keys.decrypt(old, CONTEXT)).keyId).toBe(before);
      await expect(kms.keys.decrypt(old, CONTEXT, name)).rejects.toMatchObject({ name: 'KmsError' });
    });

    checkAdministration('re-encryption changes the key', async ({ create }) => {
      const other = await create();
      const moved = await kms.keys.reEncrypt(await encrypted(), CONTEXT, other, CONTEXT);
      expect(moved.keyId).toBe(other);
      expect(await kms.keys.decrypt(moved.encrypted, CONTEXT)).toEqual({ plaintext: secret, keyId: other });
    });

    checkAdministration(
      'what is under the material before a rotation goes on decrypting',
      async ({ create, rotate }) => {
        const keyId = await create();
        const ciphertexts = [await encrypted(CONTEXT, keyId)];
        for (let i = 0; i < 2; i++) {
          await rotate(keyId);
          ciphertexts.push(await encrypted(CONTEXT, keyId));
        }
        for (const ciphertext of ciphertexts) {
          expect((await kms.keys.decrypt(ciphertext, CONTEXT, keyId)).plaintext).toEqual(secret);
        }
      },
    );

    /** All that can be asked of a key. */
    const uses = (keyId: string, ciphertext: Uint8Array): (() => Promise<unknown>)[] => [
      () => kms.keys.generate(keyId, 128, CONTEXT),
      () => kms.keys.encrypt(keyId, secret, CONTEXT),
      () => kms.keys.decrypt(ciphertext, CONTEXT),
      () => kms.keys.reEncrypt(ciphertext, CONTEXT, kms.keyId, CONTEXT),
      async () => kms.keys.reEncrypt(await encrypted(), CONTEXT, keyId, CONTEXT),
    ];

    checkAdministration('a disabled key does nothing until it is enabled', async ({ create, disable, enable }) => {
      const keyId = await create();
      const ciphertext = await encrypted(CONTEXT, keyId);
      await disable(keyId);
      for (const use of uses(keyId, ciphertext)) await expect(use()).rejects.toMatchObject(refused('ERR_KMS_DISABLED'));
      await enable(keyId);
      for (const use of uses(keyId, ciphertext)) await use();
    });

    checkAdministration(
      'a key that is pending deletion does nothing, and is disabled when that is cancelled',
      async ({ create, scheduleDeletion, cancelDeletion, enable }) => {
        const keyId = await create();
        const ciphertext = await encrypted(CONTEXT, keyId);
        await scheduleDeletion(keyId);
        for (const use of uses(keyId, ciphertext)) {
          await expect(use()).rejects.toMatchObject(refused('ERR_KMS_INVALID_STATE'));
        }
        await cancelDeletion(keyId);
        for (const use of uses(keyId, ciphertext)) {
          await expect(use()).rejects.toMatchObject(refused('ERR_KMS_DISABLED'));
        }
        await enable(keyId);
        for (const use of uses(keyId, ciphertext)) await use();
      },
    );

    test('every deviation that is declared is one of these tests', () => {
      expect(declared).toEqual(expect.arrayContaining(Object.keys(deviations)));
    });
  });
}
