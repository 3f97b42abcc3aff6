import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { buildEif, type EifParts } from '../measurement/build-eif.ts';
import { type CpioEntry, writeCpio } from '../measurement/cpio.ts';
import { EifError } from '../measurement/eif-error.ts';
import type { EifMeasurement } from '../measurement/measure-eif.ts';
import { withLibraries } from '../security-module/measure-image.ts';
import { RunnerConfigurationSchema } from './runner-configuration.ts';

/** What an enclave image is made of, beside the programs and libraries of this machine: paths. */
export interface EnclaveImageParts extends Pick<EifParts, 'kernel' | 'cmdline' | 'name' | 'version' | 'signer'> {
  /** Driver of the security module, where the kernel has it as a module. */
  nsmModule?: string | undefined;
  /** JSON of `RunnerConfigurationSchema`: owners, renderers, limits. */
  configuration: string;
  /** Folder with `agent/agent.mjs`, `init` and `nsm-helper` in it: `dist/enclave`. */
  built: string;
  /** The Node that runs the agent; that of this process unless given. */
  node?: string;
}

/** What the sandbox needs beside the renderer, by isolation (docs/sandbox.md). */
const SANDBOX_PROGRAMS = {
  bubblewrap: ['/usr/bin/bwrap', '/usr/bin/prlimit'],
  none: ['/usr/bin/setpriv', '/usr/bin/prlimit'],
};
/** What text is drawn with. */
const FONT_FOLDERS = ['/etc/fonts', '/usr/share/fontconfig', '/usr/share/fonts'];

/**
 * Builds the enclave image at `path` from the programs that are installed here, and measures it. The first ramdisk has the first
 * process and the driver of the security module, the second the root file system: Node, the agent and its configuration, the renderer,
 * the sandbox, each with the libraries that it is linked with, and fonts. The same files make the same image, whenever and wherever it
 * is built. Rejects with `EifError`, or `ERR_MODULE_IMAGE` when the libraries of a program cannot be found.
 */
export async function buildEnclaveImage(path: string, parts: EnclaveImageParts): Promise<EifMeasurement> {
  const architecture = process.arch === 'arm64' ? 'arm64' : 'x86_64';
  const { kernel, cmdline, name, version, signer } = parts;
  await requireBuilt(parts.built);
  // Beside the image: it may be too large for the folder of temporary files.
  const folder = await mkdtemp(`${path}.ramdisks-`).catch((error: NodeJS.ErrnoException) => {
    throw new EifError('ERR_EIF_FILE', `cannot write beside ${path}: ${error.code}`);
  });
  try {
    const first = join(folder, 'init.cpio');
    const root = join(folder, 'root.cpio');
    await writeCpio(first, firstFiles(parts));
    await writeCpio(root, await rootFiles(parts));
    const eif: EifParts = { kernel, cmdline, name, version, architecture, ramdisks: [first, root] };
    if (signer) eif.signer = signer;
    return await buildEif(path, eif);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function requireBuilt(built: string): Promise<void> {
  for (const name of ['agent/agent.mjs', 'init', 'nsm-helper']) {
    if (await stat(join(built, name)).catch(() => undefined)) continue;
    const how = 'run node scripts/setup.mjs and node scripts/build-enclave-programs.mjs in the sources';
    throw new EifError('ERR_EIF_INPUT', `${join(built, name)} is not there: ${how}`);
  }
}

function firstFiles({ built, nsmModule }: EnclaveImageParts): CpioEntry[] {
  return [
    { name: 'dev', type: 'folder' },
    { name: 'init', type: 'file', content: { file: join(built, 'init') }, isExecutable: true },
    ...(nsmModule === undefined ? [] : [file('/nsm.ko', nsmModule)]),
  ];
}

async function rootFiles({ built, configuration, node = process.execPath }: EnclaveImageParts): Promise<CpioEntry[]> {
  const { bytes, isolation, renderers } = await readConfiguration(configuration);
  if (renderers.blender !== undefined) {
    throw new EifError(
      'ERR_EIF_INPUT',
      `${configuration} names Blender, whose Python and add-ons no list of libraries has: take it out, an image renders with ffmpeg`,
    );
  }
  const programs = new Map([
    ['/usr/bin/node', node],
    ...[...SANDBOX_PROGRAMS[isolation], ...Object.values(renderers)].map((path): [string, string] => [path, path]),
  ]);
  const libraries = new Set<string>();
  for (const path of programs.values())
    for (const library of (await withLibraries(path)).slice(1)) libraries.add(library);
  const fonts = (await Promise.all(FONT_FOLDERS.map(filesBelow))).flat();
  const root: CpioEntry[] = [
    ...['dev', 'proc', 'tmp'].map((name): CpioEntry => ({ name, type: 'folder' })),
    // As on Debian: programs name their loader by /lib or /lib64.
    ...['bin', 'lib', 'lib64'].map((name): CpioEntry => ({ name, type: 'link', target: `usr/${name}` })),
    { name: 'usr/lib64', type: 'folder' },
    ...[...programs].map(([name, path]) => program(name, path)),
    ...unique([...libraries].map(libraryName)).map(([name, path]) => program(name, path)),
    ...fonts.map((path) => file(path, path)),
    file('/enclave/agent/agent.mjs', join(built, 'agent', 'agent.mjs')),
    { name: 'enclave/configuration.json', type: 'file', content: bytes, isExecutable: false },
    program('/enclave/nsm-helper', join(built, 'nsm-helper')),
  ];
  return root.map((entry) => ({ ...entry, name: `rootfs/${entry.name}` }));
}

async function readConfiguration(path: string) {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw new EifError('ERR_EIF_INPUT', `cannot read ${path}: ${error.code}`);
  });
  let content: unknown;
  try {
    content = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new EifError('ERR_EIF_INPUT', `${path} is not JSON: docs/enclave.md has an example`);
  }
  const result = v.safeParse(RunnerConfigurationSchema, content);
  if (result.success) return { bytes, ...result.output };
  const [issue] = result.issues;
  const where = v.getDotPath(issue) ?? 'its content';
  throw new EifError('ERR_EIF_INPUT', `${path}: ${where} has to be ${issue.expected ?? issue.message}`);
}

/** Where a library is in the image, and here. Found there are those in the folders that a loader looks into by itself. */
function libraryName(path: string): [name: string, path: string] {
  const name = path.startsWith('/usr/') ? path : `/usr${path}`;
  if (/^\/usr\/lib(?:64)?\//.test(name)) return [name, path];
  throw new EifError(
    'ERR_EIF_INPUT',
    `${path} is a library outside /usr/lib: an image would not find it; install the package of Debian`,
  );
}

/** A library may be found as /lib/… by one program and as /usr/lib/… by another. */
function unique(names: [string, string][]): [string, string][] {
  return [...new Map(names)];
}

/** Absolute paths of the files below a folder, those that links lead to as well; none when there is no folder. */
async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new EifError('ERR_EIF_INPUT', `cannot read ${folder}: ${error.code}`);
  });
  const files: string[] = [];
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) files.push(...(await filesBelow(path)));
    // One that leads nowhere is no font here either; one to a folder is another name of what is there.
    else if ((await stat(path).catch(() => undefined))?.isFile()) files.push(path);
  }
  return files;
}

function file(name: string, path: string): CpioEntry {
  return { name: name.slice(1), type: 'file', content: { file: path }, isExecutable: false };
}

function program(name: string, path: string): CpioEntry {
  return { name: name.slice(1), type: 'file', content: { file: path }, isExecutable: true };
}
