import { Readable } from 'node:stream';
import { type PutOptions, StorageError } from './object-store.ts';

/** A source while it is stored. */
export interface CountedSource {
  /** Its bytes; to be read once. */
  body: Readable;
  /** Bytes taken so far. */
  bytes(): number;
  /** Why it did not come to its end, when that was not the doing of who reads it. */
  failure(): unknown;
}

/**
 * The bytes of a source as they are taken. Fails with the error of the source, with the reason of `signal`, and with
 * `ERR_STORAGE_INVALID` when the source does not hold as many bytes as were announced: before its end is told, so that nobody
 * stores what is incomplete.
 */
export function countedSource(source: Readable, { bytes, onProgress, signal }: PutOptions): CountedSource {
  let taken = 0;
  let failure: unknown;
  // An error that comes before anybody reads would end the process.
  source.on('error', () => {});

  async function* read(): AsyncGenerator<Uint8Array> {
    const stop = () => source.destroy();
    signal?.addEventListener('abort', stop);
    try {
      signal?.throwIfAborted();
      for await (const chunk of source as AsyncIterable<Uint8Array | string>) {
        const data = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
        taken += data.byteLength;
        if (bytes !== undefined && taken > bytes) throw wrongLength(bytes, 'more');
        yield data;
        onProgress?.(taken);
        signal?.throwIfAborted();
      }
      if (bytes !== undefined && taken < bytes) throw wrongLength(bytes, `${taken}`);
    } catch (error) {
      failure = signal?.aborted ? signal.reason : error;
      throw failure;
    } finally {
      signal?.removeEventListener('abort', stop);
      source.destroy();
    }
  }
  return { body: Readable.from(read(), { objectMode: false }), bytes: () => taken, failure: () => failure };
}

function wrongLength(bytes: number, held: string): StorageError {
  const message = `the source was said to hold ${bytes} bytes and held ${held}: it changed while it was read; try again`;
  return new StorageError('ERR_STORAGE_INVALID', message);
}
