import type { SegmentBuffer } from './segment-buffer.ts';
import type { AudioTrack, VideoTrack } from './source.ts';

/** Appends a packet of a track as MPEG-TS carries it. */
export type AppendPacket = (data: Uint8Array, isKey: boolean, into: SegmentBuffer) => void;

/** How the packets of a track in an MP4 become an elementary stream (ISO/IEC 13818-1 §2.14, §2.17; ISO/IEC 14496-3 §1.A.3). */
export function elementaryStream(track: VideoTrack | AudioTrack): AppendPacket {
  const description = Buffer.from(bytesOf(track.config.description));
  if (track.codec === 'avc')
    return annexB(avcSets(description), (description[4] ?? 3) & 3, Buffer.from([0x09, 0xf0]), isAvcAud);
  if (track.codec === 'hevc') {
    return annexB(hevcSets(description), (description[21] ?? 3) & 3, Buffer.from([0x46, 0x01, 0x50]), isHevcAud);
  }
  if (track.codec === 'aac') return adts(description);
  return (data, _isKey, into) => into.bytes(data);
}

function bytesOf(source: VideoDecoderConfig['description']): Uint8Array {
  if (source === undefined) return new Uint8Array(0);
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
}

const START_CODE = Buffer.from([0, 0, 0, 1]);
const isAvcAud = (header: number) => (header & 0x1f) === 9;
const isHevcAud = (header: number) => ((header >> 1) & 0x3f) === 35;

/**
 * NAL units with start codes instead of lengths (ITU-T H.264 Annex B): each picture begins with an access unit delimiter, which
 * MPEG-TS asks for, and a key frame has the parameter sets, so that it can be decoded alone.
 */
function annexB(
  sets: Buffer[],
  lengthSizeMinusOne: number,
  delimiter: Buffer,
  isDelimiter: (header: number) => boolean,
): AppendPacket {
  const lengthSize = lengthSizeMinusOne + 1;
  const append = (unit: Uint8Array, into: SegmentBuffer) => {
    into.bytes(START_CODE);
    into.bytes(unit);
  };
  return (data, isKey, into) => {
    append(delimiter, into);
    if (isKey) for (const set of sets) append(set, into);
    for (let at = 0; at + lengthSize <= data.length; ) {
      let length = 0;
      for (let digit = 0; digit < lengthSize; digit++) length = length * 256 + (data[at + digit] ?? 0);
      const start = at + lengthSize;
      if (!isDelimiter(data[start] ?? 0)) append(data.subarray(start, start + length), into);
      at = start + length;
    }
  };
}

/** Parameter sets of `avcC` (ISO/IEC 14496-15 §5.3.3.1). */
function avcSets(record: Buffer): Buffer[] {
  const sets: Buffer[] = [];
  let at = 5;
  for (const mask of [0x1f, 0xff]) {
    const count = (record[at++] ?? 0) & mask;
    for (let index = 0; index < count; index++) {
      const length = record.readUInt16BE(at);
      sets.push(record.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
  }
  return sets;
}

/** Parameter sets of `hvcC` (ISO/IEC 14496-15 §8.3.3.1): VPS, SPS and PPS, in this order. */
function hevcSets(record: Buffer): Buffer[] {
  const sets: { type: number; unit: Buffer }[] = [];
  let at = 23;
  for (let array = 0; array < (record[22] ?? 0); array++) {
    const type = (record[at] ?? 0) & 0x3f;
    const count = record.readUInt16BE(at + 1);
    at += 3;
    for (let index = 0; index < count; index++) {
      const length = record.readUInt16BE(at);
      sets.push({ type, unit: record.subarray(at + 2, at + 2 + length) });
      at += 2 + length;
    }
  }
  return [32, 33, 34].flatMap((wanted) => sets.filter(({ type }) => type === wanted).map(({ unit }) => unit));
}

/** An ADTS header before each packet of AAC (ISO/IEC 14496-3 §1.A.2.2), from the AudioSpecificConfig (§1.6.2.1). */
function adts(config: Buffer): AppendPacket {
  const bits = config.length >= 2 ? config.readUInt16BE(0) : 0;
  const objectType = bits >> 11;
  // ADTS knows four types; what extends AAC-LC (5 and 29: SBR, PS) is AAC-LC with more in it, which decoders find.
  const profile = objectType >= 1 && objectType <= 4 ? objectType - 1 : 1;
  const frequency = (bits >> 7) & 15;
  const channels = (bits >> 3) & 15;
  return (data, _isKey, into) => {
    const length = data.length + 7;
    const header = into.claim(7);
    header[0] = 0xff;
    header[1] = 0xf1;
    header[2] = (profile << 6) | (frequency << 2) | (channels >> 2);
    header[3] = ((channels & 3) << 6) | (length >> 11);
    header[4] = (length >> 3) & 0xff;
    header[5] = ((length & 7) << 5) | 0x1f;
    header[6] = 0xfc;
    into.bytes(data);
  };
}
