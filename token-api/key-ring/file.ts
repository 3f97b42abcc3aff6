import { readFile, stat } from 'node:fs/promises';
import writeFileAtomic from 'write-file-atomic';
import { type KeyRing, KeyRingError, parseKeyRing } from './key-ring.ts';

/**
 * The JSON in a file of keys. Throws `ERR_RING_PERMISSIONS` when anyone but its owner may read it, `ERR_RING_FILE` when it
 * cannot be read, `ERR_RING_INVALID` when it is not JSON.
 */
export async function readKeyFile(path: string): Promise<unknown> {
  let text: string;
  try {
    const status = await stat(path);
    const { mode } = status;
    if (status.isFile() && mode & 0o077) {
      const message = `${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`;
      throw new KeyRingError('ERR_RING_PERMISSIONS', message);
    }
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof KeyRingError) throw error;
    throw new KeyRingError('ERR_RING_FILE', `cannot read key ring ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message quotes the text around the error, which may be a secret.
    throw new KeyRingError('ERR_RING_INVALID', `key ring ${path} is not JSON`);
  }
}

/** Whether this is a secret of the AWS solution v1, `{"<kid>":"<secret>"}`. */
export function isSecretFile(content: unknown): content is Record<string, string> {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return false;
  const secrets = Object.values(content);
  return secrets.length > 0 && secrets.every((secret) => typeof secret === 'string');
}

/** Reads a key ring file. Throws what `readKeyFile` throws, and `ERR_RING_INVALID` when it holds no key ring. */
export async function readKeyRing(path: string): Promise<KeyRing> {
  const content = await readKeyFile(path);
  if (isSecretFile(content)) {
    throw new KeyRingError(
      'ERR_RING_INVALID',
      `${path} is a secret of the AWS solution v1: use it with --dialect compat`,
    );
  }
  return parseKeyRing(content);
}

/** Writes a key ring file (mode 0600), replaced atomically. */
export async function writeKeyRing(path: string, ring: KeyRing): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(parseKeyRing(ring), null, 2)}\n`, { mode: 0o600 });
}
