import { closeSync, openSync, readdirSync, readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSandbox } from '../../enclave-render/render/open-sandbox.ts';
import type { Isolation, SandboxInput } from '../../enclave-render/render/sandbox.ts';
import { describeWithSandbox, LIMITS, useRendererProbe } from '../harness/renderer-probe.ts';

const ISOLATIONS: Isolation[] = ['bubblewrap', 'none'];

describeWithSandbox('sandboxes', () => {
  const probe = useRendererProbe();

  function input(name: string, content: string): SandboxInput {
    const path = join(probe.folder, 'input');
    writeFileSync(path, content);
    const fd = openSync(path, 'r');
    unlinkSync(path);
    return { name, fd };
  }

  const isRunning = (token: string) =>
    readdirSync('/proc').some((pid) => {
      if (!/^\d+$/.test(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(token);
      } catch {
        return false;
      }
    });

  describe.each(ISOLATIONS)('%s', (isolation) => {
    const sandbox = openSandbox(isolation);
    const run = (args: string[], more = {}) =>
      sandbox.run({ command: probe.path, args, inputs: [], limits: LIMITS, ...more });

    test('says what it is', () => {
      expect(sandbox.isolation).toBe(isolation);
    });

    test('shows inputs by name, and hands outputs over by descriptor', async () => {
      const inputs = [input('first.txt', 'one '), input('task.1/frames/second.txt', 'two')];
      const result = await run(['copy', '/in/first.txt', '/in/task.1/frames/second.txt', '/in/first.txt'], { inputs });
      expect(result).toMatchObject({ exitCode: 0, outputs: [{ name: 'copy', bytes: 11 }] });
      const [output] = result.outputs;
      expect(readFileSync(`/proc/self/fd/${output?.fd}`, 'utf8')).toBe('one twoone ');
      expect(statSync(`/proc/self/fd/${output?.fd}`).mode & 0o077).toBe(0);
      // An output is an input of the next.
      const next = await run(['copy', '/in/again'], { inputs: [{ name: 'again', fd: output?.fd as number }] });
      expect(next.outputs).toMatchObject([{ name: 'copy', bytes: 11 }]);
      await result.dispose();
      expect(() => closeSync(output?.fd as number)).toThrow('EBADF');
      await next.dispose();
      expect(next.outputs).toEqual([]);
    });

    test('hands over files in folders, in the order of their names', async () => {
      const result = await run(['tree']);
      expect(result.outputs.map(({ name }) => name)).toEqual(['a/b/c', 'a/d', 'e']);
      await result.dispose();
    });

    test('has the same digest for the same limits, and another for others', async () => {
      const digests: string[] = [];
      const longer = { ...LIMITS, wallSeconds: LIMITS.wallSeconds + 1 };
      for (const limits of [LIMITS, { ...LIMITS }, longer]) {
        const result = await run(['environment'], { limits });
        digests.push(result.sandboxSha384);
        await result.dispose();
      }
      expect(digests[0]).toMatch(/^[0-9a-f]{96}$/);
      expect(digests[1]).toBe(digests[0]);
      expect(digests[2]).not.toBe(digests[0]);
    });

    test('says what a run took', async () => {
      const limits = { ...LIMITS, cpuSeconds: 30 };
      const result = await run(['spin', '20000000'], { limits });
      expect(result.cpuSeconds).toBeGreaterThan(0);
      expect(result.cpuSeconds).toBeLessThan(30);
      expect(result.wallSeconds).toBeGreaterThan(0);
      await result.dispose();
    });

    test('rejects what failed, with its last word', async () => {
      await expect(run(['fail'])).rejects.toMatchObject({
        code: 'ERR_RENDER_TASK',
        message: 'the renderer ended with 3: the last word',
      });
    });

    test.each([
      ['memoryBytes', 'memory', { memoryBytes: 256 << 20 }],
      ['cpuSeconds', 'spin', { cpuSeconds: 1 }],
      ['wallSeconds', 'sleep', { wallSeconds: 1 }],
      ['outputBytes', 'fill', { outputBytes: 1 << 20 }],
    ])('ends what takes more than its %s, and nothing of it is left', async (limit, action, less) => {
      const token = `token-${isolation}-${limit}`;
      const bytes = 2 << 20;
      await expect(
        run([action, ...(action === 'fill' ? [`${bytes}`] : []), token], { limits: { ...LIMITS, ...less } }),
      ).rejects.toMatchObject({
        code: 'ERR_RENDER_TASK',
        message: expect.stringContaining(`more than its limit of ${limit}, `),
      });
      expect(isRunning(token)).toBe(false);
    });

    test('ends a run that is cancelled, and does not begin one that was', async () => {
      const token = `token-${isolation}-cancelled`;
      const controller = new AbortController();
      const onOutput = () => controller.abort();
      const cancelled = { code: 'ERR_RENDER_TASK', message: 'the job was cancelled' };
      await expect(run(['sleep', token], { signal: controller.signal, onOutput })).rejects.toMatchObject(cancelled);
      expect(isRunning(token)).toBe(false);
      await expect(run(['sleep', token], { signal: controller.signal })).rejects.toMatchObject(cancelled);
      expect(isRunning(token)).toBe(false);
    });

    test('runs one after another', async () => {
      const both = [run(['environment']), run(['environment']), run(['fail']), run(['environment'])];
      const settled = await Promise.allSettled(both);
      expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
      for (const each of settled) if (each.status === 'fulfilled') await each.value.dispose();
    });

    test.each([
      ['symlink', 'no regular file'],
      ['folder-link', 'no regular file'],
      ['hard-link', 'no regular file of one name'],
      ['socket', 'no regular file'],
      ['sparse', 'outputBytes'],
      ['hidden', 'names are letters'],
      ['newline', 'names are letters'],
      ['deep', 'deeper than 6'],
      ['many', 'more than 4096'],
    ])('takes no output that is a %s', async (what, why) => {
      await expect(run(['leave', what])).rejects.toMatchObject({
        code: 'ERR_RENDER_TASK',
        message: expect.stringContaining(why),
      });
    });

    test.each(['../up', '/absolute', '.hidden', 'a//b', 'a b', 'a\nb', '', 'a/../b', 'x'.repeat(601), '-option'])(
      'takes no input that is called %j',
      async (name) => {
        await expect(run(['environment'], { inputs: [input(name, '')] })).rejects.toMatchObject({
          code: 'ERR_RENDER_SANDBOX',
        });
      },
    );

    test('takes no input twice, none that is no file, none that is not open or open for writing', async () => {
      const refused = { code: 'ERR_RENDER_SANDBOX' };
      const twice = [input('a', ''), input('a', '')];
      await expect(run(['environment'], { inputs: twice })).rejects.toMatchObject(refused);
      for (const fd of [
        openSync('/dev/null', 'r'),
        openSync('/tmp', 'r'),
        openSync(probe.path.concat('.w'), 'w+'),
        9999,
      ]) {
        await expect(run(['environment'], { inputs: [{ name: 'a', fd }] })).rejects.toMatchObject(refused);
      }
    });

    test('refuses a program that is not there', async () => {
      for (const command of ['/nowhere/ffmpeg', 'ffmpeg', probe.folder.concat('/../missing')]) {
        await expect(run([], { command })).rejects.toMatchObject({ code: 'ERR_RENDER_SANDBOX' });
      }
    });

    test('leaves no descriptor open', async () => {
      await (await run(['copy'])).dispose();
      const before = readdirSync('/proc/self/fd').length;
      for (const action of ['copy', 'fail', 'environment']) {
        await run([action]).then(
          (result) => result.dispose(),
          () => undefined,
        );
      }
      expect(readdirSync('/proc/self/fd').length).toBe(before);
    });
  });
});
