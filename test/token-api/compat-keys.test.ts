import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { compatKey, compatMintingKey, edgeKeys, readCompatRing } from '../../token-api/key-ring/compat.ts';
import { mintingKey, parseKeyRing, verificationKeys } from '../../token-api/key-ring/key-ring.ts';
import { TEST_RING } from '../harness/minting.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-compat-'));
afterAll(() => rmSync(scratch, { recursive: true }));
const file = (content: unknown, mode = 0o600) => {
  const path = join(scratch, `${mode}.json`);
  rmSync(path, { force: true });
  writeFileSync(path, JSON.stringify(content), { mode });
  return path;
};

const FIRST = '0a'.repeat(64);
const SECOND = '0b'.repeat(64);
const [ours] = TEST_RING.keys;
const theirs = { kid: 'old', secret: FIRST, use: 'compat', state: 'current', createdAt: 0 };
const ring = (...keys: object[]) => parseKeyRing({ version: 1, keys });

describe('a ring of both kinds', () => {
  test('each kind has its current key', () => {
    const both = ring(theirs, ours);
    expect(mintingKey(both).kid).toBe('k1');
    expect(compatMintingKey(both)).toEqual({ kid: 'old', key: compatKey(FIRST) });
  });

  test('the edge knows all but the retired ones, each for its own dialect', () => {
    const next = { ...theirs, kid: 'next', state: 'next' };
    const both = ring(ours, theirs, next, { ...theirs, kid: 'gone', state: 'retired' });
    expect(Object.keys(edgeKeys(both))).toEqual(['k1', 'old', 'next']);
    expect(edgeKeys(both)).toMatchObject({ k1: verificationKeys(both).k1, old: { compat: compatKey(FIRST) } });
    expect(verificationKeys(both)).not.toHaveProperty('old');
  });

  test('a key id may name one of each', () => {
    const both = ring(ours, { ...theirs, kid: 'k1' });
    expect(edgeKeys(both)).toEqual({ k1: { ...verificationKeys(both).k1, compat: compatKey(FIRST) } });
    expect(mintingKey(both).kid).toBe('k1');
  });

  test('without a current key a previous one mints, a next one never', () => {
    expect(compatMintingKey(ring(ours, { ...theirs, state: 'previous' })).kid).toBe('old');
    for (const state of ['next', 'retired']) {
      expect(() => compatMintingKey(ring(ours, { ...theirs, state }))).toThrow(
        expect.objectContaining({ code: 'ERR_RING_INVALID' }),
      );
    }
  });

  test('compatibility keys alone make a ring, with which nothing of ours is minted', () => {
    const alone = ring(theirs);
    expect(verificationKeys(alone)).toEqual({});
    expect(() => mintingKey(alone)).toThrow(expect.objectContaining({ code: 'ERR_RING_INVALID' }));
  });

  test.each([
    ['no key', []],
    ['two of a kind with one kid', [ours, theirs, { ...theirs, state: 'previous' }]],
    ['two current ones of a kind', [ours, theirs, { ...theirs, kid: 'other' }]],
    ['a short secret', [ours, { ...theirs, secret: 'changeme' }]],
    ['an empty secret', [ours, { ...theirs, secret: '' }]],
    ['a secret of theirs as ours', [{ ...ours, secret: FIRST }]],
    ['a key of ours that is not current', [{ ...ours, state: 'previous' }, theirs]],
  ])('%s is refused', (_, keys) => {
    expect(() => ring(...keys)).toThrow(expect.objectContaining({ code: 'ERR_RING_INVALID' }));
  });
});

describe('a secret of that solution as a file', () => {
  test('is a ring of its keys, the first of which mints', async () => {
    const read = await readCompatRing(file({ second: SECOND, first: FIRST }));
    expect(compatMintingKey(read).kid).toBe('second');
    expect(edgeKeys(read)).toEqual({ second: { compat: compatKey(SECOND) }, first: { compat: compatKey(FIRST) } });
  });

  test('a ring is read as one', async () => {
    expect(await readCompatRing(file({ version: 1, keys: [ours, theirs] }))).toEqual(ring(ours, theirs));
  });

  test.each([
    ['ERR_RING_PERMISSIONS', 'readable by others', { old: FIRST }, 0o644],
    ['ERR_RING_INVALID', 'a short secret', { old: 'changeme' }, 0o600],
    ['ERR_RING_INVALID', 'an unsafe key id', { '../old': FIRST }, 0o600],
    ['ERR_RING_INVALID', 'a secret that is no text', { old: { secret: FIRST } }, 0o600],
    ['ERR_RING_INVALID', 'an empty object', {}, 0o600],
    ['ERR_RING_INVALID', 'a list', [FIRST], 0o600],
    ['ERR_RING_INVALID', 'null', null, 0o600],
  ])('%s: %s', async (code, _, content, mode) => {
    await expect(readCompatRing(file(content, mode))).rejects.toMatchObject({
      code,
      message: expect.not.stringContaining(FIRST.slice(0, 12)),
    });
  });
});
