import { createHash, createHmac, createPublicKey, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto';
import * as v from 'valibot';
import { deriveKey } from './key-schedule.ts';
import type { MasterManifest } from './manifest.ts';
import { MasterError } from './master-error.ts';
import { MODES } from './modes.ts';
import { thumbprint } from './public-key.ts';
import { ciphertextLength } from './segment-cipher.ts';

const base64 = v.pipe(
  v.string(),
  v.maxLength(8192),
  v.regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/),
);
const sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const text = v.pipe(v.string(), v.minLength(1), v.maxLength(8192));

/** Who can open a master, as it is stored. */
export const RecipientSchema = v.variant('type', [
  v.strictObject({
    type: v.literal('kms'),
    keyId: text,
    context: v.record(v.string(), v.string()),
    encryptedKey: base64,
  }),
  v.strictObject({ type: v.literal('public-key'), keyId: text, encryptedKey: text }),
]);

const ManifestSchema = v.strictObject({
  format: v.literal('portcullis-master/1'),
  mode: v.picklist(['gcm', 'ctr', 'cbc', 'framed']),
  keyBits: v.picklist([128, 192, 256]),
  iv: v.exactOptional(base64),
  plaintextBytes: count,
  ciphertextBytes: count,
  plaintextSha256: v.exactOptional(sha256),
  ciphertextSha256: sha256,
  mac: v.exactOptional(base64),
  createdAt: count,
  recipients: v.pipe(v.array(RecipientSchema), v.maxLength(64)),
  signatures: v.pipe(
    v.array(v.strictObject({ algorithm: v.picklist(['HS256', 'EdDSA']), keyId: v.exactOptional(text), value: base64 })),
    v.maxLength(8),
  ),
});

/** Where the manifest of a master stands. */
export function manifestPath(master: string): string {
  return `${master}.manifest.json`;
}

/** Reads a manifest strictly. Throws `ERR_MASTER_MANIFEST` with the path of the offending field. */
export function parseManifest(json: string): MasterManifest {
  const refuse = (why: string): never => {
    throw new MasterError('ERR_MASTER_MANIFEST', `this is no manifest of a master: ${why}`);
  };
  let content: unknown;
  try {
    content = JSON.parse(json);
  } catch {
    return refuse('it is not JSON');
  }
  const result = v.safeParse(ManifestSchema, content);
  if (!result.success) {
    const [issue] = result.issues;
    return refuse(`${v.getDotPath(issue) ?? 'content'}: ${issue.message}`);
  }
  const manifest = result.output;
  const { ivLengths, authenticatedBy, cipher } = MODES[manifest.mode];
  const ivBytes = manifest.iv === undefined ? 0 : Buffer.from(manifest.iv, 'base64').length;
  if (manifest.iv === undefined ? ivLengths.length > 0 : !ivLengths.includes(ivBytes))
    return refuse('iv: wrong length');
  if (cipher[manifest.keyBits] === undefined) return refuse(`keyBits: mode ${manifest.mode} takes other lengths`);
  if ((manifest.mac === undefined) === (authenticatedBy === 'mac')) return refuse('mac: missing, or not of this mode');
  if (manifest.plaintextSha256 === undefined && manifest.mode !== 'framed') {
    return refuse('plaintextSha256: only a framed master may do without');
  }
  if (manifest.ciphertextBytes !== ciphertextLength(manifest.mode, manifest.plaintextBytes)) {
    return refuse('plaintextBytes and ciphertextBytes do not go together');
  }
  return manifest;
}

/** What the signatures are over: the other fields as JSON with sorted names and no white space (RFC 8785). */
export function signedBytes(manifest: Omit<MasterManifest, 'recipients' | 'signatures'>): Buffer {
  const { recipients: _recipients, signatures: _signatures, ...signed } = manifest as MasterManifest;
  return Buffer.from(JSON.stringify(Object.fromEntries(Object.entries(signed).sort(([a], [b]) => (a < b ? -1 : 1)))));
}

/** The MAC of `ctr` and `cbc`, base64. */
export function ciphertextMac(dataKey: Uint8Array, iv: Uint8Array, ciphertextSha256: string): string {
  const mac = createHmac('sha256', deriveKey(dataKey, 'mac'));
  return mac.update(iv).update(Buffer.from(ciphertextSha256, 'hex')).digest('base64');
}

/** Signs a manifest under its data key and, when there is one, with an Ed25519 key (RFC 8032). */
export function signManifest(
  unsigned: Omit<MasterManifest, 'signatures'>,
  dataKey: Uint8Array,
  signKey?: KeyObject,
): MasterManifest {
  const bytes = signedBytes(unsigned);
  const signatures: MasterManifest['signatures'] = [{ algorithm: 'HS256', value: manifestMac(dataKey, bytes) }];
  if (signKey) {
    const keyId = thumbprint(createPublicKey(signKey));
    signatures.push({ algorithm: 'EdDSA', keyId, value: sign(null, bytes, signKey).toString('base64') });
  }
  return { ...unsigned, signatures };
}

function manifestMac(dataKey: Uint8Array, bytes: Buffer): string {
  return createHmac('sha256', deriveKey(dataKey, 'manifest')).update(bytes).digest('base64');
}

/** Throws `ERR_MASTER_SIGNATURE` unless the manifest was signed under this data key. */
export function checkManifestMac(manifest: MasterManifest, dataKey: Uint8Array): void {
  const expected = createHash('sha256')
    .update(manifestMac(dataKey, signedBytes(manifest)))
    .digest();
  const holds = manifest.signatures.some(
    ({ algorithm, value }) =>
      algorithm === 'HS256' && timingSafeEqual(createHash('sha256').update(value).digest(), expected),
  );
  if (holds) return;
  throw new MasterError(
    'ERR_MASTER_SIGNATURE',
    'the manifest was changed, or this is the data key of another master: nothing was decrypted',
  );
}

/** Throws `ERR_MASTER_SIGNATURE` unless the owner of this Ed25519 key signed the manifest. */
export function checkManifestSignature(manifest: MasterManifest, verifyKey: KeyObject): void {
  const keyId = thumbprint(verifyKey);
  const bytes = signedBytes(manifest);
  const theirs = manifest.signatures.filter(({ algorithm }) => algorithm === 'EdDSA');
  if (theirs.some(({ value }) => verify(null, bytes, verifyKey, Buffer.from(value, 'base64')))) return;
  const by = theirs.map((signature) => signature.keyId ?? 'an unnamed key').join(', ') || 'nobody';
  throw new MasterError('ERR_MASTER_SIGNATURE', `the manifest is not signed by ${keyId}, but by ${by}`);
}
