import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isRunning, processName, takeLock } from '../../enclave-render/process-lock.ts';
import { bundleScript } from '../harness/bundled-script.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const folder = temporaryDirectory();
const script = join(folder, 'hold.mjs');
afterAll(() => removeDirectory(folder));
beforeAll(() =>
  bundleScript(
    script,
    `import { takeLock } from './enclave-render/process-lock.ts';
    process.send((await takeLock(process.argv[2])) !== undefined);
    setInterval(() => undefined, 1000);`,
  ),
);

/** Has another process take a lock, and kills it with kill -9. */
async function killedHolder(path: string) {
  const child = fork(script, [path], { execArgv: [] });
  expect(await once(child, 'message')).toEqual([true, undefined]);
  const held = await takeLock(path);
  child.kill('SIGKILL');
  await once(child, 'exit');
  return held;
}

test('the lock of a process that runs is not taken; that of one that was killed is at once, by one of many', async () => {
  const path = join(folder, 'one');
  expect(await killedHolder(path)).toBeUndefined();
  const taken = await Promise.all(Array.from({ length: 20 }, () => takeLock(path)));
  const releases = taken.filter((release) => release !== undefined);
  expect(releases).toHaveLength(1);
  await releases[0]?.();
  expect(readdirSync(folder)).toEqual(['hold.mjs']);
});

test('many take turns', async () => {
  const path = join(folder, 'turns');
  let inside = 0;
  await Promise.all(
    Array.from({ length: 6 }, async () => {
      const release = await takeLock(path, 1000);
      expect(++inside).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
      await release?.();
    }),
  );
});

test('an empty folder is no lock; something else in it may be one, and stays', async () => {
  const path = join(folder, 'other');
  mkdirSync(path);
  await (await takeLock(path))?.();
  mkdirSync(path);
  writeFileSync(join(path, 'notes'), '');
  expect(await takeLock(path)).toBeUndefined();
  expect(readdirSync(path)).toEqual(['notes']);
});

test('a name tells this process from a later one of its number, and from those of another boot', () => {
  const name = processName();
  expect(isRunning(name)).toBe(true);
  const [boot = '', namespace = '', pid = '', started = '', random = ''] = name.split('.');
  expect(isRunning([boot, namespace, pid, `${Number(started) + 1}`, random].join('.'))).toBe(false);
  expect(
    isRunning([boot.replace(/./, (digit) => (digit === '0' ? '1' : '0')), namespace, pid, started, random].join('.')),
  ).toBe(false);
  // Of another container nobody here can tell.
  expect(isRunning([boot, `${Number(namespace) + 1}`, '999999999', started, random].join('.'))).toBe(true);
});
