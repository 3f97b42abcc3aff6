import { CompactEncrypt, compactDecrypt } from 'jose';
import { RenderError } from './render-manifest.ts';

const ALGORITHM = 'A256KW';
const CONTENT_ENCRYPTION = 'A256GCM';
const KEY_BYTES = 32;

/** Encrypts a data key under the job key, both 32 bytes: a compact JWE (RFC 7516 §3.1), AES key wrap (RFC 7518 §4.4). */
export function wrapUnderJobKey(dataKey: Uint8Array, jobKey: Uint8Array): Promise<string> {
  return new CompactEncrypt(dataKey).setProtectedHeader({ alg: ALGORITHM, enc: CONTENT_ENCRYPTION }).encrypt(jobKey);
}

/** Opens what `wrapUnderJobKey` made. Rejects with `ERR_RENDER_KEY`. */
export async function unwrapUnderJobKey(wrapped: string, jobKey: Uint8Array): Promise<Uint8Array> {
  const opened = await compactDecrypt(wrapped, jobKey, {
    keyManagementAlgorithms: [ALGORITHM],
    contentEncryptionAlgorithms: [CONTENT_ENCRYPTION],
  }).catch(() => undefined);
  if (opened?.plaintext.length === KEY_BYTES) return opened.plaintext;
  opened?.plaintext.fill(0);
  throw new RenderError('ERR_RENDER_KEY', 'a data key of the manifest does not open with the job key');
}
