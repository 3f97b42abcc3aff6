import type { KeyObject } from 'node:crypto';
import type { CreateJobRequest, Input, Output, OutputGroup } from '@aws-sdk/client-mediaconvert';
import type { BoundaryCrossing } from '../../boundary.ts';
import type { DataKeys } from '../../kms/data-keys.ts';
import { explainContext } from '../../kms/encryption-context.ts';
import { SERVICE_CONTEXTS } from '../contexts.ts';
import type { MasterManifest } from '../manifest.ts';
import { checkManifestMac, checkManifestSignature } from '../signed-manifest.ts';
import {
  checkRegion,
  checkRoleArn,
  type KmsKeyArn,
  parseKmsKeyArn,
  parseS3Location,
  type S3Location,
} from './aws-names.ts';
import {
  keyMd5,
  TRANSCODER_MODES,
  type TranscoderEncryption,
  type TranscoderJob,
  type TranscoderMode,
  type TranscoderOutput,
  type TranscoderPlaylist,
} from './elastic-transcoder.ts';
import { type UnhandledField, unhandledFields } from './fields.ts';
import { MasterJobError } from './job-error.ts';
import { jobRolePolicy, type PolicyDocument } from './job-role.ts';
import { isKeyUrl } from './key-url.ts';
import {
  clearOutputCrossing,
  decryptionCrossing,
  decryptionSettings,
  jobInput,
  STATIC_KEY_TODO,
} from './mediaconvert.ts';
import { aac, avc, destinationSettings, hlsEncryption, hlsGroup, tsOutput } from './output-groups.ts';
import { TRANSCODER_PRESETS } from './presets.ts';
import { openDataKey } from './transcoder-key.ts';

export interface MigrationOptions {
  /** KMS key of the inputs' data keys from now on: ARN of AWS KMS. */
  kmsKey: string;
  /** Role that MediaConvert assumes: that of the pipeline trusts Elastic Transcoder alone. */
  role: string | undefined;
  /** Region of the job; that of the KMS key unless given. */
  region?: string | undefined;
  /**
   * How the data key of an encrypted input is known to be its own: by the manifest of the master, one for each encrypted input in
   * their order, or not at all, which the caller has to say. KMS moves any key that stands in a job.
   */
  authenticity: { manifests: MasterManifest[]; verifyKey?: KeyObject | undefined } | 'unauthenticated';
  /** Output presets of MediaConvert, by the preset of Elastic Transcoder that they replace. */
  presets?: Record<string, string> | undefined;
}

/** A job for MediaConvert in place of one for Elastic Transcoder. */
export interface Migration {
  request: CreateJobRequest;
  region: string;
  policy: PolicyDocument;
  crossings: BoundaryCrossing[];
  /** Fields of the old job that the new one does not have, one by one; an output among them is left out as a whole. */
  unmapped: UnhandledField[];
  /** What is left to do, or to know, in words. */
  todo: string[];
}

/**
 * Turns a job of Elastic Transcoder into one of MediaConvert. Data keys of inputs are checked against the manifests of their masters and
 * put into MediaConvert's encryption context by KMS (ReEncrypt). What cannot be had in MediaConvert is in `unmapped`; an output that
 * would leave less protected than it did is left out. Throws `MasterJobError`, `MasterError` for a manifest, and what `keys` throws.
 */
