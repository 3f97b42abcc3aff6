import { createHash } from 'node:crypto';
import { Writable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import type { ObjectStore } from '../../storage/object-store.ts';
import { SEGMENT_BYTES } from '../framed.ts';
import type { MasterReader } from '../master-reader.ts';
import { MODES } from '../modes.ts';
import { decryptingSegments, type SegmentReader, segmentedReader } from '../segments.ts';
import { MasterJobError } from './job-error.ts';
import type { ServiceMode } from './service-keys.ts';
import { decrypting } from './stream-ciphers.ts';

/** A file's key, in clear. */
export interface FileKey {
  mode: ServiceMode;
  key: Uint8Array;
  /** 16 bytes. */
  iv: Uint8Array;
}

/**
 * Opens the input of a job for random access to its plaintext. All of it is read and decrypted once now, which authenticates it in `gcm`
 * and finds bad padding in `cbc`; what is read later is held to the SHA-256 of its mebibyte from that pass, so that every output is made
 * of the same bytes. Rejects with `ERR_MASTER_JOB_INPUT`, and with `StorageError`.
 */
export async function openJobInput(
  store: ObjectStore,
  object: string,
  key: FileKey | undefined,
): Promise<MasterReader> {
  const { bytes, plaintextBytes, digests } = await readOnce(store, object, key);
  const end = bytes - (key ? MODES[key.mode].tagBytes : 0);
  const ciphertext: SegmentReader = async (index) => {
    const from = index * SEGMENT_BYTES;
    const { body } = await store.get(object, { range: [from, Math.min(from + SEGMENT_BYTES, bytes) - 1] });
    const segment = await buffer(body);
    if (!digests[index]?.equals(sha256(segment))) {
      throw new MasterJobError('ERR_MASTER_JOB_INPUT', 'the input was changed while it was read: run the job again');
    }
    return segment.subarray(0, Math.max(0, end - from));
  };
  const segments = key ? decryptingSegments(key.mode, key.key, key.iv, digests.length, ciphertext) : ciphertext;
  return segmentedReader(plaintextBytes, segments, async () => {});
}

/** Reads all of an object: its length, that of its plaintext, and the SHA-256 of each mebibyte of it. */
async function readOnce(store: ObjectStore, object: string, key: FileKey | undefined) {
  const digests: Buffer[] = [];
  let bytes = 0;
  let plaintextBytes = 0;
  async function* digesting(body: AsyncIterable<Uint8Array>) {
    let hash = createHash('sha256');
    for await (const chunk of body) {
      for (let at = 0; at < chunk.length; ) {
        const part = chunk.subarray(at, at + SEGMENT_BYTES - (bytes % SEGMENT_BYTES));
        hash.update(part);
        bytes += part.length;
        at += part.length;
        if (bytes % SEGMENT_BYTES !== 0) continue;
        digests.push(hash.digest());
        hash = createHash('sha256');
      }
      yield chunk;
    }
    if (bytes % SEGMENT_BYTES !== 0) digests.push(hash.digest());
  }
  const counting = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      plaintextBytes += chunk.length;
      done();
    },
  });
  const { body } = await store.get(object);
  if (key) await pipeline(body, digesting, decrypting(key.mode, key.key, key.iv), counting);
  else await pipeline(body, digesting, counting);
  return { bytes, plaintextBytes, digests };
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
