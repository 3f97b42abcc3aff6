import { execFileSync, spawnSync } from 'node:child_process';
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { EmbeddedKms } from '../../../../enclave-render/kms/embedded.ts';
import { SERVICE_CONTEXTS } from '../../../../enclave-render/mastering/contexts.ts';
import {
  readTranscoderJob,
  TRANSCODER_MODES,
  type TranscoderEncryption,
  transcoderEncryption,
} from '../../../../enclave-render/mastering/jobs/elastic-transcoder.ts';
import { type JobSurroundings, runTranscoderJob } from '../../../../enclave-render/mastering/jobs/run-job.ts';
import type { ServiceMode } from '../../../../enclave-render/mastering/jobs/service-keys.ts';
import { fileObjectStore } from '../../../../enclave-render/storage/files.ts';
import type { ObjectEncryption, ObjectStore } from '../../../../enclave-render/storage/object-store.ts';
import { spellings } from '../../../harness/data-keys.ts';
import { probe } from '../../../harness/media.ts';
import { isOnPath, LONG } from '../../../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));
const keys = new EmbeddedKms({ keystore: join(scratch, 'keystore.json') });
const { arn: KMS_KEY } = await keys.createKey();
const context = SERVICE_CONTEXTS.elastictranscoder;
const hasFfmpeg = isOnPath('ffmpeg');

/** A bucket in a folder, which takes any encryption at rest and remembers it, as S3 would. */
function folderBucket(folder: string, atRest: Map<string, ObjectEncryption | undefined>): ObjectStore {
  const store = fileObjectStore(folder);
  return {
    ...store,
    async put(key, source, { encryption, ...options } = {}) {
      const info = await store.put(key, source, options);
      atRest.set(key, encryption);
      return info;
    },
  };
}

