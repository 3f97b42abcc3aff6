import { hkdfSync } from 'node:crypto';

/** What keys are derived from the data key for. The mode's own cipher uses the data key itself, but for `framed`. */
export type KeyPurpose =
  /** MAC over IV and ciphertext, of `ctr` and `cbc`. */
  | 'mac'
  /** Signature of the manifest. */
  | 'manifest'
  /** State of an interrupted run. */
  | 'resume'
  /** Segments of `framed`. */
  | 'framed segments'
  /** Header of `framed`, and commitment to the key. */
  | 'framed header';

/** HKDF-SHA-256 (RFC 5869), 32 bytes: `info` is `portcullis-master/1 <purpose>` in ASCII. */
export function deriveKey(dataKey: Uint8Array, purpose: KeyPurpose, salt: Uint8Array = new Uint8Array()): Buffer {
  return Buffer.from(hkdfSync('sha256', dataKey, salt, `portcullis-master/1 ${purpose}`, 32));
}
