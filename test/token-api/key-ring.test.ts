import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readKeyRing, writeKeyRing } from '../../token-api/key-ring/file.ts';
import {
  createKeyRing,
  deriveKeys,
  mintingKey,
  parseKeyRing,
  verificationKeys,
} from '../../token-api/key-ring/key-ring.ts';
import { NOW, TEST_RING } from '../harness/minting.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-ring-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const path = join(scratch, 'ring.json');
const [key] = TEST_RING.keys;

test('signing and binding key are HKDF-SHA-256 of the secret under their labels', () => {
  // Recomputed with `openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt hexkey:000102…1f -kdfopt info:… HKDF`.
  expect(Buffer.from(deriveKeys(key.secret).sign, 'base64url').toString('hex')).toBe(
    'afd8b72cf839cf081cbaeb0eaeda0c71b667c102f317563ec3139ca23557bc38',
  );
  expect(Buffer.from(deriveKeys(key.secret).bind, 'base64url').toString('hex')).toBe(
    '36893737f55bf3cbf2e7a2f7f94fe24949bcb0dbbad9d6709609519e04281296',
  );
});

describe('roles of the keys', () => {
  const states = ['next', 'current', 'previous', 'retired'] as const;
  const ring = parseKeyRing({ version: 1, keys: states.map((state) => ({ ...key, kid: state, state })) });

  test('minting uses the current one', () => {
    expect(mintingKey(ring).kid).toBe('current');
  });

  test('the edge accepts all but the retired ones', () => {
    expect(Object.keys(verificationKeys(ring))).toEqual(['next', 'current', 'previous']);
  });
});

test('a written ring is private and read back', async () => {
  const ring = createKeyRing(NOW);
  await writeKeyRing(path, ring);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await readKeyRing(path)).toEqual(ring);
});

test('members that later versions add are kept', async () => {
  await writeKeyRing(path, parseKeyRing({ version: 1, keys: [{ ...key, activatedAt: NOW, use: 'x' }] }));
  expect((await readKeyRing(path)).keys[0]).toMatchObject({ activatedAt: NOW, use: 'x' });
});

describe('what is no key ring is refused, and no message carries a secret', () => {
  const good = JSON.stringify(TEST_RING);
  test.each([
    ['ERR_RING_INVALID', 'not JSON', `${good.slice(0, 90)}`],
    ['ERR_RING_INVALID', 'another version', good.replace('"version":1', '"version":2')],
    ['ERR_RING_INVALID', 'no current key', good.replace('current', 'previous')],
    ['ERR_RING_INVALID', 'two current keys', JSON.stringify({ version: 1, keys: [key, { ...key, kid: 'k2' }] })],
    ['ERR_RING_INVALID', 'a kid twice', JSON.stringify({ version: 1, keys: [key, { ...key, state: 'next' }] })],
    ['ERR_RING_INVALID', 'a short secret', good.replace(key.secret, key.secret.slice(0, 40))],
    ['ERR_RING_INVALID', 'a padded secret', good.replace(key.secret, `${key.secret}=`)],
    ['ERR_RING_INVALID', 'an unsafe kid', good.replace('"k1"', '"../k1"')],
    ['ERR_RING_INVALID', 'an unknown state', good.replace('current', 'spare')],
    ['ERR_RING_INVALID', 'no createdAt', JSON.stringify({ version: 1, keys: [{ ...key, createdAt: undefined }] })],
  ])('%s: %s', async (code, _, text) => {
    writeFileSync(path, text, { mode: 0o600 });
    const error = await readKeyRing(path).catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code });
    expect((error as Error).message).not.toContain(key.secret.slice(0, 12));
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  test.each([0o644, 0o640, 0o604, 0o660])('mode %o', async (mode) => {
    writeFileSync(path, good);
    chmodSync(path, mode);
    await expect(readKeyRing(path)).rejects.toMatchObject({ code: 'ERR_RING_PERMISSIONS' });
    chmodSync(path, 0o600);
  });

  test('a missing file', async () => {
    await expect(readKeyRing(join(scratch, 'none.json'))).rejects.toMatchObject({ code: 'ERR_RING_FILE' });
  });
});
