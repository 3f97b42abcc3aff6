import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DetectionEngine } from '../../../revocation/detect/detection-engine.ts';
import { connect, openDuckDbEngine } from '../../../revocation/detect/duckdb.ts';
import { hourOf, logFiles } from '../../../revocation/detect/files.ts';
import type { LogObject } from '../../../revocation/detect/log-objects.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import {
  HOUR,
  json,
  logFile,
  parquetFile,
  SESSION,
  snakeCase,
  TV,
  tsv,
  V1_FIELDS,
  V2_FIELDS,
  watching,
} from '../../harness/access-logs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
const scratch = temporaryDirectory();
let engine: DetectionEngine;
beforeAll(async () => {
  const detection = v.parse(DetectionSettingsSchema, {});
  engine = await openDuckDbEngine({ detection, tokenPrefix: '/' }, { threads: 2, tempDirectory: scratch });
});
afterAll(async () => {
  await engine.close();
  removeDirectory(folder);
  removeDirectory(scratch);
});

const read = (objects: LogObject[]) => engine.features({ from: HOUR, to: HOUR + 86400, objects, everySession: true });

/** The requests of two viewers, and the rows that a log of them has. */
const REQUESTS = [...watching(40), ...watching(40, { ip: '198.51.100.9', userAgent: TV, asn: '3209', country: 'FR' })];
const FOUND = { requests: 80, identities: 2, concurrentMinutes: 3, sharedSegments: 40, countries: 2, asns: 2 };
/** Standard logs v1 say neither operator nor country. */
const FOUND_V1 = { ...FOUND, countries: 1, asns: 1 };

describe('formats are told apart by their content', () => {
  const shuffled = [...V2_FIELDS].reverse();
  const cases: [string, () => LogObject | Promise<LogObject>, object][] = [
    ['standard logs v1', () => logFile(folder, 'v1.gz', tsv(REQUESTS, V1_FIELDS)), FOUND_V1],
    ['the same, not compressed', () => logFile(folder, 'v1.log', tsv(REQUESTS, V1_FIELDS)), FOUND_V1],
    [
      'the log of the local edge, started twice',
      () => {
        const fields = [...V1_FIELDS, 'viewer-request-log-data'];
        return logFile(folder, 'access.log', tsv(REQUESTS.slice(0, 40), fields) + tsv(REQUESTS.slice(40), fields));
      },
      FOUND_V1,
    ],
    ['w3c, other fields in another order', () => logFile(folder, 'w3c.gz', tsv(REQUESTS, shuffled)), FOUND],
    ['JSON', () => logFile(folder, 'lines.gz', json(REQUESTS)), FOUND],
    ['JSON, not compressed, names in snake case', () => logFile(folder, 'json', json(REQUESTS, snakeCase)), FOUND],
    ['Parquet', () => parquetFile(folder, 'a.parquet', REQUESTS), FOUND],
    ['a name that says something else', () => logFile(folder, 'b.parquet', tsv(REQUESTS)), FOUND],
    ['a name with signs that mean something', () => logFile(folder, "it's [a] *.gz", tsv(REQUESTS)), FOUND],
    [
      'gzip of several members',
      () =>
        logFile(
          folder,
          'members.gz',
          Buffer.concat([gzipSync(tsv(REQUESTS.slice(0, 30))), gzipSync(tsv(REQUESTS.slice(30)))]),
        ),
      FOUND,
    ],
  ];

  test.each(cases)('%s', async (_, write, found) => {
    const { sessions, rows, refused } = await read([await write()]);
    expect(refused).toEqual([]);
    expect(rows).toBe(80);
    expect(sessions).toEqual([expect.objectContaining({ sessionId: SESSION, ...found })]);
  });

  test('and all are read in one run', async () => {
    const objects = [
      logFile(folder, 'all-1.gz', tsv(REQUESTS.slice(0, 20), V1_FIELDS)),
      logFile(folder, 'all-2.gz', tsv(REQUESTS.slice(20, 40), shuffled)),
      logFile(folder, 'all-3', json(REQUESTS.slice(40, 60))),
      await parquetFile(folder, 'all-4', REQUESTS.slice(60)),
    ];
    const { sessions, rows } = await read(objects);
    expect({ rows, requests: sessions[0]?.requests, segments: sessions[0]?.segmentRequests }).toEqual({
      rows: 80,
      requests: 80,
      segments: 80,
    });
  });

  test('Parquet whose columns differ from object to object', async () => {
    const one = REQUESTS.slice(0, 40);
    const few = V2_FIELDS.filter((field) => !['asn', 'c-country', 'cs(Referer)'].includes(field));
    const objects = [
      await parquetFile(
        folder,
        'few',
        one.filter((_, index) => index % 2 === 0),
        few,
      ),
      await parquetFile(
        folder,
        'many',
        one.filter((_, index) => index % 2 === 1),
      ),
    ];
    const { sessions, rows, refused } = await read(objects);
    expect({ rows, refused }).toEqual({ rows: 40, refused: [] });
    // Half of the lines say nothing of operator and country: that makes nobody two viewers.
    expect(sessions).toEqual([expect.objectContaining({ identities: 1, asns: 1, countries: 1 })]);
  });

  test('a folder whose name looks like a column says nothing of what is in it', async () => {
    const named = join(folder, 'cs_method=HEAD');
    mkdirSync(named);
    const parquet = await parquetFile(folder, 'elsewhere.parquet', REQUESTS.slice(0, 40));
    const objects = [
      logFile(named, 'a.parquet', readFileSync(parquet.name)),
      logFile(named, 'a.gz', tsv(REQUESTS.slice(40, 60))),
      logFile(named, 'a.json', json(REQUESTS.slice(60))),
    ];
    for (const object of objects) expect(await read([object])).toMatchObject({ sessionCount: 1, refused: [] });
    expect((await read(objects)).sessions).toMatchObject([{ requests: 80 }]);
  });

  test('headers alone are no lines', async () => {
    expect(await read([logFile(folder, 'quiet.gz', tsv([]))])).toMatchObject({ rows: 0, sessionCount: 0, refused: [] });
    expect(await read([logFile(folder, 'quiet.log', tsv([]))])).toMatchObject({
      rows: 0,
      sessionCount: 0,
      refused: [],
    });
  });

  test('a line that is being written is left out until it is', async () => {
    const whole = tsv(REQUESTS);
    const growing = logFile(folder, 'growing.log', whole.slice(0, -20));
    expect(await read([growing])).toMatchObject({ rows: 79, refused: [] });
    expect(await read([logFile(folder, 'growing.log', whole)])).toMatchObject({ rows: 80, refused: [] });
    // What has come after the object was listed counts when it is listed again.
    expect(await read([growing])).toMatchObject({ rows: 79, refused: [] });
  });
});

