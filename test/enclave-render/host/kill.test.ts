import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { RunningEnclave } from '../../../enclave-render/host/enclave-launcher.ts';
import { KmsError } from '../../../enclave-render/kms/data-keys.ts';
import { quarantineOf, type RenderShop, runSubmittedJob, submitJob } from '../../../local/render-jobs.ts';
import { describeWithFfmpeg } from '../../harness/media.ts';
import { LONG } from '../../harness/programs.ts';
import { filesWith, testShop, testSource, twoStepJob } from '../../harness/render-shop.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

/** Events of a job of two tasks. */
const EVENTS = 9;

describeWithFfmpeg('a job that is stopped', () => {
  const folder = temporaryDirectory();
  const source = temporaryDirectory();
  let plaintext: Buffer;
  let shop: RenderShop;
  afterAll(() => {
    removeDirectory(folder);
    removeDirectory(source);
  });

  beforeAll(async () => {
    const bytes = readFileSync(await testSource(source));
    // A piece of compressed picture, which stands nowhere else.
    plaintext = bytes.subarray(bytes.length >> 1, (bytes.length >> 1) + 48);
    shop = await testShop(folder);
  });

  const submit = (name: string) => submitJob(shop, twoStepJob(source, { output: join(folder, name) }));
  const plaintextLeft = () => filesWith([folder, '/dev/shm'], plaintext);
  const steps = LONG ? Array.from({ length: EVENTS }, (_, index) => index + 1) : [2, 5, 7, 9];

  test.each(steps)('with the enclave at event %i, leaves no plaintext, and goes on', async (step) => {
    const job = await submit(`enclave-${step}`);
    let running: RunningEnclave | undefined;
    const launcher = {
      ...shop.launcher,
      async launch() {
        running = await shop.launcher.launch();
        return running;
      },
    };
    let events = 0;
    const onEvent = ({ code }: { code: string }) => {
      // How many percents are told depends on how busy the machine is.
      if (code !== 'TASK_PROGRESS' && ++events === step) running?.channel.destroy();
    };
    // The last event comes when the receipt is there; what is lost then is the answer.
    await expect(runSubmittedJob({ ...shop, launcher }, job, { onEvent })).rejects.toMatchObject({
      code: 'ERR_HOST_CLOSED',
    });
    expect(existsSync(job.output)).toBe(false);
    expect(plaintextLeft()).toEqual([]);
    const codes: string[] = [];
    await runSubmittedJob(shop, job, { onEvent: ({ code, task }) => codes.push(`${code} ${task}`) });
    expect(existsSync(join(job.output, 'grade', 'title.mkv'))).toBe(true);
    expect(existsSync(quarantineOf(job))).toBe(false);
    // A task that was done is not done again.
    expect(codes.includes('TASK_RESUMED shot')).toBe(step >= 5 && step < EVENTS);
    expect(codes.includes('TASK_STARTED shot')).toBe(step < 5);
  });

  test('with its parent, leaves no plaintext, and goes on', async () => {
    const job = await submit('parent');
    const stop = new AbortController();
    const running = runSubmittedJob(shop, job, {
      onEvent: ({ code }) => code === 'OUTPUT_SEALED' && stop.abort(),
      signal: stop.signal,
    });
    await expect(running).rejects.toMatchObject({ code: 'ERR_HOST_INTERRUPTED' });
    expect(plaintextLeft()).toEqual([]);
    await runSubmittedJob(shop, job, { onEvent: () => undefined });
    expect(existsSync(job.output)).toBe(true);
  });

  test('by a checkpoint that was changed, does the task again', async () => {
    const job = await submit('checkpoint');
    const stop = new AbortController();
    const onEvent = ({ code }: { code: string }) => code === 'TASK_FINISHED' && stop.abort();
    await runSubmittedJob(shop, job, { onEvent, signal: stop.signal }).catch(() => undefined);
    const path = join(job.folder, 'checkpoints', 'shot');
    const bytes = readFileSync(path);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    writeFileSync(path, bytes);
    const codes: string[] = [];
    await runSubmittedJob(shop, job, { onEvent: ({ code, task }) => codes.push(`${code} ${task}`) });
    expect(codes).toContain('TASK_STARTED shot');
    expect(existsSync(job.output)).toBe(true);
  });

  test('with KMS, says so and goes on when that is back', async () => {
    const job = await submit('kms-away');
    const away = {
      async decryptForRecipient() {
        throw new KmsError('ERR_KMS_UNAVAILABLE', 'KMS does not answer: try again later');
      },
    } as unknown as RenderShop['kms'];
    const failure = runSubmittedJob({ ...shop, kms: away }, job, { onEvent: () => undefined });
    await expect(failure).rejects.toMatchObject({ code: 'ERR_KMS_UNAVAILABLE' });
    await runSubmittedJob(shop, job, { onEvent: () => undefined });
    expect(existsSync(job.output)).toBe(true);
  });
});
