import { MasterJobError } from './job-error.ts';

/** What a preset of Elastic Transcoder makes, AVC and AAC; sizes are the largest, in pixels, bitrates in bits a second. */
export interface TranscoderPreset {
  name: string;
  container: 'mp4' | 'ts';
  video?: { width: number; height: number; maxBitrate: number };
  audioBitrate: number;
}

const mp4 = (name: string, width: number, height: number, kbps: number, audioKbps: number): TranscoderPreset => ({
  name,
  container: 'mp4',
  video: { width, height, maxBitrate: kbps * 1000 },
  audioBitrate: audioKbps * 1000,
});
const ts = (name: string, width: number, height: number, kbps: number): TranscoderPreset => ({
  name,
  container: 'ts',
  video: { width, height, maxBitrate: kbps * 1000 },
  audioBitrate: 128_000,
});
const sound = (name: string, container: 'mp4' | 'ts', kbps: number): TranscoderPreset => ({
  name,
  container,
  audioBitrate: kbps * 1000,
});

/**
 * The system presets that are known here: those of AVC and AAC in MP4 or TS. Ids, names and containers are those that public code
 * uses; sizes and rates of Generic 1080p and 720p those of published answers of ReadPreset (API 2012-09-25), the others what presets
 * of such names usually have: AWS keeps no list. All of
 * them shrink to fit and never pad (SizingPolicy ShrinkToFit, PaddingPolicy NoPad).
 */
export const TRANSCODER_PRESETS: ReadonlyMap<string, TranscoderPreset> = new Map([
  ['1351620000001-000001', mp4('Generic 1080p', 1920, 1080, 5400, 160)],
  ['1351620000001-000010', mp4('Generic 720p', 1280, 720, 2400, 160)],
  ['1351620000001-000020', mp4('Generic 480p 16:9', 854, 480, 1200, 128)],
  ['1351620000001-000030', mp4('Generic 480p 4:3', 640, 480, 900, 128)],
  ['1351620000001-000040', mp4('Generic 360p 16:9', 640, 360, 720, 128)],
  ['1351620000001-000050', mp4('Generic 360p 4:3', 480, 360, 600, 128)],
  // Their names say the bitrate of video and audio together.
  ['1351620000001-200010', ts('HLS 2M', 1024, 768, 1872)],
  ['1351620000001-200020', ts('HLS 1.5M', 960, 640, 1372)],
  ['1351620000001-200030', ts('HLS 1M', 640, 432, 872)],
  ['1351620000001-200040', ts('HLS 600k', 480, 320, 472)],
  ['1351620000001-200050', ts('HLS 400k', 400, 288, 272)],
  ['1351620000001-200060', sound('HLS Audio - 160k', 'ts', 160)],
  ['1351620000001-200071', sound('HLS Audio - 64k', 'ts', 64)],
  ['1351620000001-100110', sound('Audio AAC - 256k', 'mp4', 256)],
  ['1351620000001-100120', sound('Audio AAC - 160k', 'mp4', 160)],
  ['1351620000001-100130', sound('Audio AAC - 128k', 'mp4', 128)],
  ['1351620000001-100141', sound('Audio AAC - 64k', 'mp4', 64)],
]);

/** The preset of an id. Throws `ERR_MASTER_JOB_PRESET`, with those that are known. */
export function presetOf(id: string): TranscoderPreset {
  const preset = TRANSCODER_PRESETS.get(id);
  if (preset) return preset;
  const known = [...TRANSCODER_PRESETS].map(([one, { name }]) => `${one} (${name})`).join(', ');
  throw new MasterJobError(
    'ERR_MASTER_JOB_PRESET',
    `what the preset ${id} makes is not known here: take one of ${known}; or copy video and sound as they are (--copy)`,
  );
}
