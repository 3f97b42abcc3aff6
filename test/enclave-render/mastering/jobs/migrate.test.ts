import { createHash, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { SERVICE_CONTEXTS } from '../../../../enclave-render/mastering/contexts.ts';
import {
  readTranscoderJob,
  transcoderEncryption,
} from '../../../../enclave-render/mastering/jobs/elastic-transcoder.ts';
import { migrateJob } from '../../../../enclave-render/mastering/jobs/migrate.ts';
import { signManifest } from '../../../../enclave-render/mastering/signed-manifest.ts';
import { AWS_KEY, awsLikeDataKeys, spellings } from '../../../harness/data-keys.ts';
import { faultsByModel, hasModels, sentBySdk } from '../../../harness/mediaconvert-service.ts';

const keys = awsLikeDataKeys();
const { plaintext, encrypted } = await keys.generate(AWS_KEY, 128, SERVICE_CONTEXTS.elastictranscoder);
const iv = randomBytes(16);
const ENCRYPTION = transcoderEncryption('cbc', encrypted, iv);
const NEW_KEY = 'arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ac';
const OPTIONS = {
  kmsKey: NEW_KEY,
  role: 'arn:aws:iam::111122223333:role/mastering',
  authenticity: 'unauthenticated' as const,
};
const [HLS_2M, HLS_1M, MP4_720] = ['1351620000001-200010', '1351620000001-200030', '1351620000001-000010'] as const;

const PROTECTION = {
  Method: 'aes-128',
  Key: ENCRYPTION.Key,
  KeyMd5: ENCRYPTION.KeyMd5,
  InitializationVector: ENCRYPTION.InitializationVector,
  LicenseAcquisitionUrl: 'https://keys.example.com/1',
  KeyStoragePolicy: 'NoStore',
};
const variants = (encryption?: object) => [
  { Key: 'hls2m/', PresetId: HLS_2M, SegmentDuration: '6', ...(encryption && { Encryption: encryption }) },
  { Key: 'hls1m/', PresetId: HLS_1M, SegmentDuration: '6', ...(encryption && { Encryption: encryption }) },
];
const playlist = (more: object = {}) => ({
  Name: 'master',
  Format: 'HLSv3',
  OutputKeys: ['hls2m/', 'hls1m/'],
  ...more,
});
const file = (job: object, pipeline: object = {}) =>
  readTranscoderJob({
    Job: {
      Inputs: [{ Key: 'in.enc', Encryption: ENCRYPTION }],
      OutputKeyPrefix: 'aurora/',
      UserMetadata: { order: '7' },
      ...job,
    },
    Pipeline: { InputBucket: 'masters', OutputBucket: 'renditions', AwsKmsKeyArn: AWS_KEY, ...pipeline },
  });
const migrate = (job: ReturnType<typeof file>, more: object = {}, kms = keys) =>
  migrateJob(job, kms, { ...OPTIONS, ...more });
const fields = ({ unmapped }: { unmapped: { field: string }[] }) => unmapped.map(({ field }) => field);

const CASES: [string, ReturnType<typeof file>, object][] = [
  ['playlist', file({ Outputs: variants(), Playlists: [playlist()] }), {}],
  [
    'playlist and file, SSE-KMS',
    file({
      Outputs: [
        ...variants({ Mode: 's3-aws-kms' }),
        { Key: 'a.mp4', PresetId: MP4_720, Encryption: { Mode: 's3-aws-kms' } },
      ],
      Playlists: [playlist()],
    }),
    {},
  ],
  [
    'SSE-KMS under the key of S3',
    file(
      { Outputs: [{ Key: 'a.mp4', PresetId: MP4_720, Encryption: { Mode: 's3-aws-kms' } }] },
      { AwsKmsKeyArn: null },
    ),
    {},
  ],
  [
    'file, SSE-S3, two inputs',
    file({
      Inputs: [{ Key: 'a' }, { Key: 'b', Encryption: ENCRYPTION }],
      Outputs: [{ Key: 'a', PresetId: MP4_720, Encryption: { Mode: 's3' } }],
    }),
    {},
  ],
  [
    'TS and sound alone',
    file({
      Outputs: [
        { Key: 'a.ts', PresetId: HLS_2M },
        { Key: 'b.ts', PresetId: '1351620000001-200071' },
      ],
    }),
    {},
  ],
  ['a preset of our own', file({ Outputs: [{ Key: 'a.webm', PresetId: 'own' }] }), { presets: { own: 'web-720p' } }],
];

describe('a job that is migrated', () => {
  test.each(CASES)('%s: all of it is mapped, and the SDK and the model take it', async (_, job, options) => {
    const { request, unmapped } = await migrate(job, options);
    expect(unmapped).toEqual([]);
    const sent = JSON.stringify(await sentBySdk(request)).toLowerCase();
    for (const word of JSON.stringify(request)
      .toLowerCase()
      .split(/[{}[\],:]+/))
      expect(sent).toContain(word);
    if (hasModels) expect(await faultsByModel(request)).toEqual([]);
  });

  test('decrypts its input with the same data key, from the new context and key alone', async () => {
    const { request, policy, region } = await migrate(file({ Outputs: variants(), Playlists: [playlist()] }));
    const settings = request.Settings?.Inputs?.[0]?.DecryptionSettings;
    expect(settings).toMatchObject({
      DecryptionMode: 'AES_CBC',
      InitializationVector: iv.toString('base64'),
      KmsKeyRegion: 'eu-west-1',
    });
    const migrated = Buffer.from(settings?.EncryptedDecryptionKey ?? '', 'base64');
    expect(await keys.decrypt(migrated, SERVICE_CONTEXTS.mediaconvert)).toEqual({ plaintext, keyId: NEW_KEY });
    await expect(keys.decrypt(migrated, SERVICE_CONTEXTS.elastictranscoder)).rejects.toThrow();
    expect(region).toBe('eu-west-1');
    expect(request.UserMetadata).toEqual({ order: '7' });
    expect(policy.Statement.map(({ Resource }) => Resource)).toEqual([
      'arn:aws:s3:::masters/in.enc',
      'arn:aws:s3:::renditions/aurora/master*',
      NEW_KEY,
    ]);
  });

  test('its role reaches the key of the outputs through S3 in the region of that key', async () => {
    const outputs = ['a.mp4', 'b.mp4'].map((Key) => ({ Key, PresetId: MP4_720, Encryption: { Mode: 's3-aws-kms' } }));
    const { policy, region } = await migrate(file({ Outputs: outputs }));
    expect(region).toBe('eu-west-1');
    expect(policy.Statement.filter(({ Resource }) => Resource === AWS_KEY)).toMatchObject([
      { Condition: { StringEquals: { 'kms:ViaService': 's3.eu-central-1.amazonaws.com' } } },
    ]);
  });

  test('HLS content protection becomes a static key that is still to be filled in, at the same URL and with the same IV', async () => {
    const { request, todo, crossings } = await migrate(
      file({ Outputs: variants(), Playlists: [playlist({ HlsContentProtection: PROTECTION })] }),
    );
    expect(request.Settings?.OutputGroups?.[0]?.OutputGroupSettings?.HlsGroupSettings?.Encryption).toEqual({
      Type: 'STATIC_KEY',
      EncryptionMethod: 'AES128',
      ConstantInitializationVector: iv.toString('hex'),
      StaticKeyProvider: {
        KeyFormat: 'identity',
        KeyFormatVersions: '1',
        StaticKeyValue: 'FILL-IN-AT-SUBMISSION',
        Url: 'https://keys.example.com/1',
      },
    });
    expect(todo.join()).toMatch(/put the content key into StaticKeyValue/);
    expect(crossings.map(({ service }) => service)).toEqual(['mediaconvert']);
    if (hasModels) expect(await faultsByModel(request)).toEqual([expect.stringMatching(/StaticKeyValue breaks/)]);
  });

  test('says of a KeyMd5 of the data key that it cannot be checked', async () => {
    const KeyMd5 = createHash('md5').update(plaintext).digest('base64');
    const { todo } = await migrate(
      file({
        Inputs: [{ Key: 'in', Encryption: { ...ENCRYPTION, KeyMd5 } }],
        Outputs: [{ Key: 'a', PresetId: MP4_720 }],
      }),
    );
    expect(todo.slice(1)).toEqual([expect.stringMatching(/^Inputs\[0\]\.Encryption\.KeyMd5/)]);
  });

  test('shows no key in any spelling', async () => {
    const job = file({ Outputs: variants(), Playlists: [playlist({ HlsContentProtection: PROTECTION })] });
    const answer = JSON.stringify(await migrate(job));
    for (const spelling of spellings(plaintext)) expect(answer).not.toContain(spelling);
  });

  const FILE = { Key: 'ok.mp4', PresetId: MP4_720 };
  test.each<[string, ReturnType<typeof file>, string[]]>([
    ['an unknown preset', file({ Outputs: [FILE, { Key: 'b.mp4', PresetId: 'own' }] }), ['Outputs[1].PresetId']],
    [
      'an unknown preset in a playlist',
      file({
        Outputs: [...variants(), { Key: 'x', PresetId: 'own', SegmentDuration: '6' }],
        Playlists: [playlist({ OutputKeys: ['hls2m/', 'x', 'hls1m/'] })],
      }),
      ['Outputs[2].PresetId'],
    ],
    [
      'an output that was encrypted with a key',
      file({ Outputs: [FILE, { Key: 'b.mp4', PresetId: MP4_720, Encryption: { Mode: 'aes-gcm' } }] }),
      ['Outputs[1].Encryption'],
    ],
    [
      'a playlist of outputs that were',
      file({ Outputs: [FILE, ...variants({ Mode: 'aes-ctr' })], Playlists: [playlist()] }),
      ['Playlists[0]'],
    ],
    [
      'a playlist of two modes',
      file({
        Outputs: [FILE, { ...variants()[0], Encryption: { Mode: 's3' } }, variants()[1]],
        Playlists: [playlist()],
      }),
      ['Playlists[0]'],
    ],
    [
      'a playlist of Smooth Streaming',
      file({ Outputs: [FILE, ...variants()], Playlists: [playlist({ Format: 'Smooth' })] }),
      ['Playlists[0].Format'],
    ],
    [
      'a playlist of an output that is not there',
      file({ Outputs: [FILE, ...variants()], Playlists: [playlist({ OutputKeys: ['x'] })] }),
      ['Playlists[0].OutputKeys[0]', 'Outputs[1].SegmentDuration', 'Outputs[2].SegmentDuration'],
    ],
    [
      'a key that was stored with the playlists',
      file({
        Outputs: [FILE, ...variants()],
        Playlists: [
          playlist({
            HlsContentProtection: {
              ...PROTECTION,
              KeyStoragePolicy: 'WithVariantPlaylists',
              LicenseAcquisitionUrl: '',
            },
          }),
        ],
      }),
      ['Playlists[0].HlsContentProtection.KeyStoragePolicy'],
    ],
    [
      'a key that players get by http',
      file({
        Outputs: [FILE, ...variants()],
        Playlists: [
          playlist({ HlsContentProtection: { ...PROTECTION, LicenseAcquisitionUrl: 'http://keys.example.com/1' } }),
        ],
      }),
      ['Playlists[0].HlsContentProtection.LicenseAcquisitionUrl'],
    ],
    [
      'segments of different lengths',
      file({ Outputs: [FILE, variants()[0], { ...variants()[1], SegmentDuration: '2' }], Playlists: [playlist()] }),
      ['Playlists[0]'],
    ],
    [
      'PlayReady',
      file({ Outputs: [FILE, ...variants()], Playlists: [playlist({ PlayReadyDrm: { Format: 'microsoft' } })] }),
      ['Playlists[0].PlayReadyDrm'],
    ],
    [
      'thumbnails and notifications',
      file({ Outputs: [{ ...FILE, ThumbnailPattern: 'a-{count}' }] }, { Notifications: { Error: 'arn:aws:sns:x' } }),
      ['Outputs[0].ThumbnailPattern', 'Pipeline.Notifications'],
    ],
  ])('reports %s', async (_, job, expected) => {
    const migration = await migrate(job);
    expect(fields(migration)).toEqual(expected);
    // What cannot keep its protection is not in the request at all.
    if (hasModels) expect(await faultsByModel(migration.request)).toEqual([]);
  });

  test('a job of which nothing is left is refused, with the reasons', async () => {
    const job = file({ Outputs: [{ Key: 'a.mp4', PresetId: MP4_720, Encryption: { Mode: 'aes-gcm' } }] });
    await expect(migrate(job)).rejects.toMatchObject({
      code: 'ERR_MASTER_JOB_INVALID',
      message: expect.stringContaining('Outputs[0].Encryption'),
    });
  });

  test.each<[string, object, string]>([
    ['a KMS key by alias', { kmsKey: 'alias/x' }, 'ERR_MASTER_JOB_KMS_KEY'],
    ['no role', { role: undefined }, 'ERR_MASTER_JOB_ROLE'],
    ['no region', { region: 'x' }, 'ERR_MASTER_JOB_INVALID'],
  ])('refuses %s', async (_, options, code) => {
    await expect(migrate(file({ Outputs: variants(), Playlists: [playlist()] }), options)).rejects.toMatchObject({
      code,
    });
  });

  test('refuses a key that is in another context', async () => {
    const other = await keys.generate(AWS_KEY, 128, SERVICE_CONTEXTS.mediaconvert);
    const job = file({
      Inputs: [{ Key: 'in', Encryption: transcoderEncryption('ctr', other.encrypted, iv) }],
      Outputs: [FILE],
    });
    await expect(migrate(job)).rejects.toMatchObject({ code: 'ERR_KMS_INVALID_CIPHERTEXT' });
  });

  test.each<[string, object]>([
    [
      'of a playlist',
      {
        Outputs: ['h/1', 'h-1'].map((Key) => ({ Key, PresetId: HLS_2M })),
        Playlists: [playlist({ OutputKeys: ['h/1', 'h-1'] })],
      },
    ],
    ['in a playlist twice', { Outputs: variants(), Playlists: [playlist({ OutputKeys: ['hls2m/', 'hls2m/'] })] }],
    ['of two playlists', { Outputs: variants(), Playlists: [playlist(), playlist()] }],
    ['outside playlists', { Outputs: [FILE, FILE] }],
    ['without an extension', { Outputs: [FILE, { ...FILE, Key: 'ok' }] }],
  ])('refuses outputs %s that would have one name', async (_, job) => {
    await expect(migrate(file(job))).rejects.toMatchObject({ code: 'ERR_MASTER_JOB_LOCATION' });
  });

  test('refuses a name by which MediaConvert would write elsewhere', async () => {
    const job = file({ Outputs: [{ Key: '$dt$.mp4', PresetId: MP4_720 }] });
    await expect(migrate(job)).rejects.toMatchObject({ code: 'ERR_MASTER_JOB_LOCATION' });
  });
});

describe('the key of an input that is migrated', () => {
  const signer = generateKeyPairSync('ed25519');
  const job = (encryption = ENCRYPTION) =>
    file({
      Inputs: [{ Key: 'clear' }, { Key: 'in.enc', Encryption: encryption }],
      Outputs: [{ Key: 'a.mp4', PresetId: MP4_720 }],
    });
  const manifest = (change: object = {}, dataKey: Uint8Array = plaintext) =>
    signManifest(
      {
        format: 'portcullis-master/1',
        mode: 'cbc',
        keyBits: 128,
        iv: iv.toString('base64'),
        plaintextBytes: 100,
        ciphertextBytes: 112,
        plaintextSha256: 'a'.repeat(64),
        ciphertextSha256: 'b'.repeat(64),
        mac: randomBytes(32).toString('base64'),
        createdAt: 1_760_000_000,
        recipients: [],
        ...change,
      },
      dataKey,
      signer.privateKey,
    );
  const authenticity = (manifests: object[], verifyKey: KeyObject = signer.publicKey) => ({
    authenticity: { manifests, verifyKey },
  });
  /** A KMS that moves nothing. */
  const still = { ...keys, reEncrypt: () => expect.unreachable('a key was moved') };

  test('is moved when the manifest of the master is signed under it', async () => {
    const { request, todo } = await migrate(job(), authenticity([manifest()]));
    expect(request.Settings?.Inputs?.[1]?.DecryptionSettings?.DecryptionMode).toBe('AES_CBC');
    expect(todo).toEqual([]);
    expect((await migrate(job())).todo).toEqual([expect.stringMatching(/^Inputs\[1\]\.Encryption: nothing shows/)]);
  });

  test.each<[string, object[], string]>([
    ['no manifest', [], 'ERR_MASTER_JOB_MANIFEST'],
    ['two manifests for one', [manifest(), manifest()], 'ERR_MASTER_JOB_MANIFEST'],
    ['the manifest of a master under another key', [manifest({}, randomBytes(16))], 'ERR_MASTER_SIGNATURE'],
    ['a manifest that was changed', [{ ...manifest(), plaintextBytes: 99 }], 'ERR_MASTER_SIGNATURE'],
    ['the manifest of another mode', [manifest({ mode: 'ctr' })], 'ERR_MASTER_JOB_MANIFEST'],
    ['the manifest of another IV', [manifest({ iv: randomBytes(16).toString('base64') })], 'ERR_MASTER_JOB_MANIFEST'],
  ])('is not moved with %s', async (_, manifests, code) => {
    await expect(migrate(job(), authenticity(manifests), still)).rejects.toMatchObject({ code });
  });

  test('is not moved when somebody else has signed the manifest', async () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    const run = migrate(job(), authenticity([manifest()], publicKey), still);
    await expect(run).rejects.toMatchObject({ code: 'ERR_MASTER_SIGNATURE' });
  });

  test('is not moved when it is that of another master, put into the job', async () => {
    const other = await keys.generate(AWS_KEY, 128, SERVICE_CONTEXTS.elastictranscoder);
    const run = migrate(job(transcoderEncryption('cbc', other.encrypted, iv)), authenticity([manifest()]), still);
    await expect(run).rejects.toMatchObject({ code: 'ERR_MASTER_SIGNATURE' });
  });

  test('is not moved when it is base64 text, or KeyMd5 is of something else', async () => {
    const text = Buffer.from(randomBytes(16).toString('base64'));
    const wrapped = await keys.encrypt(AWS_KEY, text, SERVICE_CONTEXTS.elastictranscoder);
    const asText = job(transcoderEncryption('cbc', wrapped.encrypted, iv));
    const manifests = [manifest({ keyBits: 192 }, text)];
    await expect(migrate(asText, authenticity(manifests), still)).rejects.toMatchObject({
      code: 'ERR_MASTER_JOB_KEY_TEXT',
    });
    const md5 = createHash('md5').update('x').digest('base64');
    const run = migrate(job({ ...ENCRYPTION, KeyMd5: md5 }), authenticity([manifest()]), still);
    await expect(run).rejects.toMatchObject({ code: 'ERR_MASTER_JOB_KEY_MD5' });
  });

  test.each([
    ['with a manifest', (): object => authenticity([manifest()])],
    ['without one', (): object => ({})],
  ])('in another context is told with the context that a job of Elastic Transcoder has, %s', async (_, options) => {
    const other = await keys.encrypt(AWS_KEY, plaintext, SERVICE_CONTEXTS.mediaconvert);
    await expect(migrate(job(transcoderEncryption('cbc', other.encrypted, iv)), options())).rejects.toMatchObject({
      code: 'ERR_KMS_INVALID_CIPHERTEXT',
      message: expect.stringContaining('{"service":"elastictranscoder.amazonaws.com"}'),
    });
  });
});
