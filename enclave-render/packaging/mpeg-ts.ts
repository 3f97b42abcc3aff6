import { EncodedAudioPacketSource, EncodedVideoPacketSource, MpegTsOutputFormat, NullTarget, Output } from 'mediabunny';
import type { SegmentBuffer } from './segment-buffer.ts';
import type { TrackPackets } from './segments.ts';

/**
 * Writes packets of all tracks of a rendition as a TS segment. Continuity counters count per PID over the whole stream
 * (ISO/IEC 13818-1 §2.4.3.3) and are written anew for each segment: `counters`, kept by the caller, lets them go on.
 */
export async function writeTransportStream(
  tracks: TrackPackets[],
  counters: Map<number, number>,
  into: SegmentBuffer,
): Promise<void> {
  const format = new MpegTsOutputFormat({
    onPacket: (packet) => {
      into.bytes(continued(packet, counters));
    },
  });
  const output = new Output({ format, target: new NullTarget() });
  const adding = tracks.map(({ track, packets }) => {
    if (track.type === 'video') {
      const source = new EncodedVideoPacketSource(track.codec);
      output.addVideoTrack(source);
      return async () => {
        for (const packet of packets) await source.add(packet, { decoderConfig: track.config });
        source.close();
      };
    }
    const source = new EncodedAudioPacketSource(track.codec);
    output.addAudioTrack(source);
    return async () => {
      for (const packet of packets) await source.add(packet, { decoderConfig: track.config });
      source.close();
    };
  });
  await output.start();
  await Promise.all(adding.map((add) => add()));
  await output.finalize();
}

/** The TS packet with the next counter of its PID; changes it. */
function continued(packet: Uint8Array, counters: Map<number, number>): Uint8Array {
  const pid = (((packet[1] ?? 0) & 0x1f) << 8) | (packet[2] ?? 0);
  const flags = packet[3] ?? 0;
  const hasPayload = (flags & 0x10) !== 0;
  const last = counters.get(pid) ?? 15;
  const counter = hasPayload ? (last + 1) & 15 : last;
  counters.set(pid, counter);
  packet[3] = (flags & 0xf0) | counter;
  return packet;
}
