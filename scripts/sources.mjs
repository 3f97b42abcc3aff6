// A digest over everything that the build reads, so that it runs when something changed and only then.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const SOURCES = [
  'api',
  'token',
  'edge-functions',
  'token-api',
  'revocation',
  'enclave-render',
  'config',
  'lambda',
  'infra',
  'local',
  'cli',
  'scripts',
];
const FILES = ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.lib.json', 'docs/configuration.md'];

/** Digest (hex) of names and contents of all source files below `root`. */
export function sourcesDigest(root) {
  const hash = createHash('sha256');
  const nested = SOURCES.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  for (const file of [...nested, ...FILES.map((name) => join(root, name))].sort()) {
    const content = readFileSync(file);
    hash.update(`${file.slice(root.length)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex');
}