let runs = 0;
/** Buckets with an input in them. */
function buckets(input: Uint8Array) {
  const root = join(scratch, `run-${++runs}`);
  mkdirSync(join(root, 'masters'), { recursive: true });
  mkdirSync(join(root, 'renditions'), { recursive: true });
  writeFileSync(join(root, 'masters', 'in.enc'), input);
  const atRest = new Map<string, ObjectEncryption | undefined>();
  const surroundings: JobSurroundings = {
    keys,
    bucket: (name) => folderBucket(join(root, name), atRest),
    copy: true,
  };
  const outputs = () =>
    readdirSync(join(root, 'renditions'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return { surroundings, root, atRest, outputs, read: (key: string) => readFileSync(join(root, 'renditions', key)) };
}

function encrypt(mode: ServiceMode, key: Uint8Array, iv: Uint8Array, plaintext: Uint8Array): Buffer {
  if (mode === 'gcm') {
    const cipher = createCipheriv(`aes-${key.length * 8}-gcm` as 'aes-256-gcm', key, iv);
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }
  const [keyHex, ivHex] = [key, iv].map((bytes) => Buffer.from(bytes).toString('hex'));
  const args = ['enc', `-aes-${key.length * 8}-${mode}`, '-K', `${keyHex}`, '-iv', `${ivHex}`];
  return execFileSync('openssl', args, { input: plaintext, maxBuffer: 1 << 26 });
}

function decrypt(mode: ServiceMode, key: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array): Buffer {
  if (mode === 'gcm') {
    const decipher = createDecipheriv(`aes-${key.length * 8}-gcm` as 'aes-256-gcm', key, iv, { authTagLength: 16 });
    decipher.setAuthTag(ciphertext.subarray(-16));
    return Buffer.concat([decipher.update(ciphertext.subarray(0, -16)), decipher.final()]);
  }
  const [keyHex, ivHex] = [key, iv].map((bytes) => Buffer.from(bytes).toString('hex'));
  const args = ['enc', '-d', `-aes-${key.length * 8}-${mode}`, '-K', `${keyHex}`, '-iv', `${ivHex}`];
  return execFileSync('openssl', args, { input: ciphertext, maxBuffer: 1 << 26 });
}

const PIPELINE = { InputBucket: 'masters', OutputBucket: 'renditions', AwsKmsKeyArn: KMS_KEY };
const jobOf = (input: TranscoderEncryption | undefined, outputs: object[], more: object = {}) =>
  readTranscoderJob({
    Job: {
      Inputs: [{ Key: 'in.enc', ...(input && { Encryption: input }) }],
      Outputs: outputs,
      OutputKeyPrefix: 'aurora/',
      ...more,
    },
    Pipeline: PIPELINE,
  });

async function wrapped(mode: ServiceMode, key: Uint8Array, iv: Uint8Array): Promise<TranscoderEncryption> {
  return transcoderEncryption(mode, (await keys.encrypt(KMS_KEY, key, context)).encrypted, iv);
}

async function opened({ Key, InitializationVector }: TranscoderEncryption) {
  const { plaintext } = await keys.decrypt(Buffer.from(Key, 'base64'), context);
  return { key: plaintext, iv: Buffer.from(InitializationVector, 'base64') };
}

/** Digest of the packets of a file, whatever container they are in: of video as it is decoded, since TS has another form of AVC. */
function frames(file: Uint8Array): string {
  const path = join(scratch, 'frames');
  writeFileSync(path, file);
  const { stdout } = spawnSync('ffmpeg', ['-v', 'error', '-i', path, '-map', '0:v', '-f', 'md5', '-']);
  return stdout.toString();
}

const ENCODE = 'ffmpeg -v error -f lavfi -i testsrc=size=64x48:rate=10 -f lavfi -i sine=frequency=440';
const encoded = (name: string, ...more: string[]): Buffer => {
  const path = join(scratch, name);
  const [program = '', ...args] = ENCODE.split(' ');
  execFileSync(program, [
    ...args,
    ...more,
    ...'-t 2 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac'.split(' '),
    path,
  ]);
  return readFileSync(path);
};

describe.skipIf(!hasFfmpeg)(hasFfmpeg ? 'a job that is run' : 'a job that is run (needs ffmpeg)', () => {
  const title = hasFfmpeg ? encoded('title.mp4', '-movflags', 'faststart') : Buffer.alloc(0);
  const moovLast = hasFfmpeg
    ? encoded('moov-last.mp4', '-vf', 'scale=640:360,noise=alls=50', '-crf', '1', '-g', '5')
    : Buffer.alloc(0);
  const titleFrames = hasFfmpeg ? frames(title) : '';

  // The input of 192 bits of another test does for every day.
  for (const bits of LONG ? [128, 192, 256] : [128, 256]) {
    // What S3 encrypts has no key of ours, and so no length.
    const modes = Object.entries(TRANSCODER_MODES).filter(([, { by }]) => by === 'client' || bits === 256);
    test.each(modes)(`input and outputs in mode %s, ${bits} bits`, async (Mode, row) => {
      const [key, iv] = [randomBytes(bits / 8), randomBytes(16)];
      const isClient = row.by === 'client';
      const input = isClient ? await wrapped(row.mode, key, iv) : undefined;
      const { surroundings, read, atRest } = buckets(isClient ? encrypt(row.mode, key, iv, title) : title);
      const own = isClient ? await wrapped(row.mode, key, randomBytes(16)) : { Mode };
      const run = await runTranscoderJob(
        jobOf(input, [
          { Key: 'a.mp4', PresetId: 'x', Encryption: own },
          { Key: 'sub/b.ts', PresetId: 'x', Encryption: { Mode } },
        ]),
        surroundings,
      );
      expect(run.outputs.map(({ key: name }) => name)).toEqual(['aurora/a.mp4', 'aurora/sub/b.ts']);
      expect(run.inputAuthenticated).toBe(Mode === 'aes-gcm');
      const made = run.job.Outputs as { Key: string; Encryption: TranscoderEncryption }[];
      for (const { Key: name, Encryption } of made) {
        const stored = read(`aurora/${name}`);
        if (!isClient) {
          expect(frames(stored)).toBe(titleFrames);
          expect(atRest.get(`aurora/${name}`)).toEqual(
            Mode === 's3' ? { type: 'SSE-S3' } : { type: 'SSE-KMS', keyId: KMS_KEY },
          );
          continue;
        }
        const { key: outputKey, iv: outputIv } = await opened(Encryption);
        expect(frames(decrypt(row.mode, outputKey, outputIv, stored))).toBe(titleFrames);
        expect(Encryption.KeyMd5).toBe(
          createHash('md5').update(Buffer.from(Encryption.Key, 'base64')).digest('base64'),
        );
        // Of every answer the keys, in any spelling.
        for (const spelling of [...spellings(outputKey), ...spellings(key)])
          expect(JSON.stringify(run)).not.toContain(spelling);
      }
      expect(run.crossings.map(({ service }) => service)).toEqual(isClient ? [] : ['s3', 's3']);
    });
  }

  test('accepts the MD5 of the data key as well', async () => {
    const [key, iv] = [randomBytes(16), randomBytes(16)];
    const input = { ...(await wrapped('cbc', key, iv)), KeyMd5: createHash('md5').update(key).digest('base64') };
    const { surroundings } = buckets(encrypt('cbc', key, iv, title));
    await runTranscoderJob(jobOf(input, [{ Key: 'a.ts', PresetId: 'x' }]), surroundings);
  });

  test.each<[string, ServiceMode, string, (file: Buffer) => Uint8Array]>([
    ['a GCM input with one bit changed', 'gcm', 'INPUT', (file) => flipped(file, file.length - 500)],
    ['a GCM input without its tag', 'gcm', 'INPUT', (file) => file.subarray(0, -16)],
    ['an empty GCM input', 'gcm', 'INPUT', () => Buffer.alloc(0)],
    ['a CBC input that is cut short', 'cbc', 'INPUT', (file) => file.subarray(0, -5)],
    ['a CTR input under another key', 'ctr', 'TRANSCODE', (file) => randomBytes(file.length)],
  ])('refuses %s, and leaves nothing', async (_, mode, code, alter) => {
    const [key, iv] = [randomBytes(32), randomBytes(16)];
    const { surroundings, outputs } = buckets(alter(encrypt(mode, key, iv, title)));
    const run = runTranscoderJob(jobOf(await wrapped(mode, key, iv), [{ Key: 'a.ts', PresetId: 'x' }]), surroundings);
    await expect(run).rejects.toMatchObject({ code: `ERR_MASTER_JOB_${code}` });
    expect(outputs()).toEqual([]);
  });

  test.each([
    ['at the end', 0],
    // ffmpeg has all that it wants long before, and closes its input.
    ['behind more than it reads', 4 << 20],
  ])('refuses a GCM input that is changed after its verification %s', async (_, zeroes) => {
    const [key, iv] = [randomBytes(32), randomBytes(16)];
    const good = encrypt('gcm', key, iv, Buffer.concat([title, Buffer.alloc(zeroes)]));
    const { surroundings, outputs } = buckets(good);
    let reads = 0;
    const bucket: JobSurroundings['bucket'] = (name) => {
      const store = surroundings.bucket(name);
      const pieces = function* (file: Buffer) {
        for (let at = 0; at < file.length; at += 1 << 16) yield file.subarray(at, at + (1 << 16));
      };
      const body = () => Readable.from(pieces(++reads === 1 ? good : flipped(good, good.length - 500)));
      return { ...store, get: async (object) => ({ info: await store.head(object), body: body() }) };
    };
    const job = jobOf(await wrapped('gcm', key, iv), [{ Key: 'a.mp4', PresetId: 'x' }]);
    await expect(runTranscoderJob(job, { ...surroundings, bucket })).rejects.toMatchObject({
      code: 'ERR_MASTER_JOB_INPUT',
    });
    expect([reads, outputs()]).toEqual([2, []]);
  });

  test('an input with more behind its end than ffmpeg reads makes its output', async () => {
    const { surroundings, read } = buckets(Buffer.concat([title, Buffer.alloc(4 << 20)]));
    await runTranscoderJob(jobOf(undefined, [{ Key: 'a.mp4', PresetId: 'x' }]), surroundings);
    expect(frames(read('aurora/a.mp4'))).toBe(titleFrames);
  });

  test.each([
    ['subtitle', ['-i', join(scratch, 'hi.srt'), '-c:s', 'mov_text']],
    ['data', ['-timecode', '00:00:00:00']],
  ])('refuses an input with a %s track, which no output would have', async (type, more) => {
    writeFileSync(join(scratch, 'hi.srt'), '1\n00:00:00,000 --> 00:00:01,000\nhi\n');
    const { surroundings, outputs } = buckets(encoded(`${type}.mp4`, ...more, '-movflags', 'faststart'));
    for (const Key of ['a.ts', 'a.mp4']) {
      const run = runTranscoderJob(jobOf(undefined, [{ Key, PresetId: 'x' }]), surroundings);
      await expect(run).rejects.toMatchObject({
        code: 'ERR_MASTER_JOB_TRACK',
        message: expect.stringContaining(`a ${type} track`),
      });
    }
    expect(outputs()).toEqual([]);
  });

  test('an output that fails takes those before it along', async () => {
    const { surroundings, outputs } = buckets(title);
    const job = jobOf(undefined, [
      { Key: 'a.ts', PresetId: 'x' },
      // Of a name that the store does not take.
      { Key: 'b/../c.ts', PresetId: 'x' },
    ]);
    await expect(runTranscoderJob(job, surroundings)).rejects.toMatchObject({ code: 'ERR_STORAGE_INVALID' });
    expect(outputs()).toEqual([]);
  });

  test('an output that is there already stays as it is', async () => {
    const { surroundings, read } = buckets(title);
    const job = jobOf(undefined, [{ Key: 'a.ts', PresetId: 'x' }]);
    await runTranscoderJob(job, surroundings);
    const before = read('aurora/a.ts');
    await expect(runTranscoderJob(job, surroundings)).rejects.toMatchObject({ code: 'ERR_STORAGE_EXISTS' });
    expect(read('aurora/a.ts').equals(before)).toBe(true);
  });

  test.each(['gcm', 'ctr', 'cbc'] as const)(
    'an MP4 of several mebibytes with its moov at the end, in %s',
    async (mode) => {
      expect(moovLast.length).toBeGreaterThan(2 << 20);
      const [key, iv] = [randomBytes(24), randomBytes(16)];
      const { surroundings, read } = buckets(encrypt(mode, key, iv, moovLast));
      await runTranscoderJob(jobOf(await wrapped(mode, key, iv), [{ Key: 'a.ts', PresetId: 'x' }]), surroundings);
      expect(frames(read('aurora/a.ts'))).toBe(frames(moovLast));
    },
  );

  test('encodes as the presets say, each output under a key of its own, and writes nothing in clear', async () => {
    const [key, iv] = [randomBytes(16), randomBytes(16)];
    const { surroundings, root, read } = buckets(encrypt('cbc', key, iv, moovLast));
    const clear = [moovLast.subarray(100, 132), Buffer.from('ftyp'), Buffer.from('libx264'), Buffer.from('Lavf')];
    const seen: string[] = [];
    const watcher = setInterval(() => {
      for (const folder of [root, tmpdir()]) {
        for (const name of readdirSync(folder, { recursive: folder === root }).map(String)) {
          const path = join(folder, name);
          if (folder !== root && !name.startsWith('portcullis-transcoded')) continue;
          if (!statSync(path, { throwIfNoEntry: false })?.isFile()) continue;
          const bytes = readFileSync(path);
          if (clear.some((piece) => bytes.includes(piece))) seen.push(path);
        }
      }
    }, 20);
    const job = jobOf(await wrapped('cbc', key, iv), [
      { Key: 'a.ts', PresetId: '1351620000001-200050', Encryption: { Mode: 'aes-ctr' } },
      { Key: 'b.mp4', PresetId: '1351620000001-000050', Encryption: { Mode: 'aes-gcm' } },
      { Key: 'c.mp4', PresetId: '1351620000001-100141', Encryption: { Mode: 'aes-cbc-pkcs7' } },
    ]);
    const run = await runTranscoderJob(job, { ...surroundings, copy: false });
    clearInterval(watcher);
    expect([seen, run.crossings]).toEqual([[], []]);
    const made = run.job.Outputs as { Key: string; Encryption: TranscoderEncryption }[];
    const modes = ['ctr', 'gcm', 'cbc'] as const;
    const used = new Set<string>();
    for (const [i, { Key: name, Encryption }] of made.entries()) {
      const own = await opened(Encryption);
      used.add(Buffer.from(own.key).toString('hex'));
      const output = decrypt(modes[i] as ServiceMode, own.key, own.iv, read(`aurora/${name}`));
      const path = join(root, name);
      writeFileSync(path, output);
      const entries = (await probe(path, 'stream=codec_name,width')).streams ?? [];
      const widths = [[400, undefined], [480, undefined], [undefined]][i];
      expect(entries.map(({ width }) => width)).toEqual(widths);
    }
    expect(used.size).toBe(3);
  });

  test('refuses a preset that it does not know before any key is asked for', async () => {
    const { surroundings, outputs } = buckets(title);
    const decrypt = () => expect.unreachable('a key was asked for');
    const run = runTranscoderJob(
      jobOf(await wrapped('ctr', randomBytes(16), randomBytes(16)), [
        { Key: 'a.ts', PresetId: '1351620000001-100250' },
      ]),
      { ...surroundings, copy: false, keys: { ...surroundings.keys, decrypt } },
    );
    await expect(run).rejects.toMatchObject({
      code: 'ERR_MASTER_JOB_PRESET',
      message: expect.stringContaining('1351620000001-200010'),
    });
    expect(outputs()).toEqual([]);
  });

  test('a playlist for an input opens no file', async () => {
    const path = join(scratch, 'secret.ts');
    execFileSync('ffmpeg', ['-v', 'error', '-y', '-i', join(scratch, 'title.mp4'), '-c', 'copy', path]);
    const lists = [
      `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://${path}\n#EXT-X-ENDLIST\n`,
      `ffconcat version 1.0\nfile '${path}'\n`,
    ];
    for (const list of lists) {
      const { surroundings, outputs } = buckets(Buffer.from(list));
      const run = runTranscoderJob(jobOf(undefined, [{ Key: 'a.ts', PresetId: 'x' }]), surroundings);
      await expect(run).rejects.toMatchObject({ code: 'ERR_MASTER_JOB_TRANSCODE' });
      expect(outputs()).toEqual([]);
    }
  });
});

describe('a job that is not run', () => {
  test.each<[string, string, () => Promise<ReturnType<typeof jobOf>>]>([
    [
      'whose data key is base64 text',
      'ERR_MASTER_JOB_KEY_TEXT',
      async () =>
        jobOf(await wrapped('cbc', Buffer.from(randomBytes(16).toString('base64')), randomBytes(16)), [
          { Key: 'a.ts', PresetId: 'x' },
        ]),
    ],
    [
      'with a KeyMd5 of something else',
      'ERR_MASTER_JOB_KEY_MD5',
      async () => {
        const input = await wrapped('cbc', randomBytes(16), randomBytes(16));
        return jobOf({ ...input, KeyMd5: createHash('md5').update('x').digest('base64') }, [
          { Key: 'a.ts', PresetId: 'x' },
        ]);
      },
    ],
    [
      'with a key in the context of MediaConvert',
      'ERR_KMS_INVALID_CIPHERTEXT',
      async () => {
        const { encrypted } = await keys.generate(KMS_KEY, 128, SERVICE_CONTEXTS.mediaconvert);
        return jobOf(transcoderEncryption('cbc', encrypted, randomBytes(16)), [{ Key: 'a.ts', PresetId: 'x' }]);
      },
    ],
    [
      'that encrypts an output under key and IV of the input, which KMS encrypted twice',
      'ERR_MASTER_JOB_IV_REUSED',
      async () => {
        const [key, iv] = [randomBytes(16), randomBytes(16)];
        return jobOf(await wrapped('ctr', key, iv), [
          { Key: 'a.ts', PresetId: 'x', Encryption: await wrapped('ctr', key, iv) },
        ]);
      },
    ],
    ...[Buffer.from('1'.padStart(32, '0'), 'hex'), Buffer.from(`${'f'.repeat(16)}${'0'.repeat(15)}1`, 'hex')].map(
      (near): [string, string, () => Promise<ReturnType<typeof jobOf>>] => [
        `that counts in ctr from 0 and from ${near.toString('hex')} under one key`,
        'ERR_MASTER_JOB_IV_REUSED',
        async () => {
          const key = randomBytes(16);
          return jobOf(undefined, [
            { Key: 'a.ts', PresetId: 'x', Encryption: await wrapped('ctr', key, Buffer.alloc(16)) },
            { Key: 'b.ts', PresetId: 'x', Encryption: await wrapped('ctr', key, near) },
          ]);
        },
      ],
    ),
    [
      'with watermarks',
      'ERR_MASTER_JOB_NOT_RUN',
      async () => jobOf(undefined, [{ Key: 'a.ts', PresetId: 'x', Watermarks: [{ InputKey: 'logo.png' }] }]),
    ],
    [
      'with a playlist',
      'ERR_MASTER_JOB_NOT_RUN',
      async () =>
        jobOf(undefined, [{ Key: 'a.ts', PresetId: 'x' }], {
          Playlists: [{ Name: 'm', Format: 'HLSv3', OutputKeys: ['a'] }],
        }),
    ],
    [
      'with two inputs',
      'ERR_MASTER_JOB_NOT_RUN',
      async () =>
        jobOf(undefined, [{ Key: 'a.ts', PresetId: 'x' }], { Inputs: [{ Key: 'in.enc' }, { Key: 'in.enc' }] }),
    ],
  ])('%s: %s', async (_, code, job) => {
    const { surroundings, outputs } = buckets(randomBytes(64));
    await expect(runTranscoderJob(await job(), surroundings)).rejects.toMatchObject({
      code,
    });
    expect(outputs()).toEqual([]);
  });

  test('needs a KMS key for keys that it is to make', async () => {
    const { surroundings } = buckets(randomBytes(64));
    const { AwsKmsKeyArn: _, ...pipeline } = PIPELINE;
    const job = readTranscoderJob({
      Job: { Input: { Key: 'in.enc' }, Output: { Key: 'a.ts', PresetId: 'x', Encryption: { Mode: 'aes-gcm' } } },
      Pipeline: pipeline,
    });
    await expect(runTranscoderJob(job, surroundings)).rejects.toMatchObject({ code: 'ERR_MASTER_JOB_KMS_KEY' });
  });
});

function flipped(file: Buffer, at: number): Buffer {
  const copy = Buffer.from(file);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
