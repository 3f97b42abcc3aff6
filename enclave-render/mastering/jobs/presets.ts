/** What a preset of Elastic Transcoder makes; sizes in pixels, bitrates in bits a second. */
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

/** The system presets that have an equal in MediaConvert; all of them AVC and AAC (Elastic Transcoder, "System presets"). */
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
  ['1351620000001-200060', { name: 'HLS Audio - 160k', container: 'ts', audioBitrate: 160_000 }],
  ['1351620000001-200071', { name: 'HLS Audio - 64k', container: 'ts', audioBitrate: 64_000 }],
]);
