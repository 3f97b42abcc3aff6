import { execFile } from 'node:child_process';
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

/** Runs the built command with something on its standard input. */
export function portcullisWithInput(input: string, ...args: string[]): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [CLI, ...args], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
    });
    // A command that reads none of it may be gone already.
    child.stdin?.on('error', () => {}).end(input);
  });
}