describe('an object that cannot be read', () => {
  const good = () => logFile(folder, 'good.gz', tsv(REQUESTS));
  const without = (...fields: string[]) => V2_FIELDS.filter((field) => !fields.includes(field));
  const cases: [string, () => LogObject, RegExp][] = [
    ['empty', () => logFile(folder, 'empty', ''), /it is empty/],
    ['empty, compressed', () => logFile(folder, 'empty.gz', ''), /nothing in it/],
    [
      'no longer there',
      () => ({ name: join(folder, 'gone.gz'), bytes: 5, version: '1', hour: HOUR }),
      /cannot be opened \(ENOENT\)/,
    ],
    [
      'of another CDN',
      () => logFile(folder, 'fastly', '<134>2026-11-22T14:00:00Z cache-fra1 log: 203.0.113.7 GET /\n'),
      /no access log of CloudFront/,
    ],
    [
      'of another server, with a header much alike',
      () =>
        logFile(
          folder,
          'iis',
          '#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem sc-status cs(User-Agent)\n',
        ),
      /lacks x-edge-location: add this field/,
    ],
    [
      'with neither the address nor what the function logged',
      () => logFile(folder, 'few.gz', tsv(REQUESTS, without('cs-uri-stem', 'viewer-request-log-data'))),
      /lacks viewer-request-log-data: add this field/,
    ],
    [
      'with the address and little else',
      () =>
        logFile(folder, 'less.gz', tsv(REQUESTS, without('cs-method', 'cs(User-Agent)', 'viewer-request-log-data'))),
      /lacks cs\(User-Agent\), cs-method: add these fields/,
    ],
    [
      'without a list of fields',
      () => logFile(folder, 'list.gz', '#Version: 1.0\n'),
      /no line that begins with #Fields/,
    ],
    ['JSON that is none', () => logFile(folder, 'odd.json', '{"date"\n'), /no JSON object/],
    ['JSON cut off', () => logFile(folder, 'cut.json.gz', json(REQUESTS).slice(0, -30)), /last line is cut off/],
    [
      'cut off in a line',
      () => logFile(folder, 'line.gz', tsv(REQUESTS).slice(0, -30)),
      /fields: fetch it again|last line is cut off/,
    ],
    [
      'with a line of another kind',
      () => logFile(folder, 'mixed.log', `${tsv(REQUESTS)}oops\n`),
      /line 83 has 1 of 36 fields/,
    ],
    [
      'with a line that does not end',
      () => logFile(folder, 'long.gz', tsv(REQUESTS) + 'x'.repeat(4e6)),
      /line 83 is longer/,
    ],
    [
      'with such a line, not compressed',
      () => logFile(folder, 'long.log', `${tsv(REQUESTS)}${'x'.repeat(4e6)}\n`),
      /line 83 is longer/,
    ],
    [
      'with other fields from a line on',
      () => logFile(folder, 'change.log', tsv(REQUESTS) + tsv(REQUESTS, V1_FIELDS)),
      /fields change in line 84/,
    ],
    ['no gzip, but for its beginning', () => logFile(folder, 'no.gz', Buffer.from('1f8b08ffffffffff', 'hex')), /gzip/],
    ['Parquet cut off', () => logFile(folder, 'cut.parquet', Buffer.from('PAR1aaaaaaaaaaaaaaaa')), /ends too early/],
    [
      'Parquet in name alone',
      () => logFile(folder, 'bad.parquet', Buffer.from('PAR1aaaaaaaaaaaaaaaaPAR1')),
      /DuckDB cannot read it/,
    ],
  ];

  test.each(cases)('%s is refused with what to do, the others are read', async (name, write, why) => {
    const odd = write();
    const { rows, refused } = await read([odd, good()]);
    // What is in an object stays as it is; that it is not there may pass.
    const mayPass = name === 'no longer there' ? { mayPass: true } : {};
    expect(refused).toEqual([{ name: odd.name, why: expect.stringMatching(why), ...mayPass }]);
    expect(rows).toBe(80);
    expect(refused[0]?.why).not.toMatch(/hhhh|pppp/);
  });

  test('is an error when it is the only one', async () => {
    const odd = logFile(folder, 'only.gz', 'x');
    await expect(read([odd])).rejects.toMatchObject({
      code: 'ERR_DETECTION_LOGS',
      message: expect.stringContaining(odd.name),
    });
    // The engine goes on working.
    expect(await read([good()])).toMatchObject({ rows: 80 });
  });
});

