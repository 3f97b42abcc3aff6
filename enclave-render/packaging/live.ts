import { join } from 'node:path';
import { PackagingError } from './errors.ts';
import { decimal, keyTag, multivariantPlaylist } from './playlists.ts';
import type { PackagedSegment, PackagedTitle, Rendition } from './title.ts';

/** What a channel knows of time: seconds since the epoch, and waiting for some of them. */
export interface LiveClock {
  now(): number;
  wait(seconds: number, signal?: AbortSignal): Promise<void>;
}

export interface LiveSettings {
  /** Folder of the packaged title. */
  folder: string;
  clock: LiveClock;
  /** When the channel began, seconds since the epoch. A window of segments is there from then on. */
  startedAt: number;
  /** Segments of the sliding window. */
  windowSegments: number;
}

/** What to answer: a text, or a file of the title. */
export type LiveAnswer =
  | { status: 200; type: string; cacheControl: string; text: string }
  | { status: 200; type: string; cacheControl: string; file: string }
  | { status: 400 | 404; text: string };

/** Answers a request for a path relative to the title's folder. */
export type LiveChannel = (path: string, query: URLSearchParams, signal?: AbortSignal) => Promise<LiveAnswer>;

const PLAYLIST = { status: 200, type: 'application/vnd.apple.mpegurl', cacheControl: 'no-cache' } as const;
const MEDIA = { status: 200, type: 'video/mp4', cacheControl: 'public, max-age=3600' } as const;
/** Rounding of times in seconds. */
const EPSILON = 1e-6;
/** Parts are named for so many target durations from the end (draft-pantos-hls-rfc8216bis §4.4.4.9). */
const PARTS_FOR_TARGETS = 3;

/**
 * A packaged title as a live channel that plays it over and over: media playlists with a sliding window; where the title has
 * parts, also those (`EXT-X-PART`), a hint of the next one, and blocking playlist reload (`_HLS_msn`, `_HLS_part`, all of
 * draft-pantos-hls-rfc8216bis). It names what packaging wrote and holds no key. Throws `ERR_PACKAGE_TITLE` for what is not CMAF, or
 * has renditions of different numbers of segments.
 */
export function liveChannel(title: PackagedTitle, settings: LiveSettings): LiveChannel {
  const timeline = new Timeline(title, settings.windowSegments);
  const elapsed = () => timeline.lead + settings.clock.now() - settings.startedAt;
  const renditions = new Map(title.renditions.map((rendition) => [rendition.name, rendition]));

  return async (path, query, signal) => {
    if (path === 'master.m3u8') return { ...PLAYLIST, text: multivariantPlaylist(title) };
    const [, name = '', file = ''] = /^([\w-]+)\/([\w-]+(?:\.\w+)+)$/.exec(path) ?? [];
    const rendition = renditions.get(name);
    if (!rendition) return { status: 404, text: 'not of this channel' };
    if (file === 'index.m3u8') {
      const until = blockUntil(timeline, rendition, query, elapsed());
      if (typeof until !== 'number') return until;
      if (until > elapsed()) await settings.clock.wait(until - elapsed(), signal);
      const text = livePlaylist(title, rendition, timeline, Math.max(until, elapsed()), settings);
      return { ...PLAYLIST, text };
    }
    if (!filesOf(rendition).has(file)) return { status: 404, text: 'not of this channel' };
    // A player may ask for the part that the playlist hints at, and gets it when it is there.
    const hinted = timeline.nextPart(rendition, elapsed());
    if (hinted?.file === file) await settings.clock.wait(hinted.at - elapsed(), signal);
    return { ...MEDIA, file: join(settings.folder, name, file) };
  };
}

/** When a playlist may be answered, on the channel's own time, or what is wrong with the request. */
function blockUntil(
  timeline: Timeline,
  rendition: Rendition,
  query: URLSearchParams,
  now: number,
): number | LiveAnswer {
  const [msn, part] = ['_HLS_msn', '_HLS_part'].map((name) => query.get(name));
  if (msn === null && part === null) return now;
  const isNumber = (text: string | null | undefined) => text === null || /^\d{1,12}$/.test(text ?? '');
  if (msn === null || !isNumber(msn) || !isNumber(part)) {
    return { status: 400, text: '_HLS_msn and _HLS_part are whole numbers, and the second needs the first' };
  }
  if (Number(msn) > timeline.current(rendition, now) + 2)
    return { status: 400, text: '_HLS_msn is too far in the future' };
  return timeline.availableAt(rendition, Number(msn), part === null ? undefined : Number(part));
}

