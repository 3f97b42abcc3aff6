import { Readable } from 'node:stream';
import { readObject } from '../../enclave-render/host/parent-objects.ts';
import { MANIFEST_CHARACTERS, openManifest, wholeManifest } from '../../enclave-render/render/manifest-signature.ts';
import { RenderError } from '../../enclave-render/render/render-manifest.ts';
import { s3Client, s3ObjectStore } from '../../enclave-render/storage/s3.ts';
import { namedByCode } from '../error-names.ts';
import { failuresOf, ownerKeys, RenderHandlerSchema, tasksOf } from '../render-settings.ts';
import { readSettings } from '../settings.ts';
import { RENDER_SECONDS } from '../state-machines.ts';

const { jobsBucket, owners, pcrs } = readSettings(RenderHandlerSchema);
const jobs = s3ObjectStore(s3Client(process.env.AWS_ENDPOINT_URL !== undefined), jobsBucket);
const keys = ownerKeys(owners);

/** A file name of a manifest in `submitted/`. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** How long a parent has to say that the time of a job is over, before nobody looks for it any more. */
const GRACE_SECONDS = 900;

/** What the steps that follow need to know of a job. `lookUntil`: seconds since the epoch, before the execution is over. */
export interface RegisteredJob {
  jobId: string;
  nonce: string;
  manifestSha384: string;
  lookUntil: number;
}

/**
 * Takes the manifest `submitted/<name>`: an owner signed it, its time is not over, it is for the enclave of this deployment, and its
 * template can be read. Then it goes to the parent. Fails with `ERR_RENDER_MANIFEST`, `_EXPIRED`, `_TEMPLATE`.
 */
export const handler = namedByCode(async ({ name }: { name: string }): Promise<RegisteredJob> => {
  if (!NAME.test(name)) throw refused('name is that of an object in submitted/');
  const jws = wholeManifest((await readObject(jobs, `submitted/${name}`, MANIFEST_CHARACTERS)) ?? '');
  if (jws === undefined) throw refused(`submitted/${name} is no signed manifest, or is not there`);
  const { manifest, payloadSha384 } = await openManifest(jws, keys);
  if (Date.now() >= 1000 * manifest.expiresAt) {
    throw new RenderError('ERR_RENDER_EXPIRED', 'the time of the manifest is over: sign another');
  }
  for (const [register, value] of Object.entries(pcrs)) {
    if (manifest.pcrs[register] !== value) throw refused(`PCR${register} is that of another enclave image`);
  }
  tasksOf(manifest);
  // Of an attempt before, which is not to be taken for this one's.
  for (const failure of failuresOf(manifest.jobId)) await jobs.delete(failure);
  await jobs.put(`incoming/${manifest.jobId}.jws`, Readable.from([Buffer.from(jws)]), {
    bytes: Buffer.byteLength(jws),
  });
  const { jobId, nonce, expiresAt } = manifest;
  const executionEnds = Math.floor(Date.now() / 1000) + RENDER_SECONDS;
  const lookUntil = Math.min(expiresAt + GRACE_SECONDS, executionEnds - GRACE_SECONDS);
  return { jobId, nonce, lookUntil, manifestSha384: payloadSha384 };
});

function refused(why: string): RenderError {
  return new RenderError('ERR_RENDER_MANIFEST', why);
}
