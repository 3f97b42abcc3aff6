import { AttestationError, PolicyError } from '../enclave-render/attestation/attestation-error.ts';
import { AuditError } from '../enclave-render/audit/audit-error.ts';
import { HostError } from '../enclave-render/host/host-error.ts';
import { KmsError } from '../enclave-render/kms/data-keys.ts';
import { ReceiptError } from '../enclave-render/receipt/receipt-error.ts';
import { RenderError } from '../enclave-render/render/render-manifest.ts';
import type { Renderer } from '../enclave-render/render/render-task.ts';
import { UNKNOWN_ROOT } from './attest.ts';
import { EXIT_NO, print } from './command.ts';
import { EXIT_CODES } from './exit-codes.ts';

/** A task that failed, and the renderer that the job's template has for it. */
export interface FailedTask {
  id: string | undefined;
  renderer: Renderer | undefined;
}

/** How a caller finds out why a renderer fails: its words do not leave the enclave. */
const TO_SEE_WHY: Readonly<Record<Renderer, string>> = {
  ffmpeg: 'run ffmpeg with its arguments on the input to see why',
  blender: 'run blender with its arguments on the scene to see why',
  'package-hls': 'run portcullis package on what the task before it makes to see why',
};

/** Prints a refusal as the answer no; a fault of the caller's input or surroundings is an error like any other. */
export async function answering<Result>(
  { json, jobId }: { json?: true | undefined; jobId?: string },
  what: () => Promise<Result>,
  failedTask: () => FailedTask | undefined = () => undefined,
): Promise<Result | undefined> {
  try {
    return await what();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const code = (error instanceof HostError && error.peerCode) || error.code;
    process.exitCode = code === 'ERR_HOST_PENDING' ? EXIT_CODES.unavailable.code : EXIT_NO;
    const about = jobId === undefined ? {} : { jobId };
    const message = messageOf(error, code, failedTask());
    print(json, { ok: false, ...about, code, message }, [`${code}: ${message}`]);
    return undefined;
  }
}

/** What a library says, with what this command has to do with it. */
function messageOf({ message }: Refusal, code: string, failed: FailedTask | undefined): string {
  if (code === 'ERR_RENDER_TASK') {
    const task = failed?.id === undefined ? 'a task' : `task ${failed.id}`;
    const why =
      failed?.renderer === undefined ? 'run its template on the input to see why' : TO_SEE_WHY[failed.renderer];
    return `the renderer of ${task} ended with an error or hit a limit (docs/sandbox.md); ${why}`;
  }
  if (code === 'ERR_ATTESTATION_ROOT') return `${message}; ${UNKNOWN_ROOT}`;
  if (code === 'ERR_RECEIPT_ISOLATION') return `${message}: --isolation none allows it`;
  return failed === undefined ? message : `task ${failed.id}: ${message}`;
}

type Refusal = HostError | ReceiptError | AttestationError | PolicyError | RenderError | AuditError | KmsError;

function isRefusal(error: unknown): error is Refusal {
  const kinds = [HostError, ReceiptError, AttestationError, PolicyError, AuditError];
  if (kinds.some((kind) => error instanceof kind)) return true;
  // One that does not answer may do so later, and has an exit code of its own.
  if (error instanceof KmsError) return error.code !== 'ERR_KMS_UNAVAILABLE';
  // A job, a template or a manifest that is none is the caller's to mend.
  return (
    error instanceof RenderError &&
    !['ERR_RENDER_JOB', 'ERR_RENDER_TEMPLATE', 'ERR_RENDER_MANIFEST'].includes(error.code)
  );
}
