import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { HEADER_BYTES, openFramedHeader } from './framed.ts';
import { checkDataKey } from './key-files.ts';
import type { MasterManifest, MasterMode } from './manifest.ts';
import { fileError, MasterError } from './master-error.ts';
import { checkIv, cipherName } from './modes.ts';
import { readFully } from './pipeline-steps.ts';
import { type OpeningKeys, unwrapDataKey } from './recipients.ts';
import { type CipherJob, segmentLayout } from './segment-cipher.ts';
import { checkManifestMac, checkManifestSignature, manifestPath, parseManifest } from './signed-manifest.ts';
import type { SourceFile } from './source-file.ts';

/** What a master is opened with, and what is asked of it. */
export interface OpenRequest extends OpeningKeys {
  /** Ed25519: only a manifest signed with its private key will do. */
  verifyKey?: KeyObject | undefined;
  /**
   * For a file of somebody else, without a manifest: what it would have said. In `ctr` and `cbc` nothing then shows whether the
   * ciphertext was changed, so that the caller has to say that this is meant.
   */
  withoutManifest?:
    | { mode: MasterMode; iv?: Uint8Array | undefined; unauthenticated?: boolean | undefined }
    | undefined;
}

/** A master whose key is there and whose manifest, if it has one, was checked. */
export interface Opened {
  manifest: MasterManifest | undefined;
  job: CipherJob;
}

/** Reads the manifest beside a master. Throws `ERR_MASTER_NO_MANIFEST`, `ERR_MASTER_MANIFEST`, `ERR_MASTER_FILE`. */
export async function readManifest(master: string): Promise<MasterManifest> {
  const path = manifestPath(master);
  try {
    return parseManifest(await readFile(path, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fileError(path, error);
    throw new MasterError(
      'ERR_MASTER_NO_MANIFEST',
      `${path} is not there: without it a data key, the mode and the initialization vector are needed`,
    );
  }
}

/**
 * Gets the data key of a master and checks the manifest under it, before anything of the master is decrypted. The caller overwrites
 * `job.dataKey`. Rejects with `MasterError` or `KmsError`.
 */
export async function openKey(path: string, source: SourceFile, request: OpenRequest): Promise<Opened> {
  const inputBytes = source.identity.bytes;
  const opened = request.withoutManifest
    ? withoutManifest(request, inputBytes)
    : await withManifest(path, request, inputBytes);
  const { job } = opened;
  return clearingOnFailure(job.dataKey, () => {
    // Refuses lengths that cannot be.
    segmentLayout(job);
    if (job.mode !== 'framed') return opened;
    const header = Buffer.alloc(HEADER_BYTES);
    readFully(source.handle.fd, header, 0);
    openFramedHeader(job.dataKey, header);
    return { ...opened, job: { ...job, iv: header.subarray(12, 44) } };
  });
}

/** A data key that does not come back to the caller is overwritten here. */
function clearingOnFailure<Result>(dataKey: Uint8Array, step: () => Result): Result {
  try {
    return step();
  } catch (error) {
    dataKey.fill(0);
    throw error;
  }
}

/**
 * The manifest beside a master of so many bytes, held to that length and, where a key is given, to the signature of its owner. It says
 * nothing yet of what is in the master. Throws `ERR_MASTER_MANIFEST_MISMATCH`, `ERR_MASTER_SIGNATURE`, and as `readManifest`.
 */
export async function readOwnManifest(
  path: string,
  inputBytes: number,
  verifyKey: KeyObject | undefined,
): Promise<MasterManifest> {
  const manifest = await readManifest(path);
  if (manifest.ciphertextBytes !== inputBytes) {
    throw new MasterError(
      'ERR_MASTER_MANIFEST_MISMATCH',
      `${path} has ${inputBytes} bytes, its manifest speaks of ${manifest.ciphertextBytes}: cut off, appended to, or another file`,
    );
  }
  if (verifyKey) checkManifestSignature(manifest, verifyKey);
  return manifest;
}

async function withManifest(path: string, request: OpenRequest, inputBytes: number): Promise<Opened> {
  const manifest = await readOwnManifest(path, inputBytes, request.verifyKey);
  const dataKey = await unwrapDataKey(manifest, request);
  clearingOnFailure(dataKey, () => checkManifestMac(manifest, dataKey));
  const iv = Buffer.from(manifest.iv ?? '', 'base64');
  return { manifest, job: { mode: manifest.mode, direction: 'decrypt', dataKey, iv, inputBytes } };
}

function withoutManifest({ withoutManifest: given, dataKey, verifyKey }: OpenRequest, inputBytes: number): Opened {
  if (!given || !dataKey) {
    throw new MasterError('ERR_MASTER_NO_MANIFEST', 'without a manifest the data key and the mode are needed');
  }
  const { mode, iv, unauthenticated } = given;
  if (verifyKey) throw new MasterError('ERR_MASTER_SIGNATURE', 'without a manifest there is no signature to verify');
  if ((mode === 'ctr' || mode === 'cbc') && !unauthenticated) {
    throw new MasterError(
      'ERR_MASTER_NO_MANIFEST',
      `in mode ${mode} nothing but a manifest shows whether the file was changed: say --unauthenticated to do without`,
    );
  }
  checkDataKey(dataKey);
  cipherName(mode, dataKey.length * 8);
  checkIv(mode, iv);
  const job = {
    mode,
    direction: 'decrypt' as const,
    dataKey: Uint8Array.from(dataKey),
    iv: iv ?? Buffer.alloc(0),
    inputBytes,
  };
  return { manifest: undefined, job };
}
