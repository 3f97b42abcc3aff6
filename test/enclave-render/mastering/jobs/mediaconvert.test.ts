import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { SERVICE_CONTEXTS } from '../../../../enclave-render/mastering/contexts.ts';
import { MasterJobError } from '../../../../enclave-render/mastering/jobs/job-error.ts';
import {
  type MediaConvertJobOptions,
  mediaConvertJob,
} from '../../../../enclave-render/mastering/jobs/mediaconvert.ts';
import type { OutputProtection } from '../../../../enclave-render/mastering/jobs/output-groups.ts';
import type { MasterManifest } from '../../../../enclave-render/mastering/manifest.ts';
import { AWS_KEY, awsLikeDataKeys, spellings } from '../../../harness/data-keys.ts';
import { faultsByModel, hasModels, sentBySdk } from '../../../harness/mediaconvert-service.ts';

const keys = awsLikeDataKeys();
const { plaintext, encrypted } = await keys.generate(AWS_KEY, 256, SERVICE_CONTEXTS.mediaconvert);
const dataKey = Buffer.from(plaintext);
const iv = randomBytes(16).toString('base64');
const ROLE = 'arn:aws:iam::111122223333:role/mastering';
const OUTPUT_KEY = 'arn:aws:kms:eu-central-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab';

const MANIFEST: MasterManifest = {
  format: 'portcullis-master/1',
  mode: 'cbc',
  keyBits: 256,
  iv,
  plaintextBytes: 100,
  ciphertextBytes: 112,
  plaintextSha256: 'a'.repeat(64),
  ciphertextSha256: 'b'.repeat(64),
  createdAt: 1_760_000_000,
  recipients: [
    {
      type: 'kms',
      keyId: AWS_KEY,
      context: SERVICE_CONTEXTS.mediaconvert,
      encryptedKey: Buffer.from(encrypted).toString('base64'),
    },
  ],
  signatures: [],
};

const OPTIONS: MediaConvertJobOptions = {
  input: 's3://masters/aurora/aurora.enc',
  output: 's3://renditions/aurora/',
  packaging: 'hls',
  role: ROLE,
};
const SPEKE: OutputProtection = {
  type: 'speke',
  url: 'https://keys.example.com/speke',
  resourceId: 'aurora',
  systemIds: ['81376844-f976-481e-a84e-cc25d39b0b33'],
};
const STATIC: OutputProtection = { type: 'static-key', keyUrl: 'keys/1.key' };

const manifest = (changes: Partial<MasterManifest>): MasterManifest => ({ ...MANIFEST, ...changes });
const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof MasterJobError) return error.code;
    throw error;
  }
  return 'no error';
};

const gcm12 = randomBytes(12).toString('base64');
const CASES: [string, MasterManifest, Partial<MediaConvertJobOptions>][] = [
  ['HLS from CBC', MANIFEST, {}],
  ['CMAF from CTR', manifest({ mode: 'ctr' }), { packaging: 'cmaf' }],
  ['HLS from GCM with 12 bytes of IV, SSE-KMS', manifest({ mode: 'gcm', iv: gcm12 }), { outputKmsKey: OUTPUT_KEY }],
  ['HLS from GCM with 16 bytes of IV, elsewhere', manifest({ mode: 'gcm' }), { region: 'us-east-1' }],
  ['HLS, AES-128 by SPEKE', MANIFEST, { protection: SPEKE }],
  ['HLS, SAMPLE-AES by SPEKE', MANIFEST, { protection: { ...SPEKE, method: 'SAMPLE_AES' } }],
  ['CMAF, SAMPLE-AES by SPEKE', MANIFEST, { packaging: 'cmaf', protection: SPEKE }],
  ['CMAF, AES-CTR by SPEKE', MANIFEST, { packaging: 'cmaf', protection: { ...SPEKE, method: 'AES_CTR' } }],
];
const WITH_PLACEHOLDER: typeof CASES = [
  ['HLS, AES-128 by one key', MANIFEST, { protection: STATIC }],
  ['CMAF, AES-CTR by one key', MANIFEST, { packaging: 'cmaf', protection: { ...STATIC, method: 'AES_CTR' } }],
];

