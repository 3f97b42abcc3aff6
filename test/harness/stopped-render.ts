import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyAuditLog } from '../../enclave-render/audit/verify-audit-log.ts';
import { packagePath } from '../../local/package-root.ts';
import type { CommandResult } from './cli.ts';
import { ffmpeg } from './media.ts';
import { filesWith, twoStepJob } from './render-shop.ts';
import { CLI } from './stack.ts';

/** What is done to a job at a step: its parent, its enclave or both end by SIGKILL, its disk is full, its KMS is gone. */
export type Stop = 'parent' | 'enclave' | 'all' | 'disk' | 'kms';

/** A disk of its own, with everything that a job has on it. */
export interface World {
  folder: string;
  output: string;
  /** Umounts the disk, with all that is on it. */
  end(): void;
}

/** Id of the job of every world. */
const JOB = 'stopped';
/** What a job of two tasks delivers. */
const DELIVERED = ['grade', 'grade/title.mkv', 'grade/title.mkv.manifest.json'];

/** Makes a world of 8 MiB with a job that renders `<source>/source.mkv`. Undefined when nothing may be mounted here. */
export function makeWorld(folder: string, source: string): World | undefined {
  mkdirSync(folder);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'none', folder], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  const output = join(folder, 'out');
  mkdirSync(join(folder, 'tmp'));
  writeFileSync(join(folder, 'job.json'), JSON.stringify(twoStepJob(source, { jobId: JOB, output })));
  return { folder, output, end: () => execFileSync('umount', ['--lazy', folder]) };
}

/** Runs `portcullis render` in a world as a process, and stops it at a step. `steps`: file that all steps are written to. */
export function render(
  { folder }: World,
  what: 'submit' | 'resume',
  stop: { at?: string; how?: Stop; steps?: string; isolation?: 'none' } = {},
): Promise<CommandResult & { signal: NodeJS.Signals | null }> {
  const { isolation, ...steps } = stop;
  const hook = packagePath('test', 'harness', 'stopping.mjs');
  const job = what === 'submit' ? join(folder, 'job.json') : JOB;
  const argv = ['--import', hook, CLI, 'render', what, job, '--data', join(folder, 'data')];
  const env = {
    PATH: process.env.PATH ?? '',
    TMPDIR: join(folder, 'tmp'),
    PORTCULLIS_STOP: JSON.stringify({ world: folder, ...steps }),
  };
  const child = spawn(process.execPath, [...argv, ...(isolation ? ['--isolation', isolation] : [])], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      said[name] += text;
    });
  }
  // Not `close`: a process that it has left behind may hold its streams.
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => setImmediate(() => resolve({ code: code ?? -1, signal, ...said })));
  });
}

/** All steps of a job that nobody stops, in order. */
export async function stepsOf(world: World): Promise<string[]> {
  const steps = `${world.folder}-steps`;
  const { code, stderr } = await render(world, 'submit', { steps });
  if (code !== 0) throw new Error(stderr);
  return readFileSync(steps, 'utf8').trim().split('\n');
}

/** Waits for the end of all processes that a stopped command had below it. Rejects when it came to no such step. */
export async function processesEnd({ folder }: World): Promise<void> {
  const path = join(folder, 'processes');
  const pids = readFileSync(path, 'utf8').split('\n').filter(Boolean);
  while (pids.some(isRunning)) await sleep(10);
  rmSync(path);
}

function isRunning(pid: string): boolean {
  try {
    // A zombie has ended: it waits for whoever started it.
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Makes room, brings KMS back, and lets time pass for the locks of who was killed. */
export function mend({ folder }: World): void {
  rmSync(join(folder, 'filler'), { force: true });
  const keystore = join(folder, 'data', 'kms', 'keystore.json');
  if (existsSync(`${keystore}.away`)) renameSync(`${keystore}.away`, keystore);
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.lock')) utimesSync(join(folder, path), 1, 1);
  }
}

/**
 * Makes `<folder>/source.mkv`, of five frames: what takes time is everything around them. Resolves with pieces of it and of what is
 * rendered of it, which stand in no encrypted file.
 */
export async function makeSource(folder: string): Promise<Buffer[]> {
  const [source, graded] = [join(folder, 'source.mkv'), join(folder, 'graded.mkv')];
  mkdirSync(folder);
  await ffmpeg('-f', 'lavfi', '-i', 'testsrc2=d=0.2:s=160x90:r=25', '-c:v', 'ffv1', source);
  await ffmpeg('-i', source, '-vf', 'hue=s=0', '-c:v', 'ffv1', graded);
  return [source, graded].map((path) => {
    const bytes = readFileSync(path);
    return bytes.subarray(bytes.length >> 1, (bytes.length >> 1) + 48);
  });
}

/** Files of a world, and of memory, that have any of the title in clear. */
export function plaintextIn({ folder }: World, plaintext: readonly Buffer[]): string[] {
  return plaintext.flatMap((piece) => filesWith([folder, '/dev/shm'], piece));
}

/** What there is of the outputs, and of a job that is not finished, and what the audit log says; a changed log rejects. */
export async function stateOf({ folder, output }: World) {
  const log = join(folder, 'data', 'render', 'audit.jsonl');
  // What a crash cut off is no entry yet.
  const text = existsSync(log) ? readFileSync(log, 'utf8').replace(/[^\n]*$/, '') : '';
  const { entries } = await verifyAuditLog(text, { checkpoints: [], keys: [], copies: [] });
  const checkpoints = join(folder, 'data', 'render', 'jobs', JOB, 'checkpoints');
  return {
    delivered: filesIn(output),
    isWhole: JSON.stringify(filesIn(output)) === JSON.stringify(DELIVERED),
    isWaiting: existsSync(`${output}.quarantine`),
    events: entries.map(({ event }) => event),
    finishedTasks: filesIn(checkpoints) ?? [],
  };
}

function filesIn(folder: string): string[] | undefined {
  return existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort() : undefined;
}