export async function migrateJob(
  transcoderJob: TranscoderJob,
  keys: DataKeys,
  options: MigrationOptions,
): Promise<Migration> {
  const { job, pipeline, inputs, outputs, playlists, outputBucket } = transcoderJob;
  const kmsKey = parseKmsKeyArn(options.kmsKey);
  const region = checkRegion(options.region ?? kmsKey.region);
  const role = checkRoleArn(options.role);
  const outputKey = pipeline.AwsKmsKeyArn ? parseKmsKeyArn(pipeline.AwsKmsKeyArn) : undefined;
  const report: Report = { unmapped: unhandledFields(transcoderJob, 'migrate'), crossings: [], todo: [] };
  const prefix = `s3://${outputBucket}/${job.OutputKeyPrefix}`;

  const groups: PlannedGroup[] = [];
  for (const [i, playlist] of playlists.entries()) {
    const group = playlistGroup(
      playlist,
      `Playlists[${i}]`,
      { outputs, prefix, outputKey, presets: options.presets },
      report,
    );
    if (group) groups.push(group);
  }
  const inPlaylists = new Set(playlists.flatMap(({ OutputKeys }) => OutputKeys));
  for (const [i, output] of outputs.entries()) {
    if (inPlaylists.has(output.Key)) continue;
    const group = fileGroup(output, `Outputs[${i}]`, { outputs, prefix, outputKey, presets: options.presets }, report);
    if (group) groups.push(group);
  }
  if (groups.length === 0) {
    const reasons = report.unmapped.map(({ field, why }) => `${field}: ${why}`).join('; ');
    throw new MasterJobError('ERR_MASTER_JOB_INVALID', `none of the outputs can be had in MediaConvert: ${reasons}`);
  }
  refuseSameNames(groups);
  for (const [i, { atRest, isProtected }] of groups.entries()) {
    if (!isProtected) report.crossings.push(clearOutputCrossing(`OutputGroups[${i}]`, atRest));
  }

  const manifests = manifestsOf(inputs, options.authenticity);
  const migratedInputs: Input[] = [];
  const reach: { inputs: S3Location[]; isEncrypted: boolean } = { inputs: [], isEncrypted: false };
  for (const [i, { Key, Encryption }] of inputs.entries()) {
    const url = `s3://${pipeline.InputBucket}/${Key}`;
    reach.inputs.push(parseS3Location(url, false));
    const where = `Inputs[${i}].Encryption`;
    if (isEncryptedByClient(Encryption)) {
      if (options.authenticity === 'unauthenticated') report.todo.push(...unauthenticatedTodo(Encryption, where));
      else await checkInputKey(Encryption, where, manifests.shift(), options.authenticity.verifyKey, keys);
    }
    const decryption = Encryption && (await reEncrypted(Encryption, keys, kmsKey));
    if (decryption) {
      reach.isEncrypted = true;
      report.crossings.push(decryptionCrossing(`Inputs[${i}].DecryptionSettings`));
    } else {
      report.crossings.push({
        service: 'mediaconvert',
        by: `Inputs[${i}].FileInput`,
        why: 'the input is not encrypted by its owner: Amazon S3 and AWS Elemental MediaConvert have it in clear',
      });
    }
    migratedInputs.push(jobInput(url, decryption || undefined));
  }

  const metadata = job.UserMetadata as Record<string, string> | null | undefined;
  return {
    request: {
      Role: role,
      Settings: {
        TimecodeConfig: { Source: 'ZEROBASED' },
        Inputs: migratedInputs,
        OutputGroups: groups.map(({ group }) => group),
      },
      ...(metadata && Object.keys(metadata).length > 0 && { UserMetadata: metadata }),
    },
    region,
    policy: jobRolePolicy({
      inputs: reach.inputs,
      outputs: groups.map(({ destination }) => destination),
      inputKeys: reach.isEncrypted ? [kmsKey] : [],
      outputKeys: groups.flatMap(({ kms }) => (kms ? [kms] : [])),
    }),
    ...report,
  };
}

interface Report {
  unmapped: UnhandledField[];
  crossings: BoundaryCrossing[];
  todo: string[];
}

interface PlannedGroup {
  group: OutputGroup;
  destination: S3Location;
  /** What the names of the files of each output begin with. */
  names: string[];
  /** Key of SSE-KMS, unless it is that of S3 itself. */
  kms: KmsKeyArn | undefined;
  atRest: 'SSE-S3' | 'SSE-KMS' | 'bucket default';
  /** Whether MediaConvert encrypts what it writes. */
  isProtected: boolean;
}

interface Surroundings {
  outputs: TranscoderOutput[];
  /** `s3://bucket/prefix` */
  prefix: string;
  /** The key of the pipeline, for SSE-KMS. */
  outputKey: KmsKeyArn | undefined;
  presets: Record<string, string> | undefined;
}

function isEncryptedByClient(encryption: TranscoderEncryption | null | undefined): encryption is TranscoderEncryption {
  return encryption != null && TRANSCODER_MODES[encryption.Mode].by === 'client';
}

