import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EnclaveLauncher } from '../../enclave-render/host/enclave-launcher.ts';
import { nitroLauncher } from '../../enclave-render/host/nitro.ts';
import { simulatedModule } from '../../enclave-render/security-module/simulator.ts';
import { packagePath } from '../../local/package-root.ts';
import type { openIdentity } from '../../local/render-jobs.ts';
import { publicPem } from '../../local/render-owner.ts';
import { programPath } from './programs.ts';
import { PCRS } from './render-shop.ts';
import { unixServer } from './security-module.ts';

/** Why no enclave can be started here from its file system, empty when one can be. */
export function whyNoMachine(): string {
  const missing = ['gcc', 'socat', 'bwrap', 'ffmpeg'].filter((program) => programPath(program) === '');
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  // The first process of an enclave mounts the kernel's devices, which nobody else may.
  const mayMount = spawnSync('unshare', ['-m', 'mount', '-t', 'devtmpfs', 'dev', '/mnt'], { stdio: 'ignore' });
  return mayMount.status === 0 ? '' : 'needs to be root, and may not mount devtmpfs';
}

/** What of this machine is in the place of the programs of an image, read-only. */
const SYSTEM = [
  ...['/usr/lib', '/usr/lib64', '/usr/share/fonts', '/usr/share/fontconfig', '/etc/alternatives', '/etc/fonts'],
  ...['/usr/bin/bwrap', '/usr/bin/prlimit', '/usr/bin/ffmpeg'],
].map((path): [string, string] => [path, path]);
const BOUND: [from: string, to: string][] = [...SYSTEM, [process.execPath, '/usr/bin/node']];

/** A machine that starts enclaves from the file system of an image, but for the hardware. */
export interface EnclaveMachine {
  launcher: EnclaveLauncher;
  /** What /init sees as the kernel's first file system. */
  folder: string;
  /** Options of the launcher, with the stand-ins for nitro-cli and vsock. */
  programs: { nitroCli: string; socat: string };
  /** What answers the heartbeat of the enclave. */
  setHeartbeat(byte: number): void;
  close(): void;
}

/**
 * Lays out the two ramdisks of an image in `folder`/machine, with the programs of this machine bound into them, and gives a launcher of
 * Nitro enclaves whose nitro-cli starts `/init` in them and whose vsock is Unix sockets. The module is a simulated one.
 */
export async function enclaveMachine(
  { ca, owner }: Awaited<ReturnType<typeof openIdentity>>,
  machine: string,
  bound = BOUND,
): Promise<EnclaveMachine> {
  const folder = join(machine, 'ramdisk');
  const enclave = join(folder, 'rootfs', 'enclave');
  for (const name of ['dev', 'rootfs/dev', 'rootfs/proc', 'rootfs/tmp', 'rootfs/enclave']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  for (const name of ['bin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(folder, 'rootfs', name));
  buildTestInit(folder);
  cpSync(packagePath('dist/enclave/agent'), join(enclave, 'agent'), { recursive: true });
  const configuration = {
    format: 'portcullis-runner/1',
    owners: [publicPem(owner.signing)],
    isolation: 'bubblewrap',
    renderers: { ffmpeg: '/usr/bin/ffmpeg' },
    limits: { memoryBytes: 4 * 2 ** 30, cpuSeconds: 60, wallSeconds: 120, outputBytes: 64 << 20 },
  };
  writeFileSync(join(enclave, 'configuration.json'), JSON.stringify(configuration));
  const close = await serveModule(ca, enclave);
  const binds = bound.filter(([path]) => existsSync(path)).flatMap(([from, to]) => ['--ro-bind', from, `/rootfs${to}`]);
  const setHeartbeat = (heartbeat: number) =>
    writeFileSync(join(machine, 'enclave.json'), JSON.stringify({ binds, heartbeat }));
  setHeartbeat(0xb7);
  const programs = standIns(machine, folder);
  const options = { image: '/render.eif', pcrs: PCRS, cpus: 2, memoryMib: 4096, ...programs };
  return { launcher: { ...nitroLauncher(options), root: ca.root }, folder, programs, setHeartbeat, close };
}

/** The first process, with Unix sockets in the place of vsock. */
export function buildTestInit(folder: string): void {
  const build = [
    packagePath('scripts', 'build-enclave-programs.mjs'),
    '--only',
    'init',
    '--unix-sockets',
    '--out',
    folder,
  ];
  execFileSync(process.execPath, build, { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** A simulated module, and in the place of the helper for /dev/nsm what connects to it. */
export async function serveModule(
  ca: Awaited<ReturnType<typeof openIdentity>>['ca'],
  enclave: string,
): Promise<() => void> {
  const { path, server } = await unixServer(enclave, (socket) => {
    simulatedModule({ ca, pcrs: PCRS, now: Date.now }).serve(socket);
  });
  const name = path.slice(enclave.length);
  const helper = `const s = require('node:net').connect('/enclave${name}'); process.stdin.pipe(s).pipe(process.stdout);`;
  writeFileSync(join(enclave, 'nsm-helper'), `#!/usr/bin/node\n${helper}\n`, { mode: 0o755 });
  return () => server.close();
}

/** Scripts in the place of nitro-cli, and of socat for what it cannot do here: vsock. */
export function standIns(machine: string, folder: string): { nitroCli: string; socat: string } {
  const nitroCli = join(machine, 'nitro-cli');
  const stand = packagePath('test', 'harness', 'nitro-cli.mjs');
  writeFileSync(nitroCli, `#!/bin/sh\nexec '${process.execPath}' '${stand}' '${folder}' "$@"\n`, { mode: 0o755 });
  const socat = join(machine, 'socat');
  const target = `"UNIX-CONNECT:${folder}/vsock-5005,\${2#*,}"`;
  writeFileSync(socat, `#!/bin/sh\nexec '${programPath('socat')}' "$1" ${target}\n`, { mode: 0o755 });
  return { nitroCli, socat };
}
