import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import { MasterError, type MasterErrorCode } from './master-error.ts';
import { MODES } from './modes.ts';
import { keepReleased } from './pieces.ts';
import { readFully, totalBytes, writeFully } from './pipeline-steps.ts';
import { ring, ringMemory, type ThreadData, type ThreadResult } from './ring.ts';
import { type CipherJob, segmentCipher, segmentLayout } from './segment-cipher.ts';

/** Told how far it is: bytes of the source. */
export type OnProgress = (bytes: number, total: number) => void;

export interface Transfer {
  job: CipherJob;
  /** Open for reading. */
  inputFd: number;
  /** Open for writing, and reading when `present` is not 0; without it nothing is written. */
  outputFd?: number | undefined;
  /** Bytes of the output that an interrupted run has written: compared, not written again. */
  present?: number;
  /** Whether to compute SHA-256 of both sides (default true). */
  digests?: boolean;
  /** Most cipher threads, in modes that take more than one (default 2). */
  threads?: number;
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | undefined;
}

/** SHA-256 in hexadecimal, empty without digests. */
export interface TransferResult {
  inputSha256: string;
  outputSha256: string;
  outputBytes: number;
}

/** Below this many bytes threads take longer to start than to work. */
const THREADS_FROM_BYTES = 4 << 20;
const PROGRESS_MS = 100;

/**
 * Encrypts or decrypts a file in constant memory. Large ones in threads: one or two that read, encrypt and write; for digests one that
 * hashes the input and one that hashes the output. Nobody reads a file twice, so that what is hashed is what was encrypted. When it
 * fails or is interrupted, nothing is written any more; what was, is the beginning of the output, without a gap. Rejects with
 * `MasterError`, or with the error of a system call.
 */
export async function transfer(request: Transfer): Promise<TransferResult> {
  request.signal?.throwIfAborted();
  const result = request.job.inputBytes < THREADS_FROM_BYTES ? transferHere(request) : await transferInThreads(request);
  request.onProgress?.(request.job.inputBytes, request.job.inputBytes);
  request.signal?.throwIfAborted();
  return result;
}

function transferHere({ job, inputFd, outputFd, present = 0, digests = true }: Transfer): TransferResult {
  const layout = segmentLayout(job);
  const cipher = segmentCipher(job);
  const target = { fd: outputFd, present };
  const hashes = { input: createHash('sha256'), output: createHash('sha256') };
  let outputBytes = 0;
  for (let index = 0; index < layout.count; index++) {
    const { offset, length } = layout.range(index);
    const input = Buffer.alloc(length);
    readFully(inputFd, input, offset);
    const output = cipher.transform(index, input);
    writeFully(target, output, outputBytes);
    outputBytes += totalBytes(output);
    if (!digests) continue;
    hashes.input.update(input);
    for (const piece of output) hashes.output.update(piece);
  }
  return {
    inputSha256: digests ? hashes.input.digest('hex') : '',
    outputSha256: digests ? hashes.output.digest('hex') : '',
    outputBytes,
  };
}

/** Node cannot load TypeScript into a thread: where the sources run as they are, in tests, what was built of them stands in. */
const THREAD = new URL(
  import.meta.url.endsWith('.ts')
    ? '../../dist/lib/enclave-render/mastering/pipeline-thread.js'
    : './pipeline-thread.js',
  import.meta.url,
);

async function transferInThreads(request: Transfer): Promise<TransferResult> {
  const { job, inputFd, outputFd, present = 0, digests = true, threads = 2, onProgress, signal } = request;
  const ciphers = MODES[job.mode].parallel ? threads : 1;
  const shared = ringMemory(digests);
  const data = { job, shared, ciphers, inputFd, outputFd, present, digests };
  const roles: ThreadData['role'][] = [...Array(ciphers).keys(), ...(digests ? (['input', 'output'] as const) : [])];
  keepReleased();
  const workers = roles.map((role) => new Worker(THREAD, { workerData: { ...data, role } satisfies ThreadData }));
  const segments = ring(shared);
  const { count } = segmentLayout(job);
  const timer = setInterval(
    () => onProgress?.(Math.floor((segments.written() / count) * job.inputBytes), job.inputBytes),
    PROGRESS_MS,
  );
  const done = new AbortController();
  const interrupted = new Promise<never>((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true, signal: done.signal });
  });
  try {
    const results = await Promise.race([Promise.all(workers.map(resultOf)), interrupted]);
    const sha256 = (role: ThreadData['role']) => results[roles.indexOf(role)]?.sha256 ?? '';
    return { inputSha256: sha256('input'), outputSha256: sha256('output'), outputBytes: segments.position() };
  } finally {
    clearInterval(timer);
    done.abort();
    // Before anything is removed: a thread may still be writing.
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

function resultOf(worker: Worker): Promise<ThreadResult> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('a thread of the pipeline ended before its work')));
    worker.once('message', (result: ThreadResult) => {
      if (!result.failure) return resolve(result);
      const { code, message } = result.failure;
      if (code?.startsWith('ERR_MASTER_')) return reject(new MasterError(code as MasterErrorCode, message));
      reject(Object.assign(new Error(message), { code }));
    });
  });
}
