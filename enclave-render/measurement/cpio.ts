import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EifError } from './eif-error.ts';

/** What is in an archive, by its path in it without a leading slash. Folders above an entry need not be named. */
export type CpioEntry = { name: string } & (
  | { type: 'folder' }
  | { type: 'link'; target: string }
  | { type: 'file'; content: { file: string } | Uint8Array; isExecutable: boolean }
);

/** File types and permissions of st_mode: an image is read-only to nobody inside it, as its agent is root. */
const MODES = { folder: 0o040755, link: 0o120777, file: 0o100644, program: 0o100755 };
/** Sizes are 8 hexadecimal digits. */
const MOST_BYTES = 0xffff_ffff;
/** To which archives are filled up, so that another one may follow (Linux, "initramfs buffer format"). */
const BLOCK_BYTES = 512;

/**
 * Writes a cpio archive in the format `newc`, which Linux unpacks into its first file system (Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst). The same entries make the same bytes: they are sorted by the bytes of
 * their names, and owners, times and devices are 0. Rejects with `ERR_EIF_INPUT` when a name is there twice, is no plain path, or what
 * stands for a file is none.
 */
export async function writeCpio(path: string, entries: readonly CpioEntry[]): Promise<void> {
  await using output = await open(path, 'wx', 0o600);
  let position = 0;
  const write = async (bytes: Uint8Array) => {
    await output.appendFile(bytes);
    position += bytes.length;
  };
  const fillTo = (multiple: number) => write(Buffer.alloc((multiple - (position % multiple)) % multiple));
  const writeHeader = async (name: string, inode: number, mode: number, links: number, bytes: number) => {
    const nameBytes = Buffer.from(`${name}\0`);
    // c_ino, mode, uid, gid, nlink, mtime, filesize, major and minor of the device and of the special file, namesize, check.
    const fields = [inode, mode, 0, 0, links, 0, bytes, 0, 0, 0, 0, nameBytes.length, 0];
    const digits = fields.map((field) => field.toString(16).padStart(8, '0'));
    await write(Buffer.concat([Buffer.from(`070701${digits.join('')}`), nameBytes]));
    await fillTo(4);
  };

  for (const [index, entry] of inOrder(entries).entries()) {
    const header = (mode: number, bytes: number) => writeHeader(entry.name, index + 1, mode, 1, bytes);
    if (entry.type === 'folder') await header(MODES.folder, 0);
    else if (entry.type === 'link') {
      const target = Buffer.from(entry.target);
      await header(MODES.link, target.length);
      await write(target);
    } else {
      const mode = entry.isExecutable ? MODES.program : MODES.file;
      if (entry.content instanceof Uint8Array) {
        await header(mode, entry.content.length);
        await write(entry.content);
      } else await writeFileContent(entry.content.file, (bytes) => header(mode, bytes), write);
    }
    await fillTo(4);
  }
  await writeHeader('TRAILER!!!', 0, 0, 1, 0);
  await fillTo(BLOCK_BYTES);
}

/** All entries with the folders above them, a folder before what is in it. */
function inOrder(entries: readonly CpioEntry[]): CpioEntry[] {
  const named = new Map<string, CpioEntry>();
  for (const entry of entries) {
    const isPlain = entry.name.split('/').every((segment) => !['', '.', '..'].includes(segment));
    if (!isPlain || entry.name.includes('\0')) throw refused(entry.name, 'it is no plain path');
    if (named.has(entry.name)) throw refused(entry.name, 'it is there twice');
    named.set(entry.name, entry);
  }
  for (const { name } of entries) {
    for (let folder = dirname(name); folder !== '.'; folder = dirname(folder)) {
      const above = named.get(folder);
      if (above && above.type !== 'folder') throw refused(name, `${folder} is no folder`);
      named.set(folder, { name: folder, type: 'folder' });
    }
  }
  return [...named.values()].sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
}

async function writeFileContent(
  path: string,
  header: (bytes: number) => Promise<void>,
  write: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  await using file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw refused(path, `${error.code}`);
  });
  const found = await file.stat();
  if (!found.isFile() || found.size > MOST_BYTES) throw refused(path, 'it is no file of less than 4 GiB');
  await header(found.size);
  let bytes = 0;
  for await (const chunk of file.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>) {
    await write(chunk);
    bytes += chunk.length;
  }
  if (bytes !== found.size) throw refused(path, 'it changed while it was read');
}

function refused(name: string, why: string): EifError {
  return new EifError('ERR_EIF_INPUT', `cannot put ${name} into a ramdisk: ${why}`);
}
