import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packagePath } from '../../local/package-root.ts';
import { mint } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import type { CommandResult } from '../harness/cli.ts';
import { described, refused, startCloudFront, tested } from '../harness/cloudfront.ts';
import { TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const data = temporaryDirectory();
let cloudFront: Awaited<ReturnType<typeof startCloudFront>>;
beforeAll(async () => {
  cloudFront = await startCloudFront(({ operation, name, event }) => {
    if (name === 'none') return refused(404, 'NoSuchFunctionExists');
    if (operation === 'GET describe') return described('E1');
    if (name === 'broken') return tested('', '', 'ReferenceError: x is not defined');
    const { uri } = (event as { request: { uri: string } }).request;
    if (uri.startsWith('/AbC')) return tested('21', { request: { uri: '/aurora/master.m3u8' } });
    return tested('9', {
      response: { statusCode: 401, headers: { 'x-portcullis-reason': { value: 'token-missing' } } },
    });
  });
});
afterAll(async () => {
  await cloudFront.close();
  removeDirectory(data);
});

const CREDENTIALS = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 's' };

/** Runs the command in surroundings where the AWS SDK finds nothing but what is given, and CloudFront is the stand-in. */
function measure(args: string[], env: NodeJS.ProcessEnv = CREDENTIALS, cli = CLI): Promise<CommandResult> {
  const surroundings = {
    PATH: process.env.PATH,
    HOME: data,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_ENDPOINT_URL_CLOUDFRONT: cloudFront.url,
    ...env,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [cli, 'edge', 'measure', ...args], { env: surroundings }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
    });
  });
}

const token = mint({ ...TEST_CLAIMS, sid: 'AbCdEf012345' }, TEST_KEY, TEST_VIEWING, nodeCrypto);
const signature = token.slice(token.lastIndexOf('.') + 1);
const events = join(data, 'events.jsonl');
const lines = [`/${token}/aurora/master.m3u8`, '/aurora/master.m3u8'].map((uri) =>
  JSON.stringify({ request: { uri } }),
);
writeFileSync(events, `${lines.join('\n')}\n`);

test('prints figures and answers for people, progress beside them, and no signature', async () => {
  const { code, stdout, stderr } = await measure(['--aws', '--stage', 'LIVE', '--events', events]);
  expect(code).toBe(0);
  expect(stdout.split('\n')).toEqual([
    'portcullis-viewer-request at LIVE: percent of the time that CloudFront allows, 5 runs an event',
    'min  median  max  outcome            uri',
    `21   21      21   goes on            /${token.replace(signature, '-')}/aurora/master.m3u8`,
    '9    9       9    401 token-missing  /aurora/master.m3u8',
    '',
  ]);
  expect(stderr).toMatch(/^looking for portcullis-viewer-request at LIVE\nrunning event 1 of 2, 5 times\n/);
});

test('--json is one line on stdout; without events it sends one that has no token', async () => {
  const { code, stdout } = await measure(['--aws', '--function', 'mine', '--json']);
  expect([code, JSON.parse(stdout)]).toEqual([
    0,
    {
      function: 'mine',
      stage: 'DEVELOPMENT',
      events: [
        {
          uri: '/title/master.m3u8',
          utilisation: { min: 9, median: 9, max: 9, runs: [9, 9, 9, 9, 9] },
          outcomes: [{ status: 401, reason: 'token-missing' }],
        },
      ],
    },
  ]);
});

test('a function that fails is reported with its message, exit 1', async () => {
  const { code, stdout } = await measure(['--aws', '--function', 'broken']);
  expect(code).toBe(1);
  expect(stdout).toMatch(/^- +- +- +failed: ReferenceError: x is not defined +\/title/m);
});

test('help says what is measured and what is called', async () => {
  const { code, stdout } = await measure(['--help']);
  expect([code, stdout]).toEqual([0, expect.stringMatching(/--stage.*TestFunction.*Examples:/s)]);
});

test('without credentials: one line, exit 2, and no connection is attempted', async () => {
  const watch = join(data, 'watch.mjs');
  writeFileSync(
    watch,
    `import net from 'node:net';
const { connect } = net.Socket.prototype;
net.Socket.prototype.connect = function (...args) {
  process.stderr.write('connects\\n');
  return connect.apply(this, args);
};`,
  );
  const env = { NODE_OPTIONS: `--import=${watch}` };
  expect((await measure(['--aws'], { ...CREDENTIALS, ...env })).stderr).toContain('connects\n');
  const before = cloudFront.calls.length;
  const { code, stdout, stderr } = await measure(['--aws'], env);
  expect([code, stdout]).toEqual([2, '']);
  expect(stderr).toMatch(/^looking for .*\nportcullis: .*no AWS credentials.*AWS_PROFILE.*\n$/);
  expect(cloudFront.calls.length).toBe(before);
});

test.each([
  ['without --aws', [], /add --aws.*npm run bench:edge counts/],
  ['of a function that is not there', ['--aws', '--function', 'none'], /none at DEVELOPMENT: no such function/],
  ['at another stage', ['--aws', '--stage', 'live'], /Allowed choices are DEVELOPMENT, LIVE/],
  ['of events that cannot be read', ['--aws', '--events', '/nowhere'], /cannot read \/nowhere/],
])('measuring %s is refused with what to do', async (_, args, message) => {
  const { code, stdout, stderr } = await measure(args);
  expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(message)]);
});

test('without the client for CloudFront it says which package to install, and all else works', async () => {
  // The command as it ships, beside every package but AWS's.
  const installed = join(data, 'installed');
  mkdirSync(join(installed, 'node_modules'), { recursive: true });
  cpSync(packagePath('dist', 'lib'), join(installed, 'dist', 'lib'), { recursive: true });
  cpSync(packagePath('package.json'), join(installed, 'package.json'));
  for (const name of readdirSync(packagePath('node_modules'))) {
    if (name !== '@aws-sdk') symlinkSync(packagePath('node_modules', name), join(installed, 'node_modules', name));
  }
  const cli = join(installed, 'dist', 'lib', 'cli', 'portcullis.js');
  const { code, stderr } = await measure(['--aws'], CREDENTIALS, cli);
  expect([code, stderr]).toEqual([2, expect.stringMatching(/npm install @aws-sdk\/client-cloudfront\n$/)]);
  expect((await measure([], CREDENTIALS, cli)).stderr).toMatch(/add --aws/);
});
