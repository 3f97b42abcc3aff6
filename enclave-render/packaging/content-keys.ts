import { createCipheriv, randomBytes } from 'node:crypto';
import type { DataKeys, EncryptionContext } from '../kms/data-keys.ts';
import type { WrappedContentKey } from './key-table.ts';

/** A content key in clear and as it is kept. `plaintext`: 16 bytes, overwritten by whoever holds it when done. */
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

/** When a title changes its key, and which renditions share one. */
export interface KeySchedule {
  /** Segments of a key; all of the title without it. */
  rotateEvery: number | undefined;
  perRendition: boolean;
}

/** The content keys of a title, each made when the first segment that needs it comes. */
export class TitleKeys {
  readonly #keys = new Map<string, ContentKey>();
  readonly #newKey: NewContentKey;
  readonly #schedule: KeySchedule;
  /** Keys may be cached for a while under their names: those of a title that is packaged again are others. */
  readonly #prefix = randomBytes(4).toString('hex');

  constructor(newKey: NewContentKey, schedule: KeySchedule) {
    this.#newKey = newKey;
    this.#schedule = schedule;
  }

  /** The key of segment `index`, from 0, of a rendition. */
  async at(rendition: string, index: number): Promise<ContentKey> {
    const { rotateEvery, perRendition } = this.#schedule;
    const period = rotateEvery === undefined ? 1 : Math.floor(index / rotateEvery) + 1;
    const name = [this.#prefix, ...(perRendition ? [rendition] : []), period].join('-');
    const known = this.#keys.get(name);
    if (known) return known;
    const key = await this.#newKey(name);
    this.#keys.set(name, key);
    return key;
  }

  /** All of them, as they are kept. */
  wrapped(): WrappedContentKey[] {
    return [...this.#keys.values()].map(({ wrapped }) => wrapped);
  }

  /** Overwrites what is in clear. */
  clear(): void {
    for (const { plaintext } of this.#keys.values()) plaintext.fill(0);
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

/** AES-128-CBC over a whole segment, padded as PKCS#7 (RFC 8216 §4.3.2.4). */
export function encryptSegment(clear: Uint8Array, key: Uint8Array, iv: Uint8Array): Uint8Array[] {
  const cipher = createCipheriv('aes-128-cbc', key, iv);
  return [cipher.update(clear), cipher.final()];
}