describe('a gzip file that is cut off', () => {
  // Lines that compress badly, so that there are many places to cut at, those between lines among them.
  const requests = watching(300).map((request, index) => ({
    ...request,
    session: `Session${String(index * 7919).padStart(9, '0')}`,
  }));
  const whole = gzipSync(tsv(requests));

  test('is refused wherever it is cut, and none of its lines count', async () => {
    const good = logFile(folder, 'whole.gz', whole);
    const cuts = Array.from({ length: 40 }, (_, index) =>
      logFile(
        folder,
        `cut-${index}.gz`,
        whole.subarray(0, whole.length - 1 - Math.floor((index * (whole.length - 40)) / 40)),
      ),
    );
    const { rows, refused } = await read([good, ...cuts]);
    expect(refused.map(({ name }) => name).sort()).toEqual(cuts.map(({ name }) => name).sort());
    expect(rows).toBe(300);
  });

  test('is refused also when it ends between two lines', async () => {
    const text = tsv(requests);
    const cut = text.slice(0, text.indexOf('\n', text.length / 2) + 1);
    // The bytes of a shorter log, whose trailer says the length of the whole one.
    const bytes = gzipSync(cut);
    bytes.writeUInt32LE(Buffer.byteLength(text), bytes.length - 4);
    await expect(read([logFile(folder, 'between.gz', bytes)])).rejects.toMatchObject({ code: 'ERR_DETECTION_LOGS' });
    const trailerless = gzipSync(cut).subarray(0, -8);
    await expect(read([logFile(folder, 'trailerless.gz', trailerless)])).rejects.toMatchObject({
      code: 'ERR_DETECTION_LOGS',
    });
  });

  test('is refused when it is damaged in the middle', async () => {
    const damaged = Buffer.from(whole);
    const middle = whole.length >> 1;
    damaged.fill(0x55, middle, middle + 20);
    await expect(read([logFile(folder, 'damaged.gz', damaged)])).rejects.toMatchObject({ code: 'ERR_DETECTION_LOGS' });
  });
});

