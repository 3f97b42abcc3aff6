import {
  BufferTarget,
  CmafOutputFormat,
  EncodedAudioPacketSource,
  EncodedVideoPacketSource,
  MpegTsOutputFormat,
  Output,
} from 'mediabunny';
import type { Container } from './containers.ts';
import type { TrackPackets } from './segments.ts';

/** A segment in clear; with CMAF also the initialization segment of its tracks, which is the same for all segments. */
export interface WrittenSegment {
  bytes: Uint8Array;
  init: Uint8Array | undefined;
}

/**
 * Writes packets as one segment. Times stay those of the packets, so that segments written one by one follow each other. Each
 * packet of `TrackPackets` is in decode order, and none of another segment is shown between them. What begins with another frame
 * than a key frame can be written as CMAF, of one track and without key frames.
 */
export async function writeSegment(container: Container, tracks: TrackPackets[]): Promise<WrittenSegment> {
  const target = new BufferTarget();
  const initTarget = new BufferTarget();
  const format = container === 'cmaf' ? new CmafOutputFormat() : new MpegTsOutputFormat();
  const output = new Output({ format, target, initTarget });
  const adding = tracks.map(({ track, packets }) => {
    if (track.type === 'video') {
      const source = new EncodedVideoPacketSource(track.codec);
      output.addVideoTrack(source, { rotation: track.rotation, decoderConfig: track.config });
      return async () => {
        for (const [index, packet] of packets.entries()) {
          // The writer insists on a key frame, which markDelta takes back.
          const first = index === 0 && packet.type === 'delta' ? packet.clone({ type: 'key' }) : packet;
          await source.add(first, { decoderConfig: track.config });
        }
        source.close();
      };
    }
    const source = new EncodedAudioPacketSource(track.codec);
    output.addAudioTrack(source, { languageCode: track.language, decoderConfig: track.config });
    return async () => {
      for (const packet of packets) await source.add(packet, { decoderConfig: track.config });
      source.close();
    };
  });
  await output.start();
  await Promise.all(adding.map((add) => add()));
  await output.finalize();
  const bytes = new Uint8Array(target.buffer ?? new ArrayBuffer(0));
  if (tracks[0]?.packets[0]?.type === 'delta') markDelta(bytes);
  return { bytes, init: initTarget.buffer ? new Uint8Array(initTarget.buffer) : undefined };
}

/** `sample_depends_on` another one, and is no sync sample (ISO/IEC 14496-12 §8.8.3.1). */
const DELTA_FLAGS = 0x01010000;

/**
 * Says in a CMAF segment that its first sample is no sync sample, in the fragment's defaults or in its first sample flags
 * (ISO/IEC 14496-12 §8.8.7, §8.8.8): all others are none either, so that no list of flags is there.
 */
function markDelta(bytes: Uint8Array): void {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const trun = view.indexOf('trun');
  const hasFirstFlags = (view.readUInt32BE(trun + 4) & 0x4) !== 0;
  const at = hasFirstFlags ? trun + 16 : view.indexOf('tfhd') + 20;
  view.writeUInt32BE(DELTA_FLAGS, at);
}

const TS_PACKET = 188;

/**
 * Lets the continuity counters of a TS segment go on where those of the one before it ended: they count per PID over the whole
 * stream (ISO/IEC 13818-1 §2.4.3.3), and are written anew for each segment. Changes `bytes`; `counters` is kept by the caller,
 * one map a rendition.
 */
export function continueCounters(bytes: Uint8Array, counters: Map<number, number>): void {
  for (let at = 0; at + TS_PACKET <= bytes.length; at += TS_PACKET) {
    const pid = (((bytes[at + 1] ?? 0) & 0x1f) << 8) | (bytes[at + 2] ?? 0);
    const flags = bytes[at + 3] ?? 0;
    const hasPayload = (flags & 0x10) !== 0;
    const last = counters.get(pid) ?? 15;
    const counter = hasPayload ? (last + 1) & 15 : last;
    counters.set(pid, counter);
    bytes[at + 3] = (flags & 0xf0) | counter;
  }
}
