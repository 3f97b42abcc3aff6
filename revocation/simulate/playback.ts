import type { Device } from './devices.ts';
import type { Connection, Line } from './networks.ts';
import type { Random } from './random.ts';
import type { Habits, Scenario } from './scenarios.ts';
import {
  DVR_SEGMENTS,
  initPath,
  liveSegment,
  masterPath,
  PART_SECONDS,
  partPath,
  playlistPath,
  RENDITIONS,
  SEGMENT_SECONDS,
  segmentPath,
  type Title,
} from './titles.ts';

/** A request as CloudFront sees it; times are seconds since the epoch. */
export interface PlaybackRequest {
  time: number;
  connection: Connection;
  device: Device;
  path: string;
  query: string;
  status: number;
  bytes: number;
  /** Answered from the cache. */
  hit: boolean;
}

/** Seconds of media that a player keeps ahead. */
const BUFFER_SECONDS = 30;
const PLAYLIST_BYTES = 2_400;

/** One device at its line, or at two in turn. Times that it is asked for never go back. */
export class Attachment {
  readonly device: Device;
  readonly #random: Random;
  readonly #interfaceId: string;
  #line: Line;
  #connections: Connection[] = [];

  constructor(random: Random, device: Device, line: Line) {
    this.device = device;
    this.#random = random;
    this.#line = line;
    this.#interfaceId = Array.from({ length: 4 }, () => random.whole(1, 0xffff).toString(16)).join(':');
  }

  /** A connection in use at `time`; opens another when there is none, or it is over. */
  connection(time: number): Connection {
    const slot = this.#random.whole(0, this.#line.connections - 1);
    const open = this.#connections[slot];
    if (open !== undefined && time < open.until) return open;
    const connection = this.#line.connect(this.#random, time, this.#interfaceId);
    this.#connections[slot] = connection;
    return connection;
  }

  /** Goes on at another line, or with another connection of this one. */
  move(line: Line = this.#line): void {
    this.#line = line;
    this.#connections = [];
  }

  /** A request in the log, answered with `bytes`. */
  request(time: number, path: string, bytes: number, query = '', over: Attachment = this): PlaybackRequest {
    const hit = this.#random.chance(0.93);
    return { time, connection: over.connection(time), device: this.device, path, query, status: 200, bytes, hit };
  }
}

/** Somebody who watches, from `from` to `until` at most. */
export interface Watching {
  random: Random;
  title: Title;
  from: number;
  until: number;
  attachment: Attachment;
  habits: Habits;
  /** First segment of a film. */
  segment: number;
  /** Changes of line: when, to which, and after how long without one. */
  hops?: { plan: NonNullable<Scenario['hops']>; next: (away: boolean) => Line } | undefined;
  /** A second line of the device, and the share of segments that go over it. */
  second?: { attachment: Attachment; share: number } | undefined;
}

const segmentBytes = (random: Random, rendition: number, seconds: number) =>
  Math.round(((RENDITIONS[rendition]?.bitRate ?? 0) / 8) * seconds * random.between(0.7, 1.3));

