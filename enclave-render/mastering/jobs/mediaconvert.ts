import type { CreateJobRequest, DecryptionMode, Input, InputDecryptionSettings } from '@aws-sdk/client-mediaconvert';
import type { BoundaryCrossing } from '../../boundary.ts';
import type { MasterManifest } from '../manifest.ts';
import { MODES } from '../modes.ts';
import { checkRegion, checkRoleArn, type KmsKeyArn, parseKmsKeyArn, parseS3Location } from './aws-names.ts';
import { jobRolePolicy, type PolicyDocument } from './job-role.ts';
import { AUDIO_SELECTOR, type OutputProtection, outputGroup, type Packaging } from './output-groups.ts';
import { type ServiceKey, type ServiceMode, serviceKeyOf } from './service-keys.ts';

/** How MediaConvert names each mode, and which lengths of IV in bytes are given to it. */
export const MEDIACONVERT_MODES: Record<ServiceMode, { name: DecryptionMode; ivBytes: readonly number[] }> = {
  gcm: { name: 'AES_GCM', ivBytes: MODES.gcm.ivLengths },
  // It takes 12 bytes as well, but does not say which counter it starts from.
  ctr: { name: 'AES_CTR', ivBytes: MODES.ctr.ivLengths },
  cbc: { name: 'AES_CBC', ivBytes: MODES.cbc.ivLengths },
};

/** What a job on AWS Elemental MediaConvert reads and writes. */
export interface MediaConvertJobOptions {
  /** The encrypted master, `s3://bucket/key`. */
  input: string;
  /** Folder of the outputs, `s3://bucket/folder/`. */
  output: string;
  packaging: Packaging;
  /** ARN of the role that the service assumes. */
  role: string | undefined;
  /** Region of the job; that of the KMS key unless given. */
  region?: string | undefined;
  /** ARN of the KMS key of the outputs (SSE-KMS); SSE-S3 without. */
  outputKmsKey?: string | undefined;
  protection?: OutputProtection | undefined;
}

/** A job as it is submitted, and what goes with it. No part of it holds a key in clear. */
export interface MediaConvertJob {
  request: CreateJobRequest;
  /** Region to submit it in. */
  region: string;
  /** For the role of the job. */
  policy: PolicyDocument;
  crossings: BoundaryCrossing[];
  /** What is left to do before it is submitted, in words. */
  todo: string[];
}

/**
 * The MediaConvert job that makes HLS or CMAF of a master: CreateJobRequest (MediaConvert API 2017-08-29), the policy of its role,
 * and who gets to see plaintext. The manifest is taken as it is: verify the master first. Throws `MasterJobError`.
 */
export function mediaConvertJob(manifest: MasterManifest, options: MediaConvertJobOptions): MediaConvertJob {
  const key = serviceKeyOf(manifest, 'mediaconvert', {
    gcm: MEDIACONVERT_MODES.gcm.ivBytes,
    ctr: MEDIACONVERT_MODES.ctr.ivBytes,
    cbc: MEDIACONVERT_MODES.cbc.ivBytes,
  });
  const inputKey = parseKmsKeyArn(key.keyId);
  const input = parseS3Location(options.input, false);
  const output = parseS3Location(options.output, true);
  const outputKey = options.outputKmsKey === undefined ? undefined : parseKmsKeyArn(options.outputKmsKey);
  const region = checkRegion(options.region ?? inputKey.region);
  const { packaging, protection } = options;
  const request: CreateJobRequest = {
    Role: checkRoleArn(options.role),
    Settings: {
      TimecodeConfig: { Source: 'ZEROBASED' },
      Inputs: [jobInput(options.input, decryptionSettings(key, inputKey))],
      OutputGroups: [outputGroup(packaging, options.output, outputKey, protection)],
    },
  };
  const reach = { inputs: [input], outputs: [output], inputKeys: [inputKey], outputKeys: outputKey ? [outputKey] : [] };
  return {
    request,
    region,
    policy: jobRolePolicy(reach),
    crossings: [
      decryptionCrossing('Inputs[0].DecryptionSettings'),
      ...(protection ? [] : [clearOutputCrossing('OutputGroups[0]', outputKey ? 'SSE-KMS' : 'SSE-S3')]),
    ],
    todo: protection?.type === 'static-key' ? [STATIC_KEY_TODO] : [],
  };
}

/** What has to be done about the placeholder of a content key. */
export const STATIC_KEY_TODO =
  'put the content key into StaticKeyValue when the job is submitted, never into a file: docs/mastering-jobs.md has the command';

/** An input with the selectors that outputs refer to. */
export function jobInput(fileInput: string, decryption: InputDecryptionSettings | undefined): Input {
  return {
    FileInput: fileInput,
    ...(decryption && { DecryptionSettings: decryption }),
    TimecodeSource: 'ZEROBASED',
    VideoSelector: {},
    AudioSelectors: { [AUDIO_SELECTOR]: { DefaultSelection: 'DEFAULT' } },
  };
}

/** `DecryptionSettings` of an input; `kmsKey` is the parsed `keyId` of `key`. */
export function decryptionSettings(key: ServiceKey, kmsKey: KmsKeyArn): InputDecryptionSettings {
  return {
    DecryptionMode: MEDIACONVERT_MODES[key.mode].name,
    EncryptedDecryptionKey: key.encryptedKey,
    InitializationVector: key.iv,
    KmsKeyRegion: kmsKey.region,
  };
}

/** MediaConvert decrypts an input. */
export function decryptionCrossing(by: string): BoundaryCrossing {
  return {
    service: 'mediaconvert',
    by,
    why: 'AWS Elemental MediaConvert decrypts the master with the data key that KMS gives it, and encodes the plaintext',
  };
}

/** Renditions reach S3 in clear, which encrypts them itself: with what the job says, else as the bucket's default says. */
export function clearOutputCrossing(by: string, atRest: 'SSE-S3' | 'SSE-KMS' | 'bucket default'): BoundaryCrossing {
  return {
    service: 's3',
    by: `${by}, ${atRest}`,
    why: 'the renditions are not encrypted by MediaConvert, so that Amazon S3 receives them in clear and encrypts them at rest',
  };
}
