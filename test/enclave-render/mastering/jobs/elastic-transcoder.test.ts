import { createHash, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { SERVICE_CONTEXTS } from '../../../../enclave-render/mastering/contexts.ts';
import {
  checkDataKey,
  checkKeyMd5,
  readTranscoderJob,
  TRANSCODER_MODES,
  transcoderEncryption,
  transcoderJob,
} from '../../../../enclave-render/mastering/jobs/elastic-transcoder.ts';
import { unhandledFields } from '../../../../enclave-render/mastering/jobs/fields.ts';
import { MasterJobError } from '../../../../enclave-render/mastering/jobs/job-error.ts';
import type { MasterManifest } from '../../../../enclave-render/mastering/manifest.ts';
import { AWS_KEY, awsLikeDataKeys } from '../../../harness/data-keys.ts';

const keys = awsLikeDataKeys();
const { plaintext, encrypted } = await keys.generate(AWS_KEY, 128, SERVICE_CONTEXTS.elastictranscoder);
const dataKey = Buffer.from(plaintext);
const iv = randomBytes(16);
const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('base64');

/** An IV that the counter of another comes to with its second block; its last bytes may begin anew. */
const next = (from: Uint8Array) => {
  const count = (BigInt(`0x${Buffer.from(from).toString('hex')}`) + 1n) % (1n << 128n);
  return Buffer.from(count.toString(16).padStart(32, '0'), 'hex').toString('base64');
};

const CBC = transcoderEncryption('cbc', encrypted, iv);
const PROTECTION = {
  Method: 'aes-128',
  Key: CBC.Key,
  KeyMd5: CBC.KeyMd5,
  InitializationVector: CBC.InitializationVector,
  LicenseAcquisitionUrl: 'https://keys.example.com/1',
  KeyStoragePolicy: 'NoStore',
};
const OUTPUT = { Key: 'a.mp4', PresetId: '1351620000001-000010' };
const PIPELINE = { InputBucket: 'masters', OutputBucket: 'renditions', AwsKmsKeyArn: AWS_KEY };
const file = (job: object, pipeline: object = {}) => ({
  Job: { Inputs: [{ Key: 'in.enc', Encryption: CBC }], Outputs: [OUTPUT], ...job },
  Pipeline: { ...PIPELINE, ...pipeline },
});
const input = (encryption: object) => file({ Inputs: [{ Key: 'in.enc', Encryption: encryption }] });
const output = (encryption: object) => file({ Outputs: [{ ...OUTPUT, Encryption: encryption }] });
const playlist = (protection: object) =>
  file({
    Playlists: [
      {
        Name: 'master',
        Format: 'HLSv3',
        OutputKeys: ['a.mp4'],
        HlsContentProtection: { ...PROTECTION, ...protection },
      },
    ],
  });

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof MasterJobError) return error.code;
    throw error;
  }
  return 'no error';
};

