import { type AppendPacket, elementaryStream } from './elementary-stream.ts';
import { SegmentBuffer } from './segment-buffer.ts';
import type { TrackPackets } from './segments.ts';
import type { AudioTrack, VideoTrack } from './source.ts';

/** One row a codec: `stream_type` (ISO/IEC 13818-1 table 2-34, ATSC A/52), `stream_id`, and its registration, if it has one. */
const STREAMS: Record<string, { type: number; id: number; registration?: string }> = {
  avc: { type: 0x1b, id: 0xe0 },
  hevc: { type: 0x24, id: 0xe0 },
  aac: { type: 0x0f, id: 0xc0 },
  mp3: { type: 0x03, id: 0xc0 },
  ac3: { type: 0x81, id: 0xbd, registration: 'AC-3' },
  eac3: { type: 0x87, id: 0xbd, registration: 'EAC3' },
};

const PACKET = 188;
const PAYLOAD = 184;
const PMT_PID = 0x1000;
const FIRST_PID = 0x100;
const CLOCK = 90_000;
/** Added to all times, in seconds: frames are decoded before they are shown, and the clock has to be there before they are. */
const OFFSET = 2;
/** How long before its decoding a frame is due, in ticks. */
const PCR_LEAD = CLOCK / 10;

/**
 * The transport stream of a rendition (ISO/IEC 13818-1), segment by segment: each begins with PAT and PMT and can be played
 * alone, and continuity counters go on from one to the next.
 */
export class TransportStream {
  readonly #counters = new Map<number, number>();
  readonly #streams = new Map<VideoTrack | AudioTrack, AppendPacket>();
  readonly #pes = new SegmentBuffer();
  /** By how much frames are decoded before they are shown, in ticks: as much as any so far needed. */
  #reordering = 0;
  /** When the last frame so far is decoded: where the reordering grows, the next ones are not decoded before it. */
  #decoded = Number.NEGATIVE_INFINITY;

  /** Appends a segment of these tracks, their packets in decode order. */
  write(tracks: TrackPackets[], into: SegmentBuffer): void {
    this.#section(0, programAssociation(), into);
    this.#section(PMT_PID, programMap(tracks.map(({ track }) => track)), into);
    const units = tracks.flatMap(({ track, packets }, index) => {
      const presented = packets.map(({ timestamp }) => Math.round((timestamp + OFFSET) * CLOCK));
      const inOrder = presented.toSorted((a, b) => a - b);
      const late = presented.reduce((most, time, at) => Math.max(most, (inOrder[at] ?? time) - time), 0);
      if (track.type === 'video') this.#reordering = Math.max(this.#reordering, late);
      const delay = track.type === 'video' ? this.#reordering : 0;
      return packets.map((packet, at) => {
        const due = (inOrder[at] ?? 0) - delay;
        const dts = track.type === 'video' ? Math.max(due, this.#decoded + 1) : due;
        if (track.type === 'video') this.#decoded = dts;
        return { track, pid: FIRST_PID + index, hasClock: index === 0, packet, pts: presented[at] ?? 0, dts };
      });
    });
    for (const unit of units.sort((a, b) => a.dts - b.dts)) {
      const { track, pid, hasClock, packet, pts, dts } = unit;
      const stream = this.#streams.get(track) ?? elementaryStream(track);
      this.#streams.set(track, stream);
      this.#pes.clear();
      const isVideo = track.type === 'video';
      const header = this.#pes.claim(isVideo ? 19 : 14);
      stream(packet.data, packet.type === 'key', this.#pes);
      writePesHeader(
        header,
        STREAMS[track.codec]?.id ?? 0xbd,
        isVideo ? 0 : this.#pes.length - 6,
        pts,
        isVideo ? dts : undefined,
      );
      this.#packets(pid, this.#pes.view(), hasClock ? dts - PCR_LEAD : undefined, packet.type === 'key', into);
    }
  }

  /** A PES packet in TS packets (§2.4.3.2), the first with the clock, the last stuffed. */
  #packets(pid: number, pes: Buffer, clock: number | undefined, isKey: boolean, into: SegmentBuffer): void {
    const firstField = clock !== undefined ? 8 : isKey ? 2 : 0;
    const count = 1 + Math.ceil(Math.max(0, pes.length - (PAYLOAD - firstField)) / PAYLOAD);
    const out = into.claim(count * PACKET);
    for (let index = 0, from = 0; index < count; index++) {
      const isFirst = index === 0;
      const taken = Math.min(PAYLOAD - (isFirst ? firstField : 0), pes.length - from);
      const field = PAYLOAD - taken;
      let at = index * PACKET;
      at = this.#header(out, at, pid, isFirst, field > 0);
      if (field > 0) {
        out[at] = field - 1;
        if (field > 1) {
          const hasClock = isFirst && clock !== undefined;
          out[at + 1] = (isFirst && isKey ? 0x40 : 0) | (hasClock ? 0x10 : 0);
          out.fill(0xff, at + 2, at + field);
          if (hasClock) writeClock(out, at + 2, clock);
        }
        at += field;
      }
      pes.copy(out, at, from, from + taken);
      from += taken;
    }
  }

  /** A table in one packet; none of ours is longer. */
  #section(pid: number, section: Buffer, into: SegmentBuffer): void {
    const out = into.claim(PACKET).fill(0xff);
    const at = this.#header(out, 0, pid, true, false);
    out[at] = 0;
    section.copy(out, at + 1);
  }

