import { createHash, timingSafeEqual } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import type { MasterManifest } from '../manifest.ts';
import { checkRoleArn, parseS3Location } from './aws-names.ts';
import { MasterJobError } from './job-error.ts';
import { type KeyUse, refuseKeyReuse } from './key-reuse.ts';
import { TRANSCODER_PRESETS } from './presets.ts';
import { decodeEncryptedKey, decodeIv, type ServiceMode, serviceKeyOf } from './service-keys.ts';

/**
 * `Encryption.Mode` of Amazon Elastic Transcoder (API 2012-09-25, CreateJob): encrypted by S3, or by whoever has the data key, in
 * the byte layout of the masters here.
 */
export const TRANSCODER_MODES = {
  s3: { by: 's3', type: 'SSE-S3' },
  's3-aws-kms': { by: 's3', type: 'SSE-KMS' },
  'aes-cbc-pkcs7': { by: 'client', mode: 'cbc' },
  'aes-ctr': { by: 'client', mode: 'ctr' },
  'aes-gcm': { by: 'client', mode: 'gcm' },
} as const satisfies Record<string, { by: 's3'; type: 'SSE-S3' | 'SSE-KMS' } | { by: 'client'; mode: ServiceMode }>;

export type TranscoderMode = keyof typeof TRANSCODER_MODES;

/** IVs have 16 bytes in any mode. */
const IV_BYTES = [16];

// The service answers null or '' where nothing is set.
const text = v.nullish(v.pipe(v.string(), v.maxLength(4096)), '');

const EncryptionSchema = v.strictObject({
  Mode: v.picklist(Object.keys(TRANSCODER_MODES) as TranscoderMode[]),
  Key: text,
  KeyMd5: text,
  InitializationVector: text,
});

/** Encryption of one file. Key (base64 of what KMS made of it), KeyMd5 and IV are '' where S3 encrypts, or a key is to be made. */
export type TranscoderEncryption = v.InferOutput<typeof EncryptionSchema>;

const ContentProtectionSchema = v.strictObject({
  Method: v.literal('aes-128'),
  Key: text,
  KeyMd5: text,
  InitializationVector: text,
  LicenseAcquisitionUrl: text,
  KeyStoragePolicy: v.picklist(['NoStore', 'WithVariantPlaylists']),
});

/** AES-128 of the segments of a playlist. */
export type HlsContentProtection = v.InferOutput<typeof ContentProtectionSchema>;

const key = v.pipe(v.string(), v.minLength(1), v.maxLength(1024));
const encryption = v.nullish(EncryptionSchema);

// Whatever else a job says stays in it, so that it can be reported.
const JobSchema = v.looseObject({
  Input: v.nullish(v.looseObject({ Key: key, Encryption: encryption })),
  Inputs: v.nullish(v.array(v.looseObject({ Key: key, Encryption: encryption }))),
  OutputKeyPrefix: text,
  Output: v.nullish(v.looseObject({ Key: key, Encryption: encryption })),
  Outputs: v.nullish(
    v.pipe(v.array(v.looseObject({ Key: key, PresetId: key, Encryption: encryption })), v.maxLength(30)),
  ),
  Playlists: v.nullish(
    v.array(
      v.looseObject({
        Name: key,
        Format: v.picklist(['HLSv3', 'HLSv4', 'Smooth', 'MPEG-DASH']),
        OutputKeys: v.array(key),
        HlsContentProtection: v.nullish(ContentProtectionSchema),
      }),
    ),
  ),
});

const bucket = v.nullish(v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/)));
const PipelineSchema = v.looseObject({
  InputBucket: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/)),
  OutputBucket: bucket,
  ContentConfig: v.nullish(v.looseObject({ Bucket: bucket })),
  Role: v.nullish(v.string()),
  AwsKmsKeyArn: v.nullish(v.string()),
});

type Job = v.InferOutput<typeof JobSchema>;
export type TranscoderInput = NonNullable<Job['Inputs']>[number];
export type TranscoderOutput = NonNullable<Job['Outputs']>[number];
export type TranscoderPlaylist = NonNullable<Job['Playlists']>[number];
export type TranscoderPipeline = v.InferOutput<typeof PipelineSchema>;

