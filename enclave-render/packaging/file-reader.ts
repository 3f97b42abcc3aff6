import { open } from 'node:fs/promises';
import type { MasterReader } from '../mastering/master-reader.ts';
import { PackagingError } from './errors.ts';

/** Reads a file that is in clear. Rejects with `ERR_PACKAGE_SOURCE` when it is no file, or may not be read. */
export async function openFile(path: string): Promise<MasterReader> {
  const unreadable = (error: NodeJS.ErrnoException) =>
    new PackagingError('ERR_PACKAGE_SOURCE', `cannot read ${path}: ${error.code ?? error.message}`);
  const file = await open(path, 'r').catch((error) => {
    throw unreadable(error);
  });
  const stat = await file.stat();
  if (!stat.isFile()) {
    await file.close();
    throw new PackagingError('ERR_PACKAGE_SOURCE', `cannot read ${path}: it is not a file`);
  }
  return {
    size: stat.size,
    async read(offset, length) {
      const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, stat.size - offset)));
      let filled = 0;
      while (filled < bytes.length) {
        const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, offset + filled).catch((error) => {
          throw unreadable(error);
        });
        if (bytesRead === 0) throw new PackagingError('ERR_PACKAGE_SOURCE', `${path} became shorter while it was read`);
        filled += bytesRead;
      }
      return bytes;
    },
    async close() {
      await file.close();
    },
  };
}