describe('log files of this machine', () => {
  test('are named by file, folder or pattern, once each', async () => {
    const logs = join(folder, 'logs', '2026', '11', '22', '14');
    mkdirSync(logs, { recursive: true });
    const [file, other] = [join(logs, 'a.parquet'), join(folder, 'logs', 'E2EXAMPLE.2026-11-22-15.5f2a.gz')];
    for (const name of [file, other]) writeFileSync(name, 'x');
    const patterns = [file, join(folder, 'logs'), join(folder, 'logs', '**', '*.gz')];
    const objects = await logFiles(patterns).list(0);
    expect(objects.map(({ name, hour }) => [name, hour])).toEqual([
      [file, HOUR],
      [other, HOUR + 3600],
    ]);
    expect(objects[0]).toMatchObject({ bytes: readFileSync(file).length });
    expect((await logFiles(patterns).list(HOUR + 3600)).map(({ name }) => name)).toEqual([other]);
    await expect(logFiles([join(folder, 'logs', '*.zip')]).list(0)).rejects.toMatchObject({
      code: 'ERR_DETECTION_LOGS',
    });
  });

  test.each(['s3://logs.example.com/*.gz', 'https://logs.example.com/a.gz'])('%s is none of them', async (pattern) => {
    await expect(logFiles([pattern]).list(0)).rejects.toMatchObject({
      code: 'ERR_DETECTION_LOGS',
      message: expect.stringContaining('is no file of this machine'),
    });
  });

  test('change their version when they change', async () => {
    const path = join(folder, 'version.log');
    writeFileSync(path, 'a');
    const [before] = await logFiles([path]).list(0);
    writeFileSync(path, 'ab');
    const [after] = await logFiles([path]).list(0);
    expect(after?.version).not.toBe(before?.version);
  });

  test.each([
    ['E2EXAMPLE.2026-11-22-14.5f2a9b01.gz', HOUR],
    ['/logs/E2EXAMPLE/2026/11/22/14/part-0.parquet', HOUR],
    ['/backup-2025-01-01-00/E2EXAMPLE.2026-11-22-14.5f2a9b01.gz', HOUR],
    ['logs/access.log', undefined],
    ['E2EXAMPLE.2026-11-22-99.5f2a9b01.gz', undefined],
    ['12026-11-22-141.gz', undefined],
  ])('%s is of that hour', (name, hour) => {
    expect(hourOf(name)).toBe(hour);
  });
});

test('DuckDB fetches and loads no code of others', async () => {
  const connection = await connect(':memory:', { autoload_known_extensions: 'true' });
  const settings = ['autoinstall_known_extensions', 'autoload_known_extensions', 'allow_persistent_secrets'];
  const values = `SELECT ${settings.map((name) => `current_setting('${name}')`).join(', ')}`;
  expect((await connection.runAndReadAll(values)).getRowsJS()).toEqual([[false, false, false]]);
  await expect(connection.run(`SELECT * FROM glob('https://127.0.0.1:9/*')`)).rejects.toThrow(/requires the extension/);
  connection.closeSync();
});

describe('what is stored of a run', () => {
  const settings = { detection: v.parse(DetectionSettingsSchema, {}), tokenPrefix: '/' };

  test('is gone when it is ended under way', async () => {
    const tempDirectory = temporaryDirectory();
    const ended = await openDuckDbEngine(settings, { threads: 1, tempDirectory });
    const objects = Array.from({ length: 20 }, (_, i) => logFile(folder, `ended-${i}.log`, tsv(REQUESTS)));
    const run = ended.features({ from: HOUR, to: HOUR + 3600, objects, everySession: true });
    const [rejected] = await Promise.allSettled([run, ended.close()]);
    expect(rejected).toMatchObject({ status: 'rejected', reason: { code: 'ERR_DETECTION_QUERY' } });
    expect(readdirSync(tempDirectory)).toEqual([]);
    removeDirectory(tempDirectory);
  });

  test('is removed by the next run when a process was killed, and by nobody while it lives', async () => {
    const tempDirectory = temporaryDirectory();
    const killed = spawnSync(process.execPath, ['--version']).pid;
    const names = [`portcullis-detect-${process.pid}-AbCdEf`, 'portcullis-detect-of-somebody-else'];
    for (const name of [...names, `portcullis-detect-${killed}-AbCdEf`])
      mkdirSync(join(tempDirectory, name, 'x'), { recursive: true });
    await (await openDuckDbEngine(settings, { threads: 1, tempDirectory })).close();
    expect(readdirSync(tempDirectory).sort()).toEqual(names.sort());
    removeDirectory(tempDirectory);
  });
});
