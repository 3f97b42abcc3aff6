import type { DataKeys } from '../../kms/data-keys.ts';
import { explainContext } from '../../kms/encryption-context.ts';
import { SERVICE_CONTEXTS } from '../contexts.ts';
import { checkDataKey, checkKeyMd5, type TranscoderEncryption } from './elastic-transcoder.ts';

/**
 * The data key of a file that its owner encrypted, in the context of Elastic Transcoder, checked against KeyMd5; the caller overwrites
 * it. With `kmsKey`, only what is under that key. Rejects with `ERR_MASTER_JOB_KEY_MD5`, `_KEY`, `_KEY_TEXT`, and `KmsError`, which says
 * the context when that may be why.
 */
export async function openDataKey(
  { Key, KeyMd5 }: TranscoderEncryption,
  where: string,
  keys: DataKeys,
  kmsKey: string | undefined,
): Promise<Uint8Array> {
  const context = SERVICE_CONTEXTS.elastictranscoder;
  const encryptedKey = Buffer.from(Key, 'base64');
  const { plaintext } = await keys.decrypt(encryptedKey, context, kmsKey).catch((error) => {
    throw explainContext(error, context, context);
  });
  try {
    checkKeyMd5(KeyMd5, encryptedKey, plaintext, where);
    checkDataKey(plaintext, where);
    return plaintext;
  } catch (error) {
    plaintext.fill(0);
    throw error;
  }
}