/** The manifests of the encrypted inputs, as many as there are of those. Throws `ERR_MASTER_JOB_MANIFEST`. */
function manifestsOf(
  inputs: TranscoderJob['inputs'],
  authenticity: MigrationOptions['authenticity'],
): MasterManifest[] {
  if (authenticity === 'unauthenticated') return [];
  const count = inputs.filter(({ Encryption }) => isEncryptedByClient(Encryption)).length;
  if (authenticity.manifests.length === count) return [...authenticity.manifests];
  throw new MasterJobError(
    'ERR_MASTER_JOB_MANIFEST',
    `the job has ${count} encrypted inputs, and ${authenticity.manifests.length} manifests were given: give that of each master ` +
      '(--manifest), in the order of the inputs; or --unauthenticated where there is none, if you know where the job comes from',
  );
}

/**
 * Whether the data key in a job is that of the master whose manifest this is: KMS decrypts it, and the manifest has to be signed under it,
 * as whoever opens a master checks. Without it whoever can write a job could have us move the key of another master.
 */
async function checkInputKey(
  encryption: TranscoderEncryption,
  where: string,
  manifest: MasterManifest | undefined,
  verifyKey: KeyObject | undefined,
  keys: DataKeys,
): Promise<void> {
  const row = TRANSCODER_MODES[encryption.Mode];
  if (
    !manifest ||
    row.by !== 'client' ||
    manifest.mode !== row.mode ||
    manifest.iv !== encryption.InitializationVector
  ) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_MANIFEST',
      `${where} has another mode or initialization vector than the manifest: it is the manifest of another master`,
    );
  }
  if (verifyKey) checkManifestSignature(manifest, verifyKey);
  const dataKey = await openDataKey(encryption, where, keys, undefined);
  try {
    checkManifestMac(manifest, dataKey);
  } finally {
    dataKey.fill(0);
  }
}

/** What is not known of an input whose key was not checked. */
function unauthenticatedTodo({ Key, KeyMd5 }: TranscoderEncryption, where: string): string[] {
  const todo = [`${where}: nothing shows that this is the key of the input (--unauthenticated): try the job on it`];
  if (KeyMd5 !== keyMd5(Buffer.from(Key, 'base64'))) {
    todo.push(
      `${where}.KeyMd5 is not that of the encrypted key: that it is that of the data key cannot be seen without decrypting it`,
    );
  }
  return todo;
}

/** `DecryptionSettings` of an input that its owner encrypted; undefined where S3 decrypts it. */
async function reEncrypted(encryption: TranscoderEncryption, keys: DataKeys, kmsKey: KmsKeyArn) {
  const row = TRANSCODER_MODES[encryption.Mode];
  if (row.by === 's3') return undefined;
  const { elastictranscoder: from, mediaconvert: to } = SERVICE_CONTEXTS;
  const { encrypted } = await keys
    .reEncrypt(Buffer.from(encryption.Key, 'base64'), from, kmsKey.arn, to)
    .catch((error) => {
      throw explainContext(error, from, from);
    });
  const encryptedKey = Buffer.from(encrypted).toString('base64');
  return decryptionSettings(
    { mode: row.mode, encryptedKey, keyId: kmsKey.arn, iv: encryption.InitializationVector },
    kmsKey,
  );
}

