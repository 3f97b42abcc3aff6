// npm test: installs, builds, and runs every test there is; --long adds the exhaustive ones. Ends with one line,
// «N passed, N failed, N skipped».
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureBuild, ensurePackages, ensurePrograms } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const args = process.argv.slice(2);
const long = args.includes('--long');
const filters = args.filter((arg) => arg !== '--long');

ensurePackages();
const missing = ensurePrograms(['chromium', 'njs', 'ffmpeg', 'bwrap', 'gcc', 'openssl']);
if (missing.length > 0 && process.env.CI) {
  process.stderr.write(
    `test: in CI nothing is skipped for a missing program, and these are missing: ${missing.join(', ')}\n`,
  );
  process.exit(1);
}
await ensureBuild();

// At the same time: the types of everything take as long as the rest together, on a core of their own.
const tsc = 'node_modules/typescript/bin/tsc';
const checks = [
  ['format and lint', ['node_modules/@biomejs/biome/bin/biome', 'check', '.']],
  // Only what changed since the last time, in a folder that goes with the packages.
  [
    'types',
    [tsc, '--noEmit', '--incremental', '--tsBuildInfoFile', 'node_modules/.cache/portcullis/types.tsbuildinfo'],
  ],
  ['types of the console', [tsc, '--noEmit', '-p', 'local/console']],
].map(async ([what, command]) => {
  const [status] = await once(spawn(process.execPath, command, { cwd: root, stdio: ['ignore', 2, 2] }), 'exit');
  process.stderr.write(`test: ${what}: ${status === 0 ? 'good' : 'see above'}\n`);
  return status === 0;
});
if ((await Promise.all(checks)).includes(false)) process.exit(1);

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-test-'));
const reportFile = join(scratch, 'report.json');
const vitest = [
  'node_modules/vitest/vitest.mjs',
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${reportFile}`,
];
const env = { ...process.env, PORTCULLIS_MISSING_PROGRAMS: missing.join(','), PORTCULLIS_LONG_TESTS: long ? '1' : '' };
const { status } = spawnSync(process.execPath, [...vitest, ...filters], { cwd: root, stdio: 'inherit', env });

let report;
try {
  report = JSON.parse(readFileSync(reportFile, 'utf8'));
} catch {
  process.stderr.write('test: the test runner left no report\n');
  process.exit(1);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const brokenFiles = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
const skipped = report.numPendingTests + report.numTodoTests;
for (const file of report.testResults) {
  const names = file.assertionResults.filter(({ status }) => status === 'pending' || status === 'skipped');
  for (const { fullName } of names) process.stdout.write(`skipped: ${fullName}\n`);
}
process.stdout.write(
  `${report.numPassedTests} passed, ${report.numFailedTests + brokenFiles.length} failed, ${skipped} skipped\n`,
);
process.exitCode = status ?? 1;
