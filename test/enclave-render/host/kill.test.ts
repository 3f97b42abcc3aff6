import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { appendAuditEntry } from '../../../enclave-render/audit/audit-log.ts';
import type { RunningEnclave } from '../../../enclave-render/host/enclave-launcher.ts';
import { HostError } from '../../../enclave-render/host/host-error.ts';
import { KmsError } from '../../../enclave-render/kms/data-keys.ts';
import { processName } from '../../../enclave-render/process-lock.ts';
import { withNonceRegister } from '../../../enclave-render/receipt/nonce-register.ts';
import type { RenderEvent } from '../../../enclave-render/render/event-codes.ts';
import {
  auditLogPath,
  quarantineOf,
  type RenderShop,
  receiptPath,
  runSubmittedJob,
  type SubmittedJob,
  submitJob,
} from '../../../local/render-jobs.ts';
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
  const steps = LONG ? Array.from({ length: EVENTS }, (_, index) => index + 1) : [2, 5, 9];

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

  describe('before its receipt was accepted', () => {
    const codesOf = async (job: SubmittedJob) => {
      const codes: string[] = [];
      await runSubmittedJob(shop, job, { onEvent: ({ code, task }) => codes.push(`${code} ${task}`) });
      return codes;
    };
    const unverified = async (name: string) => {
      const job = await submit(name);
      await runSubmittedJob(shop, job, { onEvent: () => undefined, verify: false });
      return job;
    };

    test.each<[string, (output: string) => void]>([
      ['is missing', (output) => rmSync(output)],
      ['is empty', (output) => writeFileSync(output, '')],
      ['has an empty manifest', (output) => writeFileSync(`${output}.manifest.json`, '')],
      ['is missing with all others', (output) => rmSync(join(output, '..', '..'), { recursive: true })],
    ])('and whose output %s, does the task that made it again, and no other', async (name, spoil) => {
      const job = await unverified(`spoilt ${name}`);
      const output = join(quarantineOf(job), 'grade', 'title.mkv');
      spoil(output);
      const codes = await codesOf(job);
      expect(codes).toContain('TASK_RESUMED shot');
      expect(codes).toContain('TASK_STARTED grade');
      expect(existsSync(join(job.output, 'grade', 'title.mkv'))).toBe(true);
    });

    test('and whose nonce was used up when its output was lost, says that it has to be submitted anew', async () => {
      const job = await unverified('used');
      rmSync(join(quarantineOf(job), 'grade', 'title.mkv'));
      const { nonce } = JSON.parse(Buffer.from(job.manifest.split('.')[1] as string, 'base64url').toString());
      const statement = JSON.parse(readFileSync(receiptPath(job), 'utf8')).job.statement;
      const statementSha384 = createHash('sha384').update(statement).digest('hex');
      await withNonceRegister(join(shop.folder, 'nonces'), (register) => register.use(nonce, statementSha384));
      await expect(codesOf(job)).rejects.toMatchObject({
        code: 'ERR_RECEIPT_OUTPUT_MISSING',
        message: expect.stringMatching(/used up.*remove .*submit the job anew/),
      });
      expect(existsSync(receiptPath(job))).toBe(true);
    });

    test('and beside whose outputs is another file, names that, and does nothing again', async () => {
      const job = await unverified('more');
      const more = join(quarantineOf(job), 'more');
      writeFileSync(more, '');
      await expect(codesOf(job)).rejects.toMatchObject({
        code: 'ERR_RECEIPT_OUTPUT_UNKNOWN',
        message: expect.stringContaining(`${more}: remove it`),
      });
      rmSync(more);
      expect(await codesOf(job)).toEqual([]);
    });
  });

  test('by a loss of power, has no receipt whose outputs are not on the disk with their names', async () => {
    const job = await submit('synced');
    const synced = { before: new Set<string>(), after: new Set<string>() };
    const probe = await open('/dev/null');
    const { prototype } = probe.constructor as { prototype: FileHandle };
    await probe.close();
    const { sync } = prototype;
    prototype.sync = function (this: FileHandle) {
      const isNamed = existsSync(receiptPath(job));
      synced[isNamed ? 'after' : 'before'].add(readlinkSync(`/proc/self/fd/${this.fd}`));
      return sync.call(this);
    };
    try {
      await runSubmittedJob(shop, job, { onEvent: () => undefined, verify: false });
    } finally {
      prototype.sync = sync;
    }
    const quarantine = quarantineOf(job);
    const folders = [join(quarantine, 'grade'), quarantine, folder, join(job.folder, 'checkpoints'), job.folder];
    expect([...synced.before]).toEqual(expect.arrayContaining(folders));
    expect([...synced.after]).toContain(job.folder);
  });

  test('leaves nothing of its inputs and checkpoints once it is accepted, unless they are to be kept', async () => {
    const job = await submit('cleared');
    await runSubmittedJob(shop, job, { onEvent: () => undefined });
    expect(readdirSync(job.folder).sort()).toEqual(['job.json', 'manifest.jws', 'receipt.json']);
    const kept = await submit('kept');
    await runSubmittedJob(shop, kept, { onEvent: () => undefined, keepWork: true });
    expect(readdirSync(kept.folder)).toEqual(expect.arrayContaining(['checkpoints', 'input-Source']));
    // As one that was killed between the two, with what its parent had begun.
    mkdirSync(`${quarantineOf(kept)}.partial`);
    mkdirSync(join(kept.folder, 'checkpoints.partial'));
    const log = readFileSync(auditLogPath(shop), 'utf8');
    const again = await runSubmittedJob(shop, kept, { onEvent: () => undefined });
    expect(again).toMatchObject({ outputsVerified: true, manifestSha384: kept.manifestSha384 });
    expect(readdirSync(kept.folder).sort()).toEqual(['job.json', 'manifest.jws', 'receipt.json']);
    expect(existsSync(`${quarantineOf(kept)}.partial`)).toBe(false);
    expect(readFileSync(auditLogPath(shop), 'utf8')).toBe(log);
    expect(await runSubmittedJob(shop, kept, { onEvent: () => undefined, verify: false })).toEqual(again);
    // What was accepted is verified still: changed since, it is no answer.
    appendFileSync(join(kept.output, 'grade', 'title.mkv'), 'x');
    await expect(runSubmittedJob(shop, kept, { onEvent: () => undefined })).rejects.toMatchObject({
      code: 'ERR_RECEIPT_OUTPUT_ALTERED',
      message: expect.stringContaining('submit the job anew'),
    });
  });

  test('is in the audit log as it ended: lost with its parent, not to be ended, or not begun', async () => {
    const eventsOf = ({ jobId }: SubmittedJob) =>
      readFileSync(auditLogPath(shop), 'utf8')
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line))
        .filter((entry) => entry.jobId === jobId && entry.event.startsWith('enclave-'))
        .map(({ event, details }) => [event, details.code].filter(Boolean).join(' '));
    const job = await submit('ending');
    // As if a parent had been killed while its enclave ran.
    const file = { path: auditLogPath(shop), signingKey: shop.owner.signing };
    await appendAuditEntry(file, { at: Date.now(), event: 'enclave-started', jobId: job.jobId, details: {} });
    const stubborn = {
      ...shop.launcher,
      async launch() {
        const enclave = await shop.launcher.launch();
        const end = () => enclave.end().then(() => Promise.reject(new HostError('ERR_HOST_ENDING', 'it runs on')));
        return { ...enclave, end };
      },
    };
    const running = runSubmittedJob({ ...shop, launcher: stubborn }, job, { onEvent: () => undefined, verify: false });
    await expect(running).rejects.toMatchObject({ code: 'ERR_HOST_ENDING' });
    await runSubmittedJob(shop, job, { onEvent: () => undefined });
    const ended = ['enclave-started', 'enclave-lost', 'enclave-started', 'enclave-not-ended ERR_HOST_ENDING'];
    expect(eventsOf(job)).toEqual(ended);
    const none = { ...shop.launcher, launch: () => Promise.reject(new HostError('ERR_HOST_LAUNCH', 'none')) };
    const unbegun = await submit('unbegun');
    const failure = runSubmittedJob({ ...shop, launcher: none }, unbegun, { onEvent: () => undefined });
    await expect(failure).rejects.toMatchObject({ code: 'ERR_HOST_LAUNCH' });
    expect(eventsOf(unbegun)).toEqual([]);
  });

  test('says what failed first, also when neither that its enclave ended can be logged', async () => {
    const job = await submit('unlogged');
    const log = auditLogPath(shop);
    const away = {
      async decryptForRecipient() {
        // As on a full disk: nothing can be appended to it any more.
        renameSync(log, `${log}.away`);
        mkdirSync(log);
        throw new KmsError('ERR_KMS_UNAVAILABLE', 'KMS does not answer: try again later');
      },
    } as unknown as RenderShop['kms'];
    try {
      const failure = runSubmittedJob({ ...shop, kms: away }, job, { onEvent: () => undefined });
      await expect(failure).rejects.toMatchObject({ code: 'ERR_KMS_UNAVAILABLE' });
    } finally {
      rmSync(log, { recursive: true });
      renameSync(`${log}.away`, log);
    }
    // Nor when its receipt was refused, and its enclave cannot be ended.
    const stubborn = {
      ...shop.launcher,
      async launch() {
        const enclave = await shop.launcher.launch();
        const end = () => enclave.end().then(() => Promise.reject(new HostError('ERR_HOST_ENDING', 'it runs on')));
        return { ...enclave, end };
      },
    };
    const onEvent = ({ code }: RenderEvent) => {
      if (code === 'RECEIPT_ISSUED') rmSync(join(quarantineOf(job), 'grade', 'title.mkv'));
    };
    const refused = runSubmittedJob({ ...shop, launcher: stubborn }, job, { onEvent });
    await expect(refused).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_MISSING' });
  });

  test('while it is submitted is swept away by the next submission, and no other', async () => {
    const submitting = join(shop.folder, 'submitting');
    const running = processName();
    const [boot, namespace, id, , number] = running.split('.');
    // Its number is that of a process that was started at another time.
    const dead = [boot, namespace, id, '1', number].join('.');
    for (const name of [dead, running]) mkdirSync(join(submitting, name), { recursive: true });
    await submit('sweeping');
    expect(readdirSync(submitting)).toEqual([running]);
    rmSync(join(submitting, running), { recursive: true });
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
