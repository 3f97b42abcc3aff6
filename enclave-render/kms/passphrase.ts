import { createCipheriv, createDecipheriv, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import * as v from 'valibot';
import { KmsError } from './data-keys.ts';
import { readPrivateFile } from './private-file.ts';

/**
 * How a key is made of a passphrase: scrypt (RFC 7914), N = 2^17, r = 8, p = 1 (OWASP Password Storage Cheat Sheet): 128 MiB and
 * about half a second. Bounded from both sides, because whoever writes the file chooses them.
 */
export const KdfSchema = v.strictObject({
  name: v.literal('scrypt'),
  n: v.picklist([2 ** 17, 2 ** 18, 2 ** 19, 2 ** 20]),
  r: v.literal(8),
  p: v.literal(1),
  /** Base64 of 32 bytes. */
  salt: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{43}=$/)),
  /** Base64 of the other 32 bytes that scrypt gives: tells a wrong passphrase from a damaged file. */
  check: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{43}=$/)),
});

export type Kdf = v.InferOutput<typeof KdfSchema>;

/** A passphrase has so many characters at least. */
const LEAST_CHARACTERS = 12;
const PARAMETERS = { name: 'scrypt', n: 2 ** 17, r: 8, p: 1 } as const;
/** Bytes of key, of check and of salt. */
const BYTES = 32;
const [IV_BYTES, TAG_BYTES] = [12, 16];
const AAD = Buffer.from('portcullis-keystore/1');

/** The first line of a file of mode 0600. Throws `ERR_KMS_KEYSTORE` when it cannot be used. */
export async function readPassphrase(path: string): Promise<string> {
  const [passphrase] = (await readPrivateFile(path))?.split(/\r?\n/, 1) ?? [];
  if (passphrase !== undefined && passphrase.length >= LEAST_CHARACTERS) return passphrase;
  const why = `its first line has to be a passphrase of ${LEAST_CHARACTERS} characters or more (openssl rand -base64 32)`;
  throw new KmsError(
    'ERR_KMS_KEYSTORE',
    `cannot use ${path} as a passphrase file: ${passphrase === undefined ? 'there is none' : why}`,
  );
}

/** A new way to make a key of this passphrase, and the key: 32 bytes. */
export async function newKey(passphrase: string): Promise<{ kdf: Kdf; key: Uint8Array }> {
  const parameters = { ...PARAMETERS, salt: randomBytes(BYTES).toString('base64') };
  const { key, check } = await derive(passphrase, parameters);
  return { kdf: { ...parameters, check: check.toString('base64') }, key };
}

/** The key that `newKey` made; undefined when the passphrase is another one. */
export async function keyOf(passphrase: string, kdf: Kdf): Promise<Uint8Array | undefined> {
  const { key, check } = await derive(passphrase, kdf);
  return timingSafeEqual(check, Buffer.from(kdf.check, 'base64')) ? key : undefined;
}

/** AES-256-GCM under this key: base64 of IV, ciphertext and tag. */
export function encryptText(key: Uint8Array, text: string): string {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES }).setAAD(AAD);
  return Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

/** What `encryptText` encrypted; undefined when it is damaged. */
export function decryptText(key: Uint8Array, encrypted: string): string | undefined {
  const bytes = Buffer.from(encrypted, 'base64');
  if (bytes.length < IV_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(AAD).setAuthTag(bytes.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]).toString('utf8');
  } catch {
    return undefined;
  }
}

function derive(passphrase: string, { n, r, p, salt }: Omit<Kdf, 'check'>): Promise<{ key: Buffer; check: Buffer }> {
  const options = { N: n, r, p, maxmem: 128 * n * r + 2 ** 20 };
  return new Promise((resolve, reject) => {
    scrypt(passphrase.normalize('NFKC'), Buffer.from(salt, 'base64'), 2 * BYTES, options, (error, bytes) => {
      if (error) reject(error);
      else resolve({ key: bytes.subarray(0, BYTES), check: bytes.subarray(BYTES) });
    });
  });
}
