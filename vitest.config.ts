import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const FILES = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.test.ts'))
  .map((name) => join('test', name));

/**
 * What a test file changes, or counts, of the process that it runs in: such a file gets one of its own. dependency-cruiser takes
 * twenty times as long in one that has loaded much.
 */
const OF_THE_PROCESS =
  /\bvi\.(?:mock|spy|stub|use)|\bmockClient\b|\bprocess\.(?:chdir|env\.\w+ =|memoryUsage|on\b|umask)|'\/proc\/self\/fd'|from 'dependency-cruiser'/;
const OWN = FILES.filter((name) => OF_THE_PROCESS.test(readFileSync(name, 'utf8')));

/** The files that take longest, in this order, most of it waiting: begun last, they would be waited for alone. */
const LONGEST = [
  'browser/renewal',
  'structure',
  'cli/render',
  'browser/packaging',
  'local/detection',
  'enclave-render/packaging/package-title',
  'enclave-render/host/kill',
  'enclave-render/mastering/jobs/run-job',
  'browser/suspicious-sessions',
  'local/stack',
  'lambda/redeploy',
  'enclave-render/host/enclave-process',
].map((name) => resolve('test', `${name}.test.ts`));

/** The longest first; then those with a process of their own, so that the others, many and short, fill what is left. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.indexOf(moduleId);
      return at < 0 ? LONGEST.length : at;
    };
    const sorted = await super.sort(files);
    const isShared = ({ project }: TestSpecification) => Number(!project.config.isolate);
    return sorted.sort((a, b) => rank(a) - rank(b) || isShared(a) - isShared(b));
  }
}

export default defineConfig({
  test: {
    // Each of the exhaustive ones does as much as it has to.
    testTimeout: process.env.PORTCULLIS_LONG_TESTS ? 600_000 : 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 10_000 } },
    // Browsers and processes on a busy machine: what passed only when tried again is named at the end of `npm test`.
    retry: process.env.CI ? 1 : 0,
    // For two cores: many tests wait for a clock or a process. Four take as long, and browsers wait for each other.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    projects: [
      { extends: true, test: { name: 'own process', include: OWN, isolate: true } },
      // A process and its modules are made once, not for every file: half a second each, and again what they import.
      { extends: true, test: { name: 'shared', include: FILES.filter((name) => !OWN.includes(name)), isolate: false } },
    ],
  },
});
