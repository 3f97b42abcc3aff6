// npm test: installs, builds, and runs every test there is; --long adds the exhaustive ones. Ends with one line,
// «N passed, N failed, N skipped».
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { ensureBuild, ensurePackages, ensurePrograms } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const args = process.argv.slice(2);
const long = args.includes('--long');
const filters = args.filter((arg) => arg !== '--long');

ensurePackages();
const missing = ensurePrograms();
if (missing.length > 0 && process.env.CI) {
  process.stderr.write(
    `test: in CI nothing is skipped for a missing program, and these are missing: ${missing.join(', ')}\n`,
  );
  process.exit(1);
}
await ensureBuild();

// At the same time as the tests: much of their time is waiting.
const tsc = 'node_modules/typescript/bin/tsc';
const checks = Promise.all(
  [
    ['format and lint', ['node_modules/@biomejs/biome/bin/biome', 'check', '.']],
    // Only what changed since the last time, in a folder that goes with the packages.
    [
      'types',
      [tsc, '--noEmit', '--incremental', '--tsBuildInfoFile', 'node_modules/.cache/portcullis/types.tsbuildinfo'],
    ],
    ['types of the console', [tsc, '--noEmit', '-p', 'local/console']],
  ].map(async ([what, command]) => {
    const child = spawn(process.execPath, command, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = Promise.all([text(child.stdout), text(child.stderr)]);
    const [status] = await once(child, 'exit');
    const report = status === 0 ? `${what}: good\n` : `${(await said).join('')}\n${what}: see above\n`;
    if (status !== 0) process.stderr.write(report);
    return { isGood: status === 0, report };
  }),
);

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
const tests = spawn(process.execPath, [...vitest, ...filters], { cwd: root, stdio: 'inherit', env });
const [status] = await once(tests, 'exit');

let report;
try {
  report = JSON.parse(readFileSync(reportFile, 'utf8'));
} catch {
  process.stderr.write('test: the test runner left no report\n');
  process.exit(1);
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
const results = report.testResults.map((file) => ({ ...file, name: relative(root, file.name) }));
const brokenFiles = results.filter((file) => file.status === 'failed' && file.assertionResults.length === 0);
const skipped = report.numPendingTests + report.numTodoTests;

/** A line for each test that was skipped, or one for a suite of them. */
function skippedIn({ assertionResults }) {
  const isSkipped = ({ status }) => status === 'pending' || status === 'skipped';
  const suites = new Set(assertionResults.map(({ ancestorTitles: [suite] }) => suite));
  return [...suites].flatMap((suite) => {
    const tests = assertionResults.filter(({ ancestorTitles }) => ancestorTitles[0] === suite);
    const isWhole = suite && tests.length > 1 && tests.every(isSkipped);
    return isWhole ? [`${suite} (all ${tests.length} tests)`] : tests.filter(isSkipped).map(({ fullName }) => fullName);
  });
}
for (const file of results) for (const line of skippedIn(file)) process.stdout.write(`skipped: ${line}\n`);

// What has to be looked at comes last, where it is seen.
const checked = await checks;
for (const { report } of checked) process.stdout.write(report);
const isOurs = (line) => !line.includes('/node_modules/');
const firstLines = (message) => message.split('\n').filter(isOurs).slice(0, 12).join('\n  ');
for (const { name, message } of brokenFiles) process.stdout.write(`failed: ${name}\n  ${firstLines(message)}\n`);
for (const { name, assertionResults } of results) {
  for (const { status, fullName, failureMessages } of assertionResults) {
    const [message = ''] = failureMessages;
    if (status === 'failed') process.stdout.write(`failed: ${name}: ${fullName}\n  ${firstLines(message)}\n`);
    // It failed, and passed when it was tried again.
    else if (message !== '') process.stdout.write(`unsteady: ${name}: ${fullName}\n  ${firstLines(message)}\n`);
  }
}
process.stdout.write(
  `${report.numPassedTests} passed, ${report.numFailedTests + brokenFiles.length} failed, ${skipped} skipped\n`,
);
process.exitCode = status === 0 && checked.every(({ isGood }) => isGood) ? 0 : 1;
