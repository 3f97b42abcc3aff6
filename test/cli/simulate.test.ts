import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const simulate = (name: string, ...args: string[]) =>
  portcullis('session', 'simulate', '--out', join(scratch, name), '--sessions', '8', '--hours', '1', ...args);

test('writes logs and says how much of what; a second time it leaves the folder alone', async () => {
  const { code, stdout, stderr } = await simulate('logs', '--seed', '3', '--start', '2026-11-22T14:00:00Z', '--json');
  expect([code, stderr]).toEqual([0, '']);
  const simulation = JSON.parse(stdout);
  expect(simulation).toMatchObject({ seed: 3, sessions: 8, from: 1_795_356_000, to: 1_795_359_600, format: 'v1' });
  const sum = (key: string) =>
    simulation.scenarios.reduce((all: number, row: Record<string, number>) => all + (row[key] ?? 0), 0);
  expect([sum('sessions'), sum('lines')]).toEqual([8, simulation.lines]);
  expect(JSON.parse(readFileSync(join(scratch, 'logs', 'summary.json'), 'utf8'))).toEqual(simulation);

  const again = await simulate('logs');
  expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/is not empty: name a new folder/)]);
});

test('for people: a line a scenario', async () => {
  const { code, stdout } = await simulate('people');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^[\d,]+ lines of 8 sessions, 2026-01-01T00:00:00Z and 1 h, in \d+ objects of [\d,]+ bytes\n/);
  expect(stdout).toMatch(/\nhousehold +harmless +\d+ +[\d,]+\n/);
});

test.each([
  [['--start', 'yesterday'], /seconds since the epoch, or a time with its zone: 2026-11-22T14:00:00Z/],
  [['--start', '99999999999999'], /whole number from 0/],
  [['--sessions', '0'], /whole number from 1/],
  [['--format', 'csv'], /Allowed choices are v1, parquet, json, w3c/],
  [['--no-uri'], /standard logs v1 always hold cs-uri-stem: choose another --format/],
])('%j is refused, and nothing is written', async (args, message) => {
  const { code, stderr } = await simulate('refused', ...args);
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  expect(existsSync(join(scratch, 'refused'))).toBe(false);
});
