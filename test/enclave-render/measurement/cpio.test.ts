import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type CpioEntry, writeCpio } from '../../../enclave-render/measurement/cpio.ts';
import { isOnPath } from '../../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));

const ENTRIES: CpioEntry[] = [
  { name: 'b/program', type: 'file', content: Buffer.from('#!'), isExecutable: true },
  { name: 'b/link', type: 'link', target: 'program' },
  { name: 'a', type: 'folder' },
  { name: 'b.txt', type: 'file', content: Buffer.from('text'), isExecutable: false },
];

let files = 0;
async function archive(entries: CpioEntry[]): Promise<string> {
  const path = join(folder, `${++files}.cpio`);
  await writeCpio(path, entries);
  return path;
}

describe('an archive for the first file system of a kernel', () => {
  test('is as the documentation of Linux has it, byte by byte', async () => {
    const path = await archive([{ name: 'x/hi', type: 'file', content: Buffer.from('abcde'), isExecutable: false }]);
    // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    const header = (ino: string, mode: string, size: string, name: string) =>
      `070701${ino}${mode}0000000000000000000000010000000${`0${size}`}00000000000000000000000000000000${name}00000000`;
    const head = (ino: number, mode: string, size: number, name: string) =>
      header(`0000000${ino}`, mode, `000000${size}`.padStart(8, '0'), `0000000${(name.length + 1).toString(16)}`);
    const content = readFileSync(path, 'latin1');
    expect(content.length).toBe(512);
    const expected = [
      head(1, '000041ed', 0, 'x'),
      'x\0',
      head(2, '000081a4', 5, 'x/hi'),
      'x/hi\0\0',
      'abcde\0\0\0',
      head(0, '00000000', 0, 'TRAILER!!!'),
      'TRAILER!!!\0',
    ].join('');
    expect(content.slice(0, expected.length)).toBe(expected);
    expect(content.slice(expected.length)).toMatch(/^\0*$/);
  });

  test('is the same whatever the order of its entries and the times of their files', async () => {
    const source = join(folder, 'source');
    writeFileSync(source, 'content');
    const entry: CpioEntry = { name: 'c', type: 'file', content: { file: source }, isExecutable: false };
    const one = readFileSync(await archive([...ENTRIES, entry]));
    utimesSync(source, 1, 1);
    expect(readFileSync(await archive([entry, ...ENTRIES].reverse()))).toEqual(one);
  });

  test.skipIf(!isOnPath('cpio'))('is unpacked by cpio', async () => {
    const to = join(folder, 'unpacked');
    mkdirSync(to);
    execFileSync('cpio', ['-idm', '--quiet'], { cwd: to, input: readFileSync(await archive(ENTRIES)) });
    expect(readFileSync(join(to, 'b/link'), 'utf8')).toBe('#!');
    expect(readFileSync(join(to, 'b.txt'), 'utf8')).toBe('text');
    const { mode, mtimeMs } = statSync(join(to, 'b/program'));
    expect([mode & 0o777, mtimeMs]).toEqual([0o755, 0]);
    expect(statSync(join(to, 'a')).isDirectory()).toBe(true);
  });

  const subfolder = join(folder, 'folder');
  mkdirSync(subfolder);
  symlinkSync(subfolder, join(folder, 'link'));
  const fileOf = (name: string, file: string): CpioEntry => ({
    name,
    type: 'file',
    content: { file },
    isExecutable: false,
  });
  test.each<[string, CpioEntry[]]>([
    ['a path that leads out', [{ name: '../x', type: 'folder' }]],
    ['an absolute path', [{ name: '/x', type: 'folder' }]],
    ['an empty name', [{ name: '', type: 'folder' }]],
    ['a NUL', [{ name: 'x\0y', type: 'folder' }]],
    ['a name twice', [...ENTRIES, { name: 'a', type: 'folder' }]],
    ['a file in a file', [...ENTRIES, { name: 'b.txt/x', type: 'folder' }]],
    ['a file behind a link', [...ENTRIES, { name: 'b/link/x', type: 'folder' }]],
    ['what is not there', [fileOf('x', join(folder, 'nowhere'))]],
    ['a folder for a file', [fileOf('x', subfolder)]],
    ['a link to a folder', [fileOf('x', join(folder, 'link'))]],
  ])('refuses %s', async (_, entries) => {
    await expect(archive(entries)).rejects.toMatchObject({ code: 'ERR_EIF_INPUT' });
  });
});