describe('a job of Elastic Transcoder', () => {
  test('is read as CreateJob takes it and as ReadJob answers it', () => {
    const created = readTranscoderJob(file({}));
    expect(created.inputs[0]?.Encryption).toEqual(CBC);
    const answered = readTranscoderJob({
      Job: {
        Id: '1',
        Status: 'Complete',
        Input: { Key: 'in.enc', Encryption: CBC, FrameRate: 'auto', DetectedProperties: { Width: 1 } },
        Output: { ...OUTPUT, Id: '1', Status: 'Complete', Watermarks: [], Encryption: null, AlbumArt: null },
        Playlists: [],
        UserMetadata: {},
      },
      Pipeline: { ...PIPELINE, OutputBucket: null, ContentConfig: { Bucket: 'elsewhere', Permissions: [] } },
    });
    expect(answered.outputBucket).toBe('elsewhere');
    expect(unhandledFields(answered, 'run')).toEqual([]);
  });

  test('is read with the first input and output repeated in the singular, as ReadJob does', () => {
    const repeated = file({ Input: { Encryption: CBC, Key: 'in.enc' }, Output: OUTPUT });
    expect(readTranscoderJob(repeated).outputs).toEqual([OUTPUT]);
  });

  test.each(Object.keys(TRANSCODER_MODES))('is read with an output in mode %s', (Mode) => {
    expect(readTranscoderJob(output({ Mode })).outputs[0]?.Encryption?.Mode).toBe(Mode);
  });

  test('may have one key for files whose counters never meet', () => {
    const far = Buffer.from(iv);
    far[0] = (far[0] ?? 0) ^ 0x40;
    const encryption = { ...CBC, Mode: 'aes-ctr' };
    const other = { ...encryption, InitializationVector: far.toString('base64') };
    const job = readTranscoderJob(
      file({ Inputs: [{ Key: 'in', Encryption: encryption }], Outputs: [{ ...OUTPUT, Encryption: other }] }),
    );
    expect(job.outputs).toHaveLength(1);
  });

  test('names every field that is not carried out, one unknown to us among them', () => {
    const job = readTranscoderJob(
      file(
        {
          Outputs: [{ ...OUTPUT, Rotate: '90', Watermarks: [{ InputKey: 'logo.png' }], Sparkle: true, toString: 'x' }],
          Inputs: [{ Key: 'in', Interlaced: 'true', TimeSpan: { StartTime: '5' } }],
        },
        { Notifications: { Completed: 'arn:aws:sns:us-east-1:111122223333:done', Error: '' } },
      ),
    );
    expect(unhandledFields(job, 'migrate').map(({ field }) => field)).toEqual([
      'Inputs[0].Interlaced',
      'Inputs[0].TimeSpan',
      'Outputs[0].Rotate',
      'Outputs[0].Watermarks',
      'Outputs[0].Sparkle',
      'Outputs[0].toString',
      'Pipeline.Notifications',
    ]);
  });

  test.each<[string, string, unknown]>([
    ['something else', 'INVALID', 'x'],
    ['null', 'INVALID', null],
    ['no pipeline', 'INVALID', { Job: {} }],
    ['no outputs', 'INVALID', file({ Outputs: [] })],
    ['an output without a preset', 'INVALID', file({ Outputs: [{ Key: 'a' }] })],
    ['no input', 'INVALID', file({ Inputs: [] })],
    ['an Input beside Inputs', 'INVALID', file({ Input: { Key: 'other.enc', Encryption: CBC } })],
    ['an Output beside Outputs', 'INVALID', file({ Output: { ...OUTPUT, Encryption: { Mode: 's3' } } })],
    ['an Output beside no Outputs', 'INVALID', file({ Output: OUTPUT, Outputs: [] })],
    ['no output bucket', 'INVALID', file({}, { OutputBucket: null })],
    ['a bucket that leads elsewhere', 'INVALID', file({}, { OutputBucket: '../..' })],
    ['an unknown mode', 'INVALID', input({ ...CBC, Mode: 'aes-ecb' })],
    ['a field of encryption that there is not', 'INVALID', input({ ...CBC, Kye: 'x' })],
    ['a key beside s3', 'INVALID', output({ ...CBC, Mode: 's3' })],
    ['a key beside s3-aws-kms', 'INVALID', output({ Mode: 's3-aws-kms', Key: CBC.Key })],
    ['an input without a key', 'KEY', input({ Mode: 'aes-ctr' })],
    ['an output with an IV alone', 'KEY', output({ Mode: 'aes-ctr', InitializationVector: CBC.InitializationVector })],
    ['the data key itself', 'KEY', input({ ...CBC, Key: dataKey.toString('base64') })],
    ['a key that is no base64', 'KEY', input({ ...CBC, Key: 'x y z' })],
    ['no KeyMd5', 'KEY_MD5', input({ ...CBC, KeyMd5: '' })],
    ['a hexadecimal KeyMd5', 'KEY_MD5', input({ ...CBC, KeyMd5: createHash('md5').update(encrypted).digest('hex') })],
    ['no IV', 'IV', input({ ...CBC, InitializationVector: '' })],
    [
      '12 bytes of IV',
      'IV',
      input({ ...CBC, Mode: 'aes-gcm', InitializationVector: randomBytes(12).toString('base64') }),
    ],
    ['key and IV of the input again', 'IV_REUSED', output(CBC)],
    [
      'two outputs under one key and IV',
      'IV_REUSED',
      file({
        Inputs: [{ Key: 'in' }],
        Outputs: [
          { ...OUTPUT, Encryption: CBC },
          { ...OUTPUT, Key: 'b', Encryption: { ...CBC, Mode: 'aes-ctr' } },
        ],
      }),
    ],
    [
      'an output in ctr whose counter comes to that of the input',
      'IV_REUSED',
      file({
        Inputs: [{ Key: 'in', Encryption: { ...CBC, Mode: 'aes-ctr' } }],
        Outputs: [{ ...OUTPUT, Encryption: { ...CBC, Mode: 'aes-ctr', InitializationVector: next(iv) } }],
      }),
    ],
    ['another method of protection', 'INVALID', playlist({ Method: 'aes-256' })],
    ['NoStore without a URL', 'PROTECTION', playlist({ LicenseAcquisitionUrl: '' })],
    ['NoStore with a relative URL', 'PROTECTION', playlist({ LicenseAcquisitionUrl: 'keys/1' })],
    ['NoStore with a control character', 'PROTECTION', playlist({ LicenseAcquisitionUrl: 'https://keys/1\0' })],
    ['WithVariantPlaylists with a URL', 'PROTECTION', playlist({ KeyStoragePolicy: 'WithVariantPlaylists' })],
    ['protection with an IV alone', 'KEY', playlist({ Key: '', KeyMd5: '' })],
    ['a content key itself', 'KEY', playlist({ Key: dataKey.toString('base64') })],
  ])('refuses %s: ERR_MASTER_JOB_%s', (_, code, job) => {
    expect(codeOf(() => readTranscoderJob(job))).toBe(`ERR_MASTER_JOB_${code}`);
  });

  test.each([
    ['a key of the service', { Key: '', KeyMd5: '', InitializationVector: '' }],
    ['a key stored with the playlists', { KeyStoragePolicy: 'WithVariantPlaylists', LicenseAcquisitionUrl: '' }],
    ['a key of ours', {}],
  ])('takes HLS content protection with %s', (_, protection) => {
    expect(readTranscoderJob(playlist(protection)).playlists).toHaveLength(1);
  });

  test('a refusal repeats no value of a key', () => {
    const key = dataKey.toString('base64');
    for (const job of [
      input({ ...CBC, Key: key }),
      input({ ...CBC, Key: { oops: key } }),
      input({ ...CBC, Mode: key }),
    ]) {
      expect(() => readTranscoderJob(job)).toThrow(expect.not.stringContaining(key));
    }
  });
});

