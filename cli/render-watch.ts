import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { type Command, InvalidArgumentError } from 'commander';
import { loadAws } from '../config/aws.ts';
import { IngestError } from '../enclave-render/host/ingest.ts';
import { type JobQueue, openJobQueue } from '../enclave-render/host/job-queue.ts';
import { watchFolder } from '../enclave-render/host/watch-folder.ts';
import { createIngestRoutes, LEAST_SECRET_BYTES } from '../enclave-render/http/ingest-routes.ts';
import { readPrivateBytes } from '../enclave-render/private-file.ts';
import { checkBucketName } from '../enclave-render/storage/object-store.ts';
import { checkIncoming, type JobBucket, jobObjects, workOff } from '../local/render-watch.ts';
import { InputError, print, report } from './command.ts';
import { isolationOption, openShop, type ShopOptions, sayProgress } from './render-shop.ts';
import { DEFAULT_DATA } from './up.ts';

const HELP = `
Renders NAME.job.json when it is in FOLDER and whole, one job after the other (portcullis render submit --help has the fields). Leave out
jobId and output: a job gets a folder of its own, taken/ID, which moves to done/ID with job.json, outcome.json, receipt.json and
outputs/, or to failed/ID with outcome.json, which has the code. Paths of inputs are in FOLDER, and there before the job is.

With --listen it takes POST /v1/render/jobs too: a job file, or what S3 sends of NAME.job.json in the bucket of --bucket; signed with
a secret of 32 bytes or more (docs/render-jobs.md). Inputs may be masters in that bucket: s3://BUCKET/KEY.

It runs until it is stopped (Ctrl-C, SIGTERM); the job of that moment goes on when it is started again.

Examples:
  portcullis render watch jobs
  portcullis render watch jobs --json | jq -r 'select(.event == "failed") | .code'
  openssl rand -hex 32 >secret && chmod 600 secret
  portcullis render watch jobs --listen 8090 --secret secret --bucket masters`;

interface WatchOptions extends ShopOptions {
  listen?: Listen;
  secret?: string[];
  bucket?: string;
  json?: true;
}

interface Listen {
  host: string;
  port: number;
}

/** Adds `watch` to the command `render`. */
export function registerRenderWatch(group: Command): void {
  group
    .command('watch')
    .description('render the jobs that come into a folder, or by a webhook, until stopped')
    .argument('<folder>', 'folder that job files are put into')
    .option(
      '--listen <[host:]port>',
      'take jobs by HTTP as well; on loopback unless told otherwise, 0 is any free port',
      listenOf,
    )
    .option(
      '--secret <file>',
      'that jobs by HTTP are signed with (mode 0600); repeatable while one is replaced',
      collect,
    )
    .option('--bucket <name>', 'bucket of S3 that job files and masters are read from')
    .option('--data <directory>', 'data directory of the stack', DEFAULT_DATA)
    .option('--config <file>', 'configuration')
    .addOption(isolationOption())
    .option('--json', 'print a line of JSON for each thing that happens')
    .addHelpText('after', HELP)
    .action(watch);
}

function collect(text: string, previous: string[] = []): string[] {
  return [...previous, text];
}

/** `8090`, `0.0.0.0:8090` or `[::1]:8090`. */
function listenOf(text: string): Listen {
  const [, v6, name, port = ''] = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([^:\s[\]]+)):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === '' || Number(port) > 65_535) throw new InvalidArgumentError('It must be PORT or HOST:PORT.');
  return { host: v6 ?? name ?? '127.0.0.1', port: Number(port) };
}

