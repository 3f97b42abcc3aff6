import { randomUUID } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterAll, expect, test } from 'vitest';
import { EmbeddedKms } from '../../enclave-render/kms/embedded.ts';
import { MasteringSettingsSchema } from '../../enclave-render/settings.ts';
import { keystorePath, openDataKeys } from '../../local/data-keys.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const DEFAULTS = v.parse(MasteringSettingsSchema, {});
const newData = () => join(scratch, randomUUID());

test('a keystore is made in the data directory only when told so, with a key of the configured alias', async () => {
  const data = newData();
  await expect((await openDataKeys(DEFAULTS, data)).generate(DEFAULTS.keyId, 256, {})).rejects.toMatchObject({
    code: 'ERR_KMS_KEYSTORE',
  });
  expect(existsSync(data)).toBe(false);
  const keys = await openDataKeys(DEFAULTS, data, { create: true });
  const { encrypted, plaintext } = await keys.generate('alias/portcullis-mastering', 256, {});
  // By the next start, which makes none.
  const again = await openDataKeys(DEFAULTS, data, { create: true });
  expect((await again.decrypt(encrypted, {})).plaintext).toEqual(plaintext);
  expect(await new EmbeddedKms({ keystore: keystorePath(data) }).listKeys()).toHaveLength(1);
});

test('the keystore of a data directory that has keys of render jobs only gets the key of mastering', async () => {
  const data = newData();
  await new EmbeddedKms({ keystore: keystorePath(data) }).createKey({ alias: 'alias/portcullis-render-0' });
  const keys = await openDataKeys(DEFAULTS, data, { create: true });
  expect((await keys.generate(DEFAULTS.keyId, 256, {})).plaintext).toHaveLength(32);
});

test('two that start at once make one key', async () => {
  const data = newData();
  const opened = await Promise.all([1, 2, 3].map(() => openDataKeys(DEFAULTS, data, { create: true })));
  const made = await Promise.all(opened.map((keys) => keys.generate(DEFAULTS.keyId, 128, {})));
  expect(new Set(made.map(({ keyId }) => keyId)).size).toBe(1);
});

test('a keystore that is there and cannot be used is never made anew', async () => {
  const keystore = join(scratch, `${randomUUID()}.json`);
  writeFileSync(keystore, '', { mode: 0o600 });
  const settings = v.parse(MasteringSettingsSchema, { kms: { provider: 'embedded', keystore } });
  const keys = await openDataKeys(settings, newData(), { create: true });
  await expect(keys.generate(settings.keyId, 128, {})).rejects.toMatchObject({ code: 'ERR_KMS_KEYSTORE' });
});

test('keystore, passphrase file and AWS KMS are taken from the configuration', async () => {
  const [keystore, passphraseFile] = [join(scratch, `${randomUUID()}.json`), join(scratch, randomUUID())];
  writeFileSync(passphraseFile, 'correct horse battery staple\n', { mode: 0o600 });
  const embedded = { provider: 'embedded', keystore, passphraseFile };
  const settings = v.parse(MasteringSettingsSchema, { kms: embedded, keyId: 'alias/mine' });
  const keys = await openDataKeys(settings, newData(), { create: true });
  expect((await keys.generate('alias/mine', 256, {})).plaintext).toHaveLength(32);
  await expect(new EmbeddedKms({ keystore }).listKeys()).rejects.toMatchObject({ code: 'ERR_KMS_KEYSTORE' });
  const aws = v.parse(MasteringSettingsSchema, { kms: { provider: 'aws', region: 'eu-central-1' } });
  expect(await openDataKeys(aws, newData())).not.toBeInstanceOf(EmbeddedKms);
});
