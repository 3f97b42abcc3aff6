import { createPublicKey, randomUUID } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type JobQueue, openJobQueue } from '../../enclave-render/host/job-queue.ts';
import { encryptMaster } from '../../enclave-render/mastering/encrypt.ts';
import { s3ObjectStore } from '../../enclave-render/storage/s3.ts';
import { auditLogPath, type RenderShop, receiptPath, runSubmittedJob, submitJob } from '../../local/render-jobs.ts';
import { checkIncoming, jobObjects, type Outcome, type WorkOptions, workOff } from '../../local/render-watch.ts';
import { describeWithFfmpeg } from '../harness/media.ts';
import { isOnPath } from '../harness/programs.ts';
import { testShop, testSource, twoStepJob } from '../harness/render-shop.ts';
import { type MotoS3, startMotoS3 } from '../harness/s3.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

describeWithFfmpeg('jobs that come in', () => {
  const folder = temporaryDirectory();
  const watched = join(folder, 'watched');
  let shop: RenderShop;
  let queue: JobQueue;
  let outcomes: Outcome[] = [];
  let retries: string[] = [];
  beforeAll(async () => {
    await testSource(watched);
    // As the commands name it by default: not by its whole path.
    shop = await testShop(relative(process.cwd(), folder));
    queue = await openJobQueue(watched);
  });
  afterAll(async () => {
    await queue.close();
    removeDirectory(folder);
  });

  const jobText = (changes: object = {}) => {
    const { template } = twoStepJob(folder);
    return JSON.stringify({ template, inputs: { Source: 'source.mkv' }, ...changes });
  };
  /** Works until so many jobs are over. */
  const work = async (count: number, changes: Partial<WorkOptions> = {}) => {
    const stop = new AbortController();
    [outcomes, retries] = [[], []];
    await workOff({
      queue,
      shop,
      onEvent: () => undefined,
      onEnd: (outcome) => outcomes.push(outcome) === count && stop.abort(),
      onRetry: (_, code) => retries.push(code),
      signal: stop.signal,
      pauseMilliseconds: 0,
      ...changes,
    });
  };
  const keep = (id: string, text = jobText()) => queue.keep({ id, text });
  const events = (jobId: string) =>
    readFileSync(auditLogPath(shop), 'utf8')
      .split('\n')
      .filter((line) => line.includes(`"${jobId}"`))
      .map((line) => JSON.parse(line).event);

  test('are rendered and put away with receipt, outcome and outputs, or with the code of what failed', async () => {
    await keep('good');
    await keep('bad-input', jobText({ inputs: { Source: 'none.mkv' } }));
    await keep('bad-template', jobText({ template: 'none' }));
    await keep('bad-json', '{');
    await work(4);
    expect(outcomes.map((outcome) => (outcome.ok ? outcome.jobId : `${outcome.jobId} ${outcome.code}`)).sort()).toEqual(
      ['bad-input ERR_INGEST_REFUSED', 'bad-json ERR_INGEST_BODY', 'bad-template ERR_RENDER_JOB', 'good'],
    );
    expect(readdirSync(join(watched, 'done', 'good')).sort()).toEqual([
      'job.json',
      'outcome.json',
      'outputs',
      'receipt.json',
    ]);
    expect(readdirSync(join(watched, 'taken'))).toEqual([]);
    expect(readdirSync(join(shop.folder, 'jobs', 'good')).sort()).toEqual(['job.json', 'manifest.jws', 'receipt.json']);
    expect(JSON.parse(readFileSync(join(watched, 'failed', 'bad-json', 'outcome.json'), 'utf8'))).toMatchObject({
      ok: false,
      code: 'ERR_INGEST_BODY',
    });
  });

  test.each<[string, object]>([
    ['a file elsewhere', { inputs: { Source: '/etc/passwd' } }],
    ['a file above', { inputs: { Source: '../outside.mkv' } }],
    ['a file behind a link', { inputs: { Source: { path: 'link.mkv', fileName: 'a.mkv' } } }],
    ['a bucket that was not named', { inputs: { Source: 's3://masters/a.mkv' } }],
    ['an output of their own choice', { output: join(folder, 'elsewhere') }],
    ['the name of another job', { jobId: 'good' }],
  ])('reach no further than their folder: %s', async (_, changes) => {
    writeFileSync(join(folder, 'outside.mkv'), 'precious');
    if (!existsSync(join(watched, 'link.mkv'))) symlinkSync(join(folder, 'outside.mkv'), join(watched, 'link.mkv'));
    const id = `far-${randomUUID()}`;
    await keep(id, jobText(changes));
    await work(1);
    expect(outcomes).toMatchObject([{ ok: false, jobId: id, code: 'ERR_INGEST_REFUSED' }]);
    expect(existsSync(join(shop.folder, 'jobs', id))).toBe(false);
  });

  test('are refused before they are kept when their own words are wrong', async () => {
    await checkIncoming(jobText());
    for (const changes of [{ template: 'none' }, { jobId: 'a' }, { more: 1 }, { inputs: 1 }]) {
      await expect(checkIncoming(jobText(changes))).rejects.toMatchObject({ code: 'ERR_INGEST_REFUSED' });
    }
  });

  test('go on after a crash: before a submission was whole, after it, and after the outputs were accepted', async () => {
    const { template } = twoStepJob(folder);
    const submission = (jobId: string) => ({
      ...twoStepJob(watched),
      template,
      jobId,
      output: join(watched, 'taken', jobId, 'outputs'),
    });
    await keep('half');
    mkdirSync(join(shop.folder, 'jobs', 'half'));
    writeFileSync(join(shop.folder, 'jobs', 'half', 'job.json'), '{');
    await keep('whole');
    const { manifestSha384 } = await submitJob(shop, submission('whole'));
    await keep('accepted');
    const accepted = await submitJob(shop, submission('accepted'));
    await runSubmittedJob(shop, accepted, { onEvent: () => undefined });
    // It needs its input no more. A disk that was full has cut the log off, and lets nothing be put away at first.
    appendFileSync(auditLogPath(shop), '{"at":1');
    let full = 2;
    const finish: JobQueue['finish'] = (...job) => {
      if (full-- > 0) throw Object.assign(new Error(), { code: 'ENOSPC', syscall: 'write' });
      return queue.finish(...job);
    };
    await work(3, { queue: { ...queue, finish } });
    expect(retries).toEqual(['ERR_HOST_STORAGE', 'ERR_HOST_STORAGE']);
    expect(outcomes).toEqual(['half', 'whole', 'accepted'].map((jobId) => ({ ok: true, jobId })));
    expect(readFileSync(join(watched, 'done', 'accepted', 'receipt.json'), 'utf8')).toBe(
      readFileSync(receiptPath(accepted), 'utf8'),
    );
    // None was rendered twice.
    for (const id of ['whole', 'accepted']) {
      expect(events(id).filter((event) => event === 'enclave-started' || event === 'job-submitted')).toHaveLength(2);
      expect(events(id).filter((event) => event === 'output-accepted')).toHaveLength(1);
    }
    expect(manifestSha384).toMatch(/^[0-9a-f]{96}$/);
    // Whoever removes what it left, and offers it again, is told.
    rmSync(join(watched, 'done', 'accepted'), { recursive: true });
    await keep('accepted');
    await work(1);
    expect(outcomes).toMatchObject([{ ok: false, code: 'ERR_RECEIPT_OUTPUT_MISSING' }]);
  });

  test('are tried again when what failed may pass, and stay taken when they are interrupted', async () => {
    await keep('tried');
    let launches = 0;
    const launcher: RenderShop['launcher'] = {
      ...shop.launcher,
      async launch(signal) {
        const enclave = await shop.launcher.launch(signal);
        if (++launches < 3) enclave.channel.destroy();
        return enclave;
      },
    };
    await work(1, { shop: { ...shop, launcher } });
    expect(outcomes).toEqual([{ ok: true, jobId: 'tried' }]);
    expect(retries).toEqual(['ERR_HOST_CLOSED', 'ERR_HOST_CLOSED']);

    await keep('interrupted');
    const stop = new AbortController();
    await work(1, { signal: stop.signal, onEvent: () => stop.abort() });
    expect(outcomes).toEqual([]);
    expect(readdirSync(join(watched, 'taken'))).toEqual(['interrupted']);
    await work(1);
    expect(outcomes).toEqual([{ ok: true, jobId: 'interrupted' }]);
  });

  const hasMoto = isOnPath('moto_server');
  test.skipIf(!hasMoto)(
    `read masters and job files of a bucket${hasMoto ? '' : ' (moto_server is not on the PATH)'}`,
    async () => {
      const moto: MotoS3 = await startMotoS3();
      try {
        const name = `bucket-${randomUUID()}`;
        await moto.makeBucket(name);
        const bucket = { name, store: s3ObjectStore(moto.client, name) };
        const put = (key: string, content: Uint8Array | string) =>
          bucket.store.put(key, Readable.from([Buffer.from(content)], { objectMode: false }));
        const master = join(folder, 'aurora.enc');
        const publicKeys = [createPublicKey(shop.owner.opening)];
        await encryptMaster({
          source: join(watched, 'source.mkv'),
          output: master,
          mode: 'framed',
          publicKeys,
          now: 1,
        });
        for (const suffix of ['', '.manifest.json'])
          await put(`2026/aurora.enc${suffix}`, readFileSync(`${master}${suffix}`));
        await put('2026/plain.mkv', 'plain');
        const text = jobText({ inputs: { Source: { path: `s3://${name}/2026/aurora.enc`, fileName: 'aurora.mkv' } } });
        await put('a.job.json', text);
        const read = jobObjects(bucket);
        const { etag } = await bucket.store.head('a.job.json');
        for (const of of [etag, etag.replaceAll('"', ''), undefined])
          expect(await read(name, 'a.job.json', of)).toBe(text);
        // Another object of that name has taken its place.
        expect(await read(name, 'a.job.json', '0'.repeat(32))).toBeUndefined();
        await expect(read(name, 'none.job.json', etag)).rejects.toMatchObject({ code: 'ERR_INGEST_REFUSED' });
        await expect(read('other', 'a.job.json', etag)).rejects.toMatchObject({ code: 'ERR_INGEST_REFUSED' });
        await keep('from-s3', text);
        await keep('plain-s3', jobText({ inputs: { Source: `s3://${name}/2026/plain.mkv` } }));
        await work(2, { bucket });
        expect(outcomes).toMatchObject([
          { ok: true, jobId: 'from-s3' },
          { ok: false, jobId: 'plain-s3', code: 'ERR_INGEST_REFUSED' },
        ]);
        expect(readdirSync(join(watched, 'done', 'from-s3'))).not.toContain('inputs');
      } finally {
        moto.stop();
      }
    },
  );
});
