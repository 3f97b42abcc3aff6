import { chmodSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AccessLog, FIELDS } from '../../local/edge/access-log.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch: string[] = [];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'], now });
});
afterEach(() => {
  vi.useRealTimers();
  for (const path of scratch.splice(0)) removeDirectory(path);
});

const HEADER = `#Version: 1.0\n#Fields: ${FIELDS.join(' ')}\n`;
/** In the middle of an hour, where the clock stays: a test that crosses into the next must not fail for it. */
const now = new Date('2026-11-22T14:20:00Z');
const today = now.toISOString().slice(0, 10);
const time = now.toISOString().slice(11, 19);
const thisHour = now.toISOString().slice(0, 13).replace('T', '-');

/** What is written has the time of the real clock, which the log looks at when it is opened. */
const isFrom = (path: string, writtenAt: Date) => utimesSync(path, writtenAt, writtenAt);

function open(content?: string, writtenAt = now) {
  const folder = temporaryDirectory();
  scratch.push(folder);
  const path = join(folder, 'access.log');
  if (content !== undefined) {
    writeFileSync(path, content);
    isFrom(path, writtenAt);
  }
  const reports: string[] = [];
  const log = new AccessLog(path, (line) => reports.push(line));
  const read = (name = 'access.log') => readFileSync(join(folder, name), 'utf8');
  const uris = (name?: string) =>
    read(name)
      .split('\n')
      .filter((line) => line && !line.startsWith('#'))
      .map((line) => line.split('\t')[7]);
  return { folder, log, reports, read, uris, files: () => readdirSync(folder).sort() };
}

describe('the access log', () => {
  test('begins with the header once, however often a stack is started within the hour', async () => {
    const first = open();
    first.log.write({ date: today, time, 'cs-uri-stem': '/one' });
    await first.log.close();
    isFrom(join(first.folder, 'access.log'), now);
    const again = new AccessLog(join(first.folder, 'access.log'), () => {});
    again.write({ date: today, time, 'cs-uri-stem': '/two' });
    await again.close();
    expect(first.files()).toEqual(['access.log']);
    expect(first.read().split(HEADER)).toHaveLength(2);
    expect(first.uris()).toEqual(['/one', '/two']);
  });

  test('rolls over when the hour of its lines does, and loses none of them', async () => {
    const { log, files, uris, read } = open();
    // The lines say when it is; nothing here looks at the clock again.
    for (const [hour, uri] of [
      ['00', '/a'],
      ['00', '/b'],
      ['01', '/c'],
      ['02', '/d'],
    ]) {
      log.write({ date: '2030-01-02', time: `${hour}:59:59`, 'cs-uri-stem': uri });
    }
    await log.close();
    const rolled = [`access.${thisHour}.log`, 'access.2030-01-02-00.log', 'access.2030-01-02-01.log'];
    await vi.waitFor(() => expect(uris('access.2030-01-02-01.log')).toEqual(['/c']));
    expect(files()).toEqual([...rolled, 'access.log'].sort());
    expect([uris('access.2030-01-02-00.log'), uris()]).toEqual([['/a', '/b'], ['/d']]);
    for (const name of files()) expect([name, read(name).startsWith(HEADER)]).toEqual([name, true]);
  });

  test('what a stack left behind in an hour before gets the name of that hour', async () => {
    const written = new Date('2026-11-22T13:20:00Z');
    const { log, files, uris } = open(`${HEADER}${'x\t'.repeat(7)}/old\n`, written);
    log.write({ date: today, time, 'cs-uri-stem': '/new' });
    await log.close();
    expect(files()).toEqual(['access.2026-11-22-13.log', 'access.log']);
    expect([uris('access.2026-11-22-13.log'), uris()]).toEqual([['/old'], ['/new']]);
  });

  test('what has other fields makes room, and no name is taken twice', async () => {
    const first = open('#Version: 1.0\n#Fields: date time\n');
    await first.log.close();
    writeFileSync(join(first.folder, 'access.log'), 'something\n');
    isFrom(join(first.folder, 'access.log'), now);
    await new AccessLog(join(first.folder, 'access.log'), () => {}).close();
    expect(first.files()).toEqual([`access.${thisHour}.2.log`, `access.${thisHour}.log`, 'access.log']);
    expect(first.read()).toBe(HEADER);
  });

  test.skipIf(process.getuid?.() === 0)('one that cannot be rolled over is said, and goes on', async () => {
    const { folder, log, reports, uris } = open();
    log.write({ date: today, time, 'cs-uri-stem': '/a' });
    chmodSync(folder, 0o500);
    log.write({ date: '2030-01-02', time: '00:00:00', 'cs-uri-stem': '/b' });
    chmodSync(folder, 0o700);
    await log.close();
    expect([reports, uris()]).toEqual([[expect.stringMatching(/not rolled over: EACCES/)], ['/a', '/b']]);
  });

  test('a folder in its place is refused', () => {
    const folder = temporaryDirectory();
    scratch.push(folder);
    mkdirSync(join(folder, 'access.log'));
    expect(() => new AccessLog(join(folder, 'access.log'), () => {})).toThrow(
      expect.objectContaining({ code: 'ERR_STACK_DATA' }),
    );
  });
});
