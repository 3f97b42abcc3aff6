import { hkdfSync, randomBytes } from 'node:crypto';
import * as v from 'valibot';
import {
  framedHeader,
  framedKey,
  HEADER_BYTES,
  openFramedHeader,
  openSegment,
  SALT_BYTES,
  SEGMENT_BYTES,
  sealSegment,
  TAG_BYTES,
} from '../mastering/framed.ts';
import { MasterError } from '../mastering/master-error.ts';
import type { AttestedStatement } from '../receipt/statement.ts';
import { RenderError } from './render-manifest.ts';

/** What a checkpoint is of: it opens for nothing else. */
export interface CheckpointBinding {
  /** SHA-384 of the manifest's JWS payload, hexadecimal. */
  manifestSha384: string;
  taskId: string;
  /** `inputRoot()` of the task, hexadecimal. */
  inputRootSha256: string;
}

/** A file that a task left, to be read from its beginning: `length` bytes from `offset` on. */
export interface CheckpointFile {
  name: string;
  bytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** A sealed checkpoint where it is kept. What is read need not be what was written: then it does not open. */
export interface SealedCheckpoint {
  bytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** Where a file of a checkpoint goes: pieces in order, of which nothing may be used until all of the checkpoint was opened. */
export type FileSink = (piece: Uint8Array) => Promise<void>;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const HeadSchema = v.strictObject({
  format: v.literal('portcullis-checkpoint/1'),
  task: v.strictObject({ statement: v.string(), attestation: v.string() }),
  files: v.array(v.strictObject({ name: v.pipe(v.string(), v.minLength(1), v.maxLength(400)), bytes: count })),
});
const MOST_HEAD_BYTES = 8 << 20;

/**
 * A checkpoint is a `framed` master (docs/mastering.md) whose data key is derived from the job key and from what it is of, by
 * HKDF-SHA-256 (RFC 5869), `info` `portcullis-render/1 checkpoint`, salt the binding. So it opens only with the job key, for that
 * manifest, task and input root, whole and unchanged. Its plaintext: 4 bytes of length, big-endian, JSON with the attested statement
 * and the names and lengths of the files, then the files.
 */
function checkpointKey(jobKey: Uint8Array, { manifestSha384, taskId, inputRootSha256 }: CheckpointBinding): Buffer {
  const isHashed = /^[0-9a-f]{96}$/.test(manifestSha384) && /^[0-9a-f]{64}$/.test(inputRootSha256);
  // Fixed lengths before the id, so that no two bindings have one salt.
  if (jobKey.length !== 32 || !isHashed)
    throw new RangeError('a checkpoint needs a job key of 32 bytes and two hashes');
  const salt = Buffer.concat([Buffer.from(manifestSha384 + inputRootSha256, 'hex'), Buffer.from(taskId)]);
  return Buffer.from(hkdfSync('sha256', jobKey, salt, 'portcullis-render/1 checkpoint', 32));
}

/**
 * Seals what a task left, for a later launch to go on from. Yields pieces of at most a mebibyte and 92 bytes, and holds one at a time.
 * `jobKey`: 32 bytes. Throws what a file's `read` throws, and `RangeError` when one is shorter than it says.
 */
export async function* sealCheckpoint(
  jobKey: Uint8Array,
  binding: CheckpointBinding,
  task: AttestedStatement,
  files: readonly CheckpointFile[],
): AsyncGenerator<Buffer, void> {
  const dataKey = checkpointKey(jobKey, binding);
  const salt = randomBytes(SALT_BYTES);
  const key = framedKey(dataKey, salt);
  const segment = Buffer.alloc(SEGMENT_BYTES);
  try {
    const { statement, attestation } = task;
    const named = files.map(({ name, bytes }) => ({ name, bytes }));
    const head = Buffer.from(
      JSON.stringify({ format: 'portcullis-checkpoint/1', task: { statement, attestation }, files: named }),
    );
    if (head.length > MOST_HEAD_BYTES) throw new RangeError('a checkpoint has too many files');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(head.length);
    const parts = [inMemory(Buffer.concat([length, head])), ...files];
    const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    const segments = Math.max(1, Math.ceil(total / SEGMENT_BYTES));
    let header = framedHeader(dataKey, salt);
    let filled = 0;
    let index = 0;
    const seal = () => {
      const pieces = sealSegment(key, index, index === segments - 1, segment.subarray(0, filled));
      const sealed = Buffer.concat([header, ...pieces]);
      header = Buffer.alloc(0);
      filled = 0;
      index++;
      return sealed;
    };
    for (const part of parts) {
      for (let offset = 0; offset < part.bytes; ) {
        const wanted = Math.min(part.bytes - offset, SEGMENT_BYTES - filled);
        const piece = await part.read(offset, wanted);
        if (piece.length === 0 || piece.length > wanted) {
          throw new RangeError('a file of a checkpoint is not as long as it says');
        }
        segment.set(piece, filled);
        filled += piece.length;
        offset += piece.length;
        if (filled === SEGMENT_BYTES && index < segments - 1) yield seal();
      }
    }
    yield seal();
  } finally {
    segment.fill(0);
    dataKey.fill(0);
    key.fill(0);
  }
}

function inMemory(content: Buffer): Pick<CheckpointFile, 'bytes' | 'read'> {
  return { bytes: content.length, read: async (offset, length) => content.subarray(offset, offset + length) };
}

/**
 * Opens a checkpoint and puts its files where `create` says, one after the other. Resolves to the attested statement when all of it
 * is genuine; until then the caller uses nothing of the files, and forgets them when it rejects. Rejects with `ERR_RENDER_CHECKPOINT`
 * for one that was changed or cut off, or is of another job, task or input; and with what `create` and its sinks reject with.
 */
export async function openCheckpoint(
  jobKey: Uint8Array,
  binding: CheckpointBinding,
  sealed: SealedCheckpoint,
  create: (name: string, bytes: number) => Promise<FileSink>,
): Promise<AttestedStatement> {
  const dataKey = checkpointKey(jobKey, binding);
  const plaintext = segmentsOf(dataKey, sealed);
  const source = new Pieces(plaintext);
  try {
    const length = Buffer.from(await source.take(4)).readUInt32BE();
    if (length > MOST_HEAD_BYTES) throw notGenuine('says that it is longer than any');
    const head = parseHead(Buffer.from(await source.take(length)).toString());
    for (const { name, bytes } of head.files) {
      const sink = await create(name, bytes);
      for (let left = bytes; left > 0; ) {
        const piece = await source.next(left);
        await sink(piece);
        left -= piece.length;
      }
    }
    await source.end();
    return head.task;
  } finally {
    await plaintext.return();
    dataKey.fill(0);
  }
}

/** Plaintext of the segments, in order. A piece is valid until the next is asked for. */
async function* segmentsOf(dataKey: Buffer, checkpoint: SealedCheckpoint): AsyncGenerator<Buffer, void> {
  const { bytes } = checkpoint;
  const sealed = bytes - HEADER_BYTES;
  const stride = SEGMENT_BYTES + TAG_BYTES;
  const segments = Math.ceil(sealed / stride);
  const exactly = async (offset: number, length: number) => {
    const piece = await checkpoint.read(offset, length);
    if (piece.length !== length) throw notGenuine('was cut off');
    return piece;
  };
  if (!Number.isSafeInteger(bytes) || sealed < TAG_BYTES) throw notGenuine('is too short to be one');
  try {
    const key = openFramedHeader(dataKey, await exactly(0, HEADER_BYTES));
    for (let index = 0; index < segments; index++) {
      const offset = index * stride;
      const length = Math.min(stride, sealed - offset);
      if (length < TAG_BYTES) throw notGenuine('was cut off');
      const piece = await exactly(HEADER_BYTES + offset, length);
      for (const opened of openSegment(key, index, index === segments - 1, piece)) {
        yield opened;
        opened.fill(0);
      }
    }
  } catch (error) {
    if (error instanceof MasterError) throw notGenuine('was changed, or is of another job, task or input');
    throw error;
  }
}

/** Pieces of a stream, cut as they are wanted. */
class Pieces {
  readonly #stream: AsyncGenerator<Buffer, void>;
  #piece: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncGenerator<Buffer, void>) {
    this.#stream = stream;
  }