describe('KeyMd5', () => {
  test('is made of the encrypted key, and accepted of either', () => {
    expect(CBC.KeyMd5).toBe(md5(encrypted));
    checkKeyMd5(md5(encrypted), encrypted, dataKey, 'Input');
    checkKeyMd5(md5(dataKey), encrypted, dataKey, 'Input');
  });

  test('of anything else is refused', () => {
    expect(codeOf(() => checkKeyMd5(md5(iv), encrypted, dataKey, 'Input'))).toBe('ERR_MASTER_JOB_KEY_MD5');
  });
});

describe('a data key', () => {
  test.each([
    ['base64 text of 16 bytes', randomBytes(16).toString('base64')],
    ['base64 text of 24 bytes', randomBytes(24).toString('base64')],
    ['hexadecimal text of 16 bytes', randomBytes(16).toString('hex')],
  ])('that is %s is refused', (_, text) => {
    expect(codeOf(() => checkDataKey(Buffer.from(text), 'Input'))).toBe('ERR_MASTER_JOB_KEY_TEXT');
  });

  test.each([16, 24, 32])('of %i random bytes is taken', (bytes) => checkDataKey(randomBytes(bytes), 'Input'));

  test.each([0, 15, 17, 44, 64])('of %i bytes is none', (bytes) => {
    expect(codeOf(() => checkDataKey(randomBytes(bytes), 'Input'))).toBe('ERR_MASTER_JOB_KEY');
  });
});

describe('a job for a master', () => {
  const manifest = {
    format: 'portcullis-master/1',
    mode: 'ctr',
    iv: iv.toString('base64'),
    recipients: [
      {
        type: 'kms',
        keyId: AWS_KEY,
        context: SERVICE_CONTEXTS.elastictranscoder,
        encryptedKey: Buffer.from(encrypted).toString('base64'),
      },
    ],
  } as unknown as MasterManifest;
  const options = {
    input: 's3://masters/in.enc',
    output: 's3://renditions/aurora/',
    presets: ['1351620000001-000010', '1351620000001-200010', 'my-own'],
    outputMode: 'aes-gcm',
  } as const;

  test('is one that can be read again', () => {
    const job = readTranscoderJob(transcoderJob(manifest, { ...options, presets: [...options.presets] }));
    expect(job.inputs).toEqual([{ Key: 'in.enc', Encryption: { ...CBC, Mode: 'aes-ctr' } }]);
    expect(job.outputs.map(({ Key }) => Key)).toEqual(['output-1.mp4', 'output-2.ts', 'output-3.mp4']);
    expect(job.job.OutputKeyPrefix).toBe('aurora/');
  });

  test('needs 16 bytes of IV, also in GCM, and outputs', () => {
    const short = { ...manifest, mode: 'gcm', iv: randomBytes(12).toString('base64') } as MasterManifest;
    expect(codeOf(() => transcoderJob(short, { ...options, presets: ['x'] }))).toBe('ERR_MASTER_JOB_IV');
    expect(codeOf(() => transcoderJob(manifest, { ...options, presets: [] }))).toBe('ERR_MASTER_JOB_INVALID');
  });
});
