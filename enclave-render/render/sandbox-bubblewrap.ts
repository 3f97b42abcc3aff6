import type { ChildProcess } from 'node:child_process';
import { constants } from 'node:fs';
import { access, type FileHandle, open, stat, statfs } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkEnding, checkProgram, type EndedProcess, notStarted, runLimited } from './limited-process.ts';
import { RenderError } from './render-manifest.ts';
import type { Sandbox, SandboxLimits, SandboxResult, SandboxRun } from './sandbox.ts';
import { readOnlyInputs, withInputs } from './sandbox-inputs.ts';
import { closeOutputs, openOutputs } from './sandbox-outputs.ts';
import { oneAtATime, sandboxSha384 } from './sandbox-runs.ts';
import { type Architecture, systemCallFilter } from './seccomp.ts';

const BUBBLEWRAP = '/usr/bin/bwrap';

/** Files of the image that every renderer sees, read-only, where they are there. No programs: of those it sees its own only. */
const SYSTEM_FILES = [
  // The closure of the libraries: the loader, what programs are linked with and what they load later.
  '/usr/lib',
  '/usr/lib64',
  // Links from libraries to the chosen one of several (libblas on Debian).
  '/etc/alternatives',
  // What text is drawn with.
  '/etc/fonts',
  '/usr/share/fontconfig',
  '/usr/share/fonts',
  // Scripts, colour spaces and brushes of Blender.
  '/usr/share/blender',
];
const DEVICES = ['null', 'zero', 'random', 'urandom'];

const ENVIRONMENT: Record<string, string> = {
  HOME: '/tmp',
  LC_ALL: 'C.UTF-8',
  PATH: '/bin',
  TMPDIR: '/tmp',
  TZ: 'UTC',
  XDG_CACHE_HOME: '/tmp',
};

// Descriptors of bubblewrap, all closed before the renderer begins; the inputs follow.
const INFO = 3;
const RELEASE = 4;
const FILTER = 5;
const FIRST_INPUT = 6;

