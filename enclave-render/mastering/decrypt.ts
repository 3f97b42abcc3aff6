import { timingSafeEqual } from 'node:crypto';
import { type AtomicOutput, beginOutput } from './atomic-output.ts';
import type { MasterManifest } from './manifest.ts';
import { fileError, MasterError } from './master-error.ts';
import { type Opened, type OpenRequest, openKey } from './opened.ts';
import { type OnProgress, type TransferResult, transfer } from './pipeline.ts';
import { ciphertextMac } from './signed-manifest.ts';
import { openSource } from './source-file.ts';

export interface VerifyRequest extends OpenRequest {
  /** The master. */
  source: string;
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | undefined;
}

export interface DecryptRequest extends VerifyRequest {
  output: string;
  /** Replaces an output that is there. */
  force?: boolean | undefined;
}

/** What was decrypted, or could be. Digests in hexadecimal. */
export interface Decrypted {
  mode: MasterManifest['mode'];
  plaintextBytes: number;
  plaintextSha256: string;
  /** False only of a file in `ctr` or `cbc` without a manifest. */
  authenticated: boolean;
  manifest: MasterManifest | undefined;
}

/**
 * Decrypts a master. Plaintext gets its name only once all of the master has been authenticated; until then it lies in a `.partial`
 * that only its owner can read, and is removed when anything is wrong. Rejects with `MasterError` or `KmsError`.
 */
export async function decryptMaster(request: DecryptRequest): Promise<Decrypted> {
  const { source, output, force } = request;
  return decrypt(request, () => beginOutput(output, { force, source }));
}

/** Whether a master is whole and can be opened: decrypts all of it, and keeps nothing. Rejects with `MasterError` or `KmsError`. */
export async function verifyMaster(request: VerifyRequest): Promise<Decrypted> {
  return decrypt(request);
}

async function decrypt(request: VerifyRequest, begin?: () => Promise<AtomicOutput>): Promise<Decrypted> {
  const { source: path, onProgress, signal } = request;
  const source = await openSource(path);
  let opened: Opened | undefined;
  let output: AtomicOutput | undefined;
  try {
    opened = await openKey(path, source, request);
    output = await begin?.();
    const { job, manifest } = opened;
    const result = await transfer({ job, inputFd: source.handle.fd, outputFd: output?.handle.fd, onProgress, signal });
    await source.checkUnchanged();
    if (manifest) checkAgainst(manifest, job.dataKey, result);
    await output?.commit();
    await output?.close();
    return {
      mode: job.mode,
      plaintextBytes: result.outputBytes,
      plaintextSha256: result.outputSha256,
      authenticated: manifest !== undefined || job.mode === 'gcm' || job.mode === 'framed',
      manifest,
    };
  } catch (error) {
    await output?.discard();
    if (signal?.aborted) throw new MasterError('ERR_MASTER_INTERRUPTED', 'interrupted: nothing was left behind');
    throw fileError(path, error);
  } finally {
    opened?.job.dataKey.fill(0);
    await source.handle.close();
  }
}

/** Throws `ERR_MASTER_AUTHENTICATION` unless the ciphertext, and what came of it, are what the manifest was signed for. */
function checkAgainst(manifest: MasterManifest, dataKey: Uint8Array, result: TransferResult): void {
  const { iv = '', mac, ciphertextSha256, plaintextSha256, plaintextBytes } = manifest;
  const isMac =
    mac === undefined || isEqual(mac, ciphertextMac(dataKey, Buffer.from(iv, 'base64'), result.inputSha256));
  if (
    isMac &&
    isEqual(ciphertextSha256, result.inputSha256) &&
    (plaintextSha256 === undefined || isEqual(plaintextSha256, result.outputSha256)) &&
    plaintextBytes === result.outputBytes
  )
    return;
  throw new MasterError(
    'ERR_MASTER_AUTHENTICATION',
    'the master is not what its manifest was signed for: it was changed, or this is the manifest of another one',
  );
}

function isEqual(a: string, b: string): boolean {
  return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}
