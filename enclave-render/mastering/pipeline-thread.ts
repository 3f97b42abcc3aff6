import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { MODES } from './modes.ts';
import { release } from './pieces.ts';
import { readFully, readFullyLater, totalBytes, writeFully, writeFullyLater } from './pipeline-steps.ts';
import { ring, type ThreadData, type ThreadResult } from './ring.ts';
import { SLOT_BYTES, segmentCipher, segmentLayout } from './segment-cipher.ts';

// One thread of `pipeline.ts`.

const { role, job, shared, ciphers, inputFd, outputFd, present, digests } = workerData as ThreadData;
const segments = ring(shared);
const layout = segmentLayout(job);
const target = { fd: outputFd, present };

/** Reads and encrypts or decrypts every `ciphers`-th segment; writes it when those before are written, if nobody hashes it. */
function runCipher(number: number): void {
  const cipher = segmentCipher(job);
  const own = new Uint8Array(SLOT_BYTES);
  for (let index = number; index < layout.count; index += ciphers) {
    const { offset, length } = layout.range(index);
    const input = digests ? segments.place(index, length) : own.subarray(0, length);
    readFully(inputFd, input, offset);
    const output = cipher.transform(index, input);
    if (digests) {
      segments.publish(index, length, output);
    } else {
      segments.waitForTurn(index);
      writeFully(target, output, segments.position());
      segments.endTurn(index, totalBytes(output));
    }
    release(output);
  }
}

/** The same in a mode whose segments need the one before: while one is encrypted, the next is read and the one before written. */
async function runChainedCipher(): Promise<void> {
  const cipher = segmentCipher(job);
  const own = [new Uint8Array(SLOT_BYTES), new Uint8Array(SLOT_BYTES)] as const;
  const read = async (index: number) => {
    if (index === layout.count) return new Uint8Array();
    const { offset, length } = layout.range(index);
    const input = own[(index % 2) as 0 | 1].subarray(0, length);
    await readFullyLater(inputFd, input, offset);
    return input;
  };
  const transform = async (index: number, input: Uint8Array) => cipher.transform(index, input);
  const write = async (index: number, output: Buffer[]) => {
    if (index < 0) return;
    await writeFullyLater(target, output, segments.position());
    segments.endTurn(index, totalBytes(output));
    release(output);
  };
  let input = await read(0);
  let output: Buffer[] = [];
  for (let index = 0; index < layout.count; index++) {
    [, input, output] = await Promise.all([write(index - 1, output), read(index + 1), transform(index, input)]);
  }
  await write(layout.count - 1, output);
}

/** SHA-256 of all input. */
function runInput(): string {
  const hash = createHash('sha256');
  for (let index = 0; index < layout.count; index++) {
    hash.update(segments.take('input', index));
    segments.release('input', index);
  }
  return hash.digest('hex');
}

/** Writes all output, and its SHA-256. */
function runOutput(): string {
  const hash = createHash('sha256');
  for (let index = 0; index < layout.count; index++) {
    const output = segments.take('output', index);
    writeFully(target, [output], segments.position());
    segments.endTurn(index, output.length);
    hash.update(output);
    segments.release('output', index);
  }
  return hash.digest('hex');
}

async function run(): Promise<ThreadResult> {
  if (role === 'input') return { sha256: runInput() };
  if (role === 'output') return { sha256: runOutput() };
  if (digests || MODES[job.mode].parallel) runCipher(role);
  else await runChainedCipher();
  return {};
}

const result = await run().catch(({ code, message }): ThreadResult => ({ failure: { code, message } }));
parentPort?.postMessage(result);
