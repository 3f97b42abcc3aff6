import { randomBytes, webcrypto } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { DataKeys, EncryptionContext } from '../kms/data-keys.ts';
import { PackagingError } from './errors.ts';
import type { WrappedContentKey } from './key-table.ts';

/** A content key in clear and as it is kept. `plaintext`: 16 bytes, which are overwritten when it is used. */
export interface ContentKey {
  plaintext: Uint8Array;
  wrapped: WrappedContentKey;
}

/** Makes a content key of that name. */
export type NewContentKey = (name: string) => Promise<ContentKey>;

/** What a content key is bound to in KMS: its name, so that an entry of the table under another name does not open. */
export function contentKeyContext(name: string): EncryptionContext {
  return { purpose: 'hls-content-key', name };
}

/** Content keys from KMS: GenerateDataKey, 128 bits. Rejects with `KmsError`. */
export function contentKeysFrom(dataKeys: Pick<DataKeys, 'generate'>, keyId: string): NewContentKey {
  return async (name) => {
    const context = contentKeyContext(name);
    const { plaintext, encrypted, keyId: arn } = await dataKeys.generate(keyId, 128, context);
    const encryptedKey = Buffer.from(encrypted).toString('base64');
    return { plaintext, wrapped: { name, encryptedKey, keyId: arn, context } };
  };
}

/** AES-128. */
const KEY_BYTES = 16;

/**
 * The 16 bytes of a content key that a table holds. Whoever can write a table shall not have the key of a master opened: only what is
 * bound to the purpose and to its own name is. Rejects with `ERR_PACKAGE_KEY_TABLE` when it is not, and with `KmsError`.
 */
export async function unwrapContentKey(
  dataKeys: Pick<DataKeys, 'decrypt'>,
  { name, encryptedKey, keyId, context }: WrappedContentKey,
): Promise<Uint8Array> {
  const refuse = (why: string) =>
    new PackagingError('ERR_PACKAGE_KEY_TABLE', `key ${name} of the key table ${why}: package the title again`);
  const expected = contentKeyContext(name);
  if (!isDeepStrictEqual(context, expected)) throw refuse('is bound to something else');
  const { plaintext } = await dataKeys.decrypt(Buffer.from(encryptedKey, 'base64'), expected, keyId);
  if (plaintext.length === KEY_BYTES) return plaintext;
  plaintext.fill(0);
  throw refuse(`has ${plaintext.length} bytes`);
}

/** When a title changes its key, and which renditions share one. */
export interface KeySchedule {
  /** Segments of a key; all of the title without it. */
  rotateEvery: number | undefined;
  perRendition: boolean;
}

/** A content key that can encrypt and no more, and what is kept of it. */
export interface TitleKey {
  secret: webcrypto.CryptoKey;
  wrapped: WrappedContentKey;
}

/** The content keys of a title, each made when the first segment that needs it comes. */
export class TitleKeys {
  readonly #keys = new Map<string, TitleKey>();
  readonly #newKey: NewContentKey;
  readonly #schedule: KeySchedule;
  /** Keys may be cached for a while under their names: those of a title that is packaged again are others. */
  readonly #prefix = randomBytes(4).toString('hex');

  constructor(newKey: NewContentKey, schedule: KeySchedule) {
    this.#newKey = newKey;
    this.#schedule = schedule;
  }

  /** The key of segment `index`, from 0, of a rendition. */
  async at(rendition: string, index: number): Promise<TitleKey> {
    const { rotateEvery, perRendition } = this.#schedule;
    const period = rotateEvery === undefined ? 1 : Math.floor(index / rotateEvery) + 1;
    const name = [this.#prefix, ...(perRendition ? [rendition] : []), period].join('-');
    const known = this.#keys.get(name);
    if (known) return known;
    const { plaintext, wrapped } = await this.#newKey(name);
    const secret = await webcrypto.subtle.importKey('raw', plaintext, 'AES-CBC', false, ['encrypt']);
    plaintext.fill(0);
    this.#keys.set(name, { secret, wrapped });
    return { secret, wrapped };
  }

  /** All of them, as they are kept. */
  wrapped(): WrappedContentKey[] {
    return [...this.#keys.values()].map(({ wrapped }) => wrapped);
  }
}

/** What the initialization vector of a segment is: its media sequence number (RFC 8216 §5.2), or 16 random bytes. */
export type IvPolicy = 'sequence' | 'random';

/** The initialization vector of a media sequence number: big-endian, 16 bytes (RFC 8216 §5.2). */
export function sequenceIv(mediaSequence: number): Uint8Array {
  const iv = Buffer.alloc(16);
  iv.writeBigUInt64BE(BigInt(mediaSequence), 8);
  return iv;
}

/**
 * AES-128-CBC over a whole segment, padded as PKCS#7 (RFC 8216 §4.3.2.4). By WebCrypto, which does it on another thread;
 * `clear` is copied, and may be overwritten at once.
 */
export async function encryptSegment(clear: Uint8Array, key: webcrypto.CryptoKey, iv: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await webcrypto.subtle.encrypt({ name: 'AES-CBC', iv }, key, clear));
}

/** How long a segment is when it is encrypted. */
export function encryptedLength(clear: number): number {
  return (Math.floor(clear / 16) + 1) * 16;
}
