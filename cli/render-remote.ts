import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { loadAws } from '../config/aws.ts';
import { readConfiguration } from '../config/configuration.ts';
import { AWS_NITRO_ROOT } from '../enclave-render/attestation/attestation-document.ts';
import { explainReceipt } from '../enclave-render/receipt/explain-receipt.ts';
import { fileObjectStore } from '../enclave-render/storage/files.ts';
import { checkBucketName, type ObjectStore } from '../enclave-render/storage/object-store.ts';
import { openDataKeys } from '../local/data-keys.ts';
import { fetchJob, offerJob } from '../local/remote-jobs.ts';
import {
  auditLogPath,
  openOwnerSide,
  type RenderJob,
  receiptPath,
  submitJob,
  submittedJob,
} from '../local/render-jobs.ts';
import { readPcrs } from './attest.ts';
import { InputError, note, print } from './command.ts';
import { answering } from './render-refusal.ts';
import { isolationOption, type ShopOptions } from './render-shop.ts';
import { DEFAULT_DATA } from './up.ts';

const FETCH_HELP = `
Of a job that was submitted with --image-pcrs and --to, on the machine where it was. Verifies and accepts it as render submit does; the
parent is believed nothing. Exit codes: 0 accepted, 1 refused or failed (with the code), 69 not rendered yet.

Examples:
  portcullis render fetch job-0123456789abcdef --from s3://jobs
  until portcullis render fetch job-0123456789abcdef --from s3://jobs --json; do [ $? = 69 ] || break; sleep 60; done`;

/** Options of `render submit` for enclaves elsewhere. */
export interface OfferOptions extends ShopOptions {
  imagePcrs?: string;
  to?: string;
  jobKey?: string;
  json?: true;
}

type Offer = OfferOptions & { imagePcrs: string; to: string };

/** Whether a job is for enclaves elsewhere. Throws `InputError` when only half of that is said. */
export function isOffer(options: OfferOptions): options is Offer {
  const { imagePcrs, to, jobKey } = options;
  if (imagePcrs !== undefined && to !== undefined) return true;
  if (imagePcrs === undefined && to === undefined && jobKey === undefined) return false;
  throw new InputError(
    '--image-pcrs FILE and --to PLACE go together, for enclaves of AWS; --job-key ID goes with both',
  );
}

/** Signs a job for a Nitro image, and puts it where its parent takes it. */
export async function offer(job: RenderJob, { data, config, isolation, imagePcrs, to, jobKey, json }: Offer) {
  const pcrs = await readPcrs(imagePcrs);
  const submitted = await answering({ json }, async () => {
    const store = await openPlace(to);
    const { mastering } = await readConfiguration(config);
    const dataKeys = await openDataKeys(mastering, data, { create: true });
    const offered = await submitJob(
      {
        ...(await openOwnerSide(data, isolation)),
        launcher: { pcrs, root: AWS_NITRO_ROOT },
        kms: dataKeys,
        jobKeyId: jobKey,
        mastering: job.mastering ? { dataKeys, keyId: mastering.keyId } : undefined,
      },
      job,
    );
    await offerJob(offered, store).catch(async (error) => {
      // It can be submitted again, under its own name.
      await rm(offered.folder, { recursive: true, force: true });
      throw error;
    });
    return offered;
  });
  if (!submitted) return;
  const { jobId, manifestSha384 } = submitted;
  print(json, { ok: true, jobId, manifestSha384, to }, [`${jobId} is in ${to}, for its parent to take`]);
  if (!json) note(`portcullis render fetch ${jobId} --from ${to} brings it back`);
}

/** Adds `fetch` to the command `render`. */
export function registerRenderFetch(group: Command): void {
  group
    .command('fetch')
    .description('bring back what enclaves of AWS rendered, verify its receipt, and accept its outputs')
    .argument('<jobId>', 'id of the job')
    .requiredOption('--from <place>', 's3://BUCKET or folder that it was submitted to')
    .addOption(isolationOption())
    .option('--data <directory>', 'data directory of the stack', DEFAULT_DATA)
    .option('--json', 'print JSON')
    .addHelpText('after', FETCH_HELP)
    .action(fetchIt);
}

async function fetchIt(jobId: string, { from, data, isolation, json }: ShopOptions & { from: string; json?: true }) {
  const side = await openOwnerSide(data, isolation);
  const fetched = await answering({ json, jobId }, async () => {
    const job = await submittedJob(side, jobId);
    return { job, verified: await fetchJob(side, job, await openPlace(from)) };
  });
  if (!fetched) return;
  const { job, verified } = fetched;
  const outputs = verified.outputs.map(({ name }) => join(job.output, name));
  const answer = { ok: true, jobId, receipt: receiptPath(job), auditLog: auditLogPath(side) };
  print(json, { ...answer, verified: true, simulated: verified.simulated, outputs }, [
    ...explainReceipt(verified),
    `The outputs are in ${job.output}, the receipt in ${answer.receipt}.`,
  ]);
}

/** Where jobs are put for a parent: a bucket, or a folder that is there. */
async function openPlace(text: string): Promise<ObjectStore> {
  const [, bucket] = /^s3:\/\/([^/]+)\/?$/.exec(text) ?? [];
  if (bucket === undefined) {
    if (/^[a-z][a-z\d+.-]*:\/\//i.test(text)) throw new InputError(`${text}: s3://BUCKET, or a folder`);
    return fileObjectStore(text);
  }
  checkBucketName(bucket);
  const { s3Client, s3ObjectStore } = await loadAws(() => import('../enclave-render/storage/s3.ts'));
  const endpoint = process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL;
  return s3ObjectStore(s3Client(endpoint !== undefined), bucket);
}
