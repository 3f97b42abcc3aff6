import { readObject } from '../../enclave-render/host/parent-objects.ts';
import { s3Client, s3ObjectStore } from '../../enclave-render/storage/s3.ts';
import { namedByCode } from '../error-names.ts';
import type { RegisteredJob } from '../render-register/index.ts';
import { failuresOf, RenderHandlerSchema } from '../render-settings.ts';
import { readSettings } from '../settings.ts';

const { jobsBucket } = readSettings(RenderHandlerSchema);
const jobs = s3ObjectStore(s3Client(process.env.AWS_ENDPOINT_URL !== undefined), jobsBucket);

/** How long a parent has to say that the time of a job is over, before nobody is waited for any more. */
const GRACE_SECONDS = 900;

/** How far a job is. `isIdle`: the parent has nothing else to do. */
export interface Look {
  state: 'waiting' | 'done' | 'failed';
  /** Of a job that failed. */
  code: string;
  isIdle: boolean;
}

/** Looks for what the parent leaves of a job; a receipt counts once the parent has put the manifest away. */
export const handler = namedByCode(async ({ jobId, expiresAt }: RegisteredJob): Promise<Look> => {
  const incoming: string[] = [];
  for await (const { key } of jobs.list('incoming/')) incoming.push(key);
  const isTaken = !incoming.includes(`incoming/${jobId}.jws`);
  const isIdle = incoming.length === 0;
  if (isTaken && (await isThere(`jobs/${jobId}/receipt.json`))) return { state: 'done', code: '', isIdle };
  for (const failure of failuresOf(jobId)) {
    const text = await readObject(jobs, failure, 4096);
    if (isTaken && text !== undefined) return { state: 'failed', code: codeIn(text), isIdle };
  }
  const isOver = Date.now() > 1000 * (expiresAt + GRACE_SECONDS);
  return isOver ? { state: 'failed', code: 'ERR_RENDER_EXPIRED', isIdle } : { state: 'waiting', code: '', isIdle };
});

async function isThere(key: string): Promise<boolean> {
  for await (const { key: found } of jobs.list(key)) if (found === key) return true;
  return false;
}

/** The code that a parent wrote, who may write anything. */
function codeIn(text: string): string {
  return /"code":"(ERR_[A-Z_]{1,60})"/.exec(text)?.[1] ?? 'ERR_INTERNAL';
}
