import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { AttestationError, PolicyError } from '../../enclave-render/attestation/attestation-error.ts';
import { readObject } from '../../enclave-render/host/parent-objects.ts';
import { RECEIPT_CHARACTERS } from '../../enclave-render/receipt/parse-receipt.ts';
import { ReceiptError } from '../../enclave-render/receipt/receipt-error.ts';
import { type VerifiedReceipt, verifyReceipt } from '../../enclave-render/receipt/verify-receipt.ts';
import { RenderError } from '../../enclave-render/render/render-manifest.ts';
import { StorageError } from '../../enclave-render/storage/object-store.ts';
import { s3Client, s3ObjectStore } from '../../enclave-render/storage/s3.ts';
import { namedByCode } from '../error-names.ts';
import { lambdaMetrics } from '../metrics.ts';
import type { RegisteredJob } from '../render-register/index.ts';
import { ownerKeys, RenderHandlerSchema, tasksOf } from '../render-settings.ts';
import { readSettings } from '../settings.ts';

const { jobsBucket, auditBucket, owners, roots } = readSettings(RenderHandlerSchema);
const client = s3Client(process.env.AWS_ENDPOINT_URL !== undefined);
const jobs = s3ObjectStore(client, jobsBucket);
const audit = s3ObjectStore(client, auditBucket);
const keys = ownerKeys(owners);
const metric = lambdaMetrics('render');

/** What became of a job; `code` of a receipt that is refused. `statementSha384` is what an accepted one is known by. */
export type Outcome =
  | { jobId: string; accepted: true; statementSha384: string; simulated: boolean }
  | { jobId: string; accepted: false; code: string };

/**
 * Verifies the receipt of a job without the owner's private key: everything but that outputs open to what was rendered, which the owner
 * verifies when they are fetched. Receipt and outcome are kept in the audit bucket, a refused one too.
 */
export const handler = namedByCode(async ({ jobId, nonce, manifestSha384 }: RegisteredJob): Promise<Outcome> => {
  const text = (await readObject(jobs, `jobs/${jobId}/receipt.json`, RECEIPT_CHARACTERS)) ?? '';
  const name = `receipts/${jobId}/${createHash('sha256').update(text).digest('hex')}`;
  await keep(`${name}.json`, text);
  const outcome = await judge(text, { jobId, nonce, manifestSha384 });
  await keep(`${name}.${outcome.accepted ? 'accepted' : 'refused'}.json`, JSON.stringify(outcome));
  return outcome;
});

async function judge(text: string, job: Pick<RegisteredJob, 'jobId' | 'nonce' | 'manifestSha384'>): Promise<Outcome> {
  const { jobId, nonce, manifestSha384 } = job;
  try {
    const usedFor = await readObject(audit, `nonces/${nonce}`, 96);
    const verified = await verifyReceipt(text, {
      ownerKeys: keys,
      manifestSha384,
      roots,
      isolation: ['bubblewrap'],
      nonceUsedFor: () => usedFor,
      tasksOf,
      outputs: 'not-checked',
    });
    await useNonce(nonce, verified);
    const { statementSha384, simulated } = verified;
    return { jobId, accepted: true, statementSha384, simulated };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    metric('ReceiptRefused', 1);
    console.error(`the receipt of ${jobId} is refused: ${error.code}: ${error.message}`);
    return { jobId, accepted: false, code: error.code };
  }
}

/** A nonce is for one statement. Of two executions that verify at once, one finds it taken when it looks again. */
async function useNonce(nonce: string, { statementSha384 }: VerifiedReceipt): Promise<void> {
  await keep(`nonces/${nonce}`, statementSha384);
  const usedFor = await readObject(audit, `nonces/${nonce}`, 96);
  if (usedFor === statementSha384) return;
  throw new ReceiptError('ERR_RECEIPT_NONCE', 'another receipt of this manifest was accepted');
}

/** Keeps an object that is not there yet: what is there stays. */
async function keep(key: string, content: string): Promise<void> {
  const options = { bytes: Buffer.byteLength(content), ifAbsent: true };
  await audit.put(key, Readable.from([Buffer.from(content)]), options).catch((error) => {
    if (!(error instanceof StorageError && error.code === 'ERR_STORAGE_EXISTS')) throw error;
  });
}

function isRefusal(error: unknown): error is ReceiptError | AttestationError | PolicyError | RenderError {
  return [ReceiptError, AttestationError, PolicyError, RenderError].some((refusal) => error instanceof refusal);
}
