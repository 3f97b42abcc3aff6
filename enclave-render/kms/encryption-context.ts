import { type EncryptionContext, KmsError } from './data-keys.ts';

/** Largest canonical form in bytes: a limit of ours, which keeps a line of the audit trail short. */
const MAX_BYTES = 8192;

/**
 * A context as bytes, the same for the same pairs in whatever order, and never for others: the number of pairs, then names and
 * values, sorted by the name's UTF-8 bytes, each behind its length; numbers have 4 bytes, big endian. Throws
 * `ERR_KMS_VALIDATION` for what is no context.
 */
export function canonicalContext(context: EncryptionContext): Uint8Array {
  checkContext(context);
  const pairs = Object.entries(context).map(([name, value]) => [Buffer.from(name), Buffer.from(value)] as const);
  pairs.sort(([a], [b]) => Buffer.compare(a, b));
  return Buffer.concat([uint32(pairs.length), ...pairs.flat().flatMap((text) => [uint32(text.length), text])]);
}

/** Throws `ERR_KMS_VALIDATION` unless this is an object of texts that UTF-8 can hold and that is not too large. */
export function checkContext(context: EncryptionContext): void {
  if (typeof context !== 'object' || context === null || Array.isArray(context)) refuse('must be an object of texts');
  let bytes = 4;
  for (const [name, value] of Object.entries(context)) {
    if (name === '') refuse('has a pair without a name');
    if (typeof value !== 'string') refuse(`must have texts only, but ${JSON.stringify(name)} has another value`);
    // Half of a surrogate pair becomes U+FFFD in UTF-8, so that two contexts would be one.
    if (/\p{Surrogate}/u.test(name) || /\p{Surrogate}/u.test(value)) refuse('has text that is no valid Unicode');
    bytes += 8 + Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  if (bytes > MAX_BYTES) refuse(`is too large: ${bytes} bytes, at most ${MAX_BYTES}`);
}

/** Whether two contexts have the same pairs. Throws `ERR_KMS_VALIDATION` for what is no context. */
export function sameContext(a: EncryptionContext, b: EncryptionContext): boolean {
  return Buffer.compare(canonicalContext(a), canonicalContext(b)) === 0;
}

/** A context for people: JSON with its names sorted. */
export function formatContext(context: EncryptionContext): string {
  const pairs = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${pairs.map((pair) => pair.map((text) => JSON.stringify(text)).join(':')).join(',')}}`;
}

/**
 * What to tell somebody whose ciphertext did not open. KMS says InvalidCiphertext for a wrong context and for damage alike; who
 * knows in which context the ciphertext was made, from a manifest, tells them apart with this: `expected` is that one, `supplied`
 * the one that was used. Other errors than `ERR_KMS_INVALID_CIPHERTEXT` come back as they are.
 */
export function explainContext(error: unknown, expected: EncryptionContext, supplied: EncryptionContext): unknown {
  if (!(error instanceof KmsError) || error.code !== 'ERR_KMS_INVALID_CIPHERTEXT') return error;
  const message = sameContext(expected, supplied)
    ? `${error.message} (expected and supplied encryption context are the same: ${formatContext(expected)})`
    : `wrong encryption context: expected ${formatContext(expected)}, supplied ${formatContext(supplied)}`;
  return new KmsError(error.code, message);
}

function refuse(why: string): never {
  throw new KmsError('ERR_KMS_VALIDATION', `the encryption context ${why}`);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
