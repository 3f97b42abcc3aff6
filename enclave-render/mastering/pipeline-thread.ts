import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { fileSink, noSink, readFully } from './pipeline-steps.ts';
import { ring, type ThreadData, type ThreadResult } from './ring.ts';
import { segmentCipher, segmentLayout } from './segment-cipher.ts';

// One thread of `pipeline.ts`: takes segments from the ring, or puts them there, in order.

const { role, job, shared, ciphers, inputFd, outputFd, present, digests } = workerData as ThreadData;
const slots = ring(shared, ciphers, digests);
const layout = segmentLayout(job);

/** Reads and encrypts or decrypts every `ciphers`-th segment. */
function runCipher(number: number): ThreadResult {
  const cipher = segmentCipher(job);
  for (let index = number; index < layout.count; index += ciphers) {
    slots.waitUntilFree(index);
    const { offset, length } = layout.range(index);
    const input = slots.input(index, length);
    readFully(inputFd, input, offset);
    slots.publish(number, index, length, cipher.transform(index, input, slots.output(index)));
  }
  return {};
}

function runInput(): ThreadResult {
  const hash = createHash('sha256');
  for (let index = 0; index < layout.count; index++) {
    const { inputBytes } = slots.waitUntilReady(index);
    hash.update(slots.input(index, inputBytes));
    slots.release('input', index);
  }
  return { sha256: hash.digest('hex') };
}

function runOutput(): ThreadResult {
  const hash = digests ? createHash('sha256') : undefined;
  const sink = outputFd === undefined ? noSink() : fileSink(outputFd, present);
  for (let index = 0; index < layout.count; index++) {
    const { outputBytes } = slots.waitUntilReady(index);
    const output = slots.output(index).subarray(0, outputBytes);
    sink.append(output);
    hash?.update(output);
    slots.release('output', index);
  }
  return { bytes: sink.bytes, ...(hash ? { sha256: hash.digest('hex') } : {}) };
}

try {
  const result = role === 'input' ? runInput() : role === 'output' ? runOutput() : runCipher(role);
  parentPort?.postMessage(result);
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  const failure: ThreadResult = { failure: { code, message } };
  parentPort?.postMessage(failure);
}
