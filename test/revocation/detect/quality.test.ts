import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { packagePath } from '../../../local/package-root.ts';

interface Report {
  harmless: number;
  leaks: number;
  lists: { list: string; truePositives: number; falsePositives: number; simple: { truePositives: number } }[];
  scenarios: { scenario: string; kind: string; auto: number }[];
}

// Sane bounds on a little traffic; the figures of docs/detection.md are those of the whole benchmark.
test('detection finds most leaks of simulated traffic and little else', { timeout: 300_000 }, async () => {
  const args = ['--json', '--seeds', '21', '--sessions', '160', '--hours', '2', '--timed', '0'];
  const { stdout } = await promisify(execFile)(process.execPath, [packagePath('bench', 'detect-quality.mjs'), ...args]);
  const { harmless, leaks, lists, scenarios } = JSON.parse(stdout) as Report;
  expect(harmless).toBeGreaterThan(120);
  expect(leaks).toBeGreaterThan(8);
  const [review, auto] = lists;
  expect(review?.truePositives).toBeGreaterThan(0.6);
  expect(review?.falsePositives).toBeLessThan(0.05);
  expect(auto?.truePositives).toBeGreaterThan(0.4);
  expect(auto?.falsePositives).toBe(0);
  expect(review?.truePositives).toBeGreaterThan(2 * (review?.simple.truePositives ?? 1));
  for (const scenario of ['household', 'framed', 'casting', 'lowLatency', 'mobile']) {
    const revoked = scenarios.find((row) => row.kind === 'harmless' && row.scenario === scenario)?.auto ?? 0;
    expect([scenario, revoked]).toEqual([scenario, 0]);
  }
});
