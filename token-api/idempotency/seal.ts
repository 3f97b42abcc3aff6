import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import type { KeptAnswer } from './answers.ts';

/** Of whom and what a request with an idempotency key is. */
export interface RequestScope {
  subject: string;
  roles: string[];
  method: string;
  path: string;
}

/** What an idempotency key gives for one request. */
export interface RequestSeal {
  /** Id under which the answer is stored. */
  id: string;
  /** Keyed digest of a body. */
  fingerprint(body: Uint8Array): Uint8Array;
  seal(answer: KeptAnswer): Uint8Array;
  /** The answer; throws when it was not sealed for this request. */
  open(sealed: Uint8Array): KeptAnswer;
}

const CIPHER = 'aes-256-gcm';
const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Derives from an idempotency key everything under which an answer is stored (HKDF, RFC 5869, the caller and the request
 * as its salt): an id, a key for digests of the body, a key that seals the answer (AES-256-GCM, the id authenticated
 * with it). An answer holds a bearer token; only who has the idempotency key can ask for it, and only they can read it,
 * also in the table or a backup of it. So the key has to be hard to guess.
 */
export function requestSeal(idempotencyKey: string, { subject, roles, method, path }: RequestScope): RequestSeal {
  const scope = createHash('sha256')
    .update(JSON.stringify([subject, roles.toSorted(), method, path]))
    .digest();
  const derive = (use: string) => Buffer.from(hkdfSync('sha256', idempotencyKey, scope, `portcullis ${use}`, 32));
  const id = derive('answer id').toString('base64url');
  return {
    id,
    fingerprint: (body) => createHmac('sha256', derive('body digest')).update(body).digest(),
    seal(answer) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv(CIPHER, derive('answer'), iv).setAAD(Buffer.from(id));
      const text = Buffer.concat([cipher.update(JSON.stringify(answer)), cipher.final()]);
      return Buffer.concat([iv, text, cipher.getAuthTag()]);
    },
    open(sealed) {
      const bytes = Buffer.from(sealed);
      const decipher = createDecipheriv(CIPHER, derive('answer'), bytes.subarray(0, IV_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(id)).setAuthTag(bytes.subarray(-TAG_BYTES));
      const text = Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()]);
      return JSON.parse(text.toString()) as KeptAnswer;
    },
  };
}
