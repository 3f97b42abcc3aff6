import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

const FILES = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => join('test', name));

/** What a test file changes, or counts, of the process that it runs in: such a file gets one of its own. */
const OF_THE_PROCESS =
  /\bvi\.(?:mock|spy|stub|use)|\bmockClient\b|\bprocess\.(?:chdir|env\.\w+ =|memoryUsage|on\b|umask)|'\/proc\/self\/fd'/;
const OWN = FILES.filter((name) => OF_THE_PROCESS.test(readFileSync(name, 'utf8')));

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    // For two cores: many tests wait for a clock or a process. Four take as long, and browsers wait for each other.
    maxWorkers: 3,
    projects: [
      { extends: true, test: { name: 'own process', include: OWN, isolate: true } },
      // A process and its modules are made once, not for every file: half a second each, and again what they import.
      { extends: true, test: { name: 'shared', include: FILES.filter((name) => !OWN.includes(name)), isolate: false } },
    ],
  },
});
