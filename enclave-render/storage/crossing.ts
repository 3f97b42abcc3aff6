import { open, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { BoundaryCrossing } from '../boundary.ts';
import type { MasterManifest } from '../mastering/manifest.ts';
import { type ObjectEncryption, StorageError } from './object-store.ts';

/** What a file is, as far as S3 would get to see plaintext of it. */
export type Content =
  /** An encrypted master. `sha256`, hexadecimal, is what its manifest says that the file has. */
  | { kind: 'master'; manifest: string; sha256: string }
  /** The manifest of one. */
  | { kind: 'manifest' }
  /** Anything else, which is to be taken for plaintext. */
  | { kind: 'plaintext' };

/** A manifest is some kilobytes, with a recipient or a hundred. */
const MAX_MANIFEST_BYTES = 1 << 20;

/**
 * What a file is, by the manifest that stands beside it as `<file>.manifest.json`. A manifest that says another length is one of
 * another file: `ERR_STORAGE_INVALID`. Whether the bytes are the ones it was written for shows when they are read: compare `sha256`.
 */
export async function contentOf(path: string): Promise<Content> {
  const own = basename(path).endsWith('.manifest.json') ? await readManifest(path) : undefined;
  if (own) return { kind: 'manifest' };
  const manifestPath = `${path}.manifest.json`;
  const manifest = await readManifest(manifestPath);
  if (!manifest) return { kind: 'plaintext' };
  const { size } = await stat(path);
  if (size !== manifest.ciphertextBytes) throw notItsManifest(path, manifestPath);
  return { kind: 'master', manifest: manifestPath, sha256: manifest.ciphertextSha256 };
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

async function readManifest(
  path: string,
): Promise<Pick<MasterManifest, 'ciphertextBytes' | 'ciphertextSha256'> | undefined> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw new StorageError('ERR_STORAGE_INVALID', `cannot read ${path}: ${error.code}`);
  });
  if (!file) return undefined;
  try {
    const text = (await file.stat()).size <= MAX_MANIFEST_BYTES ? await file.readFile('utf8') : '';
    const value = JSON.parse(text) as Partial<MasterManifest>;
    const { format, ciphertextBytes, ciphertextSha256 } = value;
    const isOne = format === 'portcullis-master/1' && Number.isSafeInteger(ciphertextBytes);
    if (isOne && /^[0-9a-f]{64}$/.test(ciphertextSha256 ?? '')) return value as MasterManifest;
  } catch {
    // Not JSON: told below.
  } finally {
    await file.close();
  }
  const way = 'a file of that name stands beside masters only; rename it';
  throw new StorageError('ERR_STORAGE_INVALID', `${path} is no manifest of a master (portcullis-master/1): ${way}`);
}
