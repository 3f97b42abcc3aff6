import type {
  CmafEncryptionSettings,
  DestinationSettings,
  HlsEncryptionSettings,
  Output,
  OutputGroup,
  VideoDescription,
} from '@aws-sdk/client-mediaconvert';
import type { KmsKeyArn } from './aws-names.ts';
import { MasterJobError } from './job-error.ts';
import { isKeyUrl } from './key-url.ts';

export type Packaging = 'hls' | 'cmaf';

/** The name of the one audio selector of an input, which outputs take their sound from. */
export const AUDIO_SELECTOR = 'Audio Selector 1';

/** Stands in a job where the service wants the content key in clear. It breaks the service's pattern: no job runs with it. */
export const STATIC_KEY_PLACEHOLDER = 'FILL-IN-AT-SUBMISSION';

export type EncryptionMethod = 'AES128' | 'SAMPLE_AES' | 'AES_CTR';

/** How the service encrypts what it packages. `method`: the first of the packaging's unless given. */
export type OutputProtection =
  /** Keys from a server that speaks SPEKE (AWS, "SPEKE API specification"); `systemIds` are DRM system ids (UUIDs). */
  | { type: 'speke'; url: string; resourceId: string; systemIds: string[]; method?: EncryptionMethod | undefined }
  /** One key that is put into the job when it is submitted; `keyUrl` is where players get it. */
  | { type: 'static-key'; keyUrl: string; method?: EncryptionMethod | undefined };

/** The ladder: height in pixels (the width follows the input), and the most bits a second. */
const RENDITIONS = [
  { name: '1080p', height: 1080, maxBitrate: 6_000_000 },
  { name: '720p', height: 720, maxBitrate: 3_000_000 },
  { name: '360p', height: 360, maxBitrate: 1_000_000 },
] as const;

const SEGMENT_SECONDS = 6;
const FRAGMENT_SECONDS = 2;

/**
 * An output group of HLS (TS) or CMAF with both manifests, AVC and AAC at three sizes. Throws `ERR_MASTER_JOB_PROTECTION`.
 * `destination` is `s3://bucket/folder/`; outputs are named after the input.
 */
export function outputGroup(
  packaging: Packaging,
  destination: string,
  kmsKey: KmsKeyArn | undefined,
  protection: OutputProtection | undefined,
): OutputGroup {
  const at = { Destination: destination, DestinationSettings: destinationSettings(kmsKey) };
  if (packaging === 'hls') {
    const outputs = RENDITIONS.map(({ name, ...video }) => tsOutput(`_${name}`, avc(video), aac(128_000)));
    const encryption = protection && { Encryption: hlsEncryption(protection) };
    return hlsGroup({ ...at, ...encryption }, outputs, SEGMENT_SECONDS);
  }
  return {
    Name: 'CMAF',
    OutputGroupSettings: {
      Type: 'CMAF_GROUP_SETTINGS',
      CmafGroupSettings: {
        ...at,
        ...(protection && { Encryption: cmafEncryption(protection) }),
        SegmentControl: 'SEGMENTED_FILES',
        SegmentLength: SEGMENT_SECONDS,
        FragmentLength: FRAGMENT_SECONDS,
        WriteHlsManifest: 'ENABLED',
        WriteDashManifest: 'ENABLED',
      },
    },
    // CMAF keeps every track in a file of its own.
    Outputs: [
      ...RENDITIONS.map(
        ({ name, ...video }): Output => ({
          NameModifier: `_${name}`,
          ContainerSettings: { Container: 'CMFC' },
          VideoDescription: avc(video),
        }),
      ),
      { NameModifier: '_audio', ContainerSettings: { Container: 'CMFC' }, AudioDescriptions: aac(128_000) },
    ],
  };
}

/** An output group of HLS in MPEG-2 TS. */
export function hlsGroup(
  settings: {
    Destination: string;
    DestinationSettings?: DestinationSettings;
    Encryption?: HlsEncryptionSettings;
  },
  outputs: Output[],
  segmentSeconds: number,
): OutputGroup {
  return {
    Name: 'Apple HLS',
    OutputGroupSettings: {
      Type: 'HLS_GROUP_SETTINGS',
      HlsGroupSettings: {
        ...settings,
        SegmentControl: 'SEGMENTED_FILES',
        DirectoryStructure: 'SINGLE_DIRECTORY',
        ManifestDurationFormat: 'FLOATING_POINT',
        MinSegmentLength: 0,
        SegmentLength: segmentSeconds,
      },
    },
    Outputs: outputs,
  };
}

/** An output in MPEG-2 TS of an HLS group; without video when it is of sound alone. */
export function tsOutput(
  nameModifier: string,
  video: VideoDescription | undefined,
  audio: NonNullable<Output['AudioDescriptions']>,
): Output {
  return {
    NameModifier: nameModifier,
    ContainerSettings: { Container: 'M3U8', M3u8Settings: {} },
    OutputSettings: { HlsSettings: {} },
    ...(video && { VideoDescription: video }),
    AudioDescriptions: audio,
  };
}

