import { createPublicKey, type KeyObject } from 'node:crypto';
import * as v from 'valibot';
import { AWS_NITRO_ROOT } from '../enclave-render/attestation/attestation-document.ts';
import { expandTemplate } from '../enclave-render/render/job-template.ts';
import type { RenderManifest } from '../enclave-render/render/render-manifest.ts';
import type { RenderTask } from '../enclave-render/render/render-task.ts';

/** What the handlers of the render state machine read, the same for all of them. */
export const RenderHandlerSchema = v.strictObject({
  jobsBucket: v.string(),
  auditBucket: v.string(),
  /** Ed25519 public keys that sign manifests: SPKI, base64. */
  owners: v.pipe(v.array(v.string()), v.minLength(1)),
  /** Registers of the enclave that may have job keys. */
  pcrs: v.record(v.string(), v.string()),
  /** SHA-256 fingerprints of the roots of attestation. */
  roots: v.optional(v.array(v.string()), [AWS_NITRO_ROOT]),
});

/** The public keys of owners. Throws when one is none. */
export function ownerKeys(owners: readonly string[]): KeyObject[] {
  return owners.map((key) => createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' }));
}

/** The tasks of a manifest's template. Throws `ERR_RENDER_TEMPLATE`. */
export function tasksOf({ template, parameters, inputs }: RenderManifest): readonly RenderTask[] {
  return expandTemplate(template, parameters, inputs);
}

/** Where the parent puts why it did not take a manifest, or did not render it. */
export function failuresOf(jobId: string): string[] {
  return [`jobs/${jobId}/failure.json`, `refused/${jobId}.jws.failure.json`];
}
