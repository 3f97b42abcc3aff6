import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join } from 'node:path';
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type CommandResult, portcullis } from '../harness/cli.ts';
import { isOnPath } from '../harness/programs.ts';
import { MOTO_ENVIRONMENT, type MotoS3, startFaultyProxy, startMotoS3 } from '../harness/s3.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));
const KEY = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';

let files = 0;
function file(content: Uint8Array | string, mode = 0o600): string {
  const path = join(scratch, `file-${++files}`);
  writeFileSync(path, content, { mode });
  return path;
}
/** A file with a manifest beside it, which says what the file holds, or something else. */
function master(content: Uint8Array, told = content): string {
  const path = file(content);
  const ciphertextSha256 = createHash('sha256').update(told).digest('hex');
  const manifest = { format: 'portcullis-master/1', ciphertextBytes: content.length, ciphertextSha256 };
  writeFileSync(`${path}.manifest.json`, JSON.stringify(manifest));
  return path;
}

describe('storage policy and check', () => {
  test('a policy that is made lets nothing through', async () => {
    const made = await portcullis('storage', 'policy', '--bucket', 'masters', '--kms-key', KEY, '--json');
    expect([made.code, made.stderr]).toEqual([0, expect.stringMatching(/^portcullis: note: .*default of the bucket/)]);
    const policy = file(made.stdout);
    const args = ['storage', 'check', 'masters', '--policy', policy];
    const plain = await portcullis(...args);
    expect([plain.code, plain.stderr]).toEqual([0, '']);
    expect(plain.stdout).toMatch(/^blocked +plain HTTP +s3:GetObject +DenyPlainHttp$/m);
    expect(plain.stdout).toMatch(/masters: all of it is blocked$/m);
    const withKey = await portcullis(...args, '--kms-key', KEY, '--json');
    expect(withKey.code).toBe(1);
    const { probes } = JSON.parse(withKey.stdout);
    const open = probes.filter(({ verdict }: { verdict: string }) => verdict !== 'blocked');
    expect(open).toEqual([expect.objectContaining({ probe: 'no SSE header', verdict: 'unknown' })]);
  });

  test('is the same text each time, to people and to scripts', async () => {
    const args = ['storage', 'policy', '--bucket', 'masters', '--reader', 'arn:aws:iam::111122223333:role/a'];
    const [one, two, plain] = await Promise.all([
      portcullis(...args, '--json'),
      portcullis(...args, '--json'),
      portcullis(...args),
    ]);
    expect(one.stdout).toBe(two.stdout);
    expect(JSON.parse(plain.stdout)).toEqual(JSON.parse(one.stdout));
  });

  test.each([
    ['what lets plain HTTP through', { Statement: [] }, 1, /^let through +plain HTTP/m],
    [
      'an operator nobody knows',
      { Statement: { Effect: 'Deny', Principal: '*', Action: '*', Resource: '*', Condition: { Some: { a: 'b' } } } },
      1,
      /^unknown +plain HTTP/m,
    ],
    ['no policy', { Statement: 'deny' }, 2, /this is no bucket policy, at Statement/],
  ])('%s', async (_, policy, code, message) => {
    const result = await portcullis('storage', 'check', 'masters', '--policy', file(JSON.stringify(policy)));
    expect(result.code).toBe(code);
    expect(result.stdout + result.stderr).toMatch(message);
  });

  test.each([
    [['policy', '--bucket', 'Masters'], /no bucket name/],
    [['policy', '--bucket', 'masters', '--kms-key', 'alias/a'], /not the ARN of a KMS key/],
    [['check', 'masters', '--policy', '/nowhere'], /cannot read \/nowhere/],
  ])('%j is one line and exit code 2', async (args, message) => {
    const { code, stdout, stderr } = await portcullis('storage', ...args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });
});

describe('storage put and get, in a folder', () => {
  test('and back, by path and by URL', async () => {
    const folder = join(scratch, 'store');
    mkdirSync(folder);
    const content = randomBytes(3 << 20);
    const path = master(content);
    const put = await portcullis('storage', 'put', path, `file://${folder}/`, '--json');
    expect([put.code, put.stderr]).toEqual([0, '']);
    expect(JSON.parse(put.stdout)).toMatchObject({
      bytes: content.length,
      content: 'master',
      encryption: null,
      crossings: [],
    });
    const { url } = JSON.parse(put.stdout);
    const out = join(scratch, 'back');
    const get = await portcullis('storage', 'get', url, out);
    expect([get.code, readFileSync(out).equals(content), statSync(out).mode & 0o777]).toEqual([0, true, 0o600]);
    const again = await portcullis('storage', 'get', url, out);
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('--force')]);
    expect((await portcullis('storage', 'get', url, out, '--force')).code).toBe(0);
    const twice = await portcullis('storage', 'put', path, `${folder}/`, '--if-absent');
    expect([twice.code, twice.stderr]).toEqual([2, expect.stringContaining('already')]);
    expect(readdirSync(scratch).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  test('a master takes its manifest along, and can be verified where it arrives', async () => {
    const [data, source, made] = [join(scratch, 'data'), file(randomBytes(2 << 20)), join(scratch, 'made.enc')];
    const here = ['--data', data];
    expect((await portcullis('kms', 'create', '--alias', 'alias/portcullis-mastering', ...here)).code).toBe(0);
    expect((await portcullis('master', 'encrypt', source, made, '--mode', 'ctr', ...here)).code).toBe(0);
    const folder = join(scratch, 'travelled');
    mkdirSync(folder);
    const put = await portcullis('storage', 'put', made, `${folder}/`, '--if-absent', '--json');
    expect(JSON.parse(put.stdout)).toMatchObject({
      content: 'master',
      manifest: join(folder, 'made.enc.manifest.json'),
    });
    const out = join(scratch, 'arrived.enc');
    const get = await portcullis('storage', 'get', join(folder, 'made.enc'), out, '--json');
    expect(JSON.parse(get.stdout)).toMatchObject({ manifest: `${out}.manifest.json` });
    expect(readFileSync(`${out}.manifest.json`)).toEqual(readFileSync(`${made}.manifest.json`));
    expect(statSync(`${out}.manifest.json`).mode & 0o777).toBe(0o600);
    expect((await portcullis('master', 'verify', out, ...here)).code).toBe(0);

    // Another object of the same length in its place: nothing comes, and what is there stays.
    const before = readFileSync(out);
    const stored = readFileSync(join(folder, 'made.enc'));
    stored[5] = (stored[5] ?? 0) ^ 1;
    writeFileSync(join(folder, 'made.enc'), stored);
    for (const [to, ...more] of [[join(scratch, 'forged.enc')], [out, '--force']] as const) {
      const forged = await portcullis('storage', 'get', join(folder, 'made.enc'), to, ...more);
      expect([forged.code, forged.stderr]).toEqual([2, expect.stringMatching(/is of another file/)]);
    }
    expect(readdirSync(scratch).filter((name) => name.startsWith('forged'))).toEqual([]);
    expect(readFileSync(out).equals(before)).toBe(true);
    expect((await portcullis('master', 'verify', out, ...here)).code).toBe(0);

    // A manifest that is there already is not that of a new master.
    rmSync(join(folder, 'made.enc'));
    const again = await portcullis('storage', 'put', made, `${folder}/`, '--if-absent');
    expect([again.code, existsSync(join(folder, 'made.enc'))]).toEqual([2, false]);
    rmSync(out);
    const beside = await portcullis('storage', 'get', join(folder, 'made.enc.manifest.json'), out);
    expect([beside.code, beside.stderr]).toEqual([
      2,
      expect.stringMatching(/arrived\.enc\.manifest\.json is there already/),
    ]);
  });

  test.each<[string, string[], RegExp]>([
    ['a folder encrypts nothing', ['--sse', 'SSE-S3'], /a folder cannot encrypt/],
    ['a key for another encryption', ['--kms-key', KEY], /are for --sse SSE-KMS/],
    ['SSE-C without its key', ['--sse', 'SSE-C'], /go together/],
    ['a context that is none', ['--sse', 'SSE-KMS', '--context', '["a"]'], /a JSON object of texts/],
    ['an encryption nobody knows', ['--sse', 'AES'], /Allowed choices/],
  ])('%s', async (_, args, message) => {
    const target = join(scratch, 'refused');
    const { code, stderr } = await portcullis('storage', 'put', file('x'), target, ...args);
    expect([code, existsSync(target)]).toEqual([2, false]);
    expect(stderr).toMatch(message);
  });

  test('a manifest of other bytes of the same length is found out, and nothing stored', async () => {
    const path = master(Buffer.from('plain'), Buffer.from('other'));
    const target = join(scratch, 'not-stored');
    const { code, stderr } = await portcullis('storage', 'put', path, target);
    expect([code, existsSync(target)]).toEqual([2, false]);
    expect(stderr).toMatch(/is of another file/);
  });

  test.each([
    ['a source that is not there', ['put', '/nowhere', scratch], /cannot read \/nowhere: ENOENT/],
    ['a folder as a source', ['put', scratch, scratch], /is no file/],
    ['an object that is not there', ['get', join(scratch, 'none'), join(scratch, 'out')], /there is no object none/],
    ['another scheme', ['get', 'https://example.com/a', join(scratch, 'out')], /s3:\/\/, file:\/\/\/ or a path/],
    ['no bucket', ['get', 's3://../a', join(scratch, 'out')], /no bucket name/],
    ['a bucket without a key', ['get', 's3://masters/', join(scratch, 'out')], /names no object/],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await portcullis('storage', ...args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(existsSync(join(scratch, 'out'))).toBe(false);
  });

  test('an SSE-C key that others can read is refused, and not told', async () => {
    const key = file(Buffer.alloc(32, 0xc8), 0o644);
    const args = ['storage', 'put', file('x'), 's3://masters/a', '--sse', 'SSE-C', '--sse-c-key', key];
    const { code, stderr } = await portcullis(...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/can be read by others .*chmod 600/)]);
  });
});

describe('storage get, of what comes slowly', () => {
  const CONTENT = 'first half, second half';
  /** S3 that sends half of an object, and the rest when it is told to. */
  async function slowStore() {
    const replies: ServerResponse[] = [];
    const server = createServer(({ url }, response) => {
      if (url?.includes('.manifest.json')) {
        return void response.writeHead(404).end('<Error><Code>NoSuchKey</Code></Error>');
      }
      response.writeHead(200, { 'content-length': CONTENT.length, etag: '"x"' });
      response.write(CONTENT.slice(0, 10));
      replies.push(response);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const AWS_ENDPOINT_URL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    /** Begins a command; resolves when half of the object has been written. */
    const begin = async (out: string, ...options: string[]) => {
      const before = partialsOf(out);
      const child = spawn(process.execPath, [CLI, 'storage', 'get', 's3://masters/key', out, ...options], {
        env: { ...process.env, ...MOTO_ENVIRONMENT, AWS_ENDPOINT_URL },
      });
      let stderr = '';
      child.stderr.on('data', (text) => {
        stderr += text;
      });
      const ended = once(child, 'exit').then(([code]) => ({ code, stderr }));
      const grown = () => {
        const own = partialsOf(out).find((name) => !before.includes(name));
        if (own === undefined || statSync(join(scratch, own)).size < 10) throw new Error('not yet');
      };
      await vi.waitFor(grown, { timeout: 50_000 });
      return { child, ended };
    };
    const finish = () => {
      for (const reply of replies.splice(0)) reply.end(CONTENT.slice(10));
    };
    const stop = () => {
      server.closeAllConnections();
      server.close();
    };
    return { begin, finish, stop };
  }
  const partialsOf = (out: string) =>
    readdirSync(scratch).filter((name) => name.startsWith(basename(out)) && name.endsWith('.partial'));

  test('a file that appears meanwhile stays', async () => {
    const out = join(scratch, 'appears');
    const { begin, finish, stop } = await slowStore();
    const { ended } = await begin(out);
    writeFileSync(out, 'of somebody else');
    finish();
    expect(await ended).toEqual({ code: 2, stderr: expect.stringContaining('is there already') });
    stop();
    expect([readFileSync(out, 'utf8'), partialsOf(out)]).toEqual(['of somebody else', []]);
  });

  test('two to one file do not meet, and take nothing from a master that was begun', async () => {
    const out = join(scratch, 'shared');
    writeFileSync(`${out}.partial`, 'half of a master');
    const { begin, finish, stop } = await slowStore();
    const first = await begin(out);
    const second = await begin(out);
    finish();
    const codes = (await Promise.all([first.ended, second.ended])).map(({ code }) => code);
    stop();
    expect(codes.sort()).toEqual([0, 2]);
    expect(readFileSync(out, 'utf8')).toBe(CONTENT);
    expect([partialsOf(out), readFileSync(`${out}.partial`, 'utf8')]).toEqual([['shared.partial'], 'half of a master']);
  });

  test('is interrupted at once while nothing comes', async () => {
    const out = join(scratch, 'stalled');
    const { begin, stop } = await slowStore();
    const { child, ended } = await begin(out);
    child.kill('SIGINT');
    // The store does not end its reply before: who waits for it waits for the end of this test.
    expect(await ended).toEqual({ code: 2, stderr: expect.stringContaining('nothing was left behind') });
    stop();
    expect([existsSync(out), partialsOf(out)]).toEqual([false, []]);
  }, 40_000);
});

const isHere = isOnPath('moto_server');
describe.skipIf(!isHere)(`storage with S3 (moto_server)${isHere ? '' : ' (not on the PATH)'}`, () => {
  let moto: MotoS3;
  const bucket = `bucket-${randomUUID()}`;
  beforeAll(async () => {
    moto = await startMotoS3();
    await moto.makeBucket(bucket);
  });
  afterAll(() => moto?.stop());
  const started = (endpoint: string, args: string[]): ChildProcess =>
    spawn(process.execPath, [CLI, 'storage', ...args], {
      env: { ...process.env, ...MOTO_ENVIRONMENT, AWS_ENDPOINT_URL: endpoint },
    });
  const storage = (...args: string[]): Promise<CommandResult> =>
    new Promise((resolve) => {
      const env = { ...process.env, ...MOTO_ENVIRONMENT, AWS_ENDPOINT_URL: moto.endpoint };
      execFile(process.execPath, [CLI, 'storage', ...args], { env }, (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr });
      });
    });

  test('a master crosses nothing; plaintext is said to cross before it does', async () => {
    const path = master(randomBytes(1 << 20));
    const kms = ['--sse', 'SSE-KMS', '--kms-key', KEY, '--context', '{"department":"mastering"}'];
    const put = await storage('put', path, `s3://${bucket}/2026/`, ...kms, '--json');
    expect([put.code, put.stderr]).toEqual([0, '']);
    expect(JSON.parse(put.stdout)).toMatchObject({
      url: expect.stringMatching(/^s3:\/\/.*\/2026\/file-\d+$/),
      encryption: { type: 'SSE-KMS', keyId: KEY },
      content: 'master',
      crossings: [],
    });
    const { url, manifest } = JSON.parse(put.stdout);
    const arrived = join(scratch, 'master-from-s3');
    expect(await storage('get', url, arrived)).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(arrived).equals(readFileSync(path))).toBe(true);
    expect([manifest, readFileSync(`${arrived}.manifest.json`)]).toEqual([
      `${url}.manifest.json`,
      readFileSync(`${path}.manifest.json`),
    ]);
    const plain = await storage('put', file('plaintext'), `s3://${bucket}/plain`, '--sse', 'SSE-S3', '--json');
    expect(plain.stderr).toMatch(/note: this hands plaintext to S3, outside the attested boundary \(SSE-S3\)/);
    expect(JSON.parse(plain.stdout)).toMatchObject({
      content: 'plaintext',
      crossings: [{ service: 's3', by: 'SSE-S3', why: expect.stringContaining('no manifest') }],
    });
    const out = join(scratch, 'from-s3');
    expect((await storage('get', `s3://${bucket}/plain`, out)).code).toBe(0);
    expect(readFileSync(out, 'utf8')).toBe('plaintext');
  });

  test('a bucket as it is made is not safe', async () => {
    const { code, stdout } = await storage('check', bucket);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^let through +plain HTTP/m);
    expect(stdout).toMatch(/^note: versioning is off/m);
    const none = await storage('check', 'no-such-bucket');
    expect([none.code, none.stdout]).toEqual([2, '']);
  });

  test('what is interrupted leaves nothing behind', async () => {
    // The third part gets no reply until the command is told to stop.
    let held: (() => void) | undefined;
    const isHeld = new Promise<void>((resolve) => {
      held = resolve;
    });
    const proxy = await startFaultyProxy(moto.endpoint, ({ url }) => {
      if (url.searchParams.get('partNumber') !== '3') return undefined;
      held?.();
      return 'never reply';
    });
    const child = started(proxy.endpoint, ['put', file(Buffer.alloc(50 << 20)), `s3://${bucket}/interrupted`]);
    let stderr = '';
    child.stderr?.on('data', (text) => {
      stderr += text;
    });
    const exited = new Promise((resolve) => child.once('exit', resolve));
    await isHeld;
    child.kill('SIGINT');
    expect(await exited).toBe(2);
    proxy.stop();
    expect(stderr).toMatch(/interrupted: nothing was left behind/);
    const { Uploads = [] } = await moto.client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    expect(Uploads).toEqual([]);
    expect((await storage('get', `s3://${bucket}/interrupted`, join(scratch, 'none'))).code).toBe(2);
  });
});
