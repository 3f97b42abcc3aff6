import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { IngestError, type IngestedJob, wholeManifest } from '../../../enclave-render/host/ingest.ts';
import { type WatchFolder, watchFolder } from '../../../enclave-render/host/watch-folder.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const MANIFEST = `eyJhbGciOiJFZERTQSJ9.e30.${'A'.repeat(86)}`;

let folder: string;
let watching: WatchFolder | undefined;
let taken: IngestedJob[];
let reported: string[];
beforeEach(() => {
  folder = temporaryDirectory();
  taken = [];
  reported = [];
});
afterEach(async () => {
  await watching?.close();
  removeDirectory(folder);
});

/** Never looks by itself unless told of a change. */
const HOURLY = 3_600_000;
async function start(
  onJob: (job: IngestedJob) => Promise<void> = async (job) => void taken.push(job),
  scanMilliseconds = HOURLY,
) {
  watching = await watchFolder({ folder, onJob, report: (line) => reported.push(line), scanMilliseconds });
  return watching;
}
const put = (name: string, text = MANIFEST) => writeFileSync(join(folder, name), text);
const names = (...path: string[]) => readdirSync(join(folder, ...path)).sort();

test('takes what is there already, in the order of names, and puts it away', async () => {
  put('b.jws', `${MANIFEST}\n`);
  put('a.jws');
  await start();
  expect(taken).toEqual([
    { manifest: MANIFEST, name: 'a.jws' },
    { manifest: MANIFEST, name: 'b.jws' },
  ]);
  expect(names()).toEqual(['done', 'refused']);
  expect(names('done')).toEqual(['a.jws', 'b.jws']);
});

test.each([
  ['told by the system', HOURLY],
  ['by looking from time to time', 20],
])('takes what is moved there, %s', async (_, scanMilliseconds) => {
  let resolve = (_job: IngestedJob): void => undefined;
  const job = new Promise<IngestedJob>((done) => {
    resolve = done;
  });
  await start(async (one) => resolve(one), scanMilliseconds);
  put('job.partial');
  renameSync(join(folder, 'job.partial'), join(folder, 'job.jws'));
  expect(await job).toEqual({ manifest: MANIFEST, name: 'job.jws' });
});

test('waits for the end of what is written in place', async () => {
  const { scan } = await start();
  put('slow.jws', '');
  for (const letter of MANIFEST) {
    await scan();
    expect(taken).toEqual([]);
    appendFileSync(join(folder, 'slow.jws'), letter);
  }
  await scan();
  expect(taken).toHaveLength(1);
});

test('leaves other files alone', async () => {
  for (const name of ['readme.txt', '.hidden.jws', 'job.jws.partial', 'a b.jws']) put(name);
  await start();
  expect(taken).toEqual([]);
  expect(names()).toHaveLength(6);
});

test('follows no link, and takes no folder and nothing that is too long', async () => {
  const secret = join(folder, 'secret');
  writeFileSync(secret, MANIFEST);
  symlinkSync(secret, join(folder, 'link.jws'));
  mkdirSync(join(folder, 'folder.jws'));
  put('long.jws', 'a'.repeat((1 << 20) + 1));
  await start();
  expect(taken).toEqual([]);
  expect(names('refused')).toEqual(['folder.jws', 'link.jws', 'long.jws'].flatMap((name) => [name, `${name}.reason`]));
  expect(readFileSync(join(folder, 'refused', 'long.jws.reason'), 'utf8')).toMatch(/^ERR_INGEST_TOO_LARGE: /);
});

test('puts away what is refused, with the reason', async () => {
  put('job.jws');
  await start(async () => {
    throw new IngestError('ERR_INGEST_REFUSED', 'of no owner that is known here');
  });
  expect(names('refused')).toEqual(['job.jws', 'job.jws.reason']);
  expect(readFileSync(join(folder, 'refused', 'job.jws.reason'), 'utf8')).toBe(
    'ERR_INGEST_REFUSED: of no owner that is known here\n',
  );
});

test('writes through no link: not of a folder, and not where a reason goes', async () => {
  const elsewhere = temporaryDirectory();
  writeFileSync(join(elsewhere, 'precious'), 'content');
  symlinkSync(elsewhere, join(folder, 'refused'));
  await expect(start()).rejects.toMatchObject({ code: 'ERR_INGEST_REFUSED' });
  unlinkSync(join(folder, 'refused'));
  mkdirSync(join(folder, 'refused'));
  symlinkSync(join(elsewhere, 'precious'), join(folder, 'refused', 'a.jws.reason'));
  put('a.jws');
  await start(async () => {
    throw new IngestError('ERR_INGEST_REFUSED', 'of no owner that is known here');
  });
  expect(readFileSync(join(elsewhere, 'precious'), 'utf8')).toBe('content');
  expect(readFileSync(join(folder, 'refused', 'a.jws.reason'), 'utf8')).toContain('ERR_INGEST_REFUSED');
  removeDirectory(elsewhere);
});

test('offers again what could not be taken, and says nothing of its content', async () => {
  put('job.jws');
  let isDown = true;
  const { scan } = await start(async (job) => {
    if (isDown) throw Object.assign(new Error(`cannot queue ${job.manifest}`), { code: 'ECONNREFUSED' });
    taken.push(job);
  });
  expect(names()).toContain('job.jws');
  expect(reported).toEqual(['job.jws was not taken: ECONNREFUSED']);
  isDown = false;
  await scan();
  expect(taken).toHaveLength(1);
});

test('takes one job at a time, and each once however often it is told of it', async () => {
  let running = 0;
  const { scan } = await start(async (job) => {
    expect(++running).toBe(1);
    await new Promise(setImmediate);
    running--;
    taken.push(job);
  });
  for (let index = 0; index < 20; index++) put(`job-${index}.jws`);
  await Promise.all([scan(), scan(), scan()]);
  expect(new Set(taken.map(({ name }) => name)).size).toBe(20);
  expect(taken).toHaveLength(20);
});

test('takes nothing more once it is closed', async () => {
  const { close, scan } = await start();
  await close();
  put('late.jws');
  await scan();
  expect(taken).toEqual([]);
});

test.each(['', 'a.b', 'a.b.c', `${MANIFEST}A`, MANIFEST.slice(0, -1), `${MANIFEST}.a`, `${MANIFEST}\n${MANIFEST}`])(
  'is no manifest: %j',
  (text) => {
    expect(wholeManifest(text)).toBeUndefined();
  },
);
