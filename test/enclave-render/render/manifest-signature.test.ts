import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { CompactSign } from 'jose';
import { describe, expect, test } from 'vitest';
import { canonicalJson } from '../../../enclave-render/canonical-json.ts';
import { thumbprint } from '../../../enclave-render/mastering/public-key.ts';
import { openManifest, signerOf, signManifest } from '../../../enclave-render/render/manifest-signature.ts';
import { renderManifest, renderOwner } from '../../harness/render-manifest.ts';

const owner = renderOwner();
const { privateKey, publicKey } = owner.signing;
const stranger = generateKeyPairSync('ed25519');
const manifest = renderManifest(owner);
const refused = { code: 'ERR_RENDER_MANIFEST' };

/** A JWS of anything, signed rightly. */
function jwsOf(payload: Uint8Array | string, header: object = {}, key: KeyObject = privateKey): Promise<string> {
  return new CompactSign(Buffer.from(payload))
    .setProtectedHeader({ alg: 'EdDSA', typ: 'portcullis-render+jwt', kid: thumbprint(publicKey), ...header })
    .sign(key);
}

test('what an owner signed is opened, under the hash of its payload', async () => {
  const jws = await signManifest(manifest, privateKey);
  const opened = await openManifest(jws, [stranger.publicKey, publicKey]);
  const payload = Buffer.from(jws.split('.')[1] ?? '', 'base64url');
  expect(opened).toEqual({
    manifest,
    payloadSha384: createHash('sha384').update(payload).digest('hex'),
    owner: thumbprint(publicKey),
  });
  expect(signerOf(jws)).toBe(opened.owner);
});

describe('refused', () => {
  test('of an owner that is not known, or with none', async () => {
    const jws = await signManifest(manifest, privateKey);
    await expect(openManifest(jws, [stranger.publicKey])).rejects.toMatchObject(refused);
    await expect(openManifest(jws, [])).rejects.toMatchObject(refused);
  });

  test("of a stranger under the owner's name", async () => {
    const jws = await jwsOf(canonicalJson(manifest), {}, stranger.privateKey);
    await expect(openManifest(jws, [publicKey])).rejects.toMatchObject(refused);
  });

  test('another type, none, and an extension that has to be understood', async () => {
    for (const header of [{ typ: 'JWT' }, { typ: undefined }, { typ: 'portcullis-audit+jwt' }]) {
      const jws = await jwsOf(canonicalJson(manifest), header);
      await expect(openManifest(jws, [publicKey])).rejects.toMatchObject(refused);
    }
    const [header = '', payload, signature] = (await signManifest(manifest, privateKey)).split('.');
    const fields = JSON.parse(Buffer.from(header, 'base64url').toString());
    const critical = Buffer.from(JSON.stringify({ ...fields, crit: ['x'], x: 1 })).toString('base64url');
    await expect(openManifest(`${critical}.${payload}.${signature}`, [publicKey])).rejects.toMatchObject(refused);
  });

  test('other algorithms under any key', async () => {
    const payload = Buffer.from(canonicalJson(manifest)).toString('base64url');
    for (const alg of ['none', 'HS256', 'ES256', 'RS256']) {
      const header = Buffer.from(JSON.stringify({ alg, typ: 'portcullis-render+jwt', kid: thumbprint(publicKey) }));
      await expect(openManifest(`${header.toString('base64url')}.${payload}.`, [publicKey])).rejects.toMatchObject(
        refused,
      );
    }
  });

  test('a payload that two parsers may read in two ways', async () => {
    const text = canonicalJson(manifest);
    const twice = text.replace('"jobId":"job-1",', '"jobId":"job-2","jobId":"job-1",');
    expect(twice).not.toBe(text);
    const bytes = Buffer.from(text.replace('source.mkv', 'source.mk?'));
    bytes[bytes.indexOf('?')] = 0xff;
    const odd = [twice, `${text} `, `\ufeff${text}`, JSON.stringify(manifest, null, 1), '[', '', '"x"', bytes];
    for (const payload of odd)
      await expect(openManifest(await jwsOf(payload), [publicKey])).rejects.toMatchObject(refused);
  });

  test.each([
    ['a field that is missing', { nonce: undefined }],
    ['a field of its own', { debug: true }],
    ['an end before the beginning', { expiresAt: manifest.issuedAt }],
    ['registers without PCR0', { pcrs: { '8': '0a'.repeat(48) } }],
    ['registers of debug mode', { pcrs: { '0': '00'.repeat(48) } }],
    ['no root', { roots: [] }],
    ['an input twice', { inputs: [...manifest.inputs, ...manifest.inputs] }],
    ['a name that objects have already', { parameters: JSON.parse('{"__proto__":"x"}') }],
  ])('%s, signed rightly or not yet', async (_, changes) => {
    const changed = { ...manifest, ...changes } as typeof manifest;
    await expect(openManifest(await jwsOf(canonicalJson(changed)), [publicKey])).rejects.toMatchObject(refused);
    if ('parameters' in changes) return;
    await expect(signManifest(changed, privateKey)).rejects.toMatchObject(refused);
  });

  test('a bit of every byte of header, payload and signature', async () => {
    const jws = await signManifest(manifest, privateKey);
    const [header = '', payload = '', signature = ''] = jws.split('.');
    for (const [part, text] of [header, payload, signature].entries()) {
      const bytes = Buffer.from(text, 'base64url');
      for (let at = 0; at < bytes.length; at++) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
        const parts = [header, payload, signature].with(part, changed.toString('base64url'));
        await expect(openManifest(parts.join('.'), [publicKey])).rejects.toMatchObject(refused);
      }
    }
  });

  test('what is no JWS, and what is too long', async () => {
    for (const jws of ['', '.', '..', 'a.b', 'a.b.c.d', `${'A'.repeat(1 << 21)}..`]) {
      await expect(openManifest(jws, [publicKey])).rejects.toMatchObject(refused);
    }
  });

  test('a key that is not Ed25519 signs nothing and opens nothing', async () => {
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await expect(signManifest(manifest, ec.privateKey)).rejects.toMatchObject(refused);
    await expect(signManifest(manifest, publicKey)).rejects.toMatchObject(refused);
    const jws = await jwsOf(canonicalJson(manifest), { kid: thumbprint(ec.publicKey) });
    await expect(openManifest(jws, [ec.publicKey])).rejects.toMatchObject(refused);
  });
});

test('no refusal quotes the manifest', async () => {
  const changed = { ...manifest, jobId: 'a title that is secret/' };
  const error = await openManifest(await jwsOf(canonicalJson(changed)), [publicKey]).catch((reason: Error) => reason);
  expect(error).toMatchObject(refused);
  expect(String(error)).not.toContain('secret');
});
