import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import type { Command } from 'commander';
import { readPrivateKeyFile } from '../enclave-render/mastering/key-files.ts';
import { thumbprint } from '../enclave-render/mastering/public-key.ts';
import { explainReceipt } from '../enclave-render/receipt/explain-receipt.ts';
import { type VerifiedReceipt, verifyReceipt } from '../enclave-render/receipt/verify-receipt.ts';
import type { RenderEvent } from '../enclave-render/render/event-codes.ts';
import type { Renderer } from '../enclave-render/render/render-task.ts';
import type { Isolation } from '../enclave-render/render/sandbox.ts';
import { parseJobFile } from '../local/render-job-file.ts';
import {
  auditLogPath,
  manifestOf,
  openIdentity,
  quarantineOf,
  type RenderShop,
  receiptPath,
  runSubmittedJob,
  type SubmittedJob,
  submitJob,
  submittedJob,
  tasksOf,
} from '../local/render-jobs.ts';
import { openingKeyPath, publicPem } from '../local/render-owner.ts';
import { alignColumns, note, print, readJson, readText, report } from './command.ts';
import { receiptPolicy } from './receipt-policy.ts';
import { registerRenderCompare } from './render-compare.ts';
import { registerRenderPublish } from './render-publish.ts';
import { answering, type FailedTask } from './render-refusal.ts';
import { isOffer, type OfferOptions, offer, registerRenderFetch } from './render-remote.ts';
import { isolationOption, openShop, type ShopOptions, sayProgress } from './render-shop.ts';
import { registerRenderWatch } from './render-watch.ts';
import { DEFAULT_DATA } from './up.ts';

const SUBMIT_HELP = `
JOB is a JSON file:
  {
    "template": "transcode",             a preset, or an Open Job Description template (docs/render-jobs.md)
    "parameters": {"Height": 360},
    "inputs": {"Source": "mezzanine.mov"},     plain files, encrypted first, or framed masters
    "output": "rendered",                folder of the outputs, not there yet
    "mastering": true,                   the mastering key of the configuration opens them, too
    "splitSeconds": 60,                  transcode in parts, a task each; of MP4 and MOV
    "expiresInSeconds": 3600
  }
The job runs in a simulated enclave on this machine: its receipt shows that the parts fit together, not who saw the
plaintext (docs/enclave.md). Outputs are framed masters for the owner's key: portcullis master decrypt opens them.

Examples:
  portcullis render submit job.json
  portcullis render submit job.json --json | jq -r .receipt
  portcullis render submit job.json --no-verify          the outputs wait in <output>.quarantine
  portcullis render submit job.json --image-pcrs pcrs.json --to s3://jobs --job-key alias/render     on AWS`;

const RESUME_HELP = `
Goes on with a job that was interrupted, without redoing finished tasks, or accepts one that was not verified. Outputs that
went missing, or were changed before they were accepted, are made again.

Examples:
  portcullis render resume job-0123456789abcdef`;

const VERIFY_HELP = `
Documents are verified at their own time, so that a receipt can be verified years later. A receipt of a simulated enclave
is refused unless its root is named: portcullis render keys prints that of this machine.

Examples:
  portcullis render verify receipt.json
  portcullis render verify receipt.json --root "$(portcullis render keys --json | jq -r .simulatorRoot)"
  portcullis render verify receipt.json --owner-key owner.pub.pem --outputs rendered --private-key open.pem --json`;

const KEYS_HELP = `
Made at first use, in <data>/render/owner, mode 0600: one signs manifests, one opens outputs. Keep a copy of both.

Examples:
  portcullis render keys
  portcullis render keys --json | jq -r .manifestKey >owner.pub.pem`;

interface CommonOptions {
  data: string;
  config?: string;
  json?: true;
}

interface SubmitOptions extends ShopOptions {
  verify: boolean;
  json?: true;
  keepWork?: true;
}

interface VerifyOptions extends CommonOptions {
  root?: string[];
  ownerKey?: string[];
  outputs?: string;
  privateKey?: string;
  isolation: Isolation;
}

export function registerRender(program: Command): void {
  const render = program.command('render').description('have titles rendered in an enclave, and verify what was done');
  add(render, 'submit', 'render a job, verify its receipt, and accept its outputs', SUBMIT_HELP)
    .argument('<job>', 'JSON file')
    .option('--no-verify', 'leave the outputs where they are, unverified')
    .option('--keep-work', 'keep encrypted inputs and checkpoints when the outputs are accepted')
    .option('--image-pcrs <file>', 'for enclaves of AWS Nitro with these registers (enclave image --json | jq .pcrs)')
    .option('--to <place>', 's3://BUCKET or folder that their parent takes jobs from')
    .option('--job-key <id>', 'KMS key of jobs, which decrypts for these enclaves only')
    .addOption(isolationOption())
    .action(async (file: string, options: SubmitOptions & OfferOptions) => {
      const job = await parseJobFile(file, await readJson(file));
      if (isOffer(options)) return offer(job, options);
      const opened = await answering(options, async () => {
        const shop = await openShop(options, job.mastering);
        return { shop, job: await submitJob(shop, job) };
      });
      if (opened) await run(opened.shop, opened.job, options);
    });

  add(render, 'resume', 'go on with a job that was interrupted', RESUME_HELP)
    .argument('<jobId>', 'id of the job')
    .option('--no-verify', 'leave the outputs where they are, unverified')
    .option('--keep-work', 'keep encrypted inputs and checkpoints when the outputs are accepted')
    .addOption(isolationOption())
    .action(async (jobId: string, options: SubmitOptions) => {
      const opened = await answering({ ...options, jobId }, async () => {
        const shop = await openShop(options, false);
        return { shop, job: await submittedJob(shop, jobId) };
      });
      if (opened) await run(opened.shop, opened.job, options);
    });

  registerRenderFetch(render);
  registerRenderWatch(render);

  add(render, 'verify', 'say what a receipt proves', VERIFY_HELP)
    .argument('<receipt>', 'JSON file')
    .option('--root <sha256>', 'fingerprint of a root to trust beside that of AWS Nitro, repeatable', collect)
    .option(
      '--owner-key <file>',
      'Ed25519 public key of the owner, PEM or JWK, instead of that of this machine, repeatable',
      collect,
    )
    .option('--outputs <folder>', 'verify the outputs, too')
    .option('--private-key <file>', 'that opens the outputs, instead of that of this machine')
    .addOption(isolationOption())
    .action(verify);

  registerRenderCompare(render);
  registerRenderPublish(render);

  add(render, 'keys', "the owner's public keys, and the root of simulated enclaves here", KEYS_HELP).action(
    async ({ data, json }: CommonOptions) => {
      const { owner, simulatorRoot } = await openIdentity(data);
      const answer = {
        manifestKey: publicPem(owner.signing),
        manifestKeyId: thumbprint(createPublicKey(owner.signing)),
        outputKey: publicPem(owner.opening),
        outputKeyId: thumbprint(createPublicKey(owner.opening)),
        simulatorRoot,
      };
      print(json, answer, [
        ...alignColumns([
          ['signs manifests', answer.manifestKeyId],
          ['opens outputs', answer.outputKeyId],
          ['simulator root', simulatorRoot],
        ]),
      ]);
    },
  );
}