/** A job with its pipeline, every field of encryption checked. Other fields are as they came. */
export interface TranscoderJob {
  /** All of it, for what is not known here. */
  job: Job;
  pipeline: TranscoderPipeline;
  inputs: TranscoderInput[];
  outputs: TranscoderOutput[];
  playlists: TranscoderPlaylist[];
  /** Bucket of the outputs. */
  outputBucket: string;
}

/**
 * Reads `{"Job":{…},"Pipeline":{…}}`: what CreateJob and CreatePipeline take, or ReadJob and ReadPipeline answer. Throws
 * `MasterJobError`: `ERR_MASTER_JOB_INVALID` with the field, and what `checkEncryption` and `checkContentProtection` throw.
 */
export function readTranscoderJob(file: unknown): TranscoderJob {
  const { Job: job, Pipeline: pipeline } = parsed(
    v.strictObject({ Job: JobSchema, Pipeline: PipelineSchema }),
    file,
    'a file {"Job":{…},"Pipeline":{…}}',
  );
  refuseAnother('Input', job.Input, job.Inputs);
  refuseAnother('Output', job.Output, job.Outputs);
  const inputs = job.Inputs ?? (job.Input ? [job.Input] : []);
  const outputs = (job.Outputs ?? (job.Output ? [job.Output] : [])) as TranscoderOutput[];
  const playlists = job.Playlists ?? [];
  const outputBucket = pipeline.OutputBucket ?? pipeline.ContentConfig?.Bucket;
  if (inputs.length === 0 || outputs.length === 0 || outputs.some(({ PresetId }) => typeof PresetId !== 'string')) {
    throw new MasterJobError('ERR_MASTER_JOB_INVALID', 'the job needs inputs, and outputs with a PresetId');
  }
  if (!outputBucket) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_INVALID',
      'the pipeline needs an OutputBucket, or a ContentConfig with one',
    );
  }
  for (const [i, { Encryption }] of inputs.entries()) {
    if (Encryption) checkEncryption(Encryption, `Inputs[${i}].Encryption`, true);
  }
  for (const [i, { Encryption }] of outputs.entries()) {
    if (Encryption) checkEncryption(Encryption, `Outputs[${i}].Encryption`, false);
  }
  for (const [i, { HlsContentProtection }] of playlists.entries()) {
    if (HlsContentProtection) checkContentProtection(HlsContentProtection, `Playlists[${i}].HlsContentProtection`);
  }
  refuseKeyReuse(keyUses('Inputs', inputs), keyUses('Outputs', outputs));
  return { job, pipeline, inputs, outputs, playlists, outputBucket };
}

/** ReadJob repeats the first of a list in the singular, which has been deprecated; beside the list, it must not say anything else. */
function refuseAnother(name: 'Input' | 'Output', one: object | null | undefined, list: object[] | null | undefined) {
  if (!one || !list || isDeepStrictEqual(one, list[0])) return;
  throw new MasterJobError(
    'ERR_MASTER_JOB_INVALID',
    `the job has ${name} beside ${name}s, and it is not ${name}s[0]: put it into ${name}s, and leave ${name} out`,
  );
}

/**
 * Checks what can be checked of the encryption of a file without its key: fields that belong to the mode, lengths. An output may have
 * none of Key, KeyMd5 and IV: then a key is made. Throws `ERR_MASTER_JOB_INVALID`, `_KEY`, `_KEY_MD5`, `_IV`.
 */
