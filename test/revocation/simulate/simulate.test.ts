import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { DuckDBInstance } from '@duckdb/node-api';
import { parse } from 'valibot';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packagePath } from '../../../local/package-root.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import type { LogFormat } from '../../../revocation/simulate/log-lines.ts';
import { Random } from '../../../revocation/simulate/random.ts';
import { SCENARIO_NAMES, SCENARIOS } from '../../../revocation/simulate/scenarios.ts';
import { planSession } from '../../../revocation/simulate/session.ts';
import { simulate } from '../../../revocation/simulate/simulate.ts';
import { traffic } from '../../../revocation/simulate/traffic.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

/** SHA-256 of the file. */
const FROZEN = '7de759e5e9c00b61d2784fec8cf418783ca6b2b5cf056c5c30b9d3fb0ea39ba2';
const FROM = 1_767_225_600;
const TO = FROM + 2 * 3600;

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

let folders = 0;
async function write(seed: number, sessions: number, format: LogFormat, uri = true) {
  const folder = join(scratch, String(folders++));
  const simulation = await simulate(folder, { seed, sessions, from: FROM, to: TO, format, uri });
  const files = readdirSync(join(folder, 'logs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(gz|parquet)$/.test(name))
    .sort();
  return { folder, simulation, files: files.map((name) => join(folder, 'logs', name)), names: files };
}

const table = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'));
const content = (files: string[]) => files.map((file) => gunzipSync(readFileSync(file)).toString());
const hash = (texts: string[]) => createHash('sha256').update(texts.join('\0')).digest('hex');

describe('chance', () => {
  test('is the sequence of xoshiro128**, the same for the same seeds and another for others', () => {
    const numbers = (...seeds: number[]) =>
      Array.from(
        { length: 4 },
        (
          (random) => () =>
            random.uint32()
        )(new Random(...seeds)),
      );
    expect(numbers(1, 2)).toEqual(numbers(1, 2));
    expect(new Set([...numbers(1, 2), ...numbers(2, 1), ...numbers(1), ...numbers(1, 2, 0)]).size).toBe(16);
  });

  test('draws a log-normal number with the median and the 90th percentile that are asked for', () => {
    const random = new Random(7);
    const drawn = Array.from({ length: 20_001 }, () => random.draw({ median: 12, p90: 60, most: 300 })).sort(
      (a, b) => a - b,
    );
    expect(drawn[10_000]).toBeGreaterThan(11.4);
    expect(drawn[10_000]).toBeLessThan(12.6);
    expect(drawn[18_000]).toBeGreaterThan(56);
    expect(drawn[18_000]).toBeLessThan(64);
    expect(drawn.at(-1)).toBe(300);
  });
});

describe('the table of scenarios', () => {
  test('has shares that add up, and leaks are a minority', () => {
    const sum = (kind: string) =>
      SCENARIO_NAMES.filter((name) => SCENARIOS[name].kind === kind).reduce(
        (all, name) => all + SCENARIOS[name].share,
        0,
      );
    expect(sum('harmless') + sum('leak') + sum('undetectable')).toBeCloseTo(1, 10);
    expect(sum('leak')).toBeLessThan(0.11);
  });

  // Weights were tuned after it was frozen; whoever changes it has to tune and to measure anew (docs/detection.md).
  test('is frozen', () => {
    const text = readFileSync(packagePath('revocation/simulate/scenarios.ts'));
    expect(createHash('sha256').update(text).digest('hex')).toBe(FROZEN);
  });
});

describe('traffic', () => {
  test('is in the order of time, within the period, and every stream is its own session', () => {
    let last = 0;
    let count = 0;
    const begun = new Set<string>();
    for (const { session, request } of traffic(3, 40, { from: FROM, to: TO }, ({ id }) => begun.add(id))) {
      if (request.time < last || !begun.has(session.id)) throw new Error(`${session.scenario} at ${request.time}`);
      last = request.time;
      count += 1;
    }
    expect(last).toBeLessThan(TO);
    expect(begun.size).toBe(40);
    expect(count).toBeGreaterThan(3000);
  });

  test('of every scenario has requests, and of a leak not before it begins', () => {
    const seen = new Set<string>();
    for (let index = 0; index < 3000 && seen.size < SCENARIO_NAMES.length; index++) {
      const session = planSession(5, index, { from: FROM, to: FROM + 48 * 3600 });
      if (seen.has(session.scenario)) continue;
      seen.add(session.scenario);
      for (const stream of session.streams()) {
        const times = [];
        for (const request of stream) if (times.push(request.time) >= 2000) break;
        expect([session.scenario, times.length]).not.toEqual([session.scenario, 0]);
        expect([session.scenario, times]).toEqual([session.scenario, [...times].sort((a, b) => a - b)]);
        expect(times[0]).toBeGreaterThanOrEqual(session.startedAt);
      }
      expect(session.leakFrom === undefined).toBe(session.kind === 'harmless');
    }
    expect([...seen].sort()).toEqual([...SCENARIO_NAMES].sort());
  });
});

describe('logs of version 1', () => {
  let first: Awaited<ReturnType<typeof write>>;
  beforeAll(async () => {
    first = await write(11, 30, 'v1');
  });

  test('are the same for the same seed, and others for another', async () => {
    const again = await write(11, 30, 'v1');
    expect(again.names).toEqual(first.names);
    expect(hash(content(again.files))).toBe(hash(content(first.files)));
    for (const name of ['labels.tsv', 'objects.tsv', 'summary.json']) {
      expect(readFileSync(join(again.folder, name), 'utf8')).toBe(readFileSync(join(first.folder, name), 'utf8'));
    }
    expect(hash(content((await write(12, 5, 'v1')).files))).not.toBe(hash(content(first.files)));
  });

  test('have two header lines, 33 fields and a token of the right shape under a session that is labelled', () => {
    const labels = new Set(table(join(first.folder, 'labels.tsv')).map(([id]) => id));
    expect(labels.size).toBe(30);
    const uri = /^\/(?<sid>\w{12})\.[\w-]{68}\.[\w-]{60,247}\.[\w-]{43}\/[\w/.-]+$/;
    const isGood = (cells: string[]) =>
      cells.length === 33 &&
      cells.every((cell) => /^[!-~]+$/.test(cell)) &&
      labels.has(uri.exec(cells[7] ?? '')?.groups?.sid ?? '');
    let lines = 0;
    for (const text of content(first.files)) {
      const [version, fields = '', ...rows] = text.trimEnd().split('\n');
      expect([version, fields.split(' ').length, fields.split(' ')[8]]).toEqual(['#Version: 1.0', 34, 'cs-uri-stem']);
      expect(rows.filter((row) => !isGood(row.split('\t')))).toEqual([]);
      lines += rows.length;
    }
    expect(lines).toBe(first.simulation.lines);
    expect(first.simulation.scenarios.reduce((sum, row) => sum + row.lines, 0)).toBe(lines);
  });

  test('lie in objects named for their hour, whose lines are of it, not in order, and some late', () => {
    const objects = table(join(first.folder, 'objects.tsv'));
    expect(objects.map(([name]) => name).sort()).toEqual(first.names);
    expect(objects.some(([, hour, , arrives]) => Number(arrives) > Number(hour) + 2 * 3600)).toBe(true);
    let isDisordered = false;
    for (const [i, text] of content(first.files).entries()) {
      const [, date, hour] = /^E\w+\.(\d{4}-\d\d-\d\d)-(\d\d)\.[0-9a-f]{8}\.gz$/.exec(first.names[i] ?? '') ?? [];
      const times = text
        .split('\n')
        .slice(2, -1)
        .map((line) => line.split('\t').slice(0, 2).join('T'));
      expect(times.every((time) => time.startsWith(`${date}T${hour}:`))).toBe(true);
      isDisordered ||= times.join() !== [...times].sort().join();
    }
    expect(isDisordered).toBe(true);
  });

  test('show segments as detection reads them unless told otherwise', () => {
    const { segmentPattern } = parse(DetectionSettingsSchema, {});
    const pattern = new RegExp(segmentPattern);
    const uris = content(first.files).flatMap((text) => text.match(/\/segment-[\w.-]+(?=\t)/g) ?? []);
    expect(uris.some((uri) => /-\d+\.\d\.m4s$/.test(uri))).toBe(true);
    expect(uris.filter((uri) => pattern.exec(uri)?.[1] !== /\d+/.exec(uri)?.[0])).toEqual([]);
  });

  test('are nobody’s: addresses that are not assigned, and no secret', () => {
    const text = content(first.files).join('\n');
    const addresses = new Set(text.split('\n').map((line) => line.split('\t')[4]));
    for (const address of addresses) if (address) expect(address).toMatch(/^(24[0-9]|25[0-5])\.|^3fff:/);
  });
});

describe('logs of version 2', () => {
  test.each(['json', 'w3c'] as const)('%s: with operator, country and what the function logged', async (format) => {
    const { files, names, simulation } = await write(11, 15, format, false);
    expect(names[0]).toMatch(/^E\w+\/2026\/01\/01\/00\/E\w+\.2026-01-01-00\.[0-9a-f]{8}\.gz$/);
    const isGood = (entry: Record<string, string>) =>
      Object.keys(entry).length === 35 &&
      !('cs-uri-stem' in entry) &&
      /^\d+$/.test(entry.asn ?? '') &&
      /^[A-Z]{2}$/.test(entry['c-country'] ?? '') &&
      (entry['sc-status'] === '401' ? /^-,token-signature-invalid,\// : /^\w{12},allowed,\//).test(
        entry['viewer-request-log-data'] ?? '',
      );
    let lines = 0;
    for (const text of content(files)) {
      expect(text).not.toMatch(/eyJ[\w-]+\.eyJ/);
      const rows = text.trimEnd().split('\n');
      const fields = format === 'w3c' ? (rows.splice(0, 2)[1] ?? '').slice('#Fields: '.length).split(' ') : [];
      const entryOf = (row: string): Record<string, string> => {
        if (format === 'json') return JSON.parse(row);
        return Object.fromEntries(row.split('\t').map((cell, i) => [fields[i], cell]));
      };
      expect(rows.filter((row) => !isGood(entryOf(row)))).toEqual([]);
      lines += rows.length;
    }
    expect(lines).toBe(simulation.lines);
  });

  test('Parquet: the same lines, in columns that are strings', async () => {
    const parquet = await write(11, 10, 'parquet');
    const tsv = await write(11, 10, 'w3c');
    const connection = await (await DuckDBInstance.create(':memory:')).connect();
    for (const [i, file] of parquet.files.entries()) {
      const reader = await connection.runAndReadAll(`SELECT * FROM read_parquet('${file}')`);
      expect(reader.columnNames()).toEqual(
        expect.arrayContaining(['cs_uri_stem', 'c_country', 'cs_user_agent', 'cs_host']),
      );
      expect(new Set(reader.columnTypes().map(String))).toEqual(new Set(['VARCHAR']));
      const [, , ...rows] = gunzipSync(readFileSync(tsv.files[i] ?? ''))
        .toString()
        .trimEnd()
        .split('\n');
      expect(reader.getRows().map((cells) => cells.join('\t'))).toEqual(rows);
    }
    connection.closeSync();
  });
});

test('a folder that holds something is left alone', async () => {
  const folder = join(scratch, 'full');
  mkdirSync(folder);
  writeFileSync(join(folder, 'mine'), 'mine');
  const request = { seed: 1, sessions: 1, from: FROM, to: TO, format: 'v1', uri: true } as const;
  await expect(simulate(folder, request)).rejects.toMatchObject({ code: 'ERR_SIMULATION_FOLDER' });
  expect(readdirSync(folder)).toEqual(['mine']);
  await expect(simulate(join(folder, 'mine'), request)).rejects.toMatchObject({ code: 'ERR_SIMULATION_FOLDER' });
});
