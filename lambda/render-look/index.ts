import { readObject } from '../../enclave-render/host/parent-objects.ts';
import { s3Client, s3ObjectStore } from '../../enclave-render/storage/s3.ts';
import { namedByCode } from '../error-names.ts';
import type { RegisteredJob } from '../render-register/index.ts';
import { failuresOf, RenderHandlerSchema } from '../render-settings.ts';
import { readSettings } from '../settings.ts';

const { jobsBucket } = readSettings(RenderHandlerSchema);
const jobs = s3ObjectStore(s3Client(process.env.AWS_ENDPOINT_URL !== undefined), jobsBucket);

/** How far a job is. `isIdle`: the parent has nothing else to do. */
export interface Look {
  state: 'waiting' | 'done' | 'failed';
  /** Of a job that failed. */
  code: string;
  isIdle: boolean;
}

/**
 * Looks for what the parent leaves of a job; it counts once the parent has put the manifest away. When the time is over the manifest
 * is put away here, so that no parent is kept for it.
 */
export const handler = namedByCode(async ({ jobId, lookUntil }: RegisteredJob): Promise<Look> => {
  const manifest = `incoming/${jobId}.jws`;
  const incoming: string[] = [];
  for await (const { key } of jobs.list('incoming/')) incoming.push(key);
  const isTaken = !incoming.includes(manifest);
  const isIdle = incoming.every((key) => key === manifest);
  if (isTaken && (await isThere(`jobs/${jobId}/receipt.json`))) return { state: 'done', code: '', isIdle };
  for (const failure of failuresOf(jobId)) {
    const text = isTaken ? await readObject(jobs, failure, 4096) : undefined;
    if (text !== undefined) return { state: 'failed', code: codeIn(text), isIdle };
  }
  if (Date.now() < 1000 * lookUntil) return { state: 'waiting', code: '', isIdle };
  await jobs.delete(manifest);
  return { state: 'failed', code: 'ERR_RENDER_EXPIRED', isIdle };
});

async function isThere(key: string): Promise<boolean> {
  for await (const { key: found } of jobs.list(key)) if (found === key) return true;
  return false;
}

/** The code that a parent wrote, who may write anything. */
function codeIn(text: string): string {
  return /"code":"(ERR_[A-Z_]{1,60})"/.exec(text)?.[1] ?? 'ERR_INTERNAL';
}