/** Names as the wire has them, which begins them in lower case. */
const onTheWire = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(onTheWire);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, content]) => [name.charAt(0).toLowerCase() + name.slice(1), onTheWire(content)]),
  );
};

describe('a job for MediaConvert', () => {
  test.each([...CASES, ...WITH_PLACEHOLDER])('%s: the SDK sends all of it', async (_, master, options) => {
    const { request } = mediaConvertJob(master, { ...OPTIONS, ...options });
    const { clientRequestToken: _token, ...sent } = onTheWire(await sentBySdk(request)) as Record<string, unknown>;
    expect(sent).toEqual(onTheWire(request));
  });

  describe.skipIf(!hasModels)(
    hasModels ? 'by the model of AWS' : 'by the model of AWS (needs botocore of Python)',
    () => {
      test.each(CASES)('%s', async (_, master, options) => {
        expect(await faultsByModel(mediaConvertJob(master, { ...OPTIONS, ...options }).request)).toEqual([]);
      });

      test.each(WITH_PLACEHOLDER)(
        '%s: refused as long as the key is not filled in, and for nothing else',
        async (_, master, options) => {
          const { request } = mediaConvertJob(master, { ...OPTIONS, ...options });
          expect(await faultsByModel(request)).toEqual([expect.stringMatching(/StaticKeyValue breaks/)]);
        },
      );
    },
  );

  test('says how the master is to be decrypted', () => {
    const { request, region } = mediaConvertJob(MANIFEST, OPTIONS);
    expect(request.Settings?.Inputs?.[0]?.DecryptionSettings).toEqual({
      DecryptionMode: 'AES_CBC',
      EncryptedDecryptionKey: Buffer.from(encrypted).toString('base64'),
      InitializationVector: iv,
      KmsKeyRegion: 'eu-central-1',
    });
    expect(region).toBe('eu-central-1');
  });

  test('its role reaches one object, one folder, one key in one context, and the key of the outputs through S3', () => {
    const { policy } = mediaConvertJob(MANIFEST, { ...OPTIONS, outputKmsKey: OUTPUT_KEY, region: 'eu-west-1' });
    expect(policy.Statement.map(({ Sid: _, Effect, ...rest }) => rest)).toEqual([
      { Action: 's3:GetObject', Resource: 'arn:aws:s3:::masters/aurora/aurora.enc' },
      { Action: 's3:PutObject', Resource: 'arn:aws:s3:::renditions/aurora/*' },
      {
        Action: 'kms:Decrypt',
        Resource: AWS_KEY,
        Condition: { StringEquals: { 'kms:EncryptionContext:service': 'mediaconvert.amazonaws.com' } },
      },
      {
        Action: ['kms:GenerateDataKey', 'kms:Decrypt'],
        Resource: OUTPUT_KEY,
        // Of the key, wherever the job is.
        Condition: { StringEquals: { 'kms:ViaService': 's3.eu-central-1.amazonaws.com' } },
      },
    ]);
  });

  test('an object whose name is a wildcard opens no other', () => {
    const { policy } = mediaConvertJob(MANIFEST, {
      ...OPTIONS,
      input: 's3://masters/*/#{aws:username}?'.replace('#', '$'),
    });
    expect(policy.Statement[0]?.Resource).toBe('arn:aws:s3:::masters/#{*}/#{#}{aws:username}#{?}'.replaceAll('#', '$'));
  });

  test('records who sees plaintext: MediaConvert always, S3 unless the renditions are encrypted', () => {
    const services = (protection?: OutputProtection) =>
      mediaConvertJob(MANIFEST, { ...OPTIONS, protection }).crossings.map(({ service, by }) => `${service} ${by}`);
    expect(services()).toEqual(['mediaconvert Inputs[0].DecryptionSettings', 's3 OutputGroups[0], SSE-S3']);
    expect(services(SPEKE)).toEqual(['mediaconvert Inputs[0].DecryptionSettings']);
  });

  test('finds the recipient in its context among others', () => {
    const [recipient] = MANIFEST.recipients;
    const others: MasterManifest['recipients'] = [
      { type: 'kms', keyId: 'alias/archive', context: { purpose: 'archive' }, encryptedKey: 'AAAA' },
      { type: 'public-key', keyId: 'owner', encryptedKey: 'x.y.z' },
    ];
    const recipients = [...others, ...(recipient ? [recipient] : [])];
    expect(mediaConvertJob(manifest({ recipients }), OPTIONS)).toEqual(mediaConvertJob(MANIFEST, OPTIONS));
  });

  const recipient = (changes: object) =>
    manifest({ recipients: [{ ...MANIFEST.recipients[0], ...changes } as MasterManifest['recipients'][number]] });
  test.each<[string, string, MasterManifest, Partial<MediaConvertJobOptions>]>([
    ['something else', 'INVALID', { format: 'x' } as unknown as MasterManifest, {}],
    ['null', 'INVALID', null as unknown as MasterManifest, {}],
    ['a framed master', 'MODE', manifest({ mode: 'framed' }), {}],
    ['the context of another service', 'CONTEXT', recipient({ context: SERVICE_CONTEXTS.elastictranscoder }), {}],
    [
      'a context with one pair more',
      'CONTEXT',
      recipient({ context: { ...SERVICE_CONTEXTS.mediaconvert, title: 'x' } }),
      {},
    ],
    ['no context', 'CONTEXT', recipient({ context: {} }), {}],
    ['no KMS key', 'CONTEXT', manifest({ recipients: [] }), {}],
    [
      'a KMS key of this machine',
      'KMS_KEY',
      recipient({ keyId: 'arn:aws:kms:local:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab' }),
      {},
    ],
    ['an alias', 'KMS_KEY', recipient({ keyId: 'alias/masters' }), {}],
    ['the data key itself', 'KEY', recipient({ encryptedKey: dataKey.toString('base64') }), {}],
    ['a data key of 16 bytes itself', 'KEY', recipient({ encryptedKey: randomBytes(16).toString('base64') }), {}],
    [
      'the base64 of a base64 data key',
      'KEY',
      recipient({ encryptedKey: Buffer.from(dataKey.toString('base64')).toString('base64') }),
      {},
    ],
    [
      'the base64 of a hexadecimal data key',
      'KEY',
      recipient({ encryptedKey: Buffer.from(dataKey.toString('hex')).toString('base64') }),
      {},
    ],
    ['an encrypted key that is no base64', 'KEY', recipient({ encryptedKey: '-'.repeat(100) }), {}],
    ['an encrypted key of 513 characters', 'KEY', recipient({ encryptedKey: `${'A'.repeat(516)}` }), {}],
    ['no IV', 'IV', { ...MANIFEST, iv: undefined } as unknown as MasterManifest, {}],
    ['12 bytes of IV in CTR', 'IV', manifest({ mode: 'ctr', iv: gcm12 }), {}],
    ['12 bytes of IV in CBC', 'IV', manifest({ iv: gcm12 }), {}],
    ['15 bytes of IV', 'IV', manifest({ mode: 'gcm', iv: randomBytes(15).toString('base64') }), {}],
    ['no role', 'ROLE', MANIFEST, { role: undefined }],
    ['a user for a role', 'ROLE', MANIFEST, { role: 'arn:aws:iam::111122223333:user/me' }],
    ['an input in no bucket', 'LOCATION', MANIFEST, { input: 'masters/aurora.enc' }],
    ['an input by http', 'LOCATION', MANIFEST, { input: 'http://example.com/aurora.enc' }],
    ['a folder as input', 'LOCATION', MANIFEST, { input: 's3://masters/aurora/' }],
    ['an input with a line break', 'LOCATION', MANIFEST, { input: 's3://masters/a\nb' }],
    ['an output that is no folder', 'LOCATION', MANIFEST, { output: 's3://renditions/aurora' }],
    ['an output with a date that the service inserts', 'LOCATION', MANIFEST, { output: 's3://renditions/$dt$/' }],
    ['a region that is none', 'INVALID', MANIFEST, { region: 'europe' }],
    ['an output key that is none', 'KMS_KEY', MANIFEST, { outputKmsKey: 'alias/aws/s3' }],
    ['AES-CTR in HLS', 'PROTECTION', MANIFEST, { protection: { ...SPEKE, method: 'AES_CTR' } }],
    ['AES-128 in CMAF', 'PROTECTION', MANIFEST, { packaging: 'cmaf', protection: { ...STATIC, method: 'AES128' } }],
    ...[
      '',
      'http://keys.example.com/1',
      '//keys.example.com/1',
      'https://',
      'https://u:p@keys.example.com/1',
      'data:,0',
      'skd://1',
      'keys/"1',
      "keys/'1",
      'keys/1\n',
      'keys/ 1',
    ].map((keyUrl): [string, string, MasterManifest, Partial<MediaConvertJobOptions>] => [
      `a static key at ${JSON.stringify(keyUrl)}`,
      'PROTECTION',
      MANIFEST,
      { protection: { type: 'static-key', keyUrl } },
    ]),
    ['SPEKE without TLS', 'PROTECTION', MANIFEST, { protection: { ...SPEKE, url: 'http://keys.example.com/' } }],
    [
      'SPEKE with a password',
      'PROTECTION',
      MANIFEST,
      { protection: { ...SPEKE, url: 'https://u:p@keys.example.com/' } },
    ],
    [
      'four DRM systems',
      'PROTECTION',
      MANIFEST,
      { protection: { ...SPEKE, systemIds: Array(4).fill(SPEKE.systemIds[0]) } },
    ],
    ['a DRM system by name', 'PROTECTION', MANIFEST, { protection: { ...SPEKE, systemIds: ['widevine'] } }],
  ])('refuses %s: ERR_MASTER_JOB_%s', (_, code, master, options) => {
    expect(codeOf(() => mediaConvertJob(master, { ...OPTIONS, ...options }))).toBe(`ERR_MASTER_JOB_${code}`);
  });

  test.each([
    'keys/1.key',
    '/keys/1',
    '?key=1',
    'https://keys.example.com',
    'https://keys.example.com:8443/1?a=b%20c#d',
  ])('takes a static key at %s', (keyUrl) => {
    const { request } = mediaConvertJob(MANIFEST, { ...OPTIONS, protection: { type: 'static-key', keyUrl } });
    expect(JSON.stringify(request)).toContain(JSON.stringify(keyUrl));
  });

  test('of a key in clear, names a command that there is', () => {
    const clear = recipient({ encryptedKey: dataKey.toString('base64') });
    expect(() => mediaConvertJob(clear, OPTIONS)).toThrow(/\(aws kms encrypt\)/);
  });

  test('no error repeats what may be a key', () => {
    for (const encryptedKey of spellings(dataKey)) {
      const master = recipient({ encryptedKey, iv: encryptedKey });
      for (const broken of [master, { ...master, iv: encryptedKey }]) {
        try {
          mediaConvertJob(broken, OPTIONS);
        } catch (error) {
          for (const spelling of spellings(dataKey)) expect((error as Error).message).not.toContain(spelling);
        }
      }
    }
  });

  test('says what to do about a master in another context', () => {
    expect(() => mediaConvertJob(recipient({ context: { service: 'x' } }), OPTIONS)).toThrow(
      /portcullis master rewrap/,
    );
  });
});