  #header(out: Buffer, at: number, pid: number, isStart: boolean, hasField: boolean): number {
    const counter = this.#counters.get(pid) ?? 0;
    this.#counters.set(pid, (counter + 1) & 15);
    out[at] = 0x47;
    out[at + 1] = (isStart ? 0x40 : 0) | (pid >> 8);
    out[at + 2] = pid & 0xff;
    out[at + 3] = (hasField ? 0x30 : 0x10) | counter;
    return at + 4;
  }
}

/** §2.4.3.6; `length` 0 is unbounded, which video may be. */
function writePesHeader(out: Buffer, id: number, length: number, pts: number, dts: number | undefined): void {
  out.writeUInt32BE(0x100 | id, 0);
  out.writeUInt16BE(length > 0xffff ? 0 : length, 4);
  out[6] = 0x84;
  out[7] = dts === undefined ? 0x80 : 0xc0;
  out[8] = dts === undefined ? 5 : 10;
  writeTime(out, 9, dts === undefined ? 2 : 3, pts);
  if (dts !== undefined) writeTime(out, 14, 1, dts);
}

/** 33 bits of a time among marker bits. */
function writeTime(out: Buffer, at: number, prefix: number, ticks: number): void {
  const time = wrapped(ticks);
  out[at] = (prefix << 4) | (Math.floor(time / 2 ** 30) << 1) | 1;
  out.writeUInt16BE(((Math.floor(time / 2 ** 15) % 2 ** 15) << 1) | 1, at + 1);
  out.writeUInt16BE(((time % 2 ** 15) << 1) | 1, at + 3);
}

/** `program_clock_reference` (§2.4.3.5), its extension 0. */
function writeClock(out: Buffer, at: number, ticks: number): void {
  const time = wrapped(ticks);
  out.writeUInt32BE(Math.floor(time / 2), at);
  out.writeUInt16BE(((time % 2) << 15) | 0x7e00, at + 4);
}

function wrapped(ticks: number): number {
  return ((ticks % 2 ** 33) + 2 ** 33) % 2 ** 33;
}

/** PAT (§2.4.4.3): one program. */
function programAssociation(): Buffer {
  return section(0x00, Buffer.from([0x00, 0x01, 0xe0 | (PMT_PID >> 8), PMT_PID & 0xff]));
}

/** PMT (§2.4.4.8); the clock is in the first stream. */
function programMap(tracks: (VideoTrack | AudioTrack)[]): Buffer {
  const streams = tracks.map(({ codec }, index) => {
    const { type, registration } = STREAMS[codec] ?? { type: 0x06 };
    const descriptor = registration
      ? Buffer.from([0x05, 0x04, ...Buffer.from(registration, 'latin1')])
      : Buffer.alloc(0);
    const pid = FIRST_PID + index;
    return Buffer.from([type, 0xe0 | (pid >> 8), pid & 0xff, 0xf0, descriptor.length, ...descriptor]);
  });
  return section(
    0x02,
    Buffer.concat([Buffer.from([0xe0 | (FIRST_PID >> 8), FIRST_PID & 0xff, 0xf0, 0x00]), ...streams]),
  );
}

/** A table of program 1 or stream 1, version 0, with its CRC. */
function section(table: number, content: Buffer): Buffer {
  const length = 5 + content.length + 4;
  const head = Buffer.from([table, 0xb0 | (length >> 8), length & 0xff, 0x00, 0x01, 0xc1, 0x00, 0x00]);
  const body = Buffer.concat([head, content]);
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(body));
  return Buffer.concat([body, crc]);
}

/** CRC-32/MPEG-2 (Annex A). */
function crc32(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  }
  return crc >>> 0;
}