export function checkEncryption(encryption: TranscoderEncryption, where: string, isInput: boolean): void {
  const { Mode, Key, KeyMd5, InitializationVector } = encryption;
  const hasNone = Key === '' && KeyMd5 === '' && InitializationVector === '';
  if (TRANSCODER_MODES[Mode].by === 's3') {
    if (hasNone) return;
    throw new MasterJobError(
      'ERR_MASTER_JOB_INVALID',
      `${where} has a key or an IV beside ${Mode}, where S3 has the key: leave out Key, KeyMd5 and InitializationVector`,
    );
  }
  if (hasNone && !isInput) return;
  decodeEncryptedKey(Key, `${where}.Key`);
  decodeMd5(KeyMd5, where);
  decodeIv(InitializationVector, IV_BYTES, `${where}.InitializationVector`);
}

/** The same of HLS content protection. Throws also `ERR_MASTER_JOB_PROTECTION`. */
export function checkContentProtection(protection: HlsContentProtection, where: string): void {
  const { Key, KeyMd5, InitializationVector, LicenseAcquisitionUrl, KeyStoragePolicy } = protection;
  if (Key === '' && (KeyMd5 !== '' || InitializationVector !== '')) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_KEY',
      `${where} has KeyMd5 or InitializationVector without Key: leave them out where the service makes the key`,
    );
  }
  if (Key !== '') {
    decodeEncryptedKey(Key, `${where}.Key`);
    decodeMd5(KeyMd5, where);
    if (InitializationVector !== '') decodeIv(InitializationVector, IV_BYTES, `${where}.InitializationVector`);
  }
  if (KeyStoragePolicy === 'WithVariantPlaylists' && LicenseAcquisitionUrl !== '') {
    throw new MasterJobError(
      'ERR_MASTER_JOB_PROTECTION',
      `${where} must leave LicenseAcquisitionUrl blank with WithVariantPlaylists, which stores the key beside the playlists`,
    );
  }
  if (KeyStoragePolicy === 'NoStore' && !/^https?:\/\/[\x21\x23-\x7e]+$/.test(LicenseAcquisitionUrl)) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_PROTECTION',
      `${where} needs with NoStore the LicenseAcquisitionUrl, absolute, where players get the key`,
    );
  }
}

/**
 * What Elastic Transcoder is told about the encryption of a file. `encryptedKey` and `iv` in bytes; KeyMd5 is the MD5 of
 * the encrypted key (Elastic Transcoder Developer Guide, "Using client-side encryption", step 4).
 */
export function transcoderEncryption(
  mode: ServiceMode,
  encryptedKey: Uint8Array,
  iv: Uint8Array,
): TranscoderEncryption {
  const [Mode] = Object.entries(TRANSCODER_MODES).find(([, row]) => row.by === 'client' && row.mode === mode) ?? [];
  return {
    Mode: Mode as TranscoderMode,
    Key: Buffer.from(encryptedKey).toString('base64'),
    KeyMd5: keyMd5(encryptedKey),
    InitializationVector: Buffer.from(iv).toString('base64'),
  };
}

/** `KeyMd5` of an encrypted data key. */
export function keyMd5(encryptedKey: Uint8Array): string {
  return md5(encryptedKey).toString('base64');
}

/**
 * Checks `KeyMd5` once the data key is known: the tutorial takes the MD5 of the encrypted key, the API reference that of the
 * key, and both are accepted. Throws `ERR_MASTER_JOB_KEY_MD5`.
 */
export function checkKeyMd5(given: string, encryptedKey: Uint8Array, dataKey: Uint8Array, where: string): void {
  const digest = decodeMd5(given, where);
  if ([encryptedKey, dataKey].some((bytes) => timingSafeEqual(md5(bytes), digest))) return;
  throw new MasterJobError(
    'ERR_MASTER_JOB_KEY_MD5',
    `${where}.KeyMd5 is neither the MD5 of the encrypted key nor that of the data key: one of them was changed in transit`,
  );
}

/**
 * Refuses a data key that is the text of a key: 16 bytes are 24 characters of base64, and 32 hexadecimal digits, both of which are
 * lengths of AES keys. Throws `ERR_MASTER_JOB_KEY_TEXT`; `ERR_MASTER_JOB_KEY` when it has no length of an AES key.
 */