/** A playlist with its outputs as an HLS output group. */
function playlistGroup(
  playlist: TranscoderPlaylist,
  where: string,
  surroundings: Surroundings,
  report: Report,
): PlannedGroup | undefined {
  const leaveOut = (field: string, why: string) => {
    report.unmapped.push({ field, why: `${why}; the playlist and its outputs are left out` });
    return undefined;
  };
  if (playlist.Format !== 'HLSv3' && playlist.Format !== 'HLSv4') {
    return leaveOut(
      `${where}.Format`,
      `${playlist.Format} is not migrated: make an output group for it in MediaConvert`,
    );
  }
  const members = playlist.OutputKeys.map((key) => surroundings.outputs.findIndex((output) => output.Key === key));
  const missing = members.indexOf(-1);
  if (missing !== -1) return leaveOut(`${where}.OutputKeys[${missing}]`, 'the job has no output of this name');
  const chosen = members.map((i) => ({ output: surroundings.outputs[i] as TranscoderOutput, name: `Outputs[${i}]` }));
  const modes = new Set(chosen.map(({ output }) => output.Encryption?.Mode));
  const [mode] = modes;
  if (modes.size > 1) return leaveOut(where, 'its outputs are encrypted in different modes, and a group has one');
  if (mode && TRANSCODER_MODES[mode].by === 'client') return leaveOut(where, CLIENT_SIDE);

  if (playlist.PlayReadyDrm != null) {
    return leaveOut(`${where}.PlayReadyDrm`, 'protect an output group by SPEKE in MediaConvert instead');
  }
  const protection = playlist.HlsContentProtection;
  if (protection?.KeyStoragePolicy === 'WithVariantPlaylists') {
    return leaveOut(
      `${where}.HlsContentProtection.KeyStoragePolicy`,
      'MediaConvert stores no key beside the playlists, where whoever may read them could read it: serve the key yourself (NoStore)',
    );
  }
  if (protection && !isKeyUrl(protection.LicenseAcquisitionUrl)) {
    return leaveOut(
      `${where}.HlsContentProtection.LicenseAcquisitionUrl`,
      'players must get the key by https, from a URL without a user name, quotes or spaces',
    );
  }
  // A string with up to five decimals there, whole seconds here.
  const seconds = Number(chosen[0]?.output.SegmentDuration ?? 10);
  if (!(seconds >= 1 && seconds <= 60)) return leaveOut(`${where}.SegmentDuration`, 'it must be 1 to 60 seconds');
  if (new Set(chosen.map(({ output }) => output.SegmentDuration ?? '10')).size > 1) {
    return leaveOut(where, 'its outputs have different SegmentDurations, and a group has one');
  }
  const outputs = chosen.flatMap(({ output, name }): Output[] => {
    const modifier = `_${output.Key.replaceAll(/[^\w.-]+/g, '-').replace(/^-+|-+$/g, '')}`;
    const replacement = surroundings.presets?.[output.PresetId];
    if (replacement !== undefined) return [{ Preset: replacement, NameModifier: modifier }];
    const preset = TRANSCODER_PRESETS.get(output.PresetId);
    if (preset?.container !== 'ts') {
      report.unmapped.push({
        field: `${name}.PresetId`,
        why: `${presetReason(output.PresetId, 'HLS')}; the output is left out`,
      });
      return [];
    }
    return [tsOutput(modifier, preset.video && avc(preset.video), aac(preset.audioBitrate))];
  });
  if (outputs.length === 0) return undefined;
  report.todo.push(`${where}: MediaConvert names the files of an output after the playlist and the output`);
  if (playlist.Format === 'HLSv4') {
    report.todo.push(
      `${where}: HLSv4 had one file a rendition and sound apart; the new group has a file a segment, sound inside`,
    );
  }
  if (protection) report.todo.push(`${where}: ${contentKeyTodo(protection.Key !== '')}`);
  const kms = mode === 's3-aws-kms' ? surroundings.outputKey : undefined;
  const destination = `${surroundings.prefix}${playlist.Name}`;
  const settings = {
    Destination: destination,
    ...(mode && { DestinationSettings: destinationSettingsOf(mode, kms) }),
    ...(protection && {
      Encryption: {
        ...hlsEncryption({ type: 'static-key', keyUrl: protection.LicenseAcquisitionUrl, method: 'AES128' }),
        ...(protection.InitializationVector !== '' && {
          ConstantInitializationVector: Buffer.from(protection.InitializationVector, 'base64').toString('hex'),
        }),
      },
    }),
  };
  if (!Number.isInteger(seconds)) {
    report.todo.push(
      `${where}: segments had ${seconds} s, and have ${Math.round(seconds)} s, because MediaConvert takes whole seconds`,
    );
  }
  const group = hlsGroup(settings, outputs, Math.round(seconds));
  return {
    group,
    destination: destinationOf(destination),
    names: outputs.map(({ NameModifier }) => `${destination}${NameModifier}`),
    kms,
    atRest: atRestOf(mode),
    isProtected: protection != null,
  };
}