function collect(text: string, previous: string[] = []): string[] {
  return [...previous, text];
}

function add(parent: Command, name: string, description: string, help: string): Command {
  return parent
    .command(name)
    .description(description)
    .option('--data <directory>', 'data directory of the stack', DEFAULT_DATA)
    .option('--config <file>', 'configuration')
    .option('--json', 'print JSON')
    .addHelpText('after', help);
}

async function run(shop: RenderShop, job: SubmittedJob, options: SubmitOptions): Promise<void> {
  const { jobId } = job;
  const interrupted = new AbortController();
  const interrupt = () => interrupted.abort();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, interrupt);
  let isOver = false;
  let failed: FailedTask | undefined;
  const { tell, stop } = sayProgress(options.json);
  const onEvent = (event: RenderEvent) => {
    if (event.code === 'TASK_FAILED') failed = { id: event.task, renderer: rendererOf(job, event.task) };
    tell(event);
  };
  try {
    if (!options.json) report(`${jobId} is submitted`);
    const running = {
      onEvent,
      signal: interrupted.signal,
      verify: options.verify,
      keepWork: options.keepWork ?? false,
    };
    const answer = { ok: true, jobId, receipt: receiptPath(job), auditLog: auditLogPath(shop) };
    const proven = await answering(
      { ...options, jobId },
      async () => ({ verified: await runSubmittedJob(shop, job, running) }),
      () => failed,
    ).finally(stop);
    if (!proven) return;
    isOver = true;
    if (!proven.verified) {
      const outputs = quarantineOf(job);
      note(`nothing was verified; ${resuming(jobId, options)} verifies and accepts it`);
      print(options.json, { ...answer, verified: false, outputs }, [`${jobId}: rendered, not verified`, outputs]);
      return;
    }
    const outputs = proven.verified.outputs.map(({ name }) => join(job.output, name));
    print(options.json, { ...answer, verified: true, simulated: proven.verified.simulated, outputs }, [
      ...explainReceipt(proven.verified),
      `The outputs are in ${job.output}, the receipt in ${answer.receipt}; the outputs open with ${openingKeyPath(join(shop.folder, 'owner'))}.`,
    ]);
  } finally {
    if (!isOver) note(`${resuming(jobId, options)} goes on with it, while its manifest is valid`);
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, interrupt);
  }
}

/** The command that goes on with a job: with the options that lead to it. */
function resuming(jobId: string, { data, config, isolation }: SubmitOptions): string {
  const quoted = (text: string) => (/^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const options = [
    ...(data === DEFAULT_DATA ? [] : ['--data', quoted(data)]),
    ...(config === undefined ? [] : ['--config', quoted(config)]),
    ...(isolation === 'bubblewrap' ? [] : ['--isolation', isolation]),
  ];
  return ['portcullis render resume', jobId, ...options].join(' ');
}

function rendererOf(job: SubmittedJob, id: string | undefined): Renderer | undefined {
  return tasksOf(manifestOf(job)).find((task) => task.id === id)?.renderer;
}

async function verify(file: string, options: VerifyOptions): Promise<void> {
  const { json } = options;
  const text = await readText(file);
  const isForeign = options.ownerKey && (options.outputs === undefined || options.privateKey !== undefined);
  const owner = isForeign ? undefined : (await openIdentity(options.data)).owner;
  const policy = await receiptPolicy(options, owner);
  const privateKey = options.privateKey ? await readPrivateKeyFile(options.privateKey) : owner?.opening;
  const verified = await answering<VerifiedReceipt>(options, () =>
    verifyReceipt(text, {
      ...policy,
      outputs: options.outputs && privateKey ? { folder: options.outputs, privateKey } : 'not-checked',
    }),
  );
  if (!verified) return;
  const { manifest, manifestSha384, statementSha384, launches, outputs, outputsVerified, simulated } = verified;
  const tasks = verified.tasks.map(({ task, renderer, sandbox }) => ({ id: task.id, renderer, sandbox }));
  const answer = { jobId: manifest.jobId, manifestSha384, statementSha384, launches, tasks, outputs };
  print(json, { ok: true, ...answer, outputsVerified, simulated }, explainReceipt(verified));
}