export function checkDataKey(dataKey: Uint8Array, where: string): void {
  if (![16, 24, 32].includes(dataKey.length)) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_KEY',
      `${where}.Key decrypts to ${dataKey.length} bytes, not to 16, 24 or 32`,
    );
  }
  const characters = Buffer.from(dataKey).toString('latin1');
  if (!/^(?:[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{32}|[0-9a-fA-F]{32})$/.test(characters)) return;
  throw new MasterJobError(
    'ERR_MASTER_JOB_KEY_TEXT',
    `${where}.Key decrypts to the text of a key in base64 or hexadecimal: decode the key to bytes before KMS encrypts it, and ` +
      'encrypt the file anew with those bytes',
  );
}

/** What a job of Elastic Transcoder reads and writes. */
export interface TranscoderJobOptions {
  /** `s3://bucket/key` */
  input: string;
  /** `s3://bucket/folder/` */
  output: string;
  /** ARN of the role of the pipeline, if it has one: what is run here needs none. */
  role?: string | undefined;
  /** Ids of presets, an output for each. */
  presets: string[];
  /** Encryption of the outputs; in the modes of the client a key is made for each when the job runs. */
  outputMode: TranscoderMode;
}

/** The job of Elastic Transcoder that reads a master, with its pipeline, as `readTranscoderJob` takes it. Throws `MasterJobError`. */
export function transcoderJob(manifest: MasterManifest, options: TranscoderJobOptions) {
  const { mode, encryptedKey, keyId, iv } = serviceKeyOf(manifest, 'elastictranscoder', {
    gcm: IV_BYTES,
    ctr: IV_BYTES,
    cbc: IV_BYTES,
  });
  const input = parseS3Location(options.input, false);
  const output = parseS3Location(options.output, true);
  const encryption = transcoderEncryption(mode, Buffer.from(encryptedKey, 'base64'), Buffer.from(iv, 'base64'));
  if (options.presets.length === 0) {
    throw new MasterJobError('ERR_MASTER_JOB_INVALID', 'the job needs outputs: give the id of a preset for each');
  }
  return {
    Job: {
      Inputs: [{ Key: input.key, Encryption: encryption }],
      OutputKeyPrefix: output.key,
      Outputs: options.presets.map((id, i) => ({
        Key: `output-${i + 1}.${TRANSCODER_PRESETS.get(id)?.container ?? 'mp4'}`,
        PresetId: id,
        Encryption: { Mode: options.outputMode },
      })),
    },
    Pipeline: {
      InputBucket: input.bucket,
      OutputBucket: output.bucket,
      ...(options.role !== undefined && { Role: checkRoleArn(options.role) }),
      AwsKmsKeyArn: keyId,
    },
  };
}

/** What files are encrypted with whose keys the job has; S3 has the others, or they are yet to be made. */
function keyUses(list: 'Inputs' | 'Outputs', files: (TranscoderInput | TranscoderOutput)[]): KeyUse[] {
  return files.flatMap(({ Encryption }, i): KeyUse[] => {
    const row = Encryption && TRANSCODER_MODES[Encryption.Mode];
    if (row?.by !== 'client' || Encryption?.Key === '') return [];
    const iv = Buffer.from(Encryption?.InitializationVector ?? '', 'base64');
    return [{ file: `${list}[${i}]`, key: Encryption?.Key ?? '', mode: row.mode, iv }];
  });
}

function decodeMd5(text: string, where: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length === 16 && bytes.toString('base64') === text) return bytes;
  throw new MasterJobError('ERR_MASTER_JOB_KEY_MD5', `${where}.KeyMd5 must be base64 of the 16 bytes of an MD5`);
}

function md5(bytes: Uint8Array): Buffer {
  return createHash('md5').update(bytes).digest();
}

function parsed<Schema extends v.GenericSchema>(schema: Schema, value: unknown, what: string): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  // The message of the issue would repeat the value, which may be a key.
  const path = v.getDotPath(issue) ?? '';
  throw new MasterJobError(
    'ERR_MASTER_JOB_INVALID',
    `not ${what}: ${path === '' ? 'something else' : `${path} is wrong`}`,
  );
}