/** Progressive AVC, frame rate and GOP by the service, quality level 7 of 10 within `maxBitrate` bits a second. */
export function avc(size: { width?: number; height: number; maxBitrate: number }): VideoDescription {
  return {
    ...(size.width !== undefined && { Width: size.width }),
    Height: size.height,
    ScalingBehavior: 'FIT_NO_UPSCALE',
    CodecSettings: {
      Codec: 'H_264',
      H264Settings: {
        RateControlMode: 'QVBR',
        QvbrSettings: { QvbrQualityLevel: 7 },
        MaxBitrate: size.maxBitrate,
        QualityTuningLevel: 'SINGLE_PASS_HQ',
        SceneChangeDetect: 'TRANSITION_DETECTION',
        GopSizeUnits: 'AUTO',
        FramerateControl: 'INITIALIZE_FROM_SOURCE',
        InterlaceMode: 'PROGRESSIVE',
      },
    },
  };
}

/** Stereo AAC-LC at 48 kHz, `bitrate` in bits a second. */
export function aac(bitrate: number): NonNullable<Output['AudioDescriptions']> {
  return [
    {
      AudioSourceName: AUDIO_SELECTOR,
      CodecSettings: {
        Codec: 'AAC',
        AacSettings: { CodingMode: 'CODING_MODE_2_0', SampleRate: 48_000, Bitrate: bitrate },
      },
    },
  ];
}

/** How S3 encrypts the outputs: SSE-KMS with a key, otherwise SSE-S3; the service knows no other. */
export function destinationSettings(kmsKey: KmsKeyArn | undefined): DestinationSettings {
  return {
    S3Settings: {
      Encryption: kmsKey
        ? { EncryptionType: 'SERVER_SIDE_ENCRYPTION_KMS', KmsKeyArn: kmsKey.arn }
        : { EncryptionType: 'SERVER_SIDE_ENCRYPTION_S3' },
    },
  };
}

// What MediaConvert takes (its API model); http would send content keys in clear.
const SPEKE_URL = /^https:\/\/[^:@/]+(?::\d+)?(?:\/.*)?$/;
const RESOURCE_ID = /^[\w-]+$/;
const SYSTEM_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** `Encryption` of an HLS output group. Throws `ERR_MASTER_JOB_PROTECTION`. */
export function hlsEncryption(protection: OutputProtection): HlsEncryptionSettings {
  const EncryptionMethod = methodOf(protection, ['AES128', 'SAMPLE_AES']);
  if (protection.type === 'static-key') return { ...staticKey(protection.keyUrl), EncryptionMethod };
  const { systemIds, ...server } = spekeServer(protection);
  return { Type: 'SPEKE', EncryptionMethod, SpekeKeyProvider: { ...server, SystemIds: systemIds } };
}

function cmafEncryption(protection: OutputProtection): CmafEncryptionSettings {
  const EncryptionMethod = methodOf(protection, ['SAMPLE_AES', 'AES_CTR']);
  if (protection.type === 'static-key') return { ...staticKey(protection.keyUrl), EncryptionMethod };
  const { systemIds, ...server } = spekeServer(protection);
  const signaled = { HlsSignaledSystemIds: systemIds, DashSignaledSystemIds: systemIds };
  return { Type: 'SPEKE', EncryptionMethod, SpekeKeyProvider: { ...server, ...signaled } };
}

/** The method that was asked for, or the first of those that the packaging has. */
function methodOf<Method extends EncryptionMethod>(
  { method }: OutputProtection,
  methods: readonly [Method, ...Method[]],
): Method {
  const known = method === undefined ? methods[0] : methods.find((name) => name === method);
  if (known === undefined) throw refused(`this packaging has no ${method}: choose ${methods.join(' or ')}`);
  return known;
}

function staticKey(keyUrl: string) {
  if (!isKeyUrl(keyUrl)) {
    throw refused(
      'a static key needs the URL by which players get it: https or relative, without a user name, quotes or spaces',
    );
  }
  return {
    Type: 'STATIC_KEY',
    StaticKeyProvider: {
      KeyFormat: 'identity',
      KeyFormatVersions: '1',
      StaticKeyValue: STATIC_KEY_PLACEHOLDER,
      Url: keyUrl,
    },
  } as const;
}

function spekeServer({ url, resourceId, systemIds }: Extract<OutputProtection, { type: 'speke' }>) {
  if (!SPEKE_URL.test(url)) throw refused('the SPEKE server must have an https URL without a user name');
  if (!RESOURCE_ID.test(resourceId)) throw refused('a SPEKE resource id has letters, digits, - and _ only');
  if (systemIds.length === 0 || systemIds.length > 3 || !systemIds.every((id) => SYSTEM_ID.test(id))) {
    throw refused('SPEKE needs one to three DRM system ids (https://dashif.org/identifiers/content_protection/)');
  }
  return { Url: url, ResourceId: resourceId, systemIds };
}

function refused(message: string): MasterJobError {
  return new MasterJobError('ERR_MASTER_JOB_PROTECTION', message);
}
