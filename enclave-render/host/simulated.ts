import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { measureImage } from '../security-module/measure-image.ts';
import { simulatedModule } from '../security-module/simulator.ts';
import type { SimulatorCa } from '../security-module/simulator-ca.ts';
import type { EnclaveLauncher, RunningEnclave } from './enclave-launcher.ts';
import { HostError } from './host-error.ts';
import { launchFolder } from './launch-folder.ts';
import type { RunnerConfiguration } from './runner-configuration.ts';

const BUBBLEWRAP = '/usr/bin/bwrap';
const PRLIMIT = '/usr/bin/prlimit';
const AGENT = 'agent.mjs';

/** Descriptors of the agent (`agent-main.ts`), and one that bubblewrap makes a file of. */
const [CHANNEL, MODULE, CONFIGURATION] = [3, 4, 5] as const;

/** What of this machine stands for the image's file system, read-only. */
const IMAGE_FILES = ['/usr', '/etc/alternatives', '/etc/fonts'];

export interface SimulatedLauncherOptions {
  /** Folder of the agent's bundle, with `agent.mjs` in it. */
  agent: string;
  configuration: RunnerConfiguration;
  ca: SimulatorCa;
  /** Milliseconds since the epoch, for the module. */
  now: () => number;
}

/**
 * Launches enclaves that are processes of this machine, under bubblewrap with no network and files of their own in memory, so that all
 * of one is lost when it ends, with a simulated security module that measures what is started: the agent's bundle, its configuration,
 * and the programs of the image with their libraries. **It keeps nothing from whoever is root here.** With isolation `none` there is
 * no bubblewrap around it either. Rejects with `ERR_MODULE_IMAGE`.
 */
export async function simulatedLauncher(options: SimulatedLauncherOptions): Promise<EnclaveLauncher> {
  const { ca } = options;
  return { pcrs: await measure(options), root: ca.root, launch: (signal) => launch(options, signal) };
}

async function measure({ agent, configuration }: SimulatedLauncherOptions) {
  const { renderers, isolation } = configuration;
  if (isolation === 'bubblewrap')
    await access(BUBBLEWRAP, constants.X_OK).catch((error) => {
      throw notStarted(error.code);
    });
  const programs = [process.execPath, PRLIMIT, ...(isolation === 'bubblewrap' ? [BUBBLEWRAP] : [])];
  return measureImage({
    agent,
    configuration: configurationBytes(configuration),
    renderers: [...programs, ...Object.values(renderers)],
  });
}

function configurationBytes(configuration: RunnerConfiguration): Buffer {
  return Buffer.from(`${JSON.stringify(configuration)}\n`);
}

async function launch(options: SimulatedLauncherOptions, signal?: AbortSignal): Promise<RunningEnclave> {
  const { configuration, ca, now } = options;
  // Measured again: what is on the disk may be another thing than when the launcher was made, and its owner is to find out.
  const module = simulatedModule({ ca, pcrs: await measure(options), now });
  signal?.throwIfAborted();
  const { child, folder } = await (configuration.isolation === 'bubblewrap' ? inBubblewrap : unconfined)(options);
  await new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) => {
      reject(notStarted((error as NodeJS.ErrnoException).code));
    });
  });
  const ended = new Promise<number | null>((resolve) => {
    child.once('exit', resolve);
  }).then(async (code) => {
    if (folder) await rm(folder, { recursive: true, force: true });
    return code;
  });
  module.serve(streamOf(child, MODULE));
  return {
    channel: streamOf(child, CHANNEL),
    ended,
    async end() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** The agent in a file system of memory, with the image in it, without network, and with no process but its own. */
async function inBubblewrap(options: SimulatedLauncherOptions): Promise<StartedAgent> {
  const argv = [
    ...sandboxArguments(options.agent),
    ...[
      '/enclave/node',
      `/enclave/agent/${AGENT}`,
      '--simulated-module',
      '--configuration',
      '/enclave/configuration.json',
    ],
  ];
  const child = spawn(BUBBLEWRAP, argv, { env: {}, stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });
  const configuration = streamOf(child, CONFIGURATION);
  // Bubblewrap that could not be started says so by itself.
  configuration.on('error', () => undefined);
  configuration.end(configurationBytes(options.configuration));
  return { child, folder: undefined };
}

/** The agent as a process like any other, which works in a folder for temporary files. */
async function unconfined({ agent, configuration }: SimulatedLauncherOptions): Promise<StartedAgent> {
  const folder = await launchFolder('portcullis-enclave');
  const path = join(folder, 'configuration.json');
  await writeFile(path, configurationBytes(configuration));
  const argv = [join(agent, AGENT), '--simulated-module', '--configuration', path, '--scratch', folder];
  const stdio: ('ignore' | 'pipe')[] = ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'];
  return { child: spawn(process.execPath, argv, { env: { TMPDIR: folder }, stdio }), folder };
}

interface StartedAgent {
  child: ChildProcess;
  /** To be removed when it has ended. */
  folder: string | undefined;
}

/** The types of Node end at descriptor 4. */
function streamOf(child: ChildProcess, descriptor: number): Duplex {
  return (child.stdio as unknown as Duplex[])[descriptor] as Duplex;
}

/** bwrap(1). */
function sandboxArguments(agent: string): string[] {
  return [
    ...['--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...['--die-with-parent', '--new-session', '--clearenv', '--hostname', 'enclave'],
    ...IMAGE_FILES.flatMap((path) => ['--ro-bind-try', path, path]),
    ...['bin', 'lib', 'lib64', 'sbin'].flatMap((name) => ['--symlink', `usr/${name}`, `/${name}`]),
    ...['--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
    ...['--ro-bind', process.execPath, '/enclave/node', '--ro-bind', agent, '/enclave/agent'],
    ...['--file', String(CONFIGURATION), '/enclave/configuration.json', '--chdir', '/', '--'],
  ];
}

function notStarted(why: string | undefined): HostError {
  const how = 'install bubblewrap (Debian: apt install bubblewrap), or choose --isolation none, which keeps nothing in';
  return new HostError('ERR_HOST_LAUNCH', `no enclave can be started here (${why}): ${how}`);
}
