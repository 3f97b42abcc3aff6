import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { EmbeddedKms } from '../../enclave-render/kms/embedded.ts';
import { type EncryptRequest, encryptMaster } from '../../enclave-render/mastering/encrypt.ts';
import type { MasterMode } from '../../enclave-render/mastering/manifest.ts';
import { removeDirectory, temporaryDirectory } from './stack.ts';

export const KMS_KEY = 'alias/portcullis-mastering';
export const CONTEXT = { service: 'mediaconvert.amazonaws.com' };

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A folder of one suite, with a KMS in it. Removed at the end. */
export function mastersFolder() {
  const folder = temporaryDirectory();
  afterAll(() => removeDirectory(folder));
  let files = 0;
  const dataKeys = new EmbeddedKms({ keystore: join(folder, 'kms', 'keystore.json') });
  const created = dataKeys.createKey({ alias: KMS_KEY });
  const path = (name: string) => join(folder, name);
  /** A file of these bytes, or of so many random ones. */
  const file = (content: Uint8Array | number, name = `file-${++files}`, mode = 0o644) => {
    writeFileSync(path(name), typeof content === 'number' ? randomBytes(content) : content, { mode });
    return path(name);
  };
  /** Encrypts a file for the KMS key, unless told otherwise. */
  const encrypt = async (source: string, mode: MasterMode, options: Partial<EncryptRequest> = {}) => {
    await created;
    const output = options.output ?? path(`master-${++files}`);
    const kms = { dataKeys, keyId: KMS_KEY, context: CONTEXT };
    const manifest = await encryptMaster({ source, mode, kms, now: 1_795_000_000, ...options, output });
    return { output, manifest, bytes: readFileSync(output) };
  };
  return { folder, path, file, encrypt, dataKeys, kms: { dataKeys, keyId: KMS_KEY, context: CONTEXT } };
}

/** Names of all files in a folder whose name begins so: what an operation has left. */
export function filesOf(path: string): string[] {
  const [folder, name] = [join(path, '..'), path.slice(path.lastIndexOf('/') + 1)];
  return readdirSync(folder)
    .filter((entry) => entry.startsWith(name))
    .sort();
}
