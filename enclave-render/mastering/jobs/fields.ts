import type { TranscoderJob } from './elastic-transcoder.ts';

/** What becomes of a field: `run` here, `migrate` to MediaConvert; `answer` has nothing to do with what is made. */
interface Field {
  run?: true;
  migrate?: true;
  answer?: true;
  /** What to do instead, where it is not. */
  instead?: string;
}

const BOTH: Field = { run: true, migrate: true };
const ANSWER: Field = { answer: true };
const DETECTED: Field = { instead: 'the format of the input is detected: leave it out when it is detected rightly' };
const LATER = (instead: string): Field => ({ instead });

/** Every field of a job and its pipeline (Elastic Transcoder API 2012-09-25, CreateJob, ReadJob, CreatePipeline, ReadPipeline). */
const FIELDS: Record<'Job' | 'Input' | 'Output' | 'Playlist' | 'Pipeline' | 'ContentConfig', Record<string, Field>> = {
  Job: {
    Id: ANSWER,
    Arn: ANSWER,
    Status: ANSWER,
    Timing: ANSWER,
    PipelineId: ANSWER,
    Input: BOTH,
    Inputs: BOTH,
    Output: BOTH,
    Outputs: BOTH,
    OutputKeyPrefix: BOTH,
    UserMetadata: BOTH,
    Playlists: { migrate: true, instead: 'package the outputs with portcullis package hls' },
  },
  Input: {
    Key: BOTH,
    Encryption: BOTH,
    DetectedProperties: ANSWER,
    FrameRate: DETECTED,
    Resolution: DETECTED,
    AspectRatio: DETECTED,
    Interlaced: DETECTED,
    Container: DETECTED,
    TimeSpan: LATER('set InputClippings of the input in MediaConvert'),
    InputCaptions: LATER('set CaptionSelectors of the input in MediaConvert'),
  },
  Output: {
    Id: ANSWER,
    Status: ANSWER,
    StatusDetail: ANSWER,
    Duration: ANSWER,
    DurationMillis: ANSWER,
    Width: ANSWER,
    Height: ANSWER,
    FrameRate: ANSWER,
    FileSize: ANSWER,
    AppliedColorSpaceConversion: ANSWER,
    Key: BOTH,
    PresetId: BOTH,
    Encryption: BOTH,
    SegmentDuration: { migrate: true, instead: 'package the outputs with portcullis package hls' },
    ThumbnailPattern: LATER('add an output with frame capture to the MediaConvert job'),
    ThumbnailEncryption: LATER('it goes with ThumbnailPattern'),
    Rotate: LATER('set VideoSelector.Rotate of the input in MediaConvert'),
    Watermarks: LATER('set ImageInserter of the output in MediaConvert'),
    AlbumArt: LATER('MediaConvert has none'),
    Composition: LATER('set InputClippings of the input in MediaConvert'),
    Captions: LATER('set CaptionDescriptions of the output in MediaConvert'),
  },
  Playlist: {
    Status: ANSWER,
    StatusDetail: ANSWER,
    Name: BOTH,
    Format: BOTH,
    OutputKeys: BOTH,
    HlsContentProtection: { migrate: true, instead: 'package the outputs with portcullis package hls' },
    // A playlist with it is left out as a whole, and reported for that.
    PlayReadyDrm: { migrate: true, instead: 'there is no PlayReady here' },
  },
  Pipeline: {
    Id: ANSWER,
    Arn: ANSWER,
    Name: ANSWER,
    Status: ANSWER,
    // Used by thumbnails alone, and those are reported where they are asked for.
    ThumbnailConfig: ANSWER,
    InputBucket: BOTH,
    OutputBucket: BOTH,
    AwsKmsKeyArn: BOTH,
    ContentConfig: BOTH,
    // It trusts Elastic Transcoder alone: a MediaConvert job has a role of its own, and what is run here has yours.
    Role: ANSWER,
    Notifications: { run: true, instead: 'MediaConvert tells EventBridge: make a rule for its job state changes' },
  },
  ContentConfig: {
    Bucket: BOTH,
    StorageClass: LATER('set StorageClass of DestinationSettings.S3Settings in MediaConvert'),
    Permissions: LATER('share the outputs by the policy of the bucket'),
  },
};

/** Values that are as good as nothing. */
const NOTHING = ['', 'auto', '0', 'Standard'];

/** A field that is not carried out. */
export interface UnhandledField {
  /** `Outputs[0].Watermarks` */
  field: string;
  why: string;
}

/** The fields of a job that neither `run` nor `migrate` carries out, unknown ones among them: nothing is dropped in silence. */
export function unhandledFields(transcoderJob: TranscoderJob, how: 'run' | 'migrate'): UnhandledField[] {
  const { job, pipeline, inputs, outputs, playlists } = transcoderJob;
  const of = (kind: keyof typeof FIELDS, value: object, path: string) =>
    Object.entries(value).flatMap(([name, content]): UnhandledField[] => {
      const field = Object.hasOwn(FIELDS[kind], name) ? FIELDS[kind][name] : undefined;
      if (isNothing(content) || field?.[how] || field?.answer) return [];
      return [
        { field: path + name, why: field?.instead ?? 'unknown to this version: see what it does and set it by hand' },
      ];
    });
  return [
    ...of('Job', job, ''),
    ...inputs.flatMap((input, i) => of('Input', input, `Inputs[${i}].`)),
    ...outputs.flatMap((output, i) => of('Output', output, `Outputs[${i}].`)),
    ...playlists.flatMap((playlist, i) => of('Playlist', playlist, `Playlists[${i}].`)),
    ...of('Pipeline', pipeline, 'Pipeline.'),
    ...of('ContentConfig', pipeline.ContentConfig ?? {}, 'Pipeline.ContentConfig.'),
  ];
}

function isNothing(value: unknown): boolean {
  if (value === null || value === undefined) return true;
  if (typeof value === 'object') return Object.values(value).every(isNothing);
  return NOTHING.includes(String(value));
}