  /** What comes next, at most so many bytes, and at least one. */
  async next(most: number): Promise<Buffer> {
    if (this.#piece.length === 0) {
      const { value } = await this.#stream.next();
      if (!value || value.length === 0) throw notGenuine('ends too early');
      this.#piece = value;
    }
    const piece = this.#piece.subarray(0, most);
    this.#piece = this.#piece.subarray(piece.length);
    return piece;
  }

  /** A copy of exactly so many bytes. */
  async take(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let left = length; left > 0; ) {
      const piece = Buffer.from(await this.next(left));
      pieces.push(piece);
      left -= piece.length;
    }
    return Buffer.concat(pieces);
  }

  /** Whether that was all: reads to the end, so that the last segment has been authenticated as such. */
  async end(): Promise<void> {
    if (this.#piece.length > 0) throw notGenuine('is longer than it says');
    const { done, value } = await this.#stream.next();
    if (!done && value.length > 0) throw notGenuine('is longer than it says');
  }
}

function parseHead(json: string): v.InferOutput<typeof HeadSchema> {
  try {
    return v.parse(HeadSchema, JSON.parse(json));
  } catch {
    throw notGenuine('has no list of what is in it');
  }
}

function notGenuine(why: string): RenderError {
  return new RenderError('ERR_RENDER_CHECKPOINT', `a checkpoint ${why}: the task is done again without it`);
}
