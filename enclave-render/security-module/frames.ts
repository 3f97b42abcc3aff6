import type { Readable, Writable } from 'node:stream';
import { SecurityModuleError } from './security-module.ts';

/** Bytes of the length before each frame, big-endian. */
const LENGTH_BYTES = 4;

/** Writes a frame: its length, then the bytes. Resolves when it is on its way, rejects when the stream is no more. */
export function writeFrame(stream: Writable, bytes: Uint8Array): Promise<void> {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(bytes.length);
  return new Promise((resolve, reject) => {
    stream.write(Buffer.concat([length, bytes]), (error) => (error ? reject(error) : resolve()));
  });
}

/**
 * The frames of a stream, until it ends. Throws `ERR_MODULE_PROTOCOL` at a frame that is empty or longer than
 * `maxBytes`, before it is read, and when the stream ends within one.
 */
export async function* readFrames(stream: Readable, maxBytes: number): AsyncGenerator<Buffer, void> {
  let pending = Buffer.alloc(0);
  for await (const chunk of stream) {
    pending = Buffer.concat([pending, chunk as Buffer]);
    while (pending.length >= LENGTH_BYTES) {
      const bytes = pending.readUInt32BE(0);
      if (bytes === 0 || bytes > maxBytes) {
        throw new SecurityModuleError(
          'ERR_MODULE_PROTOCOL',
          `a frame of ${bytes} bytes, where 1 to ${maxBytes} may be`,
        );
      }
      if (pending.length < LENGTH_BYTES + bytes) break;
      yield pending.subarray(LENGTH_BYTES, LENGTH_BYTES + bytes);
      pending = pending.subarray(LENGTH_BYTES + bytes);
    }
  }
  if (pending.length > 0) throw new SecurityModuleError('ERR_MODULE_PROTOCOL', 'the stream ended within a frame');
}