/** What a player asks for while somebody watches. */
export function* play(watching: Watching): Generator<PlaybackRequest> {
  const { random, title, until, attachment, habits, hops, second } = watching;
  const speed = random.draw(habits.speed);
  const isLive = title.kind !== 'vod';
  const top = attachment.device.kind === 'phone' ? 2 : 3;
  let rendition = random.whole(1, top);
  let time = watching.from;
  /** Segments behind the newest one of a channel. */
  let behind = random.whole(2, 4);
  let segment = isLive ? liveSegment(time) - behind : watching.segment;
  let buffered = 0;
  let starting = true;
  let away = false;
  const after = (perHour: number) => time + random.untilNext(perHour);
  const nextHop = () => time + (hops ? random.draw(hops.plan.everyMinutes) * 60 : Number.POSITIVE_INFINITY);
  let pauseAt = after(habits.pausesPerHour);
  let seekAt = after(habits.seeksPerHour);
  let reloadAt = after(habits.reloadsPerHour);
  let switchAt = after(habits.switchesPerHour);
  let hopAt = nextHop();

  while (time < until) {
    if (starting) {
      yield attachment.request(time, masterPath(title), 900);
      time += random.between(0.05, 0.3);
      yield attachment.request(time, playlistPath(title, rendition), PLAYLIST_BYTES);
      time += random.between(0.05, 0.3);
      yield attachment.request(time, initPath(title, rendition), 1_100);
      time += random.between(0.05, 0.3);
      starting = false;
    }
    if (time >= pauseAt) {
      time += random.draw(habits.pauseMinutes) * 60;
      pauseAt = after(habits.pausesPerHour);
      buffered = Math.min(buffered, BUFFER_SECONDS);
      if (isLive) segment = liveSegment(time) - behind;
      continue;
    }
    if (time >= hopAt && hops) {
      const line = hops.next(!away);
      away = !away;
      // What was on its way when the line was lost is asked for again over the next one.
      if (random.chance(hops.plan.repeated)) {
        yield attachment.request(time, segmentPath(title, rendition, segment), segmentBytes(random, rendition, 1));
        time += random.between(0.2, 2);
      } else {
        segment = Math.max(isLive ? segment : 0, segment - random.whole(0, 1));
      }
      attachment.move(line);
      const outage = random.draw(hops.plan.outageSeconds);
      time += outage;
      buffered = Math.max(0, buffered - outage);
      if (isLive && outage > 60) segment = liveSegment(time) - behind;
      hopAt = nextHop();
      continue;
    }
    if (time >= reloadAt) {
      starting = true;
      segment = isLive ? liveSegment(time) - behind : Math.max(0, segment - Math.ceil(buffered / SEGMENT_SECONDS));
      buffered = 0;
      attachment.move();
      reloadAt = after(habits.reloadsPerHour);
      continue;
    }
    if (time >= seekAt) {
      const jump = Math.ceil((random.draw(habits.seekMinutes) * 60) / SEGMENT_SECONDS);
      const signed = random.chance(habits.backwards) ? -jump : jump;
      const newest = isLive ? liveSegment(time) : title.segments - 1;
      segment = Math.max(isLive ? newest - DVR_SEGMENTS : 0, Math.min(newest - 2, segment + signed));
      behind = isLive ? newest - segment : behind;
      buffered = 0;
      seekAt = after(habits.seeksPerHour);
    }
    if (time >= switchAt) {
      rendition = Math.max(0, Math.min(top, rendition + (random.chance(0.5) ? 1 : -1)));
      yield attachment.request(time, playlistPath(title, rendition), PLAYLIST_BYTES);
      time += random.between(0.05, 0.2);
      yield attachment.request(time, initPath(title, rendition), 1_100);
      time += random.between(0.05, 0.2);
      switchAt = after(habits.switchesPerHour);
    }
    if (segment >= title.segments) return;

    if (title.kind === 'lowLatency' && behind <= 4) {
      // Blocking reload, then the part that it told of (draft-pantos-hls-rfc8216bis §6.2.5.2).
      const part = Math.floor(time / PART_SECONDS) % (SEGMENT_SECONDS / PART_SECONDS);
      segment = liveSegment(time);
      yield attachment.request(
        time,
        playlistPath(title, rendition),
        PLAYLIST_BYTES,
        `_HLS_msn=${segment}&_HLS_part=${part}`,
      );
      const bytes = segmentBytes(random, rendition, PART_SECONDS);
      const over = second && random.chance(second.share) ? second.attachment : attachment;
      yield attachment.request(
        time + random.between(0.01, 0.1),
        partPath(title, rendition, segment, part),
        bytes,
        '',
        over,
      );
      if (random.chance(habits.retries))
        yield attachment.request(time + 0.3, partPath(title, rendition, segment, part), bytes);
      time = Math.floor(time / PART_SECONDS + 1) * PART_SECONDS + random.between(0.02, 0.2);
      continue;
    }

    if (isLive) {
      yield attachment.request(time, playlistPath(title, rendition), PLAYLIST_BYTES);
      time += random.between(0.03, 0.2);
    }
    const bytes = segmentBytes(random, rendition, SEGMENT_SECONDS);
    const over = second && random.chance(second.share) ? second.attachment : attachment;
    yield attachment.request(time, segmentPath(title, rendition, segment), bytes, '', over);
    if (random.chance(habits.retries)) {
      time += random.between(1, 4);
      if (random.chance(0.3)) attachment.move();
      continue;
    }
    segment += 1;
    const took = random.between(0.2, 0.9);
    time += took;
    buffered = Math.max(0, buffered + SEGMENT_SECONDS - took * speed);
    if (isLive) {
      // The next one is there when it is made, and `behind` segments later for this viewer.
      const there = (segment + behind + 400_000_000) * SEGMENT_SECONDS;
      if (there > time) time = there + random.between(0, 0.4);
    } else if (buffered > BUFFER_SECONDS) {
      time += (buffered - BUFFER_SECONDS) / speed;
      buffered = BUFFER_SECONDS;
    }
  }
}

/**
 * What a program asks for that fetches a film from its beginning to its end, `speed` seconds of media a second, leaving
 * through another line every `exits.segments` segments.
 */
export function* pull(
  { random, title, from, until, attachment }: Watching,
  speed: number,
  connections: Attachment[],
  exits: { segments: number; next: () => Line },
): Generator<PlaybackRequest> {
  const rendition = random.chance(0.8) ? 3 : 2;
  let time = from;
  yield attachment.request(time, masterPath(title), 900);
  time += random.between(0.05, 0.5);
  yield attachment.request(time, playlistPath(title, rendition), PLAYLIST_BYTES);
  time += random.between(0.05, 0.5);
  yield attachment.request(time, initPath(title, rendition), 1_100);
  for (let segment = 0; segment < title.segments && time < until; segment++) {
    time += (SEGMENT_SECONDS / speed) * random.between(0.6, 1.4);
    if (segment > 0 && segment % exits.segments === 0) {
      const line = exits.next();
      for (const connection of connections) connection.move(line);
    }
    const over = connections[segment % connections.length] ?? attachment;
    yield attachment.request(
      time,
      segmentPath(title, rendition, segment),
      segmentBytes(random, rendition, SEGMENT_SECONDS),
      '',
      over,
    );
  }
}

/** What a device asks for that only keeps the playlist fresh, having handed playback over to another. */
export function* poll(
  { random, title, from, until, attachment }: Watching,
  everySeconds: number,
): Generator<PlaybackRequest> {
  const rendition = random.whole(0, 2);
  for (let time = from; time < until; time += everySeconds * random.between(0.9, 1.1)) {
    yield attachment.request(time, playlistPath(title, rendition), PLAYLIST_BYTES);
  }
}

/** What strangers ask for under a session id that they know, without its token: everything is denied. */
export function* forge(
  { random, title, from, until }: Watching,
  perMinute: number,
  strangers: Attachment[],
): Generator<PlaybackRequest> {
  for (let time = from; time < until; time += random.untilNext(perMinute * 60)) {
    const stranger = random.pick(strangers);
    const segment = title.kind === 'vod' ? random.whole(0, title.segments - 1) : liveSegment(time);
    yield { ...stranger.request(time, segmentPath(title, 2, segment), 0), status: 401 };
  }
}
