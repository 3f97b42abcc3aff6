import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { sqlParsers } from '../harness/sql-parser.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));

const ATHENA = { database: 'cdn', table: 'logs', location: 's3://logs/cdn/', distributionId: 'E1A2B3', workgroup: 'w' };
function config(name: string, athena?: object): string {
  const path = join(folder, name);
  writeFileSync(path, JSON.stringify({ revocation: { ...(athena && { athena: { ...ATHENA, ...athena } }) } }));
  return path;
}
const athenaTable = (...args: string[]) => portcullis('session', 'athena-table', ...args);

test('prints the statement that makes the table of Parquet logs, in the language of Hive', async () => {
  const args = ['--config', config('parquet.json', { region: 'eu-central-1' }), '--since', '2026-11-22T14:30:00Z'];
  const { code, stdout, stderr } = await athenaTable(...args);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/^CREATE EXTERNAL TABLE IF NOT EXISTS `cdn`\.`logs` \(\n {2}`date` string,\n/);
  expect(stdout).toContain("'projection.hour.range' = '2026/11/22/14,NOW'");
  expect((await sqlParsers()).hive.validate(stdout)).toEqual([]);
  const { sql, ...rest } = JSON.parse((await athenaTable(...args, '--json')).stdout);
  expect([sql, rest]).toEqual([stdout.trimEnd(), { database: 'cdn', table: 'logs', region: 'eu-central-1' }]);
});

test('logs of v1 have no hours to begin with', async () => {
  const { code, stdout } = await athenaTable('--config', config('v1.json', { format: 'v1' }));
  expect([code, stdout]).toEqual([0, expect.stringMatching(/'skip\.header\.line\.count' = '2'\)\n$/)]);
});

test.each<[string[], RegExp]>([
  [[], /required option '--config <file>'/],
  [['--config', config('none.json')], /has no revocation\.athena \(docs\/athena\.md\)/],
  [['--config', config('since.json', {})], /needs --since <time>: the first hour/],
  [['--config', config('quote.json', { database: 'a`b' })], /must be lower-case letters/],
])('%j: says what to do', async (args, message) => {
  const { code, stdout, stderr } = await athenaTable(...args);
  expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(message)]);
});
