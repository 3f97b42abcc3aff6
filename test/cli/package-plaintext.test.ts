import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  constants,
  type FSWatcher,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { describeWithFfmpeg, makeMedia } from '../harness/media.ts';
import { programPath } from '../harness/programs.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

/** What was on the disk while a command ran. */
interface Seen {
  code: number | null;
  /** Files and folders that came up in the watched folders. */
  names: Set<string>;
  /** Files with plaintext in them: their name, and of what. */
  plaintext: Set<string>;
  /** Nameless files of the process: the largest size of each in bytes. */
  nameless: Map<string, number>;
  /** Files that ffmpeg and ffprobe had open for writing. */
  writtenByFfmpeg: Set<string>;
}

/** What stands for nothing when it is gone by now. */
function orGone<T>(look: () => T, otherwise: T): T {
  try {
    return look();
  } catch {
    return otherwise;
  }
}

function descendants(pid: number): number[] {
  const children = orGone(() => readdirSync(`/proc/${pid}/task`), []).flatMap((task) =>
    orGone(() => readFileSync(`/proc/${pid}/task/${task}/children`, 'latin1'), '')
      .split(' ')
      .filter((text) => text !== '')
      .map(Number),
  );
  return [pid, ...children.flatMap(descendants)];
}

/** Whether a file is open for writing: a process that starts reads its libraries, of which one has the name of x264 in it. */
function isWritable(pid: number, fd: string): boolean {
  const [, flags = '0'] =
    /^flags:\s*(\d+)/m.exec(orGone(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'), '')) ?? [];
  return (Number.parseInt(flags, 8) & (constants.O_WRONLY | constants.O_RDWR)) !== 0;
}

/** Runs the command and looks, all the time, into each file of the folders and each that its processes have open for writing. */
async function watchRun(
  args: string[],
  env: NodeJS.ProcessEnv,
  folders: string[],
  markers: Record<string, Buffer>,
): Promise<Seen> {
  const seen: Seen = {
    code: null,
    names: new Set(),
    plaintext: new Set(),
    nameless: new Map(),
    writtenByFfmpeg: new Set(),
  };
  const known = new Map<string, string>();
  const search = (path: string, name: string) => {
    const stat = orGone(() => statSync(path), undefined);
    if (!stat?.isFile()) return;
    const version = `${stat.ino} ${stat.size} ${stat.mtimeMs}`;
    if (known.get(name) === version) return;
    known.set(name, version);
    const content = orGone(() => readFileSync(path), Buffer.alloc(0));
    for (const [what, bytes] of Object.entries(markers))
      if (content.includes(bytes)) seen.plaintext.add(`${name}: ${what}`);
  };
  const before = new Set(folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name))));
  const watchers: FSWatcher[] = folders.map((folder) =>
    watch(folder, { recursive: true }, (_, name) => {
      const path = join(folder, name ?? '');
      if (before.has(path)) return;
      seen.names.add(path);
      search(path, path);
    }),
  );
  const child = spawn(process.execPath, [CLI, ...args], { env, stdio: 'ignore' });
  const ended = once(child, 'close').then(([code]) => {
    seen.code = code;
    return true;
  });
  for (let isOver = false; !isOver; isOver = await Promise.race([ended, sleep(5, false)])) {
    for (const pid of descendants(child.pid ?? 0)) {
      const program = basename(orGone(() => readlinkSync(`/proc/${pid}/exe`), ''));
      for (const fd of orGone(() => readdirSync(`/proc/${pid}/fd`), [])) {
        const path = `/proc/${pid}/fd/${fd}`;
        const name = orGone(() => readlinkSync(path), '');
        const size = orGone(() => (statSync(path).isFile() ? statSync(path).size : -1), -1);
        if (size < 0 || !name.startsWith('/') || !isWritable(pid, fd)) continue;
        if (program === 'ffmpeg' || program === 'ffprobe') seen.writtenByFfmpeg.add(name);
        if (name.endsWith(' (deleted)')) seen.nameless.set(name, Math.max(size, seen.nameless.get(name) ?? 0));
        search(path, name);
      }
    }
    for (const folder of folders) {
      for (const name of orGone(() => readdirSync(folder, { recursive: true, encoding: 'utf8' }), [])) {
        if (!before.has(join(folder, name.split('/', 1)[0] ?? ''))) search(join(folder, name), join(folder, name));
      }
    }
  }
  for (const watcher of watchers) watcher.close();
  return seen;
}

