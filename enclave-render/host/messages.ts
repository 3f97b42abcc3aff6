import * as v from 'valibot';
import { EVENT_CODES, type EventCode } from '../render/event-codes.ts';

/** Most bytes of a file in one message, header and first segment of a `framed` master, and of a message at all. */
export const CHUNK_BYTES = (1 << 20) + 92;
export const FRAME_BYTES = CHUNK_BYTES + (64 << 10);

const name = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/));
/** Of an output, or the manifest beside it: a relative path, `<task>/<name>`, such as `hls/1080p/segment-1.m4s`. */
const path = v.pipe(
  v.string(),
  v.maxLength(414),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,6}$/),
);
const bytes = v.custom<Uint8Array>((value) => value instanceof Uint8Array);
const chunk = v.pipe(bytes, v.maxLength(CHUNK_BYTES));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const context = v.record(v.string(), v.string());

/**
 * What the parent may ask of an enclave: everything it asks has an answer, `ok` with a value or a code of the enclave. Length-prefixed
 * CBOR (RFC 8949) over a stream: 4 bytes of length, big-endian, then a map with `id`, `type` and the fields here.
 */
export const TO_ENCLAVE = {
  /** Runs a job, one in a launch; answered when the receipt was handed over. The end of the stream ends the enclave. */
  render: { request: v.strictObject({ manifest: v.string() }), answer: v.strictObject({}) },
} as const;

/** What an enclave asks of its parent, which sees ciphertext, codes and lengths. Nothing in an answer is believed. */
export const TO_PARENT = {
  readInput: {
    request: v.strictObject({ name, offset: count, length: v.pipe(count, v.maxValue(CHUNK_BYTES)) }),
    answer: v.strictObject({ bytes: chunk }),
  },
  decryptKey: {
    request: v.strictObject({ encryptedKey: bytes, context, keyId: v.string(), attestation: bytes }),
    answer: v.strictObject({ ciphertextForRecipient: bytes }),
  },
  /** A sealed output or checkpoint, in order, from offset 0; `done` with the last piece. */
  writeOutput: {
    request: v.strictObject({ path, offset: count, bytes: chunk, done: v.boolean() }),
    answer: v.strictObject({}),
  },
  /** The receipt, JSON in UTF-8, likewise. */
  writeReceipt: {
    request: v.strictObject({ offset: count, bytes: chunk, done: v.boolean() }),
    answer: v.strictObject({}),
  },
  writeCheckpoint: {
    request: v.strictObject({ name, offset: count, bytes: chunk, done: v.boolean() }),
    answer: v.strictObject({}),
  },
  /** Names and lengths of the checkpoints that an earlier launch left. */
  listCheckpoints: {
    request: v.strictObject({}),
    answer: v.strictObject({ checkpoints: v.pipe(v.array(v.strictObject({ name, bytes: count })), v.maxLength(4096)) }),
  },
  readCheckpoint: {
    request: v.strictObject({ name, offset: count, length: v.pipe(count, v.maxValue(CHUNK_BYTES)) }),
    answer: v.strictObject({ bytes: chunk }),
  },
  event: {
    request: v.strictObject({
      code: v.picklist(Object.keys(EVENT_CODES) as EventCode[]),
      task: v.exactOptional(name),
      percent: v.exactOptional(v.pipe(count, v.maxValue(100))),
      error: v.exactOptional(v.pipe(v.string(), v.regex(/^ERR_[A-Z_]{1,60}$/))),
    }),
    answer: v.strictObject({}),
  },
} as const;
