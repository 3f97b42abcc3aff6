import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { constants as files, readFileSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { constants } from 'node:os';
import { isAbsolute } from 'node:path';
import { RenderError } from './render-manifest.ts';
import type { SandboxLimits, SandboxRun } from './sandbox.ts';

const PRLIMIT = '/usr/bin/prlimit';

/** Of standard error, for the message of a failure, which stays in the enclave. */
const COMPLAINT_CHARACTERS = 2000;
/** What programs say when there is no memory left for them: errno(3), C++, and the renderers that know better. */
const OUT_OF_MEMORY = /cannot allocate memory|out of memory|bad_alloc|malloc of .* failed/i;
/** RLIMIT_CPU counts in ticks, of which there are 100 a second on every Linux that programs see (proc_pid_stat(5)). */
const TICKS = 100;
const OPEN_FILES = 256;
/** Milliseconds, 24 days; of more, Node makes 1. */
const LONGEST_TIMER = 2 ** 31 - 1;

export interface LimitedProcess {
  /** Program, by absolute path, and its arguments. */
  argv: readonly string[];
  env: Record<string, string>;
  cwd: string;
  /** Descriptors from 0; 1 and 2 have to be `pipe`. */
  stdio: StdioOptions & unknown[];
  /** A process group of its own. */
  detached: boolean;
  /** Longest file that it may write, where nothing else limits that. */
  fileBytes?: number;
  run: SandboxRun;
  /** Called when it has been started. */
  started?: (child: ChildProcess) => void;
  /** Ends all of it. */
  kill: (child: ChildProcess) => void;
}

export interface EndedProcess {
  /** Null when it was ended by a signal. */
  exitCode: number | null;
  signal: NodeJS.Signals | null;
  cpuSeconds: number;
  wallSeconds: number;
  /** The last that it said on standard error. */
  complaint: string;
  /** Why it was killed, if it was. */
  killedFor: 'wallSeconds' | 'signal' | undefined;
}

/**
 * Runs a program under limits of setrlimit(2), which hold for one process and all its threads: address space for memory, CPU time, the
 * length of a file, and no core dumps. Wall time is kept here. Rejects with `ERR_RENDER_SANDBOX` when it cannot be started.
 */
export async function runLimited(process_: LimitedProcess): Promise<EndedProcess> {
  const { argv, env, cwd, stdio, detached, fileBytes, run, started, kill } = process_;
  const { limits, signal, onOutput } = run;
  const rlimits = [
    `--as=${limits.memoryBytes}`,
    `--cpu=${limits.cpuSeconds}`,
    `--fsize=${fileBytes ?? 'unlimited'}`,
    `--nofile=${OPEN_FILES + run.inputs.length}`,
    '--core=0',
  ];
  const [began, cpuBefore] = [performance.now(), childrenCpuSeconds()];
  const child = spawn(PRLIMIT, [...rlimits, '--', ...argv], { env, cwd, stdio, detached });
  let killedFor: EndedProcess['killedFor'];
  const end = (why: 'wallSeconds' | 'signal') => () => {
    killedFor ??= why;
    kill(child);
  };
  const timer = setTimeout(end('wallSeconds'), Math.min(limits.wallSeconds * 1000, LONGEST_TIMER));
  const aborted = end('signal');
  signal?.addEventListener('abort', aborted);
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-COMPLAINT_CHARACTERS);
  });
  // Read even when nobody wants it: a full pipe would make the renderer wait.
  child.stdout?.setEncoding('utf8').on('data', (text: string) => onOutput?.(text));
  try {
    await new Promise((resolve, reject) => {
      child.once('error', (error) => reject(notStarted(error.message)));
      child.once('close', resolve);
      started?.(child);
      if (signal?.aborted) aborted();
    });
    const cpuSeconds = childrenCpuSeconds() - cpuBefore;
    const wallSeconds = (performance.now() - began) / 1000;
    return { exitCode: child.exitCode, signal: child.signalCode, cpuSeconds, wallSeconds, complaint, killedFor };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', aborted);
  }
}

/** Rejects with `ERR_RENDER_SANDBOX` unless this is a program by its absolute path. */
export async function checkProgram(path: string): Promise<void> {
  if (!isAbsolute(path)) throw notStarted(`${path} is not an absolute path`);
  await access(path, files.X_OK).catch(() => {
    throw notStarted(`there is no program ${path}`);
  });
}

/** Throws `ERR_RENDER_TASK` unless it ended by itself and well, within its limits. */
export function checkEnding(ended: EndedProcess, limits: SandboxLimits, isFull: boolean): void {
  const { exitCode, signal, cpuSeconds, complaint, killedFor } = ended;
  if (killedFor === 'signal') throw failed('the job was cancelled');
  if (killedFor) throw exceeded('wallSeconds', limits);
  // What filled its disk may end well and have left half of what it should.
  if (isFull || signal === 'SIGXFSZ') throw exceeded('outputBytes', limits);
  if (exitCode === 0) return;
  // The kernel counts for its limit in ticks, and exactly for what it reports: the two differ.
  const wasKilled = signal === 'SIGKILL' || exitCode === 128 + constants.signals.SIGKILL;
  if (wasKilled && cpuSeconds >= 0.8 * limits.cpuSeconds - 0.5) throw exceeded('cpuSeconds', limits);
  if (OUT_OF_MEMORY.test(complaint)) throw exceeded('memoryBytes', limits);
  const said = complaint.trim().split('\n').at(-1)?.slice(0, 300);
  throw failed(`the renderer ended with ${exitCode ?? signal}${said ? `: ${said}` : ''}`);
}

export function notStarted(why: string): RenderError {
  return new RenderError('ERR_RENDER_SANDBOX', `the renderer could not be started: ${why}`);
}

function exceeded(limit: keyof SandboxLimits, limits: SandboxLimits): RenderError {
  return failed(`the renderer took more than its limit of ${limit}, ${limits[limit]}`);
}

function failed(why: string): RenderError {
  return new RenderError('ERR_RENDER_TASK', why);
}

/**
 * CPU time of all children of this process that have ended, theirs included (`cutime` and `cstime` of proc_pid_stat(5)): Node does not
 * tell it of one.
 */
function childrenCpuSeconds(): number {
  const text = readFileSync('/proc/self/stat', 'utf8');
  // The second field is a name in parentheses, which may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) / TICKS;
}
