import { createWriteStream, openSync } from 'node:fs';
import { StackError } from './errors.ts';

/** A log of lines in a file. */
export interface LogFile {
  write(line: string): void;
  close(): Promise<void>;
}

/**
 * Opens a log (mode 0600) to append to, called `name` in messages; `report` is told when a line cannot be written. Throws
 * `ERR_STACK_DATA`.
 */
export function openLogFile(name: string, path: string, report: (line: string) => void): LogFile {
  const stream = createWriteStream(path, { fd: openToAppend(name, path) });
  stream.on('error', (error) => report(`the ${name} is not written: ${error.message}`));
  return {
    write: (line) => void stream.write(`${line}\n`),
    close: () => new Promise((resolve) => stream.end(() => resolve())),
  };
}

function openToAppend(name: string, path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    throw new StackError(
      'ERR_STACK_DATA',
      `cannot write the ${name} ${path}: ${(error as NodeJS.ErrnoException).code}`,
    );
  }
}
