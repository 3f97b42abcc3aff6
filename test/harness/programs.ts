import { existsSync, readFileSync } from 'node:fs';
import { describe, test } from 'vitest';
import { packagePath } from '../../local/package-root.ts';

const missing = (process.env.PORTCULLIS_MISSING_PROGRAMS ?? '').split(',');

/** A suite that needs a program; skipped, and named in the summary, where the program is missing. */
export function describeWith(program: 'chromium' | 'njs', name: string, run: () => void): void {
  const isMissing = missing.includes(program);
  describe.skipIf(isMissing)(isMissing ? `${name} (needs ${program}, which is not installed)` : name, run);
}

/** Whether the exhaustive tests were asked for (npm run test:long). */
export const LONG = process.env.PORTCULLIS_LONG_TESTS === '1';

/**
 * A suite that needs a file which lies beside the checkout, not in it; skipped, and named in the summary, where it is
 * missing. `run` is given its content, JSON.
 */
export function describeWithFile<Content>(file: string, name: string, run: (content: Content) => void): void {
  const path = packagePath('..', file);
  if (existsSync(path)) describe(name, () => run(JSON.parse(readFileSync(path, 'utf8'))));
  else describe.skip(`${name} (needs ../${file}, which is not there)`, () => test('all of it', () => undefined));
}
