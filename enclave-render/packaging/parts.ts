import type { EncodedPacket } from 'mediabunny';

/** A piece of a segment for low latency (`EXT-X-PART`, draft-pantos-hls-rfc8216bis §4.4.4.9). */
export interface Part {
  packets: EncodedPacket[];
  seconds: number;
  /** Whether it begins with a key frame. */
  isIndependent: boolean;
}

/**
 * Cuts what one track has in a segment, shown from `start` to `end`, into parts of at most so many seconds. A part ends only
 * where everything that comes later in decode order is also shown later, so that frames that refer to later ones stay together;
 * where such frames are many, a part is longer than asked. A key frame begins a part, where there are
 * other frames.
 */
export function cutParts(packets: EncodedPacket[], start: number, end: number, partSeconds: number): Part[] {
  const parts: Part[] = [];
  // For each packet, when the earliest of those after it is shown.
  const earliestAfter: number[] = [];
  for (let index = packets.length - 1, earliest = end; index >= 0; index--) {
    earliestAfter[index] = earliest;
    earliest = Math.min(earliest, packets[index]?.timestamp ?? earliest);
  }
  const hasDeltas = packets.some(({ type }) => type === 'delta');
  let from = 0;
  let began = start;
  let cut: number | undefined;
  let latest = start;
  const close = (index: number) => {
    const until = earliestAfter[index] ?? end;
    const piece = packets.slice(from, index + 1);
    parts.push({ packets: piece, seconds: until - began, isIndependent: piece[0]?.type === 'key' });
    [from, began, cut] = [index + 1, until, undefined];
  };
  for (const [index, { timestamp, type }] of packets.entries()) {
    if (hasDeltas && type === 'key' && cut !== undefined && cut === index - 1) close(cut);
    latest = Math.max(latest, timestamp);
    const next = earliestAfter[index] ?? end;
    if (latest >= next && index < packets.length - 1) continue;
    if (cut !== undefined && next - began > partSeconds + 1e-6) close(cut);
    cut = index;
    if (index === packets.length - 1) close(index);
  }
  return parts;
}