describeWithFfmpeg('portcullis package hls --transcode of a master', () => {
  const scratch = temporaryDirectory();
  const [data, bin, out, temporary] = ['data', 'bin', 'out', 'tmp'].map((name) => join(scratch, name)) as [
    string,
    string,
    string,
    string,
  ];
  const master = join(scratch, 'aurora.mkv.enc');
  const log = join(scratch, 'arguments');
  const markers: Record<string, Buffer> = {
    // What x264 writes into the first picture that it makes, and what each fragment of ffmpeg begins with.
    'a picture': Buffer.from('x264 - core'),
    'a fragment': Buffer.from('\0\0\0\x10mfhd\0\0\0\0', 'latin1'),
  };

  beforeAll(async () => {
    for (const folder of [bin, out, temporary]) mkdirSync(folder);
    const mezzanine = await makeMedia(join(scratch, 'aurora.mkv'), { seconds: 6 });
    const bytes = readFileSync(mezzanine);
    for (const part of [0, 0.25, 0.5, 0.75]) {
      const at = Math.floor(part * bytes.length);
      markers[`the mezzanine from ${at}`] = bytes.subarray(at, at + 32);
    }
    for (const args of [
      ['kms', 'create', '--alias', 'alias/portcullis-mastering'],
      ['master', 'encrypt', mezzanine, master, '--mode', 'framed'],
    ]) {
      expect((await portcullis(...args, '--data', data)).code).toBe(0);
    }
    removeDirectory(mezzanine);
    // The programs themselves, after a note of what they are told.
    for (const program of ['ffmpeg', 'ffprobe']) {
      const script = `#!/bin/sh\nprintf '%s\\n' ${program} "$@" >>'${log}'\nexec ${programPath(program)} "$@"\n`;
      writeFileSync(join(bin, program), script, { mode: 0o755 });
    }
  });
  afterAll(() => removeDirectory(scratch));

  const run = (name: string, ...more: string[]) => {
    const args = ['package', 'hls', master, join(out, name), '--transcode', '240p', '--data', data, ...more];
    const env = { ...process.env, TMPDIR: temporary, PATH: `${bin}:${process.env.PATH}` };
    return watchRun(args, env, [out, temporary, '/dev/shm'], markers);
  };

  test.skipIf(process.platform !== 'linux')(
    'has no plaintext in any file at any time, and tells ffmpeg of none',
    async () => {
      const { code, names, plaintext, nameless, writtenByFfmpeg } = await run('title');
      expect([...plaintext]).toEqual([]);
      expect(code).toBe(0);

      // The title before it is in its place and then, and the sealed file, which loses its name at once.
      const ours = [...names].filter((name) => name.startsWith(scratch));
      const expected = [
        /^out\/\.title\.partial-[0-9a-f]{8}(?:\/.*)?$/,
        /^out\/title(?:\/.*)?$/,
        /^tmp\/portcullis-transcoded-[0-9a-f]{16}$/,
      ];
      const relative = ours.map((name) => name.slice(scratch.length + 1));
      expect(relative.filter((name) => !expected.some((pattern) => pattern.test(name)))).toEqual([]);
      expect(relative).toContain('out/title');
      expect(readdirSync(temporary)).toEqual([]);
      const sealed = [...nameless].filter(([name]) => name.startsWith(join(temporary, 'portcullis-transcoded-')));
      expect(sealed.map(([, size]) => size > 0)).toEqual([true]);

      expect([...writtenByFfmpeg]).toEqual([]);
      const told = readFileSync(log, 'utf8').trim().split('\n');
      expect(told.filter((each) => each === 'ffmpeg' || each === 'ffprobe')).toEqual(['ffprobe', 'ffmpeg']);
      const view = /^http:\/\/127\.0\.0\.1:\d+\/[\w-]{43}$/;
      expect(told.filter((each) => view.test(each))).toHaveLength(2);
      const places = told.filter((each) => !view.test(each) && /[/]|file:|^-$/.test(each));
      expect(places.filter((each) => !each.includes('trunc(ih/2)'))).toEqual([]);
    },
  );

  test.skipIf(process.platform !== 'linux')('in clear it has, so that the test would see it', async () => {
    const { code, plaintext } = await run('clear', '--dash');
    expect(code).toBe(0);
    const found = [...plaintext].join('\n');
    expect(found).toMatch(/segment-00001\.m4s: a picture/);
    expect(found).toMatch(/segment-00001\.m4s: a fragment/);
  });
});
