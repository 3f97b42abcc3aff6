import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { AWS_NITRO_ROOT as NITRO_ROOT } from '../../enclave-render/attestation/attestation-document.ts';
import { portcullis } from '../harness/cli.ts';
import { complaints, describeWithFfmpeg, ffmpeg } from '../harness/media.ts';
import { LONG } from '../harness/programs.ts';
import { testSource } from '../harness/render-shop.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

describeWithFfmpeg('portcullis render', () => {
  const folder = temporaryDirectory();
  const data = ['--data', join(folder, 'data')];
  const output = join(folder, 'out');
  const jobFile = join(folder, 'job.json');
  let submitted: { jobId: string; receipt: string; auditLog: string; outputs: string[] };
  afterAll(() => removeDirectory(folder));

  beforeAll(async () => {
    const inputs = { Source: await testSource(folder) };
    const job = { template: 'transcode', parameters: { Height: 90 }, inputs, output };
    writeFileSync(jobFile, JSON.stringify(job));
    const { code, stdout, stderr } = await portcullis('render', 'submit', jobFile, ...data, '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    submitted = JSON.parse(stdout);
  });

  test('submit renders, verifies and accepts; what came out opens with the key of the owner, and plays', async () => {
    expect(submitted).toMatchObject({ ok: true, verified: true, simulated: true });
    const clear = join(folder, 'clear.mp4');
    const privateKey = join(folder, 'data', 'render', 'owner', 'open.pem');
    const [master = ''] = submitted.outputs;
    const opened = await portcullis('master', 'decrypt', master, clear, '--private-key', privateKey);
    expect(opened.code).toBe(0);
    expect(await complaints(clear)).toBe('');
    expect((await portcullis('audit', 'verify', submitted.auditLog)).code).toBe(0);
  });

  test('verify says no unless the root of the simulator is named, then says what was proven in plain words', async () => {
    const keys = JSON.parse((await portcullis('render', 'keys', ...data, '--json')).stdout);
    const refused = await portcullis('render', 'verify', submitted.receipt, ...data, '--json');
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stdout)).toMatchObject({ ok: false, code: 'ERR_ATTESTATION_ROOT' });
    expect(JSON.parse(refused.stdout).message).toContain('--root');
    const root = ['--root', keys.simulatorRoot];
    const behind = await portcullis('render', 'verify', ...root, submitted.receipt, ...data);
    expect(behind.code).toBe(0);
    expect(behind.stdout).toContain('Its one task is that of its template');
    const verified = await portcullis('render', 'verify', submitted.receipt, ...root, ...data, '--outputs', output);
    expect(verified.code).toBe(0);
    expect(verified.stdout).toContain('SIMULATED');
    expect(verified.stdout).toContain(`Job ${submitted.jobId}`);
    const owner = join(folder, 'owner.pub.pem');
    writeFileSync(owner, keys.manifestKey);
    const elsewhere = ['--data', join(folder, 'elsewhere'), '--owner-key', owner];
    expect((await portcullis('render', 'verify', submitted.receipt, ...root, ...elsewhere)).code).toBe(0);
    expect(existsSync(join(folder, 'elsewhere'))).toBe(false);
    writeFileSync(
      join(folder, 'altered.json'),
      readFileSync(submitted.receipt, 'utf8').replace('"exitCode', '"exitC0de'),
    );
    const altered = await portcullis('render', 'verify', join(folder, 'altered.json'), ...root, ...data);
    expect(altered.code).toBe(1);
  });

  test('watch renders what comes into a folder and by HTTP, split where it is asked for, and ends when told', async () => {
    const watched = join(folder, 'watched');
    mkdirSync(watched);
    await ffmpeg(
      ...['-f', 'lavfi', '-i', 'testsrc2=d=1.2:s=64x48:r=10', '-f', 'lavfi', '-i', 'sine=d=1.3'],
      join(watched, 'source.mov'),
    );
    const secret = join(folder, 'secret');
    writeFileSync(secret, `${'s'.repeat(32)}\n`, { mode: 0o600 });
    const args = ['render', 'watch', watched, ...data, '--listen', '0', '--secret', secret, '--json'];
    const child = spawn(process.execPath, [CLI, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const ended = once(child, 'close');
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const next = async () => JSON.parse((await lines.next()).value);
      const job = { template: 'transcode', parameters: { Height: 48 }, inputs: { Source: 'source.mov' } };
      const { event, url } = await next();
      expect(event).toBe('watching');
      const body = JSON.stringify({ ...job, splitSeconds: 1 });
      const t = Math.floor(Date.now() / 1000);
      const v1 = createHmac('sha256', 's'.repeat(32)).update(`${t}.${body}`).digest('hex');
      const post = (signature: string) =>
        fetch(url, { method: 'POST', body, headers: { 'x-portcullis-signature': signature, connection: 'close' } });
      expect((await post(`t=${t},v1=${v1.replace(/./g, '0')}`)).status).toBe(401);
      expect((await post(`t=${t},v1=${v1}`)).status).toBe(202);
      expect(await next()).toMatchObject({ event: 'taken', jobId: expect.stringMatching(/^webhook-/) });
      const done = await next();
      expect(done).toMatchObject({ event: 'done', ok: true });
      const { tasks } = JSON.parse(readFileSync(join(done.folder, 'receipt.json'), 'utf8'));
      // Two parts, the sound, and what joins them.
      expect(tasks).toHaveLength(4);
      writeFileSync(join(watched, 'film.job.json'), JSON.stringify({ ...job, inputs: { Source: 'none.mov' } }));
      expect(await next()).toMatchObject({ event: 'taken' });
      expect(await next()).toMatchObject({ event: 'failed', code: 'ERR_INGEST_REFUSED' });
      child.kill('SIGTERM');
      expect(await next()).toEqual({ event: 'stopped' });
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('compare says whether another render gave the same, in an enclave or not; and takes no render for another', async () => {
    const [keys, again] = [await portcullis('render', 'keys', ...data, '--json'), join(folder, 'again.json')];
    const root = ['--root', JSON.parse(keys.stdout).simulatorRoot];
    const other = join(folder, 'other');
    writeFileSync(again, JSON.stringify({ ...JSON.parse(readFileSync(jobFile, 'utf8')), output: other }));
    const second = JSON.parse((await portcullis('render', 'submit', again, ...data, '--json')).stdout);
    const compare = (...args: string[]) =>
      portcullis('render', 'compare', submitted.receipt, ...args, '--outputs', output, ...root, ...data);

    const same = await compare(second.receipt, '--other-outputs', other);
    expect(same).toMatchObject({ code: 0, stderr: '' });
    expect(same.stdout).toContain(
      'Task transcode: transcode/title.mp4 is the same in both.\nBoth renders gave the same',
    );
    const itself = await compare(submitted.receipt, '--other-outputs', output);
    expect([itself.code, itself.stderr]).toEqual([2, expect.stringContaining('one and the same render')]);

    const clear = join(folder, 'in-clear', 'transcode', 'title.mp4');
    mkdirSync(dirname(clear), { recursive: true });
    const missing = await compare(join(folder, 'in-clear'), '--json');
    const name = 'transcode/title.mp4';
    expect([missing.code, JSON.parse(missing.stdout)]).toMatchObject([
      1,
      { ok: false, tasks: [{ id: 'transcode', outputs: [{ name, result: 'missing' }] }] },
    ]);
    const key = join(folder, 'data', 'render', 'owner', 'open.pem');
    await portcullis('master', 'decrypt', submitted.outputs[0] as string, clear, '--private-key', key);
    expect((await compare(join(folder, 'in-clear'))).code).toBe(0);
    appendFileSync(clear, 'x');
    const differs = await compare(join(folder, 'in-clear'));
    expect([differs.code, differs.stdout]).toEqual([1, expect.stringContaining('transcode/title.mp4 DIFFERS.')]);

    // Outputs that are not those of their receipt are no render.
    const swapped = await compare(second.receipt, '--other-outputs', output);
    expect([swapped.code, swapped.stdout]).toEqual([2, '']);
  });

  test('a renderer that fails is said once, with its task and what to do, and how to go on', async () => {
    const source = join(folder, 'no-film.mp4');
    writeFileSync(source, 'this is no film');
    const job = { template: 'transcode', inputs: { Source: source }, output: join(folder, 'failed') };
    writeFileSync(join(folder, 'failing.json'), JSON.stringify({ ...job, jobId: 'failing' }));
    const { code, stdout, stderr } = await portcullis('render', 'submit', join(folder, 'failing.json'), ...data);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^ERR_RENDER_TASK: the renderer of task transcode ended .*docs\/sandbox\.md.*run ffmpeg .*\n$/,
    );
    expect(stderr).toContain('failing is submitted\n');
    expect(stderr).toContain(`portcullis render resume failing ${data.join(' ')} goes on`);
    expect(stderr).not.toContain('ERR_RENDER_TASK');
    expect(stderr).not.toContain('failed');
    // Another enclave than it was submitted for, to which KMS gives no key.
    const other = await portcullis('render', 'resume', 'failing', ...data, '--isolation', 'none', '--json');
    expect([other.code, JSON.parse(other.stdout)]).toMatchObject([
      1,
      { ok: false, jobId: 'failing', code: 'ERR_KMS_ACCESS' },
    ]);
  });

  test('submit signs a job for another image and puts it where its parent takes it; fetch says that it is not done', async () => {
    const [to, pcrs, file] = [join(folder, 'jobs'), join(folder, 'pcrs.json'), join(folder, 'elsewhere.json')];
    mkdirSync(to);
    writeFileSync(pcrs, JSON.stringify({ '0': 'ab'.repeat(48) }));
    const job = { ...JSON.parse(readFileSync(jobFile, 'utf8')), jobId: 'nitro', output: join(folder, 'nitro') };
    writeFileSync(file, JSON.stringify(job));
    const half = await portcullis('render', 'submit', file, ...data, '--to', to);
    expect([half.code, half.stderr]).toEqual([2, expect.stringContaining('--image-pcrs')]);
    const offered = await portcullis('render', 'submit', file, ...data, '--image-pcrs', pcrs, '--to', to, '--json');
    expect(offered).toMatchObject({ code: 0, stderr: '' });
    const jws = readFileSync(join(to, 'incoming', 'nitro.jws'), 'utf8');
    const manifest = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString());
    expect(manifest).toMatchObject({ jobId: 'nitro', pcrs: { '0': 'ab'.repeat(48) }, roots: [NITRO_ROOT] });
    expect(existsSync(join(to, 'inputs', manifest.inputs[0].sha256))).toBe(true);
    const fetched = await portcullis('render', 'fetch', 'nitro', '--from', to, ...data, '--json');
    expect([fetched.code, JSON.parse(fetched.stdout)]).toMatchObject([69, { ok: false, code: 'ERR_HOST_PENDING' }]);
  });

  test('a keystore that cannot be used is a refusal with its code', async () => {
    const elsewhere = join(folder, 'damaged');
    mkdirSync(join(elsewhere, 'kms'), { recursive: true });
    writeFileSync(join(elsewhere, 'kms', 'keystore.json'), '{}', { mode: 0o600 });
    const job = { ...JSON.parse(readFileSync(jobFile, 'utf8')), output: join(folder, 'never') };
    writeFileSync(join(folder, 'never.json'), JSON.stringify(job));
    const { code, stdout } = await portcullis(
      ...['render', 'submit', join(folder, 'never.json'), '--data', elsewhere, '--json'],
    );
    expect([code, JSON.parse(stdout)]).toMatchObject([1, { ok: false, code: 'ERR_KMS_KEYSTORE' }]);
  });

  test('what is wrong with a job is said before anything is rendered', async () => {
    const submit = async (job: object) => {
      writeFileSync(join(folder, 'bad.json'), JSON.stringify(job));
      return portcullis('render', 'submit', join(folder, 'bad.json'), ...data);
    };
    const good = JSON.parse(readFileSync(jobFile, 'utf8'));
    expect(await submit({ ...good, template: 'none' })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('transcode'),
    });
    expect((await submit({ ...good, output: undefined })).code).toBe(2);
    expect((await portcullis('render', 'watch', folder, ...data, '--listen', '0')).stderr).toContain('--secret');
    expect((await submit({ ...good, output: join(folder, 'b'), parameters: { Height: 1 } })).code).toBe(2);
    // Each of these measures the enclave first, which takes a second.
    if (!LONG) return;
    // Neither is the source one that says how long it is, nor is every template one that can be split.
    expect((await submit({ ...good, output: join(folder, 's'), splitSeconds: 1 })).stderr).toContain('splitSeconds');
    expect((await submit({ ...good, output: join(folder, 'c'), inputs: { Source: join(folder, 'none') } })).code).toBe(
      2,
    );
    expect((await portcullis('render', 'resume', 'job-none', ...data)).code).toBe(2);
  });
});