/** All that bubblewrap is told, but for the program, its inputs and descriptors: bwrap(1). */
function sandboxArguments({ outputBytes }: SandboxLimits): string[] {
  return [
    ...['--unshare-user', '--unshare-pid', '--unshare-net', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup'],
    // The renderer is the first process of its PID namespace: when it ends, the kernel ends all that is left.
    ...['--as-pid-1', '--die-with-parent', '--new-session', '--cap-drop', 'ALL'],
    ...['--uid', '65534', '--gid', '65534', '--hostname', 'renderer', '--clearenv'],
    ...Object.entries(ENVIRONMENT).flatMap(([name, value]) => ['--setenv', name, value]),
    ...SYSTEM_FILES.flatMap((path) => ['--ro-bind-try', path, path]),
    ...['--symlink', 'usr/lib', '/lib', '--symlink', 'usr/lib64', '/lib64'],
    ...DEVICES.flatMap((name) => ['--dev-bind', `/dev/${name}`, `/dev/${name}`]),
    // Of /proc the descriptors of the renderer itself, and nothing else: no other process, no setting of the kernel. It is a bind of the
    // process that sets the sandbox up and becomes the renderer, and needs no new /proc, which a nested user namespace may not mount.
    ...['--ro-bind', '/proc/self/fd', '/proc/self/fd', '--symlink', '/proc/self/fd', '/dev/fd'],
    // Everything it writes, in one tmpfs of that size. What else there is is read-only, the root too.
    ...['--size', String(outputBytes), '--tmpfs', '/work', '--dir', '/work/out', '--dir', '/work/tmp'],
    ...['--symlink', '/work/out', '/out', '--symlink', '/work/tmp', '/tmp', '--dir', '/in', '--dir', '/bin'],
    ...['--chdir', '/out'],
  ];
}

/**
 * Runs renderers under bubblewrap with a filter of system calls (docs/sandbox.md has what they see). Needs bubblewrap 0.8, user
 * namespaces, and `prlimit`; works as root, as an ordinary user, and inside another bubblewrap that has a /proc.
 */
export class BubblewrapSandbox implements Sandbox {
  readonly isolation = 'bubblewrap';
  readonly #bubblewrap: string;
  readonly #filter: Buffer;
  readonly run = oneAtATime((run) => this.#run(run));

  /** Throws `ERR_RENDER_SANDBOX` on a machine whose system calls it does not know. */
  constructor(bubblewrap = BUBBLEWRAP, architecture: string = process.arch) {
    if (architecture !== 'x64' && architecture !== 'arm64') {
      throw new RenderError('ERR_RENDER_SANDBOX', `there is no filter of system calls for ${architecture}`);
    }
    this.#bubblewrap = bubblewrap;
    this.#filter = systemCallFilter(architecture satisfies Architecture);
  }

  async #run(run: SandboxRun): Promise<SandboxResult> {
    await checkProgram(run.command);
    await access(this.#bubblewrap, constants.X_OK).catch(() => {
      const how = 'install it (Debian: apt install bubblewrap), or choose isolation none, which keeps nothing in';
      throw notStarted(`there is no bubblewrap at ${this.#bubblewrap}: ${how}`);
    });
    await readOnlyInputs(run.inputs);
    const fixed = sandboxArguments(run.limits);
    const opened: OpenedSandbox = { pid: undefined, outputs: undefined, failure: undefined };
    try {
      const ended = await this.#start(run, fixed, opened);
      const { outputs: folder } = opened;
      if (!folder) {
        // Never released: the renderer has not begun.
        if (ended.killedFor) checkEnding(ended, run.limits, false);
        throw notStarted(ended.complaint.trim().split('\n').at(-1) || opened.failure || 'bubblewrap ended');
      }
      const path = `/proc/self/fd/${folder.fd}`;
      checkEnding(ended, run.limits, (await statfs(path)).bfree === 0);
      const outputs = await openOutputs(path, run.limits.outputBytes);
      const { cpuSeconds, wallSeconds } = ended;
      return {
        exitCode: 0,
        outputs,
        // The same on every machine of an architecture for the same limits.
        sandboxSha384: sandboxSha384(
          { isolation: this.isolation, arguments: fixed, filter: this.#filter.toString('base64') },
          run.limits,
        ),
        cpuSeconds,
        wallSeconds,
        dispose: () => closeOutputs(outputs),
      };
    } finally {
      // The open outputs keep the tmpfs, and it ends with the last of them.
      await opened.outputs?.close();
    }
  }

  async #start(run: SandboxRun, fixed: string[], opened: OpenedSandbox): Promise<EndedProcess> {
    const program = `/bin/${basename(run.command)}`;
    await using nothing = await open('/dev/null', 'r');
    const stdio = await withInputs(['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'], run.inputs, nothing);
    const argv = [
      this.#bubblewrap,
      ...fixed,
      ...['--ro-bind', run.command, program],
      ...run.inputs.flatMap(({ name }, i) => ['--symlink', `/proc/self/fd/${FIRST_INPUT + i}`, `/in/${name}`]),
      ...['--remount-ro', '/', '--info-fd', `${INFO}`, '--block-fd', `${RELEASE}`, '--seccomp', `${FILTER}`],
      ...['--', program, ...run.args],
    ];
    let released: Promise<void> | undefined;
    const ended = await runLimited({
      argv,
      env: {},
      cwd: '/',
      stdio: stdio as ('ignore' | 'pipe' | number)[],
      detached: false,
      run,
      started: (child) => {
        // Bubblewrap that ends early closes them; why it did, its exit says.
        for (const stream of child.stdio) stream?.on('error', () => undefined);
        writable(child, FILTER).end(this.#filter);
        released = release(child, opened);
      },
      // The renderer alone: then bubblewrap waits for the rest of it, and ends.
      kill: (child) => {
        if (opened.pid === undefined) child.kill('SIGKILL');
        else if (child.exitCode === null && child.signalCode === null) endProcess(opened.pid);
      },
    });
    await released;
    return ended;
  }
}

/** What is learnt of a sandbox while it is set up. */
interface OpenedSandbox {
  /** Of the renderer, in the PID namespace of this process. */
  pid: number | undefined;
  /** Its `/out`: a descriptor keeps the tmpfs after the sandbox has ended, for as long as this process lives. */
  outputs: FileHandle | undefined;
  failure: string | undefined;
}

/** The types of Node end at descriptor 4. */
function writable(child: ChildProcess, descriptor: number): Writable {
  return (child.stdio as unknown as Writable[])[descriptor] as Writable;
}

/** Opens `/out` of a sandbox that waits to be released, and releases it. Ends it when that cannot be done. */
async function release(child: ChildProcess, opened: OpenedSandbox): Promise<void> {
  try {
    let text = '';
    for await (const piece of child.stdio[INFO] as Readable) text += String(piece);
    // Bubblewrap failed before it had one.
    if (text === '') return;
    opened.pid = (JSON.parse(text) as { 'child-pid': number })['child-pid'];
    opened.outputs = await openWhenMounted(`/proc/${opened.pid}/root`, child);
    writable(child, RELEASE).end('.');
  } catch (error) {
    opened.failure = `its folder for outputs cannot be opened (${(error as Error).message})`;
    child.kill('SIGKILL');
  }
}

/** Bubblewrap tells the process before it has changed its root, and nobody when it has: until then there is no such folder. */
async function openWhenMounted(root: string, child: ChildProcess): Promise<FileHandle> {
  const own = await stat('/');
  for (;;) {
    try {
      const its = await stat(root);
      const isOwn = its.dev === own.dev && its.ino === own.ino;
      if (!isOwn)
        return await open(`${root}/work/out`, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    } catch (error) {
      if (child.exitCode !== null || child.signalCode !== null) throw error;
    }
    await sleep(1);
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
