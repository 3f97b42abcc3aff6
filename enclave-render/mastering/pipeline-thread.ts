import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { MODES } from './modes.ts';
import { readFully, readFullyLater, totalBytes, writeFully, writeFullyLater } from './pipeline-steps.ts';
import { ring, type ThreadData, type ThreadResult } from './ring.ts';
import { SLOT_BYTES, segmentCipher, segmentLayout } from './segment-cipher.ts';

// One thread of `pipeline.ts`.

const { role, job, shared, ciphers, inputFd, outputFd, present, digests } = workerData as ThreadData;
const segments = ring(shared);
const layout = segmentLayout(job);
const target = { fd: outputFd, present };

/** Reads and encrypts or decrypts every `ciphers`-th segment, and writes it when those before are written. */
function runParallel(number: number): void {
  const cipher = segmentCipher(job);
  const own = new Uint8Array(SLOT_BYTES);
  for (let index = number; index < layout.count; index += ciphers) {
    const { offset, length } = layout.range(index);
    const input = digests ? segments.place(index, length) : own.subarray(0, length);
    readFully(inputFd, input, offset);
    const output = cipher.transform(index, input);
    if (digests) segments.publish(index, length, output);
    segments.waitForTurn(index);
    writeFully(target, output, segments.position());
    segments.endTurn(index, totalBytes(output));
  }
}

/** Where each segment needs the one before: while one is encrypted, the next is read and the one before is written. */
async function runChained(): Promise<void> {
  const cipher = segmentCipher(job);
  const own = [new Uint8Array(SLOT_BYTES), new Uint8Array(SLOT_BYTES)] as const;
  const nothing = new Uint8Array();
  const read = async (index: number) => {
    if (index === layout.count) return nothing;
    const { offset, length } = layout.range(index);
    const input = digests ? segments.place(index, length) : own[(index % 2) as 0 | 1].subarray(0, length);
    await readFullyLater(inputFd, input, offset);
    return input;
  };
  const transform = async (index: number, input: Uint8Array) => {
    const output = cipher.transform(index, input);
    if (digests) segments.publish(index, input.length, output);
    return output;
  };
  const write = async (index: number, output: Uint8Array[]) => {
    if (index < 0) return;
    await writeFullyLater(target, output, segments.position());
    segments.endTurn(index, totalBytes(output));
  };
  let input = await read(0);
  let output: Uint8Array[] = [];
  for (let index = 0; index < layout.count; index++) {
    const steps = [write(index - 1, output), read(index + 1), transform(index, input)] as const;
    [, input, output] = await Promise.all(steps);
  }
  await write(layout.count - 1, output);
}

/** SHA-256 of one side of all segments. */
function runDigest(side: 'input' | 'output'): string {
  const hash = createHash('sha256');
  for (let index = 0; index < layout.count; index++) {
    hash.update(segments.take(side, index));
    segments.release(side, index);
  }
  return hash.digest('hex');
}

async function run(): Promise<ThreadResult> {
  if (role === 'input' || role === 'output') return { sha256: runDigest(role) };
  if (MODES[job.mode].parallel) runParallel(role);
  else await runChained();
  return {};
}

const result = await run().catch(({ code, message }): ThreadResult => ({ failure: { code, message } }));
parentPort?.postMessage(result);
