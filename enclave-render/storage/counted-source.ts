import { Readable } from 'node:stream';
import { type PutOptions, StorageError } from './object-store.ts';

/**
 * The bytes of a source as they are taken. Fails with the source, with the reason of `signal`, and with `ERR_STORAGE_INVALID` when
 * the source does not hold as many bytes as were announced; before its end is told, so that nobody stores what is incomplete.
 */
export function countedSource(source: Readable, { bytes, onProgress, signal }: PutOptions): Readable {
  return Readable.from(count(source, bytes, onProgress, signal), { objectMode: false });
}

async function* count(
  source: Readable,
  bytes: number | undefined,
  onProgress: ((bytes: number) => void) | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const stop = () => source.destroy(signal?.reason as Error);
  signal?.addEventListener('abort', stop);
  let taken = 0;
  try {
    signal?.throwIfAborted();
    for await (const chunk of source as AsyncIterable<Uint8Array | string>) {
      const data = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      taken += data.byteLength;
      if (bytes !== undefined && taken > bytes) throw wrongLength(bytes, 'more');
      yield data;
      onProgress?.(taken);
    }
    if (bytes !== undefined && taken < bytes) throw wrongLength(bytes, `${taken}`);
  } finally {
    signal?.removeEventListener('abort', stop);
    source.destroy();
  }
}

function wrongLength(bytes: number, held: string): StorageError {
  const message = `the source was said to hold ${bytes} bytes and held ${held}: it changed while it was read; try again`;
  return new StorageError('ERR_STORAGE_INVALID', message);
}
