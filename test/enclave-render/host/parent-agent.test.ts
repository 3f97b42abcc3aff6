import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { verifyAuditLog } from '../../../enclave-render/audit/verify-audit-log.ts';
import { type ParentAgentOptions, runIncoming } from '../../../enclave-render/host/parent-agent.ts';
import { listFolder, storeFiles } from '../../../enclave-render/host/parent-objects.ts';
import { KmsError } from '../../../enclave-render/kms/data-keys.ts';
import { verifyReceipt } from '../../../enclave-render/receipt/verify-receipt.ts';
import { signManifest } from '../../../enclave-render/render/manifest-signature.ts';
import { fileObjectStore } from '../../../enclave-render/storage/files.ts';
import type { ObjectStore } from '../../../enclave-render/storage/object-store.ts';
import { fetchJob, offerJob } from '../../../local/remote-jobs.ts';
import { type RenderShop, type SubmittedJob, submitJob, tasksOf } from '../../../local/render-jobs.ts';
import { describeWithFfmpeg } from '../../harness/media.ts';
import { testShop, testSource, twoStepJob } from '../../harness/render-shop.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

// The agent is in this process, as in the other tests of the host; that it is started from an image is another test's.
describeWithFfmpeg('the parent', () => {
  const folder = temporaryDirectory();
  const forever = new AbortController().signal;
  let shop: RenderShop;
  let bucket: string;
  let store: ObjectStore;
  let lines: Record<string, unknown>[];
  let parent: ParentAgentOptions;
  let count = 0;
  afterAll(() => removeDirectory(folder));

  beforeAll(async () => {
    await testSource(folder);
    shop = await testShop(folder);
  });
  beforeEach(() => {
    bucket = join(folder, `bucket-${++count}`);
    mkdirSync(bucket);
    store = fileObjectStore(bucket);
    lines = [];
    parent = {
      ...{
        store,
        launcher: shop.launcher,
        owners: [createPublicKey(shop.owner.signing)],
        kms: shop.kms,
        work: join(folder, `work-${count}`),
        now: Date.now,
      },
      log: (line) => lines.push(line),
    };
    mkdirSync(parent.work);
  });

  /** Signs a job as its owner, and puts what the parent needs of it into the bucket. */
  const submit = async (): Promise<SubmittedJob> => {
    const job = await submitJob(shop, twoStepJob(folder, { output: join(folder, `out-${count}-${randomUUID()}`) }));
    await offerJob(job, store);
    return job;
  };
  const payload = (jws: string) => JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString());
  const offer = (text: string, name = 'again.jws') => store.put(`incoming/${name}`, Readable.from([Buffer.from(text)]));
  const incoming = () => {
    const at = join(bucket, 'incoming');
    return existsSync(at) ? readdirSync(at) : [];
  };
  /** How many entries the log in the bucket has, whose chain holds. */
  const audited = async () =>
    (await verifyAuditLog(readFileSync(join(bucket, 'audit.jsonl'), 'utf8'), { checkpoints: [], keys: [], copies: [] }))
      .entries.length;
  const readJson = (key: string) => JSON.parse(readFileSync(join(bucket, key), 'utf8'));
  const codes = () => lines.map(({ event, code }) => (event === 'enclave' ? code : event));

  /** What the owner does with what is in the bucket. */
  const verify = (job: SubmittedJob) =>
    verifyReceipt(readFileSync(join(bucket, 'jobs', job.jobId, 'receipt.json'), 'utf8'), {
      ownerKeys: [createPublicKey(shop.owner.signing)],
      manifestSha384: job.manifestSha384,
      roots: [shop.launcher.root],
      isolation: ['bubblewrap'],
      nonceUsedFor: 'not-checked',
      tasksOf,
      outputs: { folder: join(bucket, 'jobs', job.jobId, 'outputs'), privateKey: shop.owner.opening },
    });

  test('renders a job of the bucket: its owner finds receipt and outputs there, and nothing is left on its disk', async () => {
    const job = await submit();
    await expect(fetchJob(shop, job, store)).rejects.toMatchObject({ code: 'ERR_HOST_PENDING' });
    await runIncoming(parent, forever);
    expect((await verify(job)).outputsVerified).toBe(true);
    expect(incoming()).toEqual([]);
    expect(readdirSync(join(parent.work, 'jobs'))).toEqual([]);
    expect(codes()).toContain('job-done');
    expect(await audited()).toBe(2);
    // Offered again, it has its receipt already.
    const receipt = readFileSync(join(bucket, 'jobs', job.jobId, 'receipt.json'));
    await offer(job.manifest);
    await runIncoming(parent, forever);
    expect(readFileSync(join(bucket, 'jobs', job.jobId, 'receipt.json'))).toEqual(receipt);
    expect(incoming()).toEqual([]);

    // Its owner fetches it: what the receipt does not name stays where it is, and what was exchanged is refused.
    const output = join(bucket, 'jobs', job.jobId, 'outputs', 'grade', 'title.mkv');
    const genuine = readFileSync(output);
    writeFileSync(join(dirname(output), 'other.mkv'), 'x');
    writeFileSync(output, Buffer.alloc(genuine.length));
    await expect(fetchJob(shop, job, store)).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_ALTERED' });
    rmSync(output);
    await expect(fetchJob(shop, job, store)).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_MISSING' });
    expect(existsSync(job.output)).toBe(false);
    writeFileSync(output, genuine);
    // This disk takes nothing more.
    const full = Object.assign(new Error(), { code: 'ENOSPC', syscall: 'write' });
    const cut = { ...store, get: (key: string) => (key.endsWith('.mkv') ? Promise.reject(full) : store.get(key)) };
    await expect(fetchJob(shop, job, cut)).rejects.toMatchObject({ code: 'ERR_HOST_STORAGE' });
    expect(existsSync(job.output)).toBe(false);
    const accepted = await fetchJob(shop, job, store);
    expect(accepted.outputsVerified).toBe(true);
    expect(readdirSync(join(job.output, 'grade')).sort()).toEqual(['title.mkv', 'title.mkv.manifest.json']);
    expect(readdirSync(job.folder).sort()).toEqual(['job.json', 'manifest.jws', 'receipt.json']);
    // Once it is accepted, with nothing but what is here.
    expect(await fetchJob(shop, job, fileObjectStore(join(folder, 'empty')))).toEqual(accepted);
    // Another job's receipt is not this one's.
    const other = await submit();
    await store.put(`jobs/${other.jobId}/receipt.json`, Readable.from([receipt]));
    await expect(fetchJob(shop, other, store)).rejects.toMatchObject({ code: 'ERR_RECEIPT_JOB' });
  });

  test('another instance goes on where one was lost, with nothing but the bucket', async () => {
    const job = await submit();
    const lost = new AbortController();
    // Lost once the first task's checkpoint is in the bucket.
    const watched: ObjectStore = {
      ...store,
      async put(key, ...rest) {
        const info = await store.put(key, ...rest);
        if (key.includes('/checkpoints/')) lost.abort();
        return info;
      },
    };
    await runIncoming({ ...parent, store: watched }, lost.signal);
    expect(incoming()).toEqual([`${job.jobId}.jws`]);
    expect(existsSync(join(bucket, 'jobs', job.jobId, 'receipt.json'))).toBe(false);
    lines = [];
    const other = join(folder, `work-${++count}`);
    mkdirSync(other);
    await runIncoming({ ...parent, work: other }, forever);
    expect(codes()).toContain('TASK_RESUMED');
    expect((await verify(job)).outputsVerified).toBe(true);
    expect(await audited()).toBe(4);
  });

  test('waits for a KMS that is away, until the manifest has expired', async () => {
    const job = await submit();
    const decryptForRecipient = async () => {
      throw new KmsError('ERR_KMS_UNAVAILABLE', 'away');
    };
    const kms = { decryptForRecipient } as unknown as ParentAgentOptions['kms'];
    await runIncoming({ ...parent, kms }, forever);
    expect(incoming()).toEqual([`${job.jobId}.jws`]);
    await runIncoming({ ...parent, kms, now: () => 1000 * payload(job.manifest).expiresAt }, forever);
    expect(incoming()).toEqual([]);
    expect(readJson(`jobs/${job.jobId}/failure.json`).code).toBe('ERR_KMS_UNAVAILABLE');
    // Its owner may put it there again.
    await offer(job.manifest);
    await runIncoming(parent, forever);
    expect((await verify(job)).outputsVerified).toBe(true);
    expect(existsSync(join(bucket, 'jobs', job.jobId, 'failure.json'))).toBe(false);
  });

  test('says that a job was interrupted, not that it failed, when it has to end', async () => {
    const job = await submit();
    const ended = new AbortController();
    const decryptForRecipient = async () => {
      ended.abort();
      throw new KmsError('ERR_KMS_UNAVAILABLE', 'away');
    };
    const kms = { decryptForRecipient } as unknown as ParentAgentOptions['kms'];
    await runIncoming({ ...parent, kms }, ended.signal);
    expect(lines.at(-1)).toMatchObject({ event: 'job-interrupted' });
    expect(incoming()).toEqual([`${job.jobId}.jws`]);
  });

  test('waits for a disk that is full', async () => {
    const job = await submit();
    const full = Object.assign(new Error('no space'), { code: 'ENOSPC', syscall: 'write' });
    const get: ObjectStore['get'] = async (key, options) => {
      const object = await store.get(key, options);
      if (key.startsWith('inputs/')) object.body.destroy(full);
      return object;
    };
    await runIncoming({ ...parent, store: { ...store, get } }, forever);
    expect(lines.at(-1)).toMatchObject({ event: 'job-failed', code: 'ERR_HOST_STORAGE' });
    // Its own log, which is a folder here, cannot be written.
    mkdirSync(join(parent.work, 'audit.jsonl'));
    await runIncoming(parent, forever);
    expect(lines.at(-1)).toMatchObject({ event: 'job-failed', code: 'ERR_AUDIT_FILE' });
    expect(incoming()).toEqual([`${job.jobId}.jws`]);
    expect(existsSync(join(bucket, 'jobs', job.jobId, 'failure.json'))).toBe(false);
  });

  const signature = 'A'.repeat(86);
  const forged = (manifest: object) =>
    `e30.${Buffer.from(JSON.stringify(manifest)).toString('base64url')}.${signature}`;

  test('takes no job of who is no owner: neither its id nor its inputs', async () => {
    const { manifest, jobId } = await submit();
    const { privateKey } = generateKeyPairSync('ed25519');
    await store.delete(`incoming/${jobId}.jws`);
    await offer(forged({ ...payload(manifest), expiresAt: payload(manifest).expiresAt + 1 }), 'altered.jws');
    await offer(await signManifest(payload(manifest), privateKey), 'foreign.jws');
    await runIncoming(parent, forever);
    for (const name of ['altered', 'foreign']) {
      expect(readJson(`refused/${name}.jws.failure.json`).code).toBe('ERR_RENDER_MANIFEST');
    }
    expect(incoming()).toEqual([]);
    expect(existsSync(join(bucket, 'jobs'))).toBe(false);
    expect(readdirSync(parent.work)).toEqual([]);
  });

  test('fails a job whose input is missing, or was exchanged', async () => {
    const job = await submit();
    const [input] = payload(job.manifest).inputs;
    const path = join(bucket, 'inputs', input.sha256);
    const bytes = readFileSync(path);
    writeFileSync(path, Buffer.alloc(bytes.length));
    await runIncoming(parent, forever);
    expect(readJson(`jobs/${job.jobId}/failure.json`).code).toBe('ERR_RENDER_INPUT');
    const told = { code: 'ERR_HOST_REFUSED', peerCode: 'ERR_RENDER_INPUT' };
    await expect(fetchJob(shop, job, store)).rejects.toMatchObject(told);
    await store.delete(`inputs/${input.sha256}`);
    await offer(job.manifest);
    await runIncoming(parent, forever);
    expect(readJson(`jobs/${job.jobId}/failure.json`).code).toBe('ERR_STORAGE_NOT_FOUND');
  });

  test('refuses what is no job, is for another image, or takes the id of another, and writes nothing into that one', async () => {
    const job = await submit();
    await offer('not a manifest', 'a.jws');
    await offer(forged({ ...payload(job.manifest), jobId: '../../etc' }), 'b.jws');
    const signed = (changes: object) => signManifest({ ...payload(job.manifest), ...changes }, shop.owner.signing);
    await offer(await signed({ pcrs: { '0': 'ff'.repeat(48) } }), 'c.jws');
    await offer(await signed({ nonce: '00'.repeat(32) }), 'z.jws');
    await runIncoming(parent, forever);
    expect(incoming()).toEqual([]);
    const refusals = readdirSync(join(bucket, 'refused'));
    expect(refusals.map((name) => [name, readJson(`refused/${name}`).code])).toEqual([
      ['a.jws.failure.json', 'ERR_INGEST_BODY'],
      ['b.jws.failure.json', 'ERR_RENDER_MANIFEST'],
      ['c.jws.failure.json', 'ERR_INGEST_REFUSED'],
      ['z.jws.failure.json', 'ERR_INGEST_REFUSED'],
    ]);
    expect((await verify(job)).outputsVerified).toBe(true);
    expect(existsSync(join(bucket, 'jobs', job.jobId, 'failure.json'))).toBe(false);
  });

  test('stores no checkpoint of a task that ended after outputs were listed, and none that changes meanwhile', async () => {
    const names = ['first', 'rewritten', 'late'].map((name) => join(parent.work, name));
    const [first = '', rewritten = '', late = ''] = names;
    for (const path of [first, rewritten]) writeFileSync(path, 'sealed');
    const listed = await listFolder(parent.work, 'checkpoints/');
    writeFileSync(rewritten, 'sealed again');
    writeFileSync(late, 'sealed');
    const stored = new Set<string>();
    await storeFiles(store, listed, stored);
    expect(readdirSync(join(bucket, 'checkpoints'))).toEqual(['first']);
    await storeFiles(store, await listFolder(parent.work, 'checkpoints/'), stored);
    expect(readdirSync(join(bucket, 'checkpoints')).sort()).toEqual(['first', 'late', 'rewritten']);
  });

  test('takes no checkpoint by a name that leads elsewhere', async () => {
    const job = await submit();
    const listed = `jobs/${job.jobId}/checkpoints/../../../../../escaped`;
    const hostile: ObjectStore = {
      ...store,
      async *list(prefix) {
        yield* store.list(prefix);
        if (prefix.endsWith('checkpoints/')) yield { key: listed, bytes: 1, etag: '' };
      },
      get: (key, options) =>
        key === listed
          ? Promise.resolve({ info: { key, bytes: 1, etag: '' }, body: Readable.from(['x']) })
          : store.get(key, options),
    };
    await runIncoming({ ...parent, store: hostile }, forever);
    expect(existsSync(join(dirname(parent.work), 'escaped'))).toBe(false);
    expect((await verify(job)).outputsVerified).toBe(true);
  });
});
