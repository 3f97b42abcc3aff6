import { type FileHandle, open, rm } from 'node:fs/promises';
import { RenderError } from '../render/render-manifest.ts';

/** A file without a name: it ends with its descriptors, of which a renderer is given the one that can only be read. */
export interface NamelessFile {
  writable: FileHandle;
  readable: FileHandle;
}

/** Makes a file at a path that nothing has, opens it twice, and takes its name away. */
export async function nameless(path: string): Promise<NamelessFile> {
  const writable = await open(path, 'wx', 0o600);
  try {
    return { writable, readable: await open(path, 'r') };
  } catch (error) {
    await writable.close();
    throw error;
  } finally {
    await rm(path, { force: true });
  }
}

/** Writes all of it behind what is there. Rejects with `ERR_RENDER_INPUT` when memory is full. */
export async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done).catch(() => {
      throw new RenderError('ERR_RENDER_INPUT', 'there is not enough memory for what tasks read: split the job');
    });
    done += bytesWritten;
  }
}
