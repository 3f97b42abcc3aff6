import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { RenderManifest } from '../../enclave-render/render/render-manifest.ts';
import { TIMESTAMP } from './attestation-documents.ts';

/**
 * When the manifests of tests are issued, in seconds since the epoch: just before documents are signed. They hold for
 * an hour.
 */
export const ISSUED_AT = Math.floor(TIMESTAMP / 1000) - 60;

/** An owner: an Ed25519 pair that signs manifests, and an X25519 pair that opens outputs. */
export function renderOwner() {
  return { signing: generateKeyPairSync('ed25519'), outputs: generateKeyPairSync('x25519') };
}

/** A manifest of a job with one input and one step, and what the test says otherwise. */
export function renderManifest(owner: ReturnType<typeof renderOwner>, changes: Partial<RenderManifest> = {}) {
  const manifest: RenderManifest = {
    format: 'portcullis-render/1',
    jobId: 'job-1',
    nonce: randomBytes(32).toString('hex'),
    issuedAt: ISSUED_AT,
    expiresAt: ISSUED_AT + 3600,
    pcrs: { '0': '0a'.repeat(48), '1': '1b'.repeat(48), '2': '2c'.repeat(48) },
    roots: ['ab'.repeat(32)],
    jobKey: {
      keyId: 'arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d-0000-4000-8000-000000000000',
      context: { jobId: 'job-1' },
      encryptedKey: Buffer.from('a job key under KMS').toString('base64'),
      commitment: 'cd'.repeat(32),
    },
    inputs: [
      {
        name: 'Source',
        bytes: 4096,
        sha256: 'ef'.repeat(32),
        fileName: 'source.mkv',
        wrappedKey: 'a.wrapped.data.key.',
      },
    ],
    template: { specificationVersion: 'jobtemplate-2023-09', name: 'test', steps: [{ name: 'Transcode' }] },
    parameters: { Height: 360 },
    output: { ownerKey: owner.outputs.publicKey.export({ format: 'pem', type: 'spki' }).toString() },
  };
  return { ...manifest, ...changes };
}