/** All files of a rendition that a channel serves. */
function filesOf({ init, segments }: Rendition): Set<string> {
  const media = segments.flatMap(({ file, parts = [] }) => [file, ...parts.map((part) => part.file)]);
  return new Set(init ? [init, ...media] : media);
}

/** When what is there, in seconds from the first segment: the title again and again, in the rhythm of its first rendition. */
class Timeline {
  /** Media time that is over when the channel begins: a window of it. */
  readonly lead: number;
  readonly count: number;
  readonly #loop: number;
  /** When each segment of the title ends. */
  readonly #ends: number[] = [];

  constructor(title: PackagedTitle, windowSegments: number) {
    const [first] = title.renditions;
    if (title.container !== 'cmaf' || !first) {
      throw new PackagingError('ERR_PACKAGE_TITLE', 'a live channel needs CMAF: package the title without --format ts');
    }
    this.count = first.segments.length;
    const other = title.renditions.find(({ segments }) => segments.length !== this.count);
    if (other) {
      throw new PackagingError(
        'ERR_PACKAGE_TITLE',
        `${other.name} has ${other.segments.length} segments, ${first.name} has ${this.count}: a channel needs as many of each`,
      );
    }
    let end = 0;
    for (const { seconds } of first.segments) {
      end += seconds;
      this.#ends.push(end);
    }
    this.#loop = Math.max(end, 0.001);
    this.lead = this.start(Math.min(windowSegments, this.count));
  }

  /** When a segment begins, by its media sequence number. */
  start(sequence: number): number {
    const loops = Math.floor(sequence / this.count);
    return loops * this.#loop + (this.#ends[(sequence % this.count) - 1] ?? 0);
  }

  /**
   * The media sequence number of the segment of a rendition that is not complete yet. Sound may end a little before its picture: with
   * its last part a segment is complete, so that the part that is hinted at is of the next one, under the key of that.
   */
  current(rendition: Rendition, now: number): number {
    const loops = Math.floor(now / this.#loop);
    const rest = now - loops * this.#loop;
    const sequence = loops * this.count + this.#ends.filter((end) => end <= rest + EPSILON).length;
    const { parts = [] } = this.segment(rendition, sequence);
    const isComplete = parts.length > 0 && this.#partsOf(rendition, sequence, now) === parts.length;
    return isComplete ? sequence + 1 : sequence;
  }

  /** When a part is there, or a segment as a whole; a part after the last is the first of the next segment. */
  availableAt(rendition: Rendition, sequence: number, part: number | undefined): number {
    const { parts = [] } = this.segment(rendition, sequence);
    if (part === undefined || parts.length === 0) return this.start(sequence + 1);
    if (part >= parts.length) return this.availableAt(rendition, sequence + 1, 0);
    const end = parts.slice(0, part + 1).reduce((sum, { seconds }) => sum + seconds, this.start(sequence));
    // Sound of a segment may end a little after its picture: the segment is then complete all the same.
    return Math.min(end, this.start(sequence + 1));
  }

  segment(rendition: Rendition, sequence: number): PackagedSegment {
    const segment = rendition.segments[sequence % this.count];
    if (!segment) throw new RangeError(`no segment ${sequence}`);
    return segment;
  }

  /** How many parts are there of the segment that is not complete yet. */
  partsOfCurrent(rendition: Rendition, now: number): number {
    return this.#partsOf(rendition, this.current(rendition, now), now);
  }

  /** The part that comes next, and when; undefined without parts. */
  nextPart(rendition: Rendition, now: number): { file: string; at: number } | undefined {
    const sequence = this.current(rendition, now);
    const done = this.#partsOf(rendition, sequence, now);
    const part = this.segment(rendition, sequence).parts?.[done];
    return part && { file: part.file, at: this.availableAt(rendition, sequence, done) };
  }

  #partsOf(rendition: Rendition, sequence: number, now: number): number {
    const { parts = [] } = this.segment(rendition, sequence);
    return parts.filter((_, index) => this.availableAt(rendition, sequence, index) <= now + EPSILON).length;
  }
}

