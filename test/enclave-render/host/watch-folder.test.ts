import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isWholeJob, jobId, readJobFile } from '../../../enclave-render/host/ingest.ts';
import { type JobQueue, openJobQueue } from '../../../enclave-render/host/job-queue.ts';
import { type WatchFolder, watchFolder } from '../../../enclave-render/host/watch-folder.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const JOB = '{"template":"transcode"}';
/** Never looks by itself unless told of a change. */
const HOURLY = 3_600_000;

let folder: string;
let queue: JobQueue;
let watching: WatchFolder | undefined;
let reported: string[];
beforeEach(async () => {
  folder = temporaryDirectory();
  reported = [];
  queue = await openJobQueue(folder);
});
afterEach(async () => {
  await watching?.close();
  watching = undefined;
  await queue.close();
  removeDirectory(folder);
});

async function start(take: (name: string) => Promise<unknown> = (name) => queue.take(name), scanMilliseconds = HOURLY) {
  const report = (line: string) => reported.push(line);
  watching = await watchFolder({ folder, take, report, now: Date.now, scanMilliseconds });
  return watching;
}
const put = (name: string, text = JOB) => writeFileSync(join(folder, name), text);
const names = (...path: string[]) => readdirSync(join(folder, ...path)).sort();
/** Names of the jobs in a place, without their digits. */
const jobs = (place: string) => names(place).map((id) => id.replace(/-[0-9a-f]{16}$/, ''));
const next = () => queue.next(new AbortController().signal);

test('takes what is there already, in the order of names', async () => {
  put('b.job.json');
  put('a.job.json', `${JOB}\n`);
  await start();
  expect(names()).toEqual(['done', 'failed', 'taken', 'taken.lock']);
  const first = await next();
  expect(first?.id).toMatch(/^a-[0-9a-f]{16}$/);
  expect(await readJobFile(first?.file ?? '')).toBe(`${JOB}\n`);
});

test.each([
  ['told by the system', HOURLY],
  ['by looking from time to time', 20],
])('takes what is moved there, %s', async (_, scanMilliseconds) => {
  await start(undefined, scanMilliseconds);
  const waiting = queue.next(new AbortController().signal);
  put('job.partial');
  renameSync(join(folder, 'job.partial'), join(folder, 'job.job.json'));
  expect((await waiting)?.id).toMatch(/^job-/);
});

test('waits for the end of what is written in place, and a minute for what is no job', async () => {
  const { scan } = await start();
  put('slow.job.json', '');
  for (const letter of JOB) {
    await scan();
    expect(names('taken')).toEqual([]);
    appendFileSync(join(folder, 'slow.job.json'), letter);
  }
  put('broken.job.json', '{"template":');
  await scan();
  expect(jobs('taken')).toEqual(['slow']);
  const before = Date.now() / 1000 - 61;
  utimesSync(join(folder, 'broken.job.json'), before, before);
  await scan();
  expect(jobs('taken')).toEqual(['broken', 'slow']);
});

test('leaves other files alone, manifests of masters among them', async () => {
  for (const name of ['readme.txt', '.hidden.job.json', 'a.job.json.partial', 'a b.job.json', 'film.manifest.json'])
    put(name);
  await start();
  expect(names('taken')).toEqual([]);
});

test('follows no link, and reads no folder and nothing that is too long', async () => {
  const secret = join(folder, 'secret');
  writeFileSync(secret, JOB);
  symlinkSync(secret, join(folder, 'link.job.json'));
  mkdirSync(join(folder, 'folder.job.json'));
  put('long.job.json', 'a'.repeat((1 << 20) + 1));
  await start();
  const codes = [];
  for (const id of names('taken')) {
    codes.push(await readJobFile(join(folder, 'taken', id, 'job.json')).catch(({ code }) => code));
  }
  expect(codes).toEqual(['ERR_INGEST_BODY', 'ERR_INGEST_BODY', 'ERR_INGEST_TOO_LARGE']);
});

test('writes into no folder that is a link', async () => {
  const [elsewhere, other] = [temporaryDirectory(), temporaryDirectory()];
  symlinkSync(elsewhere, join(other, 'done'));
  await expect(openJobQueue(other)).rejects.toMatchObject({ code: 'ERR_INGEST_FOLDER' });
  unlinkSync(join(other, 'done'));
  await (await openJobQueue(other)).close();
  for (const path of [elsewhere, other]) removeDirectory(path);
  await expect(openJobQueue(other)).rejects.toMatchObject({ code: 'ERR_INGEST_FOLDER' });
});

