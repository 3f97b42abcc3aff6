import {
  BufferTarget,
  CmafOutputFormat,
  EncodedAudioPacketSource,
  type EncodedPacket,
  EncodedVideoPacketSource,
  Output,
} from 'mediabunny';
import type { SegmentBuffer } from './segment-buffer.ts';
import type { TrackPackets } from './segments.ts';

/**
 * The initialization segment of a track (ISO/IEC 23000-19 §7.3.2): `ftyp` and `moov`, of one track with the id 1. The packets are
 * the first of the track, at least one.
 */
export async function writeInit({ track, packets }: TrackPackets): Promise<Buffer> {
  const [packet] = packets;
  const initTarget = new BufferTarget();
  const output = new Output({ format: new CmafOutputFormat(), target: new BufferTarget(), initTarget });
  if (track.type === 'video') {
    const source = new EncodedVideoPacketSource(track.codec);
    output.addVideoTrack(source, { rotation: track.rotation });
    await output.start();
    if (packet) await source.add(packet, { decoderConfig: track.config });
  } else {
    const source = new EncodedAudioPacketSource(track.codec);
    output.addAudioTrack(source);
    await output.start();
    if (packet) await source.add(packet, { decoderConfig: track.config });
  }
  await output.finalize();
  return Buffer.from(initTarget.buffer ?? new ArrayBuffer(0));
}

/** Ticks a second of the track in an initialization segment: field `timescale` of `mdhd` (ISO/IEC 14496-12 §8.4.2). */
export function timescaleOf(init: Buffer): number {
  const mdhd = init.indexOf('mdhd');
  return init.readUInt32BE(mdhd + (init[mdhd + 4] === 1 ? 24 : 16));
}

/** `sample_flags` (ISO/IEC 14496-12 §8.8.3.1): depends on no other one; depends on others and is no sync sample. */
const SAMPLE_FLAGS = { key: 0x02000000, delta: 0x01010000 };

/**
 * Writes packets of the track with id 1 as a segment of one fragment: `styp`, `moof`, `mdat` (ISO/IEC 14496-12 §8.8). They are in
 * decode order, and none of another segment is shown between them. Decode times, which packets do not have, are the times of
 * presentation in order: they begin where the segment does, so that segments that are written one by one fit together.
 */
export function writeFragment(
  packets: EncodedPacket[],
  timescale: number,
  sequence: number,
  into: SegmentBuffer,
): void {
  const ticks = (seconds: number) => Math.round(seconds * timescale);
  const presented = packets.map(({ timestamp }) => ticks(timestamp));
  const decoded = presented.toSorted((a, b) => a - b);
  const end = packets.reduce((last, { timestamp, duration }) => Math.max(last, ticks(timestamp + duration)), 0);
  const durations = decoded.map((time, index) => (decoded[index + 1] ?? end) - time);
  const offsets = presented.map((time, index) => time - (decoded[index] ?? time));

  // What is the same for all samples is said once in tfhd, the rest for each in trun (§8.8.7, §8.8.8).
  const columns = [
    { inHeader: 0x8, inRun: 0x100, values: durations },
    { inHeader: 0x10, inRun: 0x200, values: packets.map(({ data }) => data.length) },
    { inHeader: 0x20, inRun: 0x400, values: packets.map(({ type }) => SAMPLE_FLAGS[type]) },
  ];
  const same = columns.filter(({ values }) => values.every((value) => value === values[0]));
  const each = columns.filter((column) => !same.includes(column));
  const isReordered = offsets.some((offset) => offset !== 0);
  const rows = [...each.map(({ values }) => values), ...(isReordered ? [offsets] : [])];

  into.box('styp', () => {
    into.text('msdh');
    into.uint32(0);
    into.text('msdhcmfs');
  });
  const moof = into.length;
  let dataOffset = 0;
  into.box('moof', () => {
    into.box('mfhd', () => {
      into.uint32(0);
      into.uint32(sequence);
    });
    into.box('traf', () => {
      into.box('tfhd', () => {
        const defaultBaseIsMoof = 0x20000;
        into.uint32(same.reduce((flags, { inHeader }) => flags | inHeader, defaultBaseIsMoof));
        into.uint32(1);
        for (const { values } of same) into.uint32(values[0] ?? 0);
      });
      into.box('tfdt', () => {
        into.uint32(1 << 24);
        into.uint64(decoded[0] ?? 0);
      });
      into.box('trun', () => {
        const hasDataOffset = 0x1;
        const hasOffsets = isReordered ? 0x800 : 0;
        into.uint32(each.reduce((flags, { inRun }) => flags | inRun, (1 << 24) | hasDataOffset | hasOffsets));
        into.uint32(packets.length);
        dataOffset = into.length;
        into.uint32(0);
        for (let index = 0; index < packets.length; index++)
          for (const row of rows) into.uint32((row[index] ?? 0) >>> 0);
      });
    });
  });
  into.uint32(into.length - moof + 8, dataOffset);
  into.box('mdat', () => {
    for (const { data } of packets) into.bytes(data);
  });
}