/** An output outside playlists as a file. */
function fileGroup(
  output: TranscoderOutput,
  where: string,
  { prefix, outputKey, presets }: Surroundings,
  report: Report,
): PlannedGroup | undefined {
  const leaveOut = (field: string, why: string) => {
    report.unmapped.push({ field: `${where}.${field}`, why: `${why}; the output is left out` });
    return undefined;
  };
  const mode = output.Encryption?.Mode;
  if (mode && TRANSCODER_MODES[mode].by === 'client') return leaveOut('Encryption', CLIENT_SIDE);
  if (output.SegmentDuration != null) {
    return leaveOut('SegmentDuration', 'segments without a playlist are not migrated: put the output into a playlist');
  }
  const replacement = presets?.[output.PresetId];
  const preset = TRANSCODER_PRESETS.get(output.PresetId);
  if (replacement === undefined && preset === undefined)
    return leaveOut('PresetId', presetReason(output.PresetId, 'files'));
  const [, base, extension] = /^(.*[^/])\.([A-Za-z0-9]{1,16})$/.exec(output.Key) ?? [undefined, output.Key];
  const kms = mode === 's3-aws-kms' ? outputKey : undefined;
  const destination = `${prefix}${base}`;
  const made: Output = preset
    ? {
        ContainerSettings: preset.container === 'mp4' ? { Container: 'MP4', Mp4Settings: {} } : { Container: 'M2TS' },
        ...(preset.video && { VideoDescription: avc(preset.video) }),
        AudioDescriptions: aac(preset.audioBitrate),
      }
    : {};
  return {
    group: {
      Name: 'File Group',
      OutputGroupSettings: {
        Type: 'FILE_GROUP_SETTINGS',
        FileGroupSettings: {
          Destination: destination,
          ...(mode && { DestinationSettings: destinationSettingsOf(mode, kms) }),
        },
      },
      Outputs: [
        {
          ...(replacement === undefined ? made : { Preset: replacement }),
          ...(extension !== undefined && { Extension: extension }),
        },
      ],
    },
    destination: destinationOf(destination),
    names: [`${destination}.${extension ?? preset?.container ?? ''}`],
    kms,
    atRest: atRestOf(mode),
    isProtected: false,
  };
}

/** Names in MediaConvert have no folder below that of the playlist, so that different ones may become the same. */
function refuseSameNames(groups: PlannedGroup[]): void {
  const names = groups.flatMap((group) => group.names);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return;
  throw new MasterJobError(
    'ERR_MASTER_JOB_LOCATION',
    `two outputs would be ${twice} in MediaConvert, and one would replace the other: change the Key of one of them`,
  );
}

const CLIENT_SIDE =
  'MediaConvert does not encrypt files with a key of yours: write it to S3 with SSE-KMS (mode s3-aws-kms), or have portcullis ' +
  'master job run make it';

function presetReason(presetId: string, purpose: string): string {
  const known = TRANSCODER_PRESETS.get(presetId);
  const what = known ? `the preset ${known.name} is not one of ${purpose}` : `the preset ${presetId} is not known here`;
  return `${what}: make an output preset in MediaConvert and give --preset ${presetId}=<its name>`;
}

function contentKeyTodo(hasKey: boolean): string {
  return hasKey
    ? `${STATIC_KEY_TODO}; it is the Key of the old HlsContentProtection, decrypted in the old context`
    : `${STATIC_KEY_TODO}; Elastic Transcoder made one itself, so make one of 16 bytes and serve it at LicenseAcquisitionUrl`;
}

function atRestOf(mode: TranscoderMode | undefined): PlannedGroup['atRest'] {
  const row = mode && TRANSCODER_MODES[mode];
  return row?.by === 's3' ? row.type : 'bucket default';
}

function destinationSettingsOf(mode: TranscoderMode, kms: KmsKeyArn | undefined) {
  if (kms || mode === 's3') return destinationSettings(kms);
  return { S3Settings: { Encryption: { EncryptionType: 'SERVER_SIDE_ENCRYPTION_KMS' as const } } };
}

/** The beginning of the names of all files of a group. */
function destinationOf(url: string): S3Location {
  const { bucket, key } = parseS3Location(url, false);
  if (!key.includes('$')) return { bucket, key };
  throw new MasterJobError(
    'ERR_MASTER_JOB_LOCATION',
    `${url} holds a $, by which MediaConvert inserts dates and names: rename the output or the playlist`,
  );
}
