import type { EncodedPacket } from 'mediabunny';
import { PackagingError } from './errors.ts';
import type { AudioTrack, Source, VideoTrack } from './source.ts';

/** The packets of one track in a segment, or in a part of one. */
export interface TrackPackets {
  track: VideoTrack | AudioTrack;
  packets: EncodedPacket[];
}

/** A piece of a source between two times in seconds; it begins with a key frame, while there are pictures. */
export interface Segment {
  start: number;
  end: number;
  /** Undefined of sound alone; without packets when the sound goes on after the last picture. */
  video: TrackPackets | undefined;
  /** In the order of the tracks; a track may have nothing here. */
  audio: TrackPackets[];
  /** Whether it can be decoded without the segment before: false for open groups of pictures. */
  isIndependent: boolean;
}

/** How much longer than asked a segment may be, in parts of it: 4.004 s of film at 23.976 frames a second are "4 seconds". */
const TOLERANCE = 0.01;
/** How much longer than asked the sound of the last picture's segment may be, in seconds: it then still rounds to what was asked. */
const TAIL = 0.4;

/**
 * Cuts a source into segments of at most so many whole seconds, at key frames, each as long as it can be; sound is cut at the
 * first packet from there on. Holds one segment in memory. Rejects with `ERR_PACKAGE_KEY_FRAMES` when key frames are so far
 * apart that `EXT-X-TARGETDURATION` would be exceeded (RFC 8216 §4.3.3.1: durations rounded to whole seconds).
 */
export async function* cutSegments(source: Source, targetSeconds: number): AsyncGenerator<Segment> {
  const sounds = source.audio.map((track) => ({ track, packets: peekable(track.packets()) }));
  const segment = async (start: number, end: number, video: TrackPackets | undefined, isIndependent: boolean) => {
    const audio: TrackPackets[] = [];
    for (const { track, packets } of sounds) audio.push({ track, packets: await packets.until(end) });
    return { start, end, video, audio, isIndependent };
  };
  let start = 0;
  if (source.video) {
    const { video } = source;
    let last: VideoPiece | undefined;
    for await (const piece of cutVideo(source.name, video, targetSeconds)) {
      if (last) yield segment(last.start, piece.start, { track: video, packets: last.packets }, last.isIndependent);
      last = piece;
    }
    if (!last) throw new PackagingError('ERR_PACKAGE_SOURCE', `${source.name} has a video track without a frame`);
    // The sound that goes on a little after the last frame belongs to its segment as well.
    const end = endOf(last.packets);
    start = Math.max(end, last.start + targetSeconds + TAIL);
    const { packets, isIndependent } = last;
    yield { ...(await segment(last.start, start, { track: video, packets }, isIndependent)), end };
  }
  const isThereMore = async () => (await Promise.all(sounds.map(({ packets }) => packets.peek()))).some(Boolean);
  const nothing = source.video && { track: source.video, packets: [] };
  for (; await isThereMore(); start += targetSeconds) {
    const piece = await segment(start, start + targetSeconds, nothing, true);
    const ends = piece.audio.map(({ packets }) => endOf(packets));
    yield { ...piece, end: (await isThereMore()) ? piece.end : Math.max(start, ...ends) };
  }
}

/** When the last of these packets has been shown. */
export function endOf(packets: EncodedPacket[]): number {
  return packets.reduce((end, { timestamp, duration }) => Math.max(end, timestamp + duration), 0);
}

interface VideoPiece {
  start: number;
  packets: EncodedPacket[];
  isIndependent: boolean;
}

async function* cutVideo(name: string, track: VideoTrack, targetSeconds: number): AsyncGenerator<VideoPiece> {
  let piece: VideoPiece | undefined;
  for await (const group of groupsOfPictures(name, track, targetSeconds)) {
    if (piece && group.end - piece.start <= targetSeconds * (1 + TOLERANCE)) {
      piece.packets.push(...group.packets);
      piece.isIndependent &&= group.isIndependent;
      continue;
    }
    if (piece) yield piece;
    piece = group;
  }
  if (piece) yield piece;
}

/** From each key frame to the next. A group that is too long is refused before it fills the memory. */
async function* groupsOfPictures(
  name: string,
  track: VideoTrack,
  targetSeconds: number,
): AsyncGenerator<VideoPiece & { end: number }> {
  let packets: EncodedPacket[] = [];
  let start = 0;
  const requireShort = (end: number) => {
    if (Math.round(end - start) <= targetSeconds) return;
    throw new PackagingError(
      'ERR_PACKAGE_KEY_FRAMES',
      `${name} has no key frame for ${(end - start).toFixed(2)} s or more at ${start.toFixed(2)} s, and segments may last ` +
        `${targetSeconds} s: ask for longer ones with --segment-seconds, or transcode it`,
    );
  };
  const group = (end: number) => {
    requireShort(end);
    return { start, end, packets, isIndependent: packets.every(({ timestamp }) => timestamp >= start) };
  };
  for await (const packet of track.packets()) {
    if (packet.type === 'key' && packets.length > 0) {
      yield group(packet.timestamp);
      packets = [];
    }
    if (packets.length === 0) {
      if (packet.type !== 'key') {
        throw new PackagingError('ERR_PACKAGE_KEY_FRAMES', `${name} does not begin with a key frame: transcode it`);
      }
      start = packet.timestamp;
    }
    requireShort(packet.timestamp);
    packets.push(packet);
  }
  if (packets.length > 0) yield group(endOf(packets));
}

function peekable(packets: AsyncGenerator<EncodedPacket>) {
  let next: Promise<IteratorResult<EncodedPacket>> | undefined;
  const peek = async () => {
    next ??= packets.next();
    const { value, done } = await next;
    return done ? undefined : value;
  };
  return {
    peek,
    /** The packets that begin before a time. */
    async until(end: number): Promise<EncodedPacket[]> {
      const taken: EncodedPacket[] = [];
      for (let packet = await peek(); packet && packet.timestamp < end - 1e-9; packet = await peek()) {
        taken.push(packet);
        next = undefined;
      }
      return taken;
    },
  };
}
