import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readPrivateKeyFile } from '../enclave-render/mastering/key-files.ts';
import { fileError } from '../enclave-render/mastering/master-error.ts';

/** The keys of whoever has things rendered: private ones, which leave this folder for nowhere. */
export interface RenderOwner {
  /** Ed25519, signs manifests and checkpoints of the audit log. */
  signing: KeyObject;
  /** EC P-256, opens outputs. */
  opening: KeyObject;
}

const FILES = { signing: 'sign.pem', opening: 'open.pem' } as const;

/** Where the private key that opens outputs is. */
export function openingKeyPath(folder: string): string {
  return join(folder, FILES.opening);
}

/** Where the private key that signs manifests and checkpoints of the audit log is. */
export function signingKeyPath(folder: string): string {
  return join(folder, FILES.signing);
}

/** Opens the owner's keys in a folder (mode 0700, files 0600), and makes them when they are not there. Rejects with `MasterError`. */
export async function openRenderOwner(folder: string): Promise<RenderOwner> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error) => {
    throw fileError(folder, error);
  });
  const signing = await keyIn(signingKeyPath(folder), () => generateKeyPairSync('ed25519'));
  const opening = await keyIn(openingKeyPath(folder), () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' }));
  return { signing, opening };
}

/** A public key in PEM (SPKI). */
export function publicPem(key: KeyObject): string {
  return createPublicKey(key).export({ type: 'spki', format: 'pem' }).toString();
}

async function keyIn(path: string, make: () => { privateKey: KeyObject }): Promise<KeyObject> {
  if (!existsSync(path)) await writeKey(path, make().privateKey);
  return readPrivateKeyFile(path);
}

async function writeKey(path: string, key: KeyObject): Promise<void> {
  const partial = `${path}.${process.pid}`;
  try {
    await writeFile(partial, key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flush: true });
    // Of two who make it at once, both get the same.
    await link(partial, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fileError(path, error);
  } finally {
    await rm(partial, { force: true });
  }
}
