import { open, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { BoundaryCrossing } from '../boundary.ts';
import type { MasterManifest } from '../mastering/manifest.ts';
import { type ObjectEncryption, StorageError } from './object-store.ts';

/** What a file is, as far as S3 would get to see plaintext of it. */
export type Content =
  /** An encrypted master. `sha256`, hexadecimal, is what its manifest, of these bytes, says that the file has. */
  | { kind: 'master'; manifest: string; manifestBytes: Uint8Array; sha256: string }
  /** The manifest of one. */
  | { kind: 'manifest' }
  /** Anything else, which is to be taken for plaintext. */
  | { kind: 'plaintext' };

/** A manifest is some kilobytes, with a recipient or a hundred. */
export const MAX_MANIFEST_BYTES = 1 << 20;

/**
 * What a file is, by the manifest that stands beside it as `<file>.manifest.json`. A manifest that says another length is one of
 * another file: `ERR_STORAGE_INVALID`. Whether the bytes are the ones it was written for shows when they are read: compare `sha256`.
 */
export async function contentOf(path: string): Promise<Content> {
  const own = isManifestName(basename(path)) ? await readManifest(path) : undefined;
  if (own) return { kind: 'manifest' };
  const manifest = manifestName(path);
  const manifestBytes = await readManifest(manifest);
  if (!manifestBytes) return { kind: 'plaintext' };
  const { ciphertextBytes, ciphertextSha256 } = checkedManifest(manifestBytes, manifest);
  const { size } = await stat(path);
  if (size !== ciphertextBytes) throw notItsManifest(path, manifest);
  return { kind: 'master', manifest, manifestBytes, sha256: ciphertextSha256 };
}

/** The name of the manifest beside a file or an object. */
export function manifestName(name: string): string {
  return `${name}.manifest.json`;
}

/** Whether something is named as a manifest is. */
export function isManifestName(name: string): boolean {
  return name.endsWith('.manifest.json');
}

/** Nobody is to believe that a file is encrypted because something lies beside it. */
export function notItsManifest(path: string, manifest: string): StorageError {
  const way = 'encrypt the file again, or take the manifest away to store it as plaintext';
  return new StorageError('ERR_STORAGE_INVALID', `${manifest} is of another file than ${path}: ${way}`);
}

/** How plaintext gets to S3 when a file is stored there; nothing when it is encrypted before. */
export function crossingsOf(content: Content, encryption: ObjectEncryption | undefined): BoundaryCrossing[] {
  if (content.kind !== 'plaintext') return [];
  const by = encryption?.type ?? 'the default encryption of the bucket';
  const why = 'no manifest of a master stands beside the file: S3 gets it as it is, and encrypts it after that';
  return [{ service: 's3', by, why }];
}

/** What the manifest of a master, `name`, tells of its ciphertext. Throws `ERR_STORAGE_INVALID` when it is none. */
export function checkedManifest(
  bytes: Uint8Array,
  name: string,
): Pick<MasterManifest, 'ciphertextBytes' | 'ciphertextSha256'> {
  try {
    const value = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<MasterManifest>;
    const { format, ciphertextBytes = -1, ciphertextSha256 = '' } = value;
    const isOne = format === 'portcullis-master/1' && Number.isSafeInteger(ciphertextBytes);
    if (isOne && /^[0-9a-f]{64}$/.test(ciphertextSha256)) return { ciphertextBytes, ciphertextSha256 };
  } catch {
    // Not JSON: told below.
  }
  const way = 'something of that name stands beside masters only; rename it';
  throw new StorageError('ERR_STORAGE_INVALID', `${name} is no manifest of a master (portcullis-master/1): ${way}`);
}

/** The bytes of a manifest in a file; undefined when there is none. Throws `ERR_STORAGE_INVALID`. */
async function readManifest(path: string): Promise<Uint8Array | undefined> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw new StorageError('ERR_STORAGE_INVALID', `cannot read ${path}: ${error.code}`);
  });
  if (!file) return undefined;
  try {
    const bytes = (await file.stat()).size <= MAX_MANIFEST_BYTES ? await file.readFile() : Buffer.alloc(0);
    checkedManifest(bytes, path);
    return bytes;
  } finally {
    await file.close();
  }
}
