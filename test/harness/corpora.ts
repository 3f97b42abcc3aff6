import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { packagePath } from '../../local/package-root.ts';

/** Third-party test data beside the checkout; never part of the project. */
const THIRD_PARTY = packagePath('..', 'shared');
const CORPORA = join(THIRD_PARTY, 'corpora');

/** A suite over a folder or file of third-party data; skipped, and named in the summary, where it is not there. */
export function describeCorpus(path: string, name: string, run: () => void): void {
  if (existsSync(join(CORPORA, path))) describe(name, run);
  else test.skip(`${name} (third-party corpora not present)`, () => undefined);
}

/** A suite over a JSON file of third-party vectors; skipped, and named in the summary, where it is not there. */
export function describeVectors<Content>(file: string, name: string, run: (content: Content) => void): void {
  const path = join(THIRD_PARTY, 'vectors', file);
  if (existsSync(path)) describe(name, () => run(JSON.parse(readFileSync(path, 'utf8'))));
  else test.skip(`${name} (third-party vectors not present)`, () => undefined);
}

/** A file of the corpora, parsed. */
export function readCorpus<Content>(path: string): Content {
  return JSON.parse(readFileSync(join(CORPORA, path), 'utf8'));
}

/** The files of a folder of the corpora, as bytes by name, in the order of their names. */
export function readCorpusFiles(folder: string): { name: string; bytes: Buffer }[] {
  return readdirSync(join(CORPORA, folder))
    .sort()
    .map((name) => ({ name, bytes: readFileSync(join(CORPORA, folder, name)) }));
}
