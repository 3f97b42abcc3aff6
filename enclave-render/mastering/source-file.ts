import { type FileHandle, open, stat } from 'node:fs/promises';
import { fileError, MasterError } from './master-error.ts';

/** What tells whether a file is still the same: another content has another of these, unless somebody sets the clock back. */
export interface FileIdentity {
  bytes: number;
  /** Decimal numbers: nanoseconds since the epoch do not fit into a JavaScript number. */
  modifiedNs: string;
  changedNs: string;
  inode: string;
}

/** A file that is read, and must not change meanwhile. */
export interface SourceFile {
  handle: FileHandle;
  identity: FileIdentity;
  /** Throws `ERR_MASTER_SOURCE_CHANGED` when the file is not what was opened any more. */
  checkUnchanged(): Promise<void>;
}

/** Opens a regular file. Throws `ERR_MASTER_FILE`. */
export async function openSource(path: string): Promise<SourceFile> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw fileError(path, error);
  }
  try {
    if (!(await handle.stat()).isFile()) {
      throw new MasterError('ERR_MASTER_FILE', `${path} is no regular file: its length has to be known beforehand`);
    }
    const identity = await identityOf(handle);
    return {
      handle,
      identity,
      async checkUnchanged() {
        const [now, named] = await Promise.all([
          identityOf(handle),
          stat(path, { bigint: true }).catch(() => undefined),
        ]);
        const isSame = sameFile(now, identity) && now.changedNs === identity.changedNs;
        if (isSame && `${named?.ino}` === identity.inode) return;
        throw new MasterError('ERR_MASTER_SOURCE_CHANGED', `${path} was changed while it was read: run it again`);
      },
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function identityOf(handle: FileHandle): Promise<FileIdentity> {
  const { size, mtimeNs, ctimeNs, ino } = await handle.stat({ bigint: true });
  return { bytes: Number(size), modifiedNs: `${mtimeNs}`, changedNs: `${ctimeNs}`, inode: `${ino}` };
}

/** Whether two runs read the same file: moving it or changing its mode in between is no matter. */
export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.bytes === b.bytes && a.modifiedNs === b.modifiedNs && a.inode === b.inode;
}