test('is for one process at a time', async () => {
  await expect(openJobQueue(folder)).rejects.toMatchObject({ code: 'ERR_INGEST_FOLDER' });
});

test('takes again what could not be taken', async () => {
  put('job.job.json');
  let isFull = true;
  const { scan } = await start(async (name) => {
    if (isFull) throw Object.assign(new Error('no room'), { code: 'ENOSPC' });
    return queue.take(name);
  });
  expect(reported).toEqual(['job.job.json was not taken, and will be tried again: ENOSPC']);
  isFull = false;
  await scan();
  expect(jobs('taken')).toEqual(['job']);
});

test('takes each job once however often it is told of it, and nothing once it is closed', async () => {
  const { scan, close } = await start();
  for (let index = 0; index < 20; index++) put(`job-${index}.job.json`);
  await Promise.all([scan(), scan(), scan()]);
  expect(new Set(jobs('taken')).size).toBe(20);
  await close();
  put('late.job.json');
  await scan();
  expect(names()).toContain('late.job.json');
});

test('uses no folder in which others may replace a job', async () => {
  const refused = () => expect(openJobQueue(folder)).rejects.toMatchObject({ code: 'ERR_INGEST_FOLDER' });
  await queue.close();
  chmodSync(folder, 0o770);
  await expect(openJobQueue(folder)).rejects.toThrow(`chmod +t ${folder}`);
  // They may put jobs there, but had better not have made the folders of the watch.
  chmodSync(folder, 0o1777);
  queue = await openJobQueue(folder);
  await queue.close();
  chmodSync(join(folder, 'done'), 0o777);
  await refused();
  chmodSync(join(folder, 'done'), 0o700);
  if (process.getuid?.() === 0) {
    for (const place of [folder, join(folder, 'taken')]) {
      chownSync(place, 65_534, 65_534);
      await refused();
      chownSync(place, 0, 0);
    }
  }
  queue = await openJobQueue(folder);
});

test('keeps a job once, until it is over and after it', async () => {
  const job = { id: 'webhook-0123456789abcdef', text: JOB };
  expect(await queue.keep(job)).toBe(true);
  expect(await queue.keep(job)).toBe(false);
  const taken = await next();
  expect(taken?.id).toBe(job.id);
  const outcome = { ok: false, code: 'ERR_RENDER_TASK' };
  const place = await queue.finish(taken as NonNullable<typeof taken>, 'failed', outcome);
  expect(JSON.parse(readFileSync(join(place, 'outcome.json'), 'utf8'))).toEqual(outcome);
  expect(names('taken')).toEqual([]);
  expect(await queue.keep(job)).toBe(false);
  // It would end where there is something already.
  unlinkSync(join(place, 'job.json'));
  expect(await queue.keep(job)).toBe(false);
});

test('is opened again with what was taken; a crash before a job was taken leaves it where it was', async () => {
  put('a.job.json');
  const id = await queue.take('a.job.json');
  expect(await queue.take('gone.job.json')).toBeUndefined();
  expect(names('taken')).toEqual([id]);
  await queue.close();
  // What a crash leaves of one that came by HTTP and was not answered.
  mkdirSync(join(folder, 'taken', 'webhook-1'));
  writeFileSync(join(folder, 'taken', 'webhook-1', 'job.json.partial'), '{"templ');
  queue = await openJobQueue(folder);
  expect((await next())?.id).toBe(id);
  expect(await queue.keep({ id: 'webhook-1', text: JOB })).toBe(true);
  expect(existsSync(join(folder, 'taken', 'webhook-1', 'job.json'))).toBe(true);
});

test.each(['', '{', 'null', '[]', '1', '"{}"', JOB.slice(0, -1), `${JOB}}`])('is no whole job: %j', (text) => {
  expect(isWholeJob(text)).toBe(false);
});

test.each([
  ['film.job.json', 'film-1'],
  ['../../etc/passwd', 'job.._.._etc_passwd-1'],
  ['', 'job-1'],
  ['ä ö', 'job___-1'],
  [`${'a'.repeat(200)}.job.json`, `${'a'.repeat(80)}-1`],
])('the id of %j is a name', (name, id) => {
  expect(jobId(name, '1')).toBe(id);
});