function livePlaylist(
  title: PackagedTitle,
  rendition: Rendition,
  timeline: Timeline,
  now: number,
  { windowSegments, startedAt }: LiveSettings,
): string {
  const current = timeline.current(rendition, now);
  const first = Math.max(0, current - windowSegments);
  const lines = ['#EXTM3U', '#EXT-X-VERSION:9', `#EXT-X-TARGETDURATION:${title.targetDuration}`];
  lines.push(...serverControl(title));
  lines.push(`#EXT-X-MEDIA-SEQUENCE:${first}`);
  // Each beginning of the title but the very first is a discontinuity; those before the window are counted.
  lines.push(`#EXT-X-DISCONTINUITY-SEQUENCE:${Math.floor(Math.max(0, first - 1) / timeline.count)}`);
  if (rendition.isIndependent) lines.push('#EXT-X-INDEPENDENT-SEGMENTS');
  if (rendition.init) lines.push(`#EXT-X-MAP:URI="${rendition.init}"`);

  const partsFrom = now - PARTS_FOR_TARGETS * title.targetDuration;
  let before: PackagedSegment | undefined;
  for (let sequence = first; sequence <= current; sequence++) {
    const segment = timeline.segment(rendition, sequence);
    const isComplete = sequence < current;
    const parts = (segment.parts ?? []).slice(0, isComplete ? undefined : timeline.partsOfCurrent(rendition, now));
    if (!isComplete && parts.length === 0) break;
    if (sequence > 0 && sequence % timeline.count === 0) lines.push('#EXT-X-DISCONTINUITY');
    if (sequence === first || sequence % timeline.count === 0) {
      const date = new Date((startedAt - timeline.lead + timeline.start(sequence)) * 1000);
      lines.push(`#EXT-X-PROGRAM-DATE-TIME:${date.toISOString()}`);
    }
    // The vector is always said: it is that of the packaged segment, and media sequence numbers run on here.
    const key = keyTag(segment, before, true);
    if (key) lines.push(key);
    if (timeline.start(sequence + 1) > partsFrom) {
      for (const { file, seconds, isIndependent } of parts) {
        const independent = isIndependent ? ',INDEPENDENT=YES' : '';
        lines.push(`#EXT-X-PART:DURATION=${decimal(seconds)},URI="${file}"${independent}`);
      }
    }
    if (isComplete) lines.push(`#EXTINF:${decimal(segment.seconds)},`, segment.file);
    before = segment;
  }
  const next = timeline.nextPart(rendition, now);
  if (next) {
    // The key of the next segment would have to be known before its first part.
    const isOfNext = timeline.partsOfCurrent(rendition, now) === 0;
    const segment = timeline.segment(rendition, current);
    if (isOfNext && current > 0 && current % timeline.count === 0) lines.push('#EXT-X-DISCONTINUITY');
    const key = isOfNext ? keyTag(segment, before, true) : undefined;
    if (key) lines.push(key);
    lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${next.file}"`);
    for (const other of title.renditions) {
      if (other !== rendition) lines.push(renditionReport(other, timeline, now));
    }
  }
  return `${lines.join('\n')}\n`;
}

function serverControl({ targetDuration, partTarget }: PackagedTitle): string[] {
  const holdBack = `CAN-BLOCK-RELOAD=YES,HOLD-BACK=${decimal(3 * targetDuration)}`;
  if (partTarget === undefined) return [`#EXT-X-SERVER-CONTROL:${holdBack}`];
  return [
    `#EXT-X-SERVER-CONTROL:${holdBack},PART-HOLD-BACK=${decimal(3 * partTarget)}`,
    `#EXT-X-PART-INF:PART-TARGET=${decimal(partTarget)}`,
  ];
}

/** How far another rendition is, so that a player that changes to it knows what to ask for (§4.4.5.4). */
function renditionReport(rendition: Rendition, timeline: Timeline, now: number): string {
  const current = timeline.current(rendition, now);
  const done = timeline.partsOfCurrent(rendition, now);
  const [sequence, part] =
    done > 0 || current === 0
      ? [current, Math.max(0, done - 1)]
      : [current - 1, (timeline.segment(rendition, current - 1).parts?.length ?? 1) - 1];
  return `#EXT-X-RENDITION-REPORT:URI="../${rendition.name}/index.m3u8",LAST-MSN=${sequence},LAST-PART=${part}`;
}
