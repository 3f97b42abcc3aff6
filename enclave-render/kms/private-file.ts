import { readPrivateBytes } from '../private-file.ts';
import { KmsError } from './data-keys.ts';

/** The text in a private file (`../private-file.ts`); undefined when there is none. Throws `ERR_KMS_KEYSTORE`. */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  const refused = (why: string) => new KmsError('ERR_KMS_KEYSTORE', `cannot use ${path}: ${why}`);
  return (await readPrivateBytes(path, refused))?.toString('utf8');
}
