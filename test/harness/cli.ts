import { type ChildProcess, execFile, fork } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { packagePath } from '../../local/package-root.ts';
import { LONG } from './programs.ts';
import { CLI } from './stack.ts';

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the built command as a user does. */
export function portcullis(...args: string[]): Promise<CommandResult> {
  return portcullisWithInput('', ...args);
}

/**
 * Runs the built command with something on its standard input. In the long tests it is a process each time, else one that is
 * there already: whether a command ends by itself is seen there, and wherever a test starts `CLI`.
 */
export function portcullisWithInput(input: string, ...args: string[]): Promise<CommandResult> {
  return LONG ? inItsOwnProcess(input, args) : inWarmProcess(input, args);
}

/** Runs the built command in a process of its own. */
export function inItsOwnProcess(input: string, args: string[]): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [CLI, ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
    });
    // A command that reads none of it may be gone already.
    child.stdin?.on('error', () => {}).end(input);
  });
}

/** Processes that have the command loaded and nothing to do; what many calls at once began does not stay. */
const MAX_IDLE = 2;
const idle: ChildProcess[] = [];

function inWarmProcess(input: string, args: string[]): Promise<CommandResult> {
  const child = idle.pop() ?? startWarmProcess();
  return new Promise((resolve, reject) => {
    const finish = (result: CommandResult) => {
      child.off('exit', failed);
      if (idle.length >= MAX_IDLE) child.disconnect();
      else {
        idle.push(child);
        child.once('exit', diedIdle);
      }
      resolve(result);
    };
    const failed = (code: number | null, signal: string | null) => {
      child.off('message', finish);
      reject(new Error(`the process of portcullis ${args.join(' ')} died: ${code ?? signal}`));
    };
    // What a command leaves behind may end it later: that is a fault of the command, not of who comes next.
    const diedIdle = (code: number | null, signal: string | null) => {
      idle.splice(idle.indexOf(child), 1);
      throw new Error(`portcullis ${args.join(' ')} had ended, then its process died: ${code ?? signal}`);
    };
    child.removeAllListeners('exit').once('message', finish).once('exit', failed);
    child.send({ args, input, env: process.env, cwd: process.cwd() });
  });
}

function startWarmProcess(): ChildProcess {
  const program = packagePath('test', 'harness', 'warm-command.mjs');
  const child = fork(program, [pathToFileURL(CLI).href], {
    execArgv: [],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  // It ends with the process of the tests, and does not keep that from ending.
  child.unref();
  child.channel?.unref();
  return child;
}
