import { spawnSync } from 'node:child_process';
import { describe } from 'vitest';

const missing = (process.env.PORTCULLIS_MISSING_PROGRAMS ?? '').split(',');

/** A suite that needs a program; skipped, and named in the summary, where the program is missing. */
export function describeWith(program: 'chromium' | 'njs' | 'gcc', name: string, run: () => void): void {
  const isMissing = missing.includes(program);
  describe.skipIf(isMissing)(isMissing ? `${name} (needs ${program}, which is not installed)` : name, run);
}

/** Whether the exhaustive tests were asked for (npm run test:long). */
export const LONG = process.env.PORTCULLIS_LONG_TESTS === '1';

/** Whether a program that is never required is there. */
export function isOnPath(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;
}

/** Where a program is that is on the PATH. */
export function programPath(program: string): string {
  return spawnSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).stdout.trim();
}
