import { execFile } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAttestation } from '../../../enclave-render/attestation/verify.ts';
import { verifyAuditLog } from '../../../enclave-render/audit/verify-audit-log.ts';
import type { AttestedDataKeys } from '../../../enclave-render/kms/data-keys.ts';
import { sealForRecipient } from '../../../enclave-render/kms/seal-for-recipient.ts';
import { decryptMaster } from '../../../enclave-render/mastering/decrypt.ts';
import { acceptReceipt } from '../../../enclave-render/receipt/accept-receipt.ts';
import { verifyReceipt } from '../../../enclave-render/receipt/verify-receipt.ts';
import type { RenderEvent } from '../../../enclave-render/render/event-codes.ts';
import {
  auditLogPath,
  quarantineOf,
  type RenderShop,
  receiptPath,
  runSubmittedJob,
  type SubmittedJob,
  submitJob,
  tasksOf,
} from '../../../local/render-jobs.ts';
import { complaints, describeWithFfmpeg } from '../../harness/media.ts';
import { copyOf, type EnclaveChanges, PCRS, testShop, testSource, twoStepJob } from '../../harness/render-shop.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

describeWithFfmpeg('a job that is rendered', () => {
  const folder = temporaryDirectory();
  const events: string[] = [];
  const percents: number[] = [];
  let shop: RenderShop;
  let job: SubmittedJob;
  let receipt: string;
  afterAll(() => removeDirectory(folder));

  beforeAll(async () => {
    await testSource(folder);
    shop = await testShop(folder);
    job = await submitJob(shop, twoStepJob(folder, { mastering: true }));
    const onEvent = ({ code, task, percent }: RenderEvent) => {
      if (percent === undefined) events.push(task ? `${code} ${task}` : code);
      else percents.push(percent);
    };
    await runSubmittedJob(shop, job, { onEvent, verify: false });
    receipt = readFileSync(receiptPath(job), 'utf8');
  });

  /** Accepts a copy of the job, spoilt by `spoil`: the folder of outputs, and where they may go. */
  const accept = (text: string, name: string, spoil: (folder: string) => void = () => undefined) => {
    const quarantine = copyOf(quarantineOf(job), join(folder, `${name}.quarantine`));
    const accepted = join(folder, `${name}.accepted`);
    spoil(quarantine);
    const answer = acceptReceipt(text, {
      ownerKeys: [createPublicKey(shop.owner.signing)],
      roots: [shop.launcher.root],
      isolation: ['bubblewrap'],
      tasksOf,
      job,
      privateKey: shop.owner.opening,
      quarantine,
      accepted,
      auditLog: { path: join(folder, `${name}.audit`), signingKey: shop.owner.signing },
      nonces: join(folder, 'nonces'),
      now: Date.now,
    });
    return { answer, accepted };
  };

  /** Runs another job with an enclave or a parent that does something otherwise; the output is in no case accepted. */
  const refused = async (name: string, changes: EnclaveChanges, parent: Partial<RenderShop> = {}) => {
    const other = { ...(await testShop(folder, changes)), ...parent };
    const submitted = await submitJob(shop, twoStepJob(folder, { output: join(folder, name) }));
    const failure = await runSubmittedJob(other, submitted, { onEvent: () => undefined }).then(
      () => 'accepted',
      (error) => error.peerCode ?? error.code,
    );
    expect(existsSync(submitted.output)).toBe(false);
    return failure;
  };

  test('tells its parent what it does, in codes', () => {
    expect(events).toEqual([
      'MANIFEST_ACCEPTED',
      'KEY_RELEASED',
      'TASK_STARTED shot',
      'INPUT_VERIFIED',
      'TASK_FINISHED shot',
      'TASK_STARTED grade',
      'OUTPUT_SEALED grade',
      'TASK_FINISHED grade',
      'RECEIPT_ISSUED',
    ]);
    // Of the task that says how long it is; how many depends on how busy the machine is.
    expect(percents.length).toBeGreaterThan(0);
    expect(percents).toEqual([...new Set(percents)].sort((a, b) => a - b));
  });

  test('hands over nothing that a plaintext could be recognised by', () => {
    const files = readdirSync(quarantineOf(job), { recursive: true, encoding: 'utf8' });
    const manifests = files.filter((file) => file.endsWith('.manifest.json'));
    expect(manifests.length).toBeGreaterThan(0);
    for (const file of manifests) {
      expect(readFileSync(join(quarantineOf(job), file), 'utf8')).not.toContain('plaintextSha256');
    }
  });

  test('is refused when its recipients lead mastering to another key: they are outside the MAC of a master', async () => {
    for (const [field, value] of [
      ['keyId', 'alias/other'],
      ['context', { service: 'portcullis', purpose: 'other' }],
    ] as const) {
      const { answer } = accept(receipt, `recipient-${field}`, (quarantine) => {
        const files = readdirSync(quarantine, { recursive: true, encoding: 'utf8' });
        for (const file of files.filter((name) => name.endsWith('.manifest.json'))) {
          const manifest = JSON.parse(readFileSync(join(quarantine, file), 'utf8'));
          for (const one of manifest.recipients) if (one.type === 'kms') one[field] = value;
          writeFileSync(join(quarantine, file), JSON.stringify(manifest));
        }
      });
      await expect(answer).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_RECIPIENTS' });
    }
  });

  test('is refused when its output was altered, cut off, or is of another name', async () => {
    const output = (quarantine: string) => join(quarantine, 'grade', 'title.mkv');
    const altered = accept(receipt, 'altered', (quarantine) => {
      const bytes = readFileSync(output(quarantine));
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1;
      writeFileSync(output(quarantine), bytes);
    });
    await expect(altered.answer).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_ALTERED' });
    expect(existsSync(altered.accepted)).toBe(false);
    const missing = accept(receipt, 'missing', (quarantine) => rmSync(output(quarantine)));
    await expect(missing.answer).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_MISSING' });
    const more = accept(receipt, 'more', (quarantine) => appendFileSync(join(quarantine, 'grade', 'more'), ''));
    await expect(more.answer).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_UNKNOWN' });
  });

  test('is refused when its receipt was altered, or a task is left out of it', async () => {
    const content = JSON.parse(receipt);
    const altered = accept(JSON.stringify({ ...content, job: content.tasks[0] }), 'altered');
    await expect(altered.answer).rejects.toMatchObject({ code: 'ERR_ATTESTATION_USER_DATA' });
    const [, last] = content.tasks;
    const omitted = accept(JSON.stringify({ ...content, tasks: [last] }), 'omitted');
    await expect(omitted.answer).rejects.toMatchObject({ code: 'ERR_RECEIPT_TASK_MISSING' });
    const statement = last.statement.replace('"exitCode":0', '"exitCode":1');
    const changed = accept(
      JSON.stringify({ ...content, tasks: [content.tasks[0], { ...last, statement }] }),
      'changed',
    );
    await expect(changed.answer).rejects.toMatchObject({ code: 'ERR_ATTESTATION_USER_DATA' });
  });

  test('is refused by whoever does not name the root of the simulator', async () => {
    const policy = {
      ownerKeys: [createPublicKey(shop.owner.signing)],
      manifestSha384: job.manifestSha384,
      isolation: ['bubblewrap' as const],
      nonceUsedFor: 'not-checked' as const,
      outputs: 'not-checked' as const,
      roots: [],
      tasksOf,
    };
    await expect(verifyReceipt(receipt, policy)).rejects.toMatchObject({ code: 'ERR_ATTESTATION_ROOT' });
  });

  test('is accepted once, plays, opens for mastering, and is in an audit log that shows when an entry is dropped', async () => {
    const verified = await runSubmittedJob(shop, job, { onEvent: () => undefined });
    expect(verified).toMatchObject({ simulated: true, outputsVerified: true });
    expect(readdirSync(job.output)).toEqual(['grade']);
    const [clear, mastered] = [join(folder, 'clear.mkv'), join(folder, 'mastered.mkv')];
    const source = join(job.output, 'grade', 'title.mkv');
    await decryptMaster({ source, output: clear, privateKey: shop.owner.opening });
    await decryptMaster({ source, output: mastered, dataKeys: shop.mastering?.dataKeys });
    expect(readFileSync(mastered).equals(readFileSync(clear))).toBe(true);
    expect(await complaints(clear)).toBe('');
    const { stdout } = await promisify(execFile)('ffprobe', ['-v', 'error', '-show_entries', 'stream=width', clear]);
    expect(stdout).toContain('width=160');

    // The nonce is used up: neither the same receipt nor another one of the manifest is taken again.
    const replayed = acceptReceipt(receipt, {
      ownerKeys: [createPublicKey(shop.owner.signing)],
      roots: [shop.launcher.root],
      isolation: ['bubblewrap'],
      tasksOf,
      job,
      privateKey: shop.owner.opening,
      quarantine: copyOf(job.output, join(folder, 'replayed.quarantine')),
      accepted: join(folder, 'replayed'),
      auditLog: { path: auditLogPath(shop), signingKey: shop.owner.signing },
      nonces: join(shop.folder, 'nonces'),
      now: Date.now,
    });
    await expect(replayed).rejects.toMatchObject({ code: 'ERR_RECEIPT_NONCE' });
    expect(existsSync(join(folder, 'replayed'))).toBe(false);

    const text = readFileSync(auditLogPath(shop), 'utf8');
    const { entries } = await verifyAuditLog(text, { checkpoints: [], keys: [], copies: [] });
    const steps = entries.filter(({ jobId }) => jobId === job.jobId).map(({ event }) => event);
    expect(steps.slice(0, 5)).toEqual([
      'job-submitted',
      'enclave-started',
      'enclave-ended',
      'receipt-verified',
      'output-accepted',
    ]);
    const lines = text.split('\n');
    const dropped = verifyAuditLog(lines.toSpliced(1, 1).join('\n'), { checkpoints: [], keys: [], copies: [] });
    await expect(dropped).rejects.toMatchObject({ code: 'ERR_AUDIT_REMOVED' });
  });

  describe('in another way', () => {
    test('by another image: KMS does not release the key to other registers, nor to debug mode', async () => {
      const other = (index: '0' | '1' | '2') => ({ ...PCRS, [index]: '0f'.repeat(48) });
      expect(await refused('other-agent', { pcrs: other('0') })).toBe('ERR_KMS_ACCESS');
      expect(await refused('other-configuration', { pcrs: other('1') })).toBe('ERR_KMS_ACCESS');
      expect(await refused('other-renderer', { pcrs: other('2') })).toBe('ERR_KMS_ACCESS');
      const zero = '00'.repeat(48);
      expect(await refused('debug', { pcrs: { '0': zero, '1': zero, '2': zero } })).toMatch(/^ERR_KMS_/);
    });

    test('with other arguments, or a task left out: the owner knows what the template says', async () => {
      const others: EnclaveChanges['tasksOf'] = (manifest) =>
        tasksOf(manifest).map((task) => ({
          ...task,
          args: task.args.map((text) => text.replace('hue=s=0', 'hue=s=1')),
        }));
      expect(await refused('other-arguments', { tasksOf: others })).toBe('ERR_RECEIPT_TASK_OTHER');
      const fewer: EnclaveChanges['tasksOf'] = (manifest) => tasksOf(manifest).slice(0, 1);
      expect(await refused('fewer', { tasksOf: fewer })).toBe('ERR_RECEIPT_TASK_MISSING');
    });

    test('after its manifest has expired, by the clock of the module', async () => {
      const later = Date.now() + 2 * 3_600_000;
      expect(await refused('expired', { now: () => later })).toBe('ERR_RENDER_EXPIRED');
    });

    test('under a key that the parent has planted', async () => {
      const planting = {
        async decryptForRecipient(_encrypted, _context, document) {
          const { publicKey } = parseAttestation(document);
          const key = Buffer.alloc(32, 7);
          return { ciphertextForRecipient: sealForRecipient(key, publicKey as Uint8Array), keyId: 'planted' };
        },
      } satisfies AttestedDataKeys;
      const kms = planting as unknown as RenderShop['kms'];
      expect(await refused('planted', {}, { kms })).toBe('ERR_RENDER_KEY');
    });

    test('of another input', async () => {
      const submitted = await submitJob(shop, twoStepJob(folder, { output: join(folder, 'swapped') }));
      const path = submitted.inputs.Source as string;
      const other = readFileSync(path);
      other[other.length - 1] = (other.at(-1) as number) ^ 1;
      writeFileSync(path, other);
      const failure = runSubmittedJob(shop, submitted, { onEvent: () => undefined });
      await expect(failure).rejects.toMatchObject({ peerCode: 'ERR_RENDER_INPUT' });
      writeFileSync(path, other.subarray(0, 100));
      await expect(runSubmittedJob(shop, submitted, { onEvent: () => undefined })).rejects.toMatchObject({
        peerCode: 'ERR_RENDER_INPUT',
      });
      expect(existsSync(submitted.output)).toBe(false);
    });

    test('by an owner whom the enclave does not know', async () => {
      const stranger = await testShop(join(folder, 'stranger'));
      const submitted = await submitJob(
        { ...stranger, kms: shop.kms },
        twoStepJob(folder, { output: join(folder, 's') }),
      );
      const failure = runSubmittedJob(shop, submitted, { onEvent: () => undefined });
      await expect(failure).rejects.toMatchObject({ peerCode: 'ERR_RENDER_MANIFEST' });
    });
  });
});