async function watch(folder: string, options: WatchOptions): Promise<void> {
  const { json, listen, secret = [] } = options;
  if ((listen !== undefined) !== secret.length > 0) {
    throw new InputError('--listen and --secret FILE go together: jobs that come in by HTTP are signed');
  }
  const secrets = await Promise.all(secret.map(readSecret));
  const stopped = new AbortController();
  const stop = () => stopped.abort();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, stop);
  const bucket = options.bucket === undefined ? undefined : await openBucket(options.bucket);
  const shop = await openShop(options, true);
  const queue = await openJobQueue(folder);
  const signal = AbortSignal.any([stopped.signal, queue.lost]);
  const close: (() => Promise<unknown>)[] = [() => queue.close()];
  const say = (event: string, answer: object, line: string) => print(json, { event, ...answer }, [line]);
  try {
    const onTaken = (jobId: string) => say('taken', { jobId }, `${jobId}: taken`);
    const url = listen && (await serve(listen, { queue, secrets, bucket, onTaken }, close));
    const take = async (name: string) => {
      const jobId = await queue.take(name);
      if (jobId !== undefined) onTaken(jobId);
    };
    say(
      'watching',
      { folder: queue.folder, ...(url && { url }) },
      `watching ${queue.folder}${url ? `, and ${url}` : ''}`,
    );
    const watching = await watchFolder({ folder: queue.folder, take, report, now: Date.now });
    close.unshift(() => watching.close());
    const { tell, stop: stopBar } = sayProgress(json);
    await workOff({
      queue,
      shop,
      bucket,
      signal,
      onEvent: (_jobId, event) => tell(event),
      onRetry(jobId, code) {
        stopBar();
        say('retry', { jobId, code }, `${jobId}: ${code}; it is tried again`);
      },
      onEnd(outcome, place) {
        stopBar();
        const how = outcome.ok ? 'accepted' : `${outcome.code}: ${outcome.message}`;
        say(outcome.ok ? 'done' : 'failed', { ...outcome, folder: place }, `${outcome.jobId}: ${how}; see ${place}`);
      },
    });
    stopBar();
    if (queue.lost.aborted) throw new IngestError('ERR_INGEST_FOLDER', `another process took over ${queue.folder}`);
    say('stopped', {}, 'stopped; a job that is not over goes on at the next start');
  } finally {
    for (const end of close) await end();
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, stop);
  }
}

async function readSecret(path: string): Promise<Uint8Array> {
  const refused = (why: string) => new InputError(`cannot use secret ${path}: ${why}`);
  const bytes = await readPrivateBytes(path, refused);
  if (!bytes) throw refused(`there is no such file: openssl rand -hex 32 >${path} && chmod 600 ${path}`);
  // As a shell puts a secret into a command: without the end of its line.
  const end = bytes.at(-1) === 0x0a ? bytes.length - 1 : bytes.length;
  if (end < LEAST_SECRET_BYTES) throw refused(`it has ${end} bytes, and ${LEAST_SECRET_BYTES} are the least`);
  return bytes.subarray(0, end);
}

async function openBucket(name: string): Promise<JobBucket> {
  checkBucketName(name);
  const { s3Client, s3ObjectStore } = await loadAws(() => import('../enclave-render/storage/s3.ts'));
  const client = s3Client(Boolean(process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL));
  return { name, store: s3ObjectStore(client, name) };
}

interface Webhook {
  queue: JobQueue;
  secrets: Uint8Array[];
  bucket: JobBucket | undefined;
  onTaken: (jobId: string) => void;
}

/** Serves the webhook; resolves with its URL. */
async function serve(
  { host, port }: Listen,
  { queue, secrets, bucket, onTaken }: Webhook,
  close: (() => Promise<unknown>)[],
): Promise<string> {
  const app = createIngestRoutes({
    onJob: async (job) => {
      await checkIncoming(job.text);
      if (await queue.keep(job)) onTaken(job.id);
    },
    secrets,
    ...(bucket && { readObject: jobObjects(bucket) }),
    now: () => Date.now() / 1000,
    report,
  });
  const server = createAdaptorServer({ fetch: app.fetch });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new InputError(`cannot listen on ${host}, port ${port}: ${error.code}; choose another with --listen`));
    });
    server.listen(port, host, resolve);
  });
  close.unshift(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        if ('closeIdleConnections' in server) server.closeIdleConnections();
      }),
  );
  const { address, port: bound } = server.address() as AddressInfo;
  return `http://${address.includes(':') ? `[${address}]` : address}:${bound}/v1/render/jobs`;
}
