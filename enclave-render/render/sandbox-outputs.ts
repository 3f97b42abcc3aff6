import { close, constants, type Dirent, fstat, open } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { promisify } from 'node:util';
import { RenderError } from './render-manifest.ts';
import type { SandboxOutput } from './sandbox.ts';

/** A plain name; paths of up to six of them are what an enclave hands over (host/messages.ts). */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const DEEPEST = 6;
const PATH_LENGTH = 400;
const MOST_FILES = 4096;

const openFile = promisify(open);
const closeFile = promisify(close);
const statFile = promisify(fstat);

/**
 * Opens everything that a renderer left in a folder, in the order of its names, once nothing of the renderer runs. Only regular files
 * of plain names and one link each are taken: `ERR_RENDER_TASK` otherwise, and when they are more than `mostBytes` together, holes
 * included.
 */
export async function openOutputs(folder: string, mostBytes: number): Promise<SandboxOutput[]> {
  const outputs: SandboxOutput[] = [];
  try {
    let bytes = 0;
    for (const name of (await fileNames(folder)).sort()) {
      // A link is refused, and a pipe does not make this wait.
      const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
      const fd = await openFile(`${folder}/${name}`, flags).catch(() => {
        throw refused(`output ${name} cannot be opened`);
      });
      const output = { name, fd, bytes: 0 };
      outputs.push(output);
      const found = await statFile(fd);
      if (!found.isFile() || found.nlink !== 1) throw refused(`output ${name} is no regular file of one name`);
      output.bytes = found.size;
      bytes += found.size;
      if (bytes > mostBytes) throw refused(`the outputs are longer than the limit of outputBytes, ${mostBytes}`);
    }
    return outputs;
  } catch (error) {
    await closeOutputs(outputs);
    throw error;
  }
}

export async function closeOutputs(outputs: SandboxOutput[]): Promise<void> {
  await Promise.all(outputs.splice(0).map(({ fd }) => closeFile(fd)));
}

/** Paths of the files of a folder, which may have been filled with anything: it is read no further than what is allowed. */
async function fileNames(folder: string): Promise<string[]> {
  const files: string[] = [];
  let entries = 0;
  const visit = async (within: string, depth: number): Promise<void> => {
    for await (const entry of await opendir(`${folder}/${within}`)) {
      if (++entries > MOST_FILES) throw refused(`the renderer left more than ${MOST_FILES} files and folders`);
      const path = within + entry.name;
      checkEntry(entry, path, depth);
      if (entry.isDirectory()) await visit(`${path}/`, depth + 1);
      else files.push(path);
    }
  };
  await visit('', 1);
  return files;
}

function checkEntry(entry: Dirent, path: string, depth: number): void {
  if (!NAME.test(entry.name) || path.length > PATH_LENGTH) {
    throw refused(
      `an output is called ${JSON.stringify(path.slice(0, PATH_LENGTH))}: names are letters, digits, . _ -`,
    );
  }
  if (!entry.isDirectory() && !entry.isFile()) throw refused(`output ${path} is no regular file`);
  if (depth > DEEPEST) throw refused(`output ${path} lies deeper than ${DEEPEST} folders`);
}

function refused(why: string): RenderError {
  return new RenderError('ERR_RENDER_TASK', why);
}
