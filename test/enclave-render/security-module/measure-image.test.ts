import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { measureImage, withLibraries } from '../../../enclave-render/security-module/measure-image.ts';
import { describeWith } from '../../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));
const agent = join(scratch, 'agent');
const configuration = Buffer.from('{"format":"portcullis-runner/1"}');
const TRUE = '/bin/true';

beforeEach(() => {
  rmSync(agent, { recursive: true, force: true });
  mkdirSync(join(agent, 'lib'), { recursive: true });
  writeFileSync(join(agent, 'main.mjs'), 'main');
  writeFileSync(join(agent, 'lib', 'part.mjs'), 'part');
});
const measured = (changes: object = {}) => measureImage({ agent, configuration, renderers: [TRUE], ...changes });
const refused = { code: 'ERR_MODULE_IMAGE' };

function extended(content: Uint8Array): string {
  const inner = createHash('sha384').update(content).digest();
  return createHash('sha384').update(Buffer.alloc(48)).update(inner).digest('hex');
}
function framed(...parts: (string | Uint8Array)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => {
      const length = Buffer.alloc(8);
      length.writeBigUInt64BE(BigInt(Buffer.from(part).length));
      return [length, Buffer.from(part)];
    }),
  );
}

describe('measuring an image', () => {
  test('the registers are what is documented, over files in the order of their names', async () => {
    const libraries = await withLibraries(TRUE);
    const files = [...new Set(libraries)].sort();
    expect(await measured()).toEqual({
      0: extended(framed('lib/part.mjs', 'part', 'main.mjs', 'main')),
      1: extended(configuration),
      2: extended(framed(...files.flatMap((file) => [file, readFileSync(file)]))),
    });
    expect(await measured({ renderers: [TRUE, TRUE] })).toEqual(await measured());
  });

  test('each part is in its register, and in no other', async () => {
    const before = await measured();
    const other = await measured({ configuration: Buffer.from('{}') });
    expect([other[0] === before[0], other[1] === before[1], other[2] === before[2]]).toEqual([true, false, true]);
    const program = join(scratch, 'program');
    copyFileSync(TRUE, program);
    const renderer = await measured({ renderers: [program] });
    expect([renderer[0] === before[0], renderer[1] === before[1], renderer[2] === before[2]]).toEqual([
      true,
      true,
      false,
    ]);
    writeFileSync(program, Buffer.concat([readFileSync(TRUE), Buffer.alloc(1)]));
    expect((await measured({ renderers: [program] }))[2]).not.toBe(renderer[2]);
  });

  test('bytes that move between names, contents and files make another agent', async () => {
    const seen = new Set([(await measured())[0]]);
    const changes: [string, string][][] = [
      [['main.mjs', 'mainx']],
      [['main.mjsm', 'ain']],
      [
        ['main.mjs', 'mai'],
        ['n', ''],
      ],
      [
        ['main.mjs', 'main'],
        ['empty', ''],
      ],
      [
        ['lib', 'part.mjspart'],
        ['main.mjs', 'main'],
      ],
      [
        ['main.mjs', ''],
        ['other.mjs', 'main'],
      ],
    ];
    for (const files of changes) {
      rmSync(agent, { recursive: true });
      mkdirSync(agent);
      for (const [name, content] of files) writeFileSync(join(agent, name), content);
      seen.add((await measured())[0]);
    }
    expect(seen.size).toBe(changes.length + 1);
  });

  test('refuses what is neither file nor folder, what is empty, what is not there', async () => {
    symlinkSync(join(agent, 'main.mjs'), join(agent, 'link.mjs'));
    await expect(measured()).rejects.toMatchObject(refused);
    rmSync(join(agent, 'link.mjs'));
    execFileSync('mkfifo', [join(agent, 'pipe')]);
    await expect(measured()).rejects.toMatchObject(refused);
    rmSync(join(agent, 'pipe'));
    mkdirSync(join(scratch, 'empty'), { recursive: true });
    await expect(measured({ agent: join(scratch, 'empty') })).rejects.toMatchObject(refused);
    await expect(measured({ agent: join(scratch, 'none') })).rejects.toMatchObject(refused);
    await expect(measured({ renderers: [join(scratch, 'none')] })).rejects.toMatchObject(refused);
  });
});

describe('libraries of a program', () => {
  test('are with it, and the loader too', async () => {
    const libraries = await withLibraries(TRUE);
    expect(libraries[0]).toBe(TRUE);
    expect(libraries.some((path) => /\/libc\.so/.test(realpathSync(path)) || /\/libc[.-]/.test(path))).toBe(true);
    expect(libraries.some((path) => /\/ld-linux|\/ld-musl/.test(path))).toBe(true);
  });

  test('a script, a folder, a relative path and an empty file are no programs that can be measured', async () => {
    const script = join(scratch, 'script');
    writeFileSync(script, '#!/bin/sh\n', { mode: 0o755 });
    const empty = join(scratch, 'nothing');
    writeFileSync(empty, '', { mode: 0o755 });
    for (const program of [script, scratch, empty, 'true', join(scratch, 'none')]) {
      await expect(withLibraries(program), program).rejects.toMatchObject(refused);
    }
  });
});

describeWith('gcc', 'libraries of compiled programs', () => {
  const compile = (name: string, ...flags: string[]) => {
    const out = join(scratch, name);
    execFileSync('gcc', ['-x', 'c', '-o', out, '-', ...flags], {
      input: flags.includes('-shared') ? 'int f(void){return 0;}' : 'int f(void);int main(void){return f();}',
    });
    return out;
  };

  test('a static program has none', async () => {
    writeFileSync(join(scratch, 'main.c'), 'int main(void){return 0;}');
    const out = join(scratch, 'static');
    execFileSync('gcc', ['-static', '-o', out, join(scratch, 'main.c')]);
    expect(await withLibraries(out)).toEqual([out]);
  });

  test('one that is missing is refused, and no environment says where else it is', async () => {
    const library = compile('libf.so', '-shared', '-fPIC');
    const program = compile('linked', `-L${scratch}`, '-l:libf.so', `-Wl,-rpath,${scratch}`);
    expect(await withLibraries(program)).toContain(library);
    const unlinked = compile('unlinked', `-L${scratch}`, '-l:libf.so');
    process.env.LD_LIBRARY_PATH = scratch;
    try {
      await expect(withLibraries(unlinked)).rejects.toMatchObject(refused);
    } finally {
      delete process.env.LD_LIBRARY_PATH;
    }
  });
});
