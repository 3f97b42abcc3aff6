import { createPrivateKey, createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import { fileError, MasterError } from './master-error.ts';

const MAX_KEY_FILE_BYTES = 64 * 1024;

/** Reads a file that others must not be able to read. Throws `ERR_MASTER_KEY_PERMISSIONS`, `ERR_MASTER_FILE`. */
async function readSecretFile(path: string): Promise<Buffer> {
  try {
    await using file = await open(path, 'r');
    const { mode, size } = await file.stat();
    if (mode & 0o077) {
      throw new MasterError(
        'ERR_MASTER_KEY_PERMISSIONS',
        `${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`,
      );
    }
    if (size > MAX_KEY_FILE_BYTES) throw new MasterError('ERR_MASTER_KEY_FILE', `${path} is too large for a key`);
    return await file.readFile();
  } catch (error) {
    throw fileError(path, error);
  }
}

/**
 * The data key in a file: 16, 24 or 32 bytes, nothing else. Throws `ERR_MASTER_KEY_PERMISSIONS`, `ERR_MASTER_KEY_TEXT`,
 * `ERR_MASTER_KEY_LENGTH`, `ERR_MASTER_FILE`.
 */
export async function readDataKeyFile(path: string): Promise<Buffer> {
  const key = await readSecretFile(path);
  checkDataKey(key);
  return key;
}

/**
 * Refuses what is no data key. Base64 of 16 and of 24 bytes is as long as a key of 24 and of 32, and would work, with a third of the
 * key's strength gone and nobody else able to open the master. Throws `ERR_MASTER_KEY_TEXT`, `ERR_MASTER_KEY_LENGTH`.
 */
export function checkDataKey(key: Uint8Array): void {
  const text = Buffer.from(key).toString('latin1').trim();
  if (/^[A-Za-z0-9+/_-]{22,}={0,2}$/.test(text)) {
    const how = /^[0-9A-Fa-f]+$/.test(text) ? 'hexadecimal: xxd -r -p' : 'base64: base64 -d';
    throw new MasterError('ERR_MASTER_KEY_TEXT', `the data key is text; it has to be the bytes themselves (${how})`);
  }
  if ([16, 24, 32].includes(key.length)) return;
  throw new MasterError('ERR_MASTER_KEY_LENGTH', `the data key has ${key.length} bytes: it has to have 16, 24 or 32`);
}

/** A private key, PEM or JWK, in a file that only its owner can read. */
export async function readPrivateKeyFile(path: string): Promise<KeyObject> {
  return parseKey(path, await readSecretFile(path), createPrivateKey);
}

/** An Ed25519 key to sign with, PEM or JWK. */
export async function readSignKeyFile(path: string): Promise<KeyObject> {
  return ed25519(path, await readPrivateKeyFile(path));
}

/** A public key, PEM or JWK. */
export async function readPublicKeyFile(path: string): Promise<KeyObject> {
  try {
    await using file = await open(path, 'r');
    return parseKey(path, await file.readFile(), createPublicKey);
  } catch (error) {
    throw fileError(path, error);
  }
}

/** An Ed25519 key to verify with, PEM or JWK. */
export async function readVerifyKeyFile(path: string): Promise<KeyObject> {
  return ed25519(path, await readPublicKeyFile(path));
}

function ed25519(path: string, key: KeyObject): KeyObject {
  if (key.asymmetricKeyType === 'ed25519') return key;
  throw new MasterError('ERR_MASTER_KEY_FILE', `${path} is a key of type ${key.asymmetricKeyType}, not Ed25519`);
}

/** The messages of the parsers are not repeated: they may quote what they read. */
function parseKey(
  path: string,
  content: Buffer,
  create: (input: { key: JsonWebKey; format: 'jwk' } | string) => KeyObject,
): KeyObject {
  const text = content.toString();
  try {
    return text.trimStart().startsWith('{') ? create({ key: JSON.parse(text), format: 'jwk' }) : create(text);
  } catch {
    throw new MasterError('ERR_MASTER_KEY_FILE', `${path} holds no key of the wanted kind in PEM or as JWK`);
  }
}
