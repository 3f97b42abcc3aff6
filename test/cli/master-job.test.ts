import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateKeyCommand } from '@aws-sdk/client-kms';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { EmbeddedKms } from '../../enclave-render/kms/embedded.ts';
import { awsDataKeys, kmsClient } from '../../enclave-render/kms/kms.ts';
import { SERVICE_CONTEXTS } from '../../enclave-render/mastering/contexts.ts';
import { transcoderEncryption } from '../../enclave-render/mastering/jobs/elastic-transcoder.ts';
import type { MasterMode } from '../../enclave-render/mastering/manifest.ts';
import { ciphertextLength } from '../../enclave-render/mastering/segment-cipher.ts';
import { signManifest } from '../../enclave-render/mastering/signed-manifest.ts';
import { portcullis } from '../harness/cli.ts';
import { AWS_KEY, awsLikeDataKeys, spellings } from '../harness/data-keys.ts';
import { isOnPath } from '../harness/programs.ts';
import { freePort, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));
let files = 0;
function file(content: unknown): string {
  const path = join(scratch, `file-${++files}.json`);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

const ROLE = 'arn:aws:iam::111122223333:role/mastering';
const iv = randomBytes(16);
const manifest = (keyId: string, context: object, encryptedKey: Uint8Array, mode: MasterMode = 'cbc') =>
  file({
    format: 'portcullis-master/1',
    mode,
    keyBits: 256,
    ...(mode === 'framed' ? {} : { iv: iv.toString('base64') }),
    plaintextBytes: 100,
    ciphertextBytes: ciphertextLength(mode, 100),
    plaintextSha256: 'a'.repeat(64),
    ciphertextSha256: 'b'.repeat(64),
    ...(mode === 'cbc' ? { mac: randomBytes(32).toString('base64') } : {}),
    createdAt: 1_760_000_000,
    recipients: [{ type: 'kms', keyId, context, encryptedKey: Buffer.from(encryptedKey).toString('base64') }],
    signatures: [{ algorithm: 'HS256', value: randomBytes(32).toString('base64') }],
  });
const PLACES = ['--input', 's3://masters/in.enc', '--output', 's3://renditions/aurora/'];

function expectNoKey(key: Uint8Array, ...outputs: string[]): void {
  for (const spelling of spellings(key)) for (const output of outputs) expect(output).not.toContain(spelling);
}

describe('master job --service mediaconvert', async () => {
  const { plaintext, encrypted } = await awsLikeDataKeys().generate(AWS_KEY, 256, SERVICE_CONTEXTS.mediaconvert);
  const base = ['master', 'job', '--service', 'mediaconvert', ...PLACES, '--role', ROLE];
  const master = manifest(AWS_KEY, SERVICE_CONTEXTS.mediaconvert, encrypted);

  test('writes request, policy and crossings', async () => {
    const { code, stdout, stderr } = await portcullis(...base, '--manifest', master, '--json');
    expect([code, stderr]).toEqual([0, '']);
    const job = JSON.parse(stdout);
    expect(job.request.Settings.Inputs[0].DecryptionSettings.DecryptionMode).toBe('AES_CBC');
    expect(job.policy.Statement).toHaveLength(3);
    expect(job.crossings.map(({ service }: { service: string }) => service)).toEqual(['mediaconvert', 's3']);
    expectNoKey(plaintext, stdout);
  });

  test('says in words what leaves the boundary, and what is left to do', async () => {
    const { stdout } = await portcullis(...base, '--manifest', master, '--cmaf', '--static-key-url', 'keys/1.key');
    expect(stdout).toMatch(/^leaves the attested boundary to mediaconvert \(Inputs\[0\]\.DecryptionSettings\)/m);
    expect(stdout).toMatch(/^to do: put the content key into StaticKeyValue/m);
    expectNoKey(plaintext, stdout);
  });

  test.each<[string, string[], RegExp]>([
    ['another context', ['--manifest', manifest(AWS_KEY, { service: 'x' }, encrypted)], /portcullis master rewrap/],
    ['a framed master', ['--manifest', manifest(AWS_KEY, {}, encrypted, 'framed')], /--mode gcm/],
    ['no manifest', [], /needs --service, --manifest/],
    ['a manifest that is not there', ['--manifest', join(scratch, 'none')], /ENOENT/],
    ['half of SPEKE', ['--manifest', master, '--speke-url', 'https://x'], /--speke-resource/],
    ['a method without keys', ['--manifest', master, '--encryption', 'AES128'], /--static-key-url/],
    [
      'an option of the other service',
      ['--manifest', master, '--output-encryption', 's3'],
      /--output-encryption means nothing/,
    ],
  ])('%s is one line and exit code 2', async (_, options, message) => {
    const { code, stdout, stderr } = await portcullis(...base, ...options);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expectNoKey(plaintext, stderr);
  });
});

const hasFfmpeg = isOnPath('ffmpeg');
describe.skipIf(!hasFfmpeg)(hasFfmpeg ? 'master job run' : 'master job run (needs ffmpeg)', () => {
  const data = join(scratch, 'data');
  const buckets = join(scratch, 'buckets');
  const kms = new EmbeddedKms({ keystore: join(data, 'kms', 'keystore.json') });
  const context = SERVICE_CONTEXTS.elastictranscoder;
  const title = join(scratch, 'title.mp4');
  let master: string;
  let dataKey: Uint8Array;

  beforeAll(async () => {
    mkdirSync(join(data, 'kms'), { recursive: true });
    for (const name of ['masters', 'renditions']) mkdirSync(join(buckets, name), { recursive: true });
    const { arn } = await kms.createKey();
    const { plaintext, encrypted } = await kms.generate(arn, 192, context);
    dataKey = plaintext;
    master = manifest(arn, context, encrypted);
    const source = 'ffmpeg -v error -f lavfi -i testsrc=size=64x48:rate=10 -t 2 -c:v libx264 -movflags faststart';
    const [program = '', ...args] = source.split(' ');
    execFileSync(program, [...args, title]);
    const enc = ['enc', '-aes-192-cbc', '-K', Buffer.from(plaintext).toString('hex'), '-iv', iv.toString('hex')];
    execFileSync('openssl', [...enc, '-in', title, '-out', join(buckets, 'masters', 'in.enc')]);
  });

  test('runs the job that master job wrote, from an encrypted master to encrypted renditions', async () => {
    const options = [
      '--preset',
      '1351620000001-200010',
      '1351620000001-000010',
      '--output-encryption',
      'aes-ctr',
      '--json',
    ];
    const written = await portcullis(
      'master',
      'job',
      '--service',
      'elastictranscoder',
      '--manifest',
      master,
      ...PLACES,
      ...options,
    );
    expect(written.code).toBe(0);
    const job = file(JSON.parse(written.stdout));
    const run = await portcullis('master', 'job', 'run', job, '--buckets', buckets, '--copy', '--data', data, '--json');
    expect(run.stderr).toMatch(/no tag/);
    expect(run.code).toBe(0);
    const { job: complete, outputs, crossings } = JSON.parse(run.stdout);
    expect(outputs.map(({ key }: { key: string }) => key)).toEqual(['aurora/output-1.ts', 'aurora/output-2.mp4']);
    expect(crossings).toEqual([]);
    for (const { Key, Encryption } of complete.Outputs) {
      const { plaintext } = await kms.decrypt(Buffer.from(Encryption.Key, 'base64'), context);
      const ivHex = Buffer.from(Encryption.InitializationVector, 'base64').toString('hex');
      const enc = ['enc', '-d', '-aes-256-ctr', '-K', Buffer.from(plaintext).toString('hex'), '-iv', ivHex];
      const clear = execFileSync('openssl', enc, { input: readFileSync(join(buckets, 'renditions', 'aurora', Key)) });
      const md5 = (args: string[], input?: Buffer) =>
        execFileSync('ffmpeg', ['-v', 'error', ...args, '-f', 'md5', '-'], { input: input ?? '' }).toString();
      expect(md5(['-i', 'pipe:0'], clear)).toBe(md5(['-i', title]));
      expectNoKey(plaintext, run.stdout, run.stderr);
    }
    expectNoKey(dataKey, written.stdout, run.stdout, run.stderr, readFileSync(job, 'utf8'));
  });

  test('encodes each output as its preset says', async () => {
    const outputs = ['1351620000001-200050', '1351620000001-100110'].map((PresetId, i) => ({ Key: `e${i}`, PresetId }));
    const job = file({
      Job: { Input: { Key: 'clear.mp4' }, Outputs: outputs },
      Pipeline: { InputBucket: 'masters', OutputBucket: 'renditions' },
    });
    const source = ['-f', 'lavfi', '-i', 'testsrc=size=640x360:rate=10', '-f', 'lavfi', '-i', 'sine'];
    execFileSync('ffmpeg', ['-v', 'error', ...source, '-t', '1', join(buckets, 'masters', 'clear.mp4')]);
    const run = await portcullis('master', 'job', 'run', job, '--buckets', buckets, '--data', data);
    expect([run.code, run.stdout]).toEqual([0, expect.stringMatching(/^s3:\/\/renditions\/e0: \d+ bytes$/m)]);
    const codecs = outputs.map(({ Key }) => {
      const entries = ['-v', 'error', '-show_entries', 'stream=codec_name,width,height', '-of', 'csv=p=0'];
      return execFileSync('ffprobe', [...entries, join(buckets, 'renditions', Key)])
        .toString()
        .trim()
        .split(/\s+/);
    });
    expect(codecs).toEqual([expect.arrayContaining(['h264,400,224', 'aac']), ['aac']]);
  });

  test('is refused for a preset that is not known, and where a folder would have to encrypt', async () => {
    const outputs = (encryption: object) => [{ Key: 'c.ts', PresetId: 'x', Encryption: encryption }];
    const job = (encryption: object) =>
      file({
        Job: { Input: { Key: 'in.enc' }, Outputs: outputs(encryption) },
        Pipeline: { InputBucket: 'masters', OutputBucket: 'renditions' },
      });
    const run = (...more: string[]) =>
      portcullis('master', 'job', 'run', ...more, '--buckets', buckets, '--data', data);
    const unknown = await run(job({ Mode: 's3' }));
    expect(unknown).toMatchObject({ code: 2, stderr: expect.stringMatching(/1351620000001-000010 .*--copy/) });
    const clear = await run(job({ Mode: 's3' }), '--copy');
    expect(clear).toMatchObject({ code: 2, stderr: expect.stringMatching(/a folder cannot encrypt/) });
  });
});

const hasMoto = isOnPath('moto_server');
describe.skipIf(!hasMoto)(hasMoto ? 'master migrate' : 'master migrate (needs moto_server)', () => {
  let moto: ChildProcess;
  let keyId: string;
  let encrypted: Uint8Array;
  let plaintext: Uint8Array;
  const config = file({ mastering: { kms: { provider: 'aws', region: 'eu-central-1' } } });
  const keys = () => awsDataKeys(kmsClient('eu-central-1'));

  beforeAll(async () => {
    const port = await freePort();
    moto = spawn('moto_server', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    const endpoint = `http://127.0.0.1:${port}`;
    vi.stubEnv('AWS_ENDPOINT_URL_KMS', endpoint);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    vi.stubEnv('AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED', 'true');
    await vi.waitFor(() => fetch(`${endpoint}/moto-api/`), { timeout: 40_000, interval: 200 });
    const created = await kmsClient('eu-central-1').send(new CreateKeyCommand({}));
    keyId = created.KeyMetadata?.Arn ?? '';
    ({ encrypted, plaintext } = await keys().generate(keyId, 128, SERVICE_CONTEXTS.elastictranscoder));
  }, 60_000);
  afterAll(() => {
    vi.unstubAllEnvs();
    moto.kill();
  });

  const job = (preset: string) =>
    file({
      Job: {
        Input: { Key: 'in.enc', Encryption: transcoderEncryption('gcm', encrypted, iv) },
        Outputs: [
          { Key: 'a.mp4', PresetId: '1351620000001-000010', Encryption: { Mode: 's3' } },
          { Key: 'b.mp4', PresetId: preset, Encryption: { Mode: 's3' } },
        ],
      },
      Pipeline: { InputBucket: 'masters', OutputBucket: 'renditions' },
    });
  const signed = (dataKey: Uint8Array) =>
    file(
      signManifest(
        {
          format: 'portcullis-master/1',
          mode: 'gcm',
          keyBits: 128,
          iv: iv.toString('base64'),
          plaintextBytes: 100,
          ciphertextBytes: 116,
          plaintextSha256: 'a'.repeat(64),
          ciphertextSha256: 'b'.repeat(64),
          createdAt: 1_760_000_000,
          recipients: [],
        },
        dataKey,
      ),
    );
  const run = (...more: string[]) =>
    portcullis('master', 'migrate', ...more, '--kms-key', keyId, '--role', ROLE, '--config', config);

  test('has KMS put the key into the new context, once it was held to the manifest', async () => {
    const manifests = ['--manifest', signed(plaintext)];
    const { code, stdout, stderr } = await run(job('own'), ...manifests, '--preset', 'own=web-720p', '--json');
    expect([code, stderr]).toEqual([0, '']);
    const { request, unmapped } = JSON.parse(stdout);
    expect(unmapped).toEqual([]);
    const { EncryptedDecryptionKey: key } = request.Settings.Inputs[0].DecryptionSettings;
    const decrypted = await keys().decrypt(Buffer.from(key, 'base64'), SERVICE_CONTEXTS.mediaconvert);
    expect(Buffer.from(decrypted.plaintext).equals(plaintext)).toBe(true);
    expectNoKey(plaintext, stdout);
  });

  test('moves no key without a manifest, or with that of another master', async () => {
    const bare = await run(job('own'));
    expect([bare.code, bare.stdout]).toEqual([2, '']);
    expect(bare.stderr).toMatch(/--manifest.*--unauthenticated/);
    const other = await run(job('own'), '--manifest', signed(randomBytes(16)));
    expect([other.code, other.stdout]).toEqual([2, '']);
    expect(other.stderr).toMatch(/data key of another master/);
    expectNoKey(plaintext, bare.stderr, other.stderr);
  });

  test('exits with 1 and says what was not migrated', async () => {
    const { code, stdout } = await run(job('own'), '--unauthenticated');
    expect(code).toBe(1);
    expect(stdout).toMatch(/^not migrated: Outputs\[1\]\.PresetId: .*--preset own=/m);
    expect(stdout).toMatch(/^leaves the attested boundary to mediaconvert/m);
    expectNoKey(plaintext, stdout);
  });
});
