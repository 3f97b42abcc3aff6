import { type CipherGCMTypes, createCipheriv, createDecipheriv } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';
import { cipherName, MODES } from '../modes.ts';
import { MasterJobError } from './job-error.ts';
import type { ServiceMode } from './service-keys.ts';

const TAG_BYTES = MODES.gcm.tagBytes;

/** Plaintext to ciphertext, of a key of 16, 24 or 32 bytes; in `gcm` with the tag at the end (NIST SP 800-38A, 800-38D; CBC with PKCS #7). */
export function encrypting(mode: ServiceMode, key: Uint8Array, iv: Uint8Array): Transform {
  const gcm = mode === 'gcm' ? createCipheriv(gcmName(key), key, iv, { authTagLength: TAG_BYTES }) : undefined;
  const cipher = gcm ?? createCipheriv(cipherName(mode, key.length * 8), key, iv);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      attempt(done, () => cipher.update(chunk));
    },
    flush(done) {
      attempt(done, () => Buffer.concat(gcm ? [gcm.final(), gcm.getAuthTag()] : [cipher.final()]));
    },
  });
}

/**
 * Ciphertext to plaintext. What comes out before the end is not authenticated: in `gcm` an error at the end says that it was
 * tampered with, so that all of it is worth nothing; `ctr` and `cbc` never say. Fails with `ERR_MASTER_JOB_INPUT`.
 */
export function decrypting(mode: ServiceMode, key: Uint8Array, iv: Uint8Array): Transform {
  if (mode !== 'gcm') {
    const decipher = createDecipheriv(cipherName(mode, key.length * 8), key, iv);
    return new Transform({
      transform(chunk: Buffer, _encoding, done) {
        attempt(done, () => decipher.update(chunk));
      },
      flush(done) {
        attempt(done, () => decipher.final());
      },
    });
  }
  const decipher = createDecipheriv(gcmName(key), key, iv, { authTagLength: TAG_BYTES });
  let last: Uint8Array = new Uint8Array(0);
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const bytes = Buffer.concat([last, chunk]);
      const end = Math.max(0, bytes.length - TAG_BYTES);
      last = Uint8Array.from(bytes.subarray(end));
      attempt(done, () => decipher.update(bytes.subarray(0, end)));
    },
    flush(done) {
      attempt(done, () => {
        decipher.setAuthTag(last);
        return decipher.final();
      });
    },
  });
}

/** The name of the cipher, as a type that has a tag. */
function gcmName(key: Uint8Array): CipherGCMTypes {
  return cipherName('gcm', key.length * 8) as CipherGCMTypes;
}

function attempt(done: TransformCallback, step: () => Buffer): void {
  let output: Buffer;
  try {
    output = step();
  } catch {
    done(
      new MasterJobError(
        'ERR_MASTER_JOB_INPUT',
        'the input cannot be decrypted: it was tampered with or cut short, or is under another key, IV or mode than the job says',
      ),
    );
    return;
  }
  done(null, output);
}
