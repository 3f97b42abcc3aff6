import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, open, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { checkEnding, checkProgram, type EndedProcess, runLimited } from './limited-process.ts';
import type { Sandbox, SandboxResult, SandboxRun } from './sandbox.ts';
import { readOnlyInputs, withInputs } from './sandbox-inputs.ts';
import { closeOutputs, openOutputs } from './sandbox-outputs.ts';
import { oneAtATime, sandboxSha384 } from './sandbox-runs.ts';

/** Has a program die with this process, as bubblewrap would. */
const SETPRIV = ['/usr/bin/setpriv', '--pdeathsig', 'KILL'];
const FIRST_INPUT = 3;

/** `/in` and `/out` in an argument, as a path or within one such as `movie=/in/logo.png`. */
const FOLDER = /(?<![\w./-])\/(in|out)(?![\w.-])/g;

/**
 * Runs renderers with the same limits and nothing around them: they see the network and all files of the user. For machines without
 * bubblewrap; what is rendered so says so in every receipt. Outputs lie in the folder for temporary files until a run has ended.
 */
export class UnconfinedSandbox implements Sandbox {
  readonly isolation = 'none';
  readonly run = oneAtATime((run) => this.#run(run));

  async #run(run: SandboxRun): Promise<SandboxResult> {
    await checkProgram(run.command);
    await readOnlyInputs(run.inputs);
    const folder = await mkdtemp(join(tmpdir(), 'portcullis-render-'));
    try {
      const ended = await this.#start(run, folder);
      checkEnding(ended, run.limits, false);
      const outputs = await openOutputs(join(folder, 'out'), run.limits.outputBytes);
      const { cpuSeconds, wallSeconds } = ended;
      return {
        exitCode: 0,
        outputs,
        sandboxSha384: sandboxSha384({ isolation: this.isolation }, run.limits),
        cpuSeconds,
        wallSeconds,
        dispose: () => closeOutputs(outputs),
      };
    } finally {
      // Outputs are open, and need no name.
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #start(run: SandboxRun, folder: string): Promise<EndedProcess> {
    for (const name of ['in', 'out', 'tmp']) await mkdir(join(folder, name));
    for (const [index, { name }] of run.inputs.entries()) {
      const link = join(folder, 'in', name);
      await mkdir(dirname(link), { recursive: true });
      await symlink(`/proc/self/fd/${FIRST_INPUT + index}`, link);
    }
    await using nothing = await open('/dev/null', 'r');
    const stdio = await withInputs(['ignore', 'pipe', 'pipe'], run.inputs, nothing);
    const temporary = join(folder, 'tmp');
    return runLimited({
      argv: [...SETPRIV, '--', run.command, ...run.args.map((text) => text.replaceAll(FOLDER, `${folder}/$1`))],
      env: { HOME: temporary, LC_ALL: 'C.UTF-8', PATH: '/usr/bin', TMPDIR: temporary, TZ: 'UTC' },
      cwd: join(folder, 'out'),
      stdio: stdio as ('ignore' | 'pipe' | number)[],
      detached: true,
      fileBytes: run.limits.outputBytes,
      run,
      kill: endGroup,
    });
  }
}

/** Ends a program and what it has started, unless that has left its process group. */
function endGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
