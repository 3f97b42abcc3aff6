import { createPublicKey } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decryptMaster } from '../../../enclave-render/mastering/decrypt.ts';
import { explainReceipt } from '../../../enclave-render/receipt/explain-receipt.ts';
import { verifyReceipt } from '../../../enclave-render/receipt/verify-receipt.ts';
import type { Isolation } from '../../../enclave-render/render/sandbox.ts';
import { openIdentity, tasksOf } from '../../../local/render-jobs.ts';
import { describeWithFfmpeg } from '../../harness/media.ts';
import { LONG } from '../../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';
import {
  makeSource,
  makeWorld,
  mend,
  plaintextIn,
  processesEnd,
  render,
  type Stop,
  stateOf,
  stepsOf,
  type World,
} from '../../harness/stopped-render.ts';

/** Stops of the long test that are made at once. */
const AT_ONCE = 2;

describeWithFfmpeg('a command that renders and is stopped', () => {
  const folder = temporaryDirectory();
  const source = join(folder, 'source');
  let plaintext: Buffer[] = [];
  let worlds = 0;
  beforeAll(async () => {
    plaintext = await makeSource(source);
  });
  afterAll(() => removeDirectory(folder));

  /** Runs in a world of its own; false when there can be none. */
  async function inWorld(use: (world: World) => Promise<void>): Promise<boolean> {
    const world = makeWorld(join(folder, `world-${++worlds}`), source);
    try {
      if (world) await use(world);
    } finally {
      world?.end();
    }
    return world !== undefined;
  }

  /** What holds whenever a command was stopped: nothing is in clear, and no output is in its place before it was verified. */
  async function expectNothingHalf(world: World) {
    expect(plaintextIn(world, plaintext)).toEqual([]);
    const state = await stateOf(world);
    if (state.delivered) {
      expect(state).toMatchObject({ isWhole: true, isWaiting: false });
      expect(state.events).toContain('receipt-verified');
    }
    return state;
  }

  /** Stops a command: the code that it ends with, if it says one, and what it has left. */
  async function stop(world: World, what: 'submit' | 'resume', at: string, how: Stop) {
    const { code, signal, stdout, stderr } = await render(world, what, { at, how });
    await processesEnd(world);
    const said = `${code} ${signal} ${stdout} ${stderr}`;
    if (how === 'parent') expect(signal, said).toBe('SIGKILL');
    // Done for all that, refused with a code, or in words; never a fault of ours.
    else expect([0, 1, 2, 69], said).toContain(code);
    if (code === 1) expect(stdout).toMatch(/^ERR_[A-Z_]+: /);
    const state = await expectNothingHalf(world);
    mend(world);
    return { ...state, code, stderr, answer: signal ?? (code === 1 ? stdout.split(':')[0] : stderr) };
  }

  /** Goes on with a job: it is accepted, and no task is done that was finished before. */
  async function goOn(world: World, before: Awaited<ReturnType<typeof stateOf>>) {
    const { code, stdout, stderr } = await render(world, 'resume');
    const said = `${code} ${stdout} ${stderr}`;
    if (code === 2 && stderr.includes('there is no submitted job')) {
      // Nothing was submitted: as if nobody had asked.
      expect(await render(world, 'submit'), said).toMatchObject({ code: 0 });
    } else {
      expect(code, said).toBe(0);
      for (const task of before.finishedTasks) expect(stderr).not.toContain(`${task}: a task has begun`);
    }
    const { isWhole, isWaiting, events } = await expectNothingHalf(world);
    expect({ isWhole, isWaiting }).toEqual({ isWhole: true, isWaiting: false });
    expect(events.filter((event) => event === 'output-accepted')).toHaveLength(1);
  }

  test('in one way after another goes on each time, redoes no task, and delivers a title', async (context) => {
    const isMade = await inWorld(async (world) => {
      // Half a submission is none, and does not stand in the way of another.
      await stop(world, 'submit', 'writeFile /data/render/submitting/N/manifest.jws (1)', 'parent');
      const input = 'event an input is the one of the manifest (1)';
      expect(await stop(world, 'submit', input, 'enclave')).toMatchObject({ answer: 'ERR_HOST_CLOSED' });
      const full = await stop(world, 'resume', 'appendFile /out.quarantine.partial/N (1)', 'disk');
      expect(full).toMatchObject({ answer: 'ERR_HOST_STORAGE', finishedTasks: ['shot'] });
      const manifest = 'event the manifest is of the owner, and its time is not over (1)';
      expect(await stop(world, 'resume', manifest, 'kms')).toMatchObject({ answer: 'ERR_KMS_KEYSTORE' });
      const moving = await stop(world, 'resume', 'rename /out.quarantine (1)', 'parent');
      expect(moving).toMatchObject({ delivered: undefined, isWaiting: true });
      expect(moving.stderr).not.toContain('shot: a task has begun');
      await goOn(world, moving);
      const { opening } = (await openIdentity(join(world.folder, 'data'))).owner;
      const clear = join(folder, 'clear.mkv');
      await decryptMaster({ source: join(world.output, 'grade', 'title.mkv'), output: clear, privateKey: opening });
      // Or nothing would be found anywhere.
      expect(readFileSync(clear).includes(plaintext[1] as Buffer)).toBe(true);
    });
    if (!isMade) context.skip('no right to mount a disk');
  });

  test.runIf(LONG)(
    'without a sandbox leaves nothing outside of one folder, goes on, and its receipt says how it was done',
    async (context) => {
      const isMade = await inWorld(async (world) => {
        const at = 'event an input is the one of the manifest (1)';
        const isolation = 'none';
        expect(await render(world, 'submit', { isolation, at, how: 'all' })).toMatchObject({ signal: 'SIGKILL' });
        await processesEnd(world);
        const temporary = join(world.folder, 'tmp');
        expect(readdirSync(temporary)).toEqual([expect.stringMatching(/^portcullis-enclave-/)]);
        const inClear = plaintextIn(world, plaintext).filter((path) => !path.startsWith(temporary));
        expect(inClear).toEqual([]);
        mend(world);
        // What was submitted for no sandbox is not taken by an enclave that has one.
        const other = await render(world, 'resume');
        expect(other).toMatchObject({ code: 1, stdout: expect.stringContaining('ERR_KMS_ACCESS') });
        expect(await render(world, 'resume', { isolation })).toMatchObject({ code: 0 });
        const text = readFileSync(join(world.folder, 'data', 'render', 'jobs', 'stopped', 'receipt.json'), 'utf8');
        const { owner, simulatorRoot } = await openIdentity(join(world.folder, 'data'));
        const verify = (allowed: Isolation[]) =>
          verifyReceipt(text, {
            ownerKeys: [createPublicKey(owner.signing)],
            manifestSha384: 'any',
            roots: [simulatorRoot],
            isolation: allowed,
            nonceUsedFor: 'not-checked',
            tasksOf,
            outputs: 'not-checked',
          });
        await expect(verify(['bubblewrap'])).rejects.toMatchObject({ code: 'ERR_RECEIPT_ISOLATION' });
        const verified = await verify(['bubblewrap', 'none']);
        expect(verified.tasks.map(({ sandbox }) => sandbox.isolation)).toEqual(['none', 'none']);
        expect(explainReceipt(verified).join()).toContain('WITHOUT a sandbox');
      });
      if (!isMade) context.skip('no right to mount a disk');
    },
  );

  test.runIf(LONG)('at each step of it, goes on', { timeout: 3_600_000 }, async (context) => {
    let steps: string[] = [];
    const isMade = await inWorld(async (world) => {
      steps = await stepsOf(world);
    });
    if (!isMade) context.skip('no right to mount a disk');
    // Of who is killed, all that was written is there, on the disk or not.
    const changes = steps.filter((step) => !step.startsWith('sync '));
    const events = steps.filter((step) => step.startsWith('event '));
    const writes = steps.filter((step) => /^(?:write|writeFile|appendFile|mkdir) /.test(step));
    const cases: [string, Stop][] = [
      ...[...events, ...writes].map((step): [string, Stop] => [step, 'disk']),
      ...events.map((step): [string, Stop] => [step, 'enclave']),
      ...events.map((step): [string, Stop] => [step, 'kms']),
      ...changes.map((step): [string, Stop] => [step, 'parent']),
    ];
    const failures: string[] = [];
    const work = async () => {
      for (let next = cases.shift(); next; next = cases.shift()) {
        const [at, how] = next;
        await inWorld(async (world) => goOn(world, await stop(world, 'submit', at, how))).catch((error: Error) => {
          failures.push(`${how} at ${at}: ${error.message}`);
        });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    expect(failures).toEqual([]);
  });
});
