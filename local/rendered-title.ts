import { createHash, randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import * as v from 'valibot';
import { lineHash } from '../enclave-render/audit/audit-chain.ts';
import { verifyAuditLog } from '../enclave-render/audit/verify-audit-log.ts';
import { openMaster } from '../enclave-render/mastering/open-master.ts';
import { acceptedBefore } from '../enclave-render/receipt/accept-receipt.ts';
import { explainReceipt } from '../enclave-render/receipt/explain-receipt.ts';
import type { VerifiedReceipt } from '../enclave-render/receipt/verify-receipt.ts';
import {
  acceptanceOf,
  auditLogPath,
  quarantineOf,
  type RenderShop,
  receiptPath,
  runSubmittedJob,
  type SubmittedJob,
  submitJob,
  submittedJob,
} from './render-jobs.ts';
import type { RenderChain } from './title-chain.ts';

/** What the title of the stack is rendered from and to. */
export interface RenderedTitleOptions {
  title: string;
  shop: RenderShop;
  /** The mezzanine, a file; its SHA-256 in hexadecimal. */
  source: string;
  sourceSha256: string;
  /** Folder that the masters come to, as it is when their receipt was verified. */
  output: string;
  report: (line: string) => void;
}

/** Encodings by name, and the task that each comes from. */
const HEIGHTS = [360, 180];
const STEP = 'encode';
const FILE = 'title.mp4';
const FONT = '/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf';
/** 25 frames a second, segments of two seconds. */
const KEY_FRAMES = '50';

/**
 * The job of the stack (Open Job Description, docs/render-jobs.md): each encoding with the id of the job burnt in, small, so that what
 * leaks can be led back to its job.
 */
const TEMPLATE = {
  specificationVersion: 'jobtemplate-2023-09',
  name: 'Title',
  parameterDefinitions: [
    { name: 'Source', type: 'PATH', objectType: 'FILE', dataFlow: 'IN' },
    { name: 'Text', type: 'STRING', minLength: 1, maxLength: 120 },
  ],
  steps: [
    {
      name: STEP,
      parameterSpace: { taskParameterDefinitions: [{ name: 'Height', type: 'INT', range: HEIGHTS }] },
      script: {
        actions: {
          onRun: {
            command: 'ffmpeg',
            args: [
              ...['-i', '{{Param.Source}}', '-map', '0:v:0', '-map', '0:a?', '-map_metadata', '-1'],
              '-vf',
              `scale=-2:{{Task.Param.Height}}:flags=bicubic,drawtext=fontfile=${FONT}:expansion=none:text={{Param.Text}}` +
                ':fontsize=h/30:fontcolor=white@0.35:x=w-text_w-h/40:y=h-2*text_h,format=yuv420p',
              ...['-c:v', 'libx264', '-threads', '2', '-preset', 'veryfast', '-crf', '25', '-bf', '0'],
              ...['-g', KEY_FRAMES, '-keyint_min', KEY_FRAMES, '-sc_threshold', '0', '-c:a', 'copy'],
              `/out/${FILE}`,
            ],
          },
        },
      },
    },
  ],
};

/** Which job rendered the title, and of what, kept beside its masters. */
const StateSchema = v.strictObject({ sourceSha256: v.string(), jobId: v.string() });

const statePath = (output: string) => `${output}.render.json`;

/** The encodings that a render makes, tallest first, and the master of each. */
export function renderedMasters(output: string): { name: string; path: string }[] {
  return HEIGHTS.map((height, index) => ({ name: `${height}p`, path: join(output, `${STEP}.${index + 1}`, FILE) }));
}

/**
 * Renders the title in an enclave of this machine, or finds that it was: verifies the receipt, and only then has masters. Rejects with
 * the error of the link that broke; then there are none.
 */
export async function renderTitle(options: RenderedTitleOptions): Promise<{ chain: RenderChain; isNew: boolean }> {
  const { title, shop, source, sourceSha256, output, report } = options;
  const known = await rendered(options);
  if (known) return { chain: known, isNew: false };
  report(`rendering ${title} in an enclave with a simulated security module`);
  // Also what a start that was killed, or a job that was refused, has left.
  for (const left of [output, quarantineOf({ output })]) await rm(left, { recursive: true, force: true });
  const jobId = `${title}-${randomBytes(4).toString('hex')}`;
  const job = await submitJob(shop, {
    jobId,
    template: TEMPLATE,
    parameters: { Text: jobId },
    inputs: { Source: { path: source, fileName: 'mezzanine.mp4' } },
    output,
    mastering: true,
  });
  const verified = await runSubmittedJob(shop, job, {
    onEvent: ({ code, task }) => {
      if (code === 'TASK_FINISHED') report(`rendered ${task} of ${title}`);
    },
  });
  if (!verified) throw new Error('a receipt was not verified');
  await writeFile(statePath(output), JSON.stringify({ sourceSha256, jobId }), { mode: 0o600 });
  return { chain: await chainOf(shop, job, verified), isNew: true };
}

/**
 * What an earlier start rendered of the same mezzanine, if KMS opens it and its receipt is verified again, which was accepted: what is kept
 * says which job it was, and is believed nothing else.
 */
async function rendered({ shop, output, sourceSha256 }: RenderedTitleOptions): Promise<RenderChain | undefined> {
  try {
    const state = v.parse(StateSchema, JSON.parse(await readFile(statePath(output), 'utf8')));
    if (state.sourceSha256 !== sourceSha256) return undefined;
    const dataKeys = shop.mastering?.dataKeys;
    for (const { path } of renderedMasters(output)) await (await openMaster(path, { dataKeys })).close();
    const job = await submittedJob(shop, state.jobId);
    if (job.output !== resolve(output)) return undefined;
    const verified = await acceptedBefore(await readFile(receiptPath(job), 'utf8'), acceptanceOf(shop, job));
    return verified && (await chainOf(shop, job, verified));
  } catch {
    return undefined;
  }
}

/** What a verified receipt says of the render, with the entries of the audit log about it. */
async function chainOf(shop: RenderShop, job: SubmittedJob, verified: VerifiedReceipt): Promise<RenderChain> {
  const { jobId } = job;
  const [launch] = verified.launches;
  return {
    jobId,
    moduleId: launch?.moduleId ?? '',
    // Those that the manifest allows; the others say nothing about the code.
    pcrs: Object.fromEntries(Object.keys(verified.manifest.pcrs).map((index) => [index, launch?.pcrs[index] ?? ''])),
    root: launch?.root ?? '',
    simulated: verified.simulated,
    manifestSha384: verified.manifestSha384,
    receiptSha256: sha256(await readFile(receiptPath(job))),
    proven: explainReceipt(verified),
    audit: await auditOf(shop, jobId),
  };
}

/** The entries of the audit log that are about a job, with what chains each to the one before. Rejects with `AuditError`. */
async function auditOf(shop: RenderShop, jobId: string): Promise<RenderChain['audit']> {
  const text = await readFile(auditLogPath(shop), 'utf8');
  const { entries } = await verifyAuditLog(text, { checkpoints: [], keys: [], copies: [] });
  const lines = text.split('\n');
  return entries
    .filter((entry) => entry.jobId === jobId)
    .map(({ sequence, event }) => ({ sequence, event, sha256: lineHash(lines[sequence]) }));
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
