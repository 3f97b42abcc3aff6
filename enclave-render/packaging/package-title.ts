import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import type { MasterReader } from '../mastering/master-reader.ts';
import { timescaleOf, writeFragment, writeInit } from './cmaf.ts';
import { CONTAINERS, type Container } from './containers.ts';
import {
  encryptedLength,
  encryptSegment,
  type IvPolicy,
  type KeySchedule,
  type NewContentKey,
  sequenceIv,
  type TitleKey,
  TitleKeys,
} from './content-keys.ts';
import { manifestMpd } from './dash.ts';
import { PackagingError } from './errors.ts';
import type { KeyTable } from './key-table.ts';
import { writeKeyTable } from './key-table-file.ts';
import { TransportStream } from './mpeg-ts.ts';
import { buildFolder } from './output-folder.ts';
import { cutParts } from './parts.ts';
import { mediaPlaylist, multivariantPlaylist } from './playlists.ts';
import { SegmentBuffer } from './segment-buffer.ts';
import { cutSegments, endOf, type Segment, type TrackPackets } from './segments.ts';
import { type AudioTrack, openMediaSource, type Source, type VideoTrack } from './source.ts';
import { type PackagedSegment, type PackagedTitle, type Rendition, TITLE_FILE } from './title.ts';

/** One encoding of a title: where its plaintext comes from, and what messages call it. */
export interface TitleSource {
  name: string;
  reader: MasterReader;
}

/** How segments are encrypted. */
export interface TitleEncryption extends KeySchedule {
  newContentKey: NewContentKey;
  iv: IvPolicy;
  /** Where the table of wrapped keys goes; `keys.json` in the title's folder unless given. */
  keyTableFile?: string | undefined;
}

export interface TitleRequest {
  container: Container;
  /** What segments may last at most, in whole seconds. */
  segmentSeconds: number;
  /** What parts of segments may last at most, in seconds, for a live channel; CMAF only. */
  partSeconds?: number | undefined;
  /** `none`: segments in clear, with a DASH manifest beside the HLS playlists when they are CMAF. */
  encryption: TitleEncryption | 'none';
  /** Replaces what is there. */
  force?: boolean | undefined;
  /** Told how many seconds of all sources have been packaged. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Packages sources as the renditions of one title, into a folder that is there when it is complete: HLS playlists, segments
 * encrypted with AES-128 (RFC 8216), `packaging.json`, and `keys.json` with the content keys encrypted by KMS. Nothing in clear
 * is written but initialization segments, and no key. Sound is that of the first source that has any. The caller closes the
 * readers. Rejects with `PackagingError`, `MasterError` and `KmsError`, and leaves nothing behind then.
 */
export async function packageTitle(out: string, sources: TitleSource[], request: TitleRequest): Promise<PackagedTitle> {
  const { encryption, container, partSeconds } = request;
  if (sources.length === 0) throw new PackagingError('ERR_PACKAGE_OPTIONS', 'there is no source to package');
  if (partSeconds !== undefined && container !== 'cmaf') {
    throw new PackagingError(
      'ERR_PACKAGE_OPTIONS',
      'parts for low latency are of CMAF segments: leave --format ts out',
    );
  }
  const force = request.force ?? false;
  const keyTableFile = encryption === 'none' ? undefined : encryption.keyTableFile;
  if (keyTableFile && `${resolve(keyTableFile)}${sep}`.startsWith(`${resolve(out)}${sep}`)) {
    throw new PackagingError(
      'ERR_PACKAGE_OPTIONS',
      `${keyTableFile} is in the title's folder: keep the key table elsewhere, or there as keys.json`,
    );
  }
  const keys = encryption === 'none' ? undefined : new TitleKeys(encryption.newContentKey, encryption);
  const open: Source[] = [];
  try {
    return await buildFolder(out, force, async (folder) => {
      for (const { reader, name } of sources) open.push(await openMediaSource(reader, name, container));
      const build = new TitleBuild(folder, request, keys, open);
      const title = await build.run().finally(() => build.settled());
      if (keys) {
        const table: KeyTable = { format: 'portcullis-content-keys/1', keys: keys.wrapped() };
        // Before the folder is put in its place: no playlist names a key that cannot be had.
        await writeKeyTable(keyTableFile ?? join(folder, 'keys.json'), table, force);
      }
      return title;
    });
  } finally {
    for (const source of open) source.close();
  }
}

/** What is known of a rendition while it is written. */
interface Track {
  name: string;
  rendition: Omit<Rendition, 'bandwidth' | 'averageBandwidth'>;
  /** Of TS. */
  stream: TransportStream;
  /** Ticks a second, and fragments so far, of CMAF. */
  timescale: number;
  fragments: number;
  packets: number;
}

/** How far apart two renditions may be cut, in seconds: less than a frame. */
const ALIGNMENT = 0.015;

class TitleBuild {
  readonly #folder: string;
  readonly #request: TitleRequest;
  readonly #keys: TitleKeys | undefined;
  readonly #sources: Source[];
  readonly #notes: string[] = [];
  readonly #buffer = new SegmentBuffer();
  /** One write while the next segment is made. */
  #writing: Promise<void> = Promise.resolve();

  constructor(folder: string, request: TitleRequest, keys: TitleKeys | undefined, sources: Source[]) {
    this.#folder = folder;
    this.#request = request;
    this.#keys = keys;
    this.#sources = sources;
  }

  async run(): Promise<PackagedTitle> {
    const { container, encryption, partSeconds, onProgress } = this.#request;
    const total = this.#sources.reduce((sum, { duration }) => sum + duration, 0);
    const renditions: Rendition[] = [];
    let done = 0;
    for (const [index, source] of this.#sources.entries()) {
      const tracks = await this.#package(source, this.#soundOf(index), renditions, (seconds) =>
        onProgress?.(Math.min(done + seconds, total), total),
      );
      this.#requireAligned(renditions, tracks);
      renditions.push(...tracks);
      done += source.duration;
    }
    const segments = renditions.flatMap((rendition) => rendition.segments);
    const longest = longestOf(segments);
    const longestPart = longestOf(segments.flatMap(({ parts = [] }) => parts));
    const title: PackagedTitle = {
      format: 'portcullis-packaging/1',
      container,
      encryption: encryption === 'none' ? 'none' : 'aes-128',
      ...(encryption === 'none' ? {} : { iv: encryption.iv }),
      targetDuration: Math.max(1, Math.round(longest)),
      ...(partSeconds === undefined ? {} : { partTarget: Math.ceil(longestPart * 1000) / 1000 }),
      duration: Math.max(...renditions.map(({ segments }) => segments.reduce((sum, { seconds }) => sum + seconds, 0))),
      renditions: [
        ...renditions.filter(({ type }) => type === 'video'),
        ...renditions.filter(({ type }) => type === 'audio'),
      ],
      notes: this.#notes,
    };
    const write = (name: string, text: string) => writeFile(join(this.#folder, name), text);
    for (const rendition of title.renditions) {
      await write(join(rendition.name, 'index.m3u8'), mediaPlaylist(title, rendition));
    }
    await write('master.m3u8', multivariantPlaylist(title));
    if (encryption === 'none' && container === 'cmaf') await write('manifest.mpd', manifestMpd(title));
    await write(TITLE_FILE, `${JSON.stringify(title)}\n`);
    return title;
  }

  /** Resolves when nothing is written any more, whatever came of it. */
  async settled(): Promise<void> {
    await this.#writing.catch(() => {});
  }

  /** The audio tracks of a source that are packaged: in TS its own, as it is muxed; in CMAF those of the first that has any. */
  #soundOf(index: number): AudioTrack[] {
    const source = this.#sources[index];
    if (!source || source.audio.length === 0) return [];
    if (this.#request.container === 'ts') return source.audio;
    const first = this.#sources.find(({ audio }) => audio.length > 0);
    if (first === source) return source.audio;
    const languages = ({ audio }: Source) => audio.map(({ language }) => language).join(', ');
    if (first && languages(first) !== languages(source)) {
      throw new PackagingError(
        'ERR_PACKAGE_TRACK',
        `${source.name} has sound (${languages(source)}) that ${first.name} has not (${languages(first)}), and that would be dropped`,
      );
    }
    this.#notes.push(`the sound of ${source.name} is not packaged: that of ${first?.name} is, for all renditions`);
    return [];
  }

  /** Whether the sound of a source is in the segments of its picture. */
  #isMuxed({ video }: Source): boolean {
    return this.#request.container === 'ts' && video !== undefined;
  }

  /** The renditions of a source, each with its folder and nothing in it yet. */
  async #begin(source: Source, audio: AudioTrack[], others: Rendition[]): Promise<Track[]> {
    const isMuxed = this.#isMuxed(source);
    const names = new Set(others.map(({ name }) => name));
    const renditions = [
      ...(source.video ? [videoRendition(source.video, isMuxed ? audio : [])] : []),
      ...(isMuxed ? [] : audio.map(audioRendition)),
    ].map((rendition) => ({ ...rendition, name: unusedName(rendition.name, names) }));
    for (const { name } of renditions) await mkdir(join(this.#folder, name));
    return renditions.map((rendition) => ({
      name: rendition.name,
      rendition,
      stream: new TransportStream(),
      timescale: 1,
      fragments: 0,
      packets: 0,
    }));
  }

  async #package(
    source: Source,
    audio: AudioTrack[],
    others: Rendition[],
    onProgress: (seconds: number) => void,
  ): Promise<Rendition[]> {
    const { segmentSeconds, signal } = this.#request;
    const isMuxed = this.#isMuxed(source);
    const tracks = await this.#begin(source, audio, others);
    let [count, soundEnd] = [0, 0];
    for await (const segment of cutSegments({ ...source, audio }, segmentSeconds)) {
      signal?.throwIfAborted();
      if (isMuxed && segment.video?.packets.length === 0) {
        throw new PackagingError(
          'ERR_PACKAGE_TRACK',
          `${source.name} has sound after ${segment.start.toFixed(2)} s, and no picture: cut it, or package it as CMAF`,
        );
      }
      for (const [track, contents] of this.#contents(tracks, segment, isMuxed)) {
        // Players take the segments of a playlist one after the other: none may be left out between others.
        if (track.rendition.segments.length < count) {
          throw new PackagingError(
            'ERR_PACKAGE_TRACK',
            `${source.name} has a track '${track.name}' with nothing for a segment or more before ` +
              `${segment.start.toFixed(2)} s: fill it with silence, or transcode it`,
          );
        }
        await this.#add(track, segment, contents);
      }
      soundEnd = Math.max(soundEnd, ...segment.audio.map(({ packets }) => endOf(packets)));
      count++;
      onProgress(segment.end);
    }
    await this.#writing;
    // Where they are in one stream, the last segment lasts as long as its sound.
    const last = isMuxed ? tracks[0]?.rendition.segments.at(-1) : undefined;
    if (last) last.seconds = Math.max(last.seconds, soundEnd - last.start);
    return tracks.map((track) => finished(track));
  }

  /** Which packets of a segment go into which rendition. */
  #contents(tracks: Track[], { video, audio }: Segment, isMuxed: boolean): [Track, TrackPackets[]][] {
    const all = [...(video ? [video] : []), ...audio];
    // All of them, so that the table of the program is always the same.
    if (isMuxed) return tracks.map((track) => [track, all]);
    return tracks.flatMap((track, index) => {
      const contents = all[index];
      return contents && contents.packets.length > 0 ? [[track, [contents]] as [Track, TrackPackets[]]] : [];
    });
  }

  async #add(track: Track, segment: Segment, contents: TrackPackets[]): Promise<void> {
    const { container, partSeconds } = this.#request;
    const { rendition } = track;
    const index = rendition.segments.length;
    const [only] = contents;
    if (!only) return;
    if (container === 'cmaf' && index === 0) {
      const init = await writeInit(only);
      track.timescale = timescaleOf(init);
      rendition.init = 'init.mp4';
      await writeFile(join(this.#folder, track.name, rendition.init), init);
    }
    const key = await this.#keys?.at(track.name, index);
    const iv = this.#iv(index);
    const { extension } = CONTAINERS[container];
    const stem = `segment-${String(index + 1).padStart(5, '0')}`;
    // Sound begins where that before ended, so that a pause counts as well.
    const before = rendition.segments.at(-1);
    const [start, end] =
      rendition.type === 'audio'
        ? [before ? before.start + before.seconds : segment.start, endOf(only.packets)]
        : [segment.start, segment.end];
    const file = `${stem}.${extension}`;
    this.#buffer.clear();
    if (container === 'ts') track.stream.write(contents, this.#buffer);
    else writeFragment(only.packets, track.timescale, ++track.fragments, this.#buffer);
    const bytes = await this.#seal(track, file, key, iv);
    const written: PackagedSegment = { file, start, seconds: end - start, bytes };
    if (key) written.encryption = { key: key.wrapped.name, iv: Buffer.from(iv).toString('hex') };
    if (partSeconds !== undefined) {
      written.parts = [];
      for (const { packets, seconds, isIndependent } of cutParts(only.packets, start, end, partSeconds)) {
        const part = `${stem}.${written.parts.length + 1}.${extension}`;
        this.#buffer.clear();
        writeFragment(packets, track.timescale, ++track.fragments, this.#buffer);
        await this.#seal(track, part, key, iv);
        written.parts.push({ file: part, seconds, isIndependent });
      }
    }
    rendition.segments.push(written);
    rendition.isIndependent &&= segment.isIndependent;
    track.packets += only.packets.length;
  }

  #iv(index: number): Uint8Array {
    const { encryption } = this.#request;
    return encryption !== 'none' && encryption.iv === 'random' ? randomBytes(16) : sequenceIv(index);
  }

  /** Encrypts and writes what is in the buffer, while the next segment is made; resolves to the length of the file in bytes. */
  async #seal(track: Track, file: string, key: TitleKey | undefined, iv: Uint8Array): Promise<number> {
    const clear = this.#buffer.view();
    const sealed = key ? encryptSegment(clear, key.secret, iv) : Promise.resolve(Buffer.from(clear));
    const before = this.#writing;
    this.#writing = sealed.then((bytes) => writeFile(join(this.#folder, track.name, file), bytes));
    // Whoever waits next gets the error; until then it is nobody's.
    this.#writing.catch(() => {});
    await before;
    return key ? encryptedLength(clear.length) : clear.length;
  }

  /** Players change between renditions at any segment: all have to be cut at the same times. */
  #requireAligned(before: Rendition[], tracks: Rendition[]): void {
    const first = before.find(({ type }) => type === 'video');
    for (const rendition of tracks.filter(({ type }) => first && type === 'video')) {
      const at = rendition.segments.findIndex(
        ({ start }, index) => Math.abs(start - (first?.segments[index]?.start ?? Number.POSITIVE_INFINITY)) > ALIGNMENT,
      );
      if (at < 0 && rendition.segments.length === first?.segments.length) continue;
      const where =
        at < 0
          ? `${rendition.segments.length} segments`
          : `segment ${at + 1} at ${rendition.segments[at]?.start.toFixed(2)} s`;
      throw new PackagingError(
        'ERR_PACKAGE_RENDITIONS',
        `${rendition.name} has ${where}, ${first?.name} has not: encode all renditions with key frames at the same times`,
      );
    }
  }
}

function videoRendition({ width, height, codecString }: VideoTrack, muxed: AudioTrack[]): Track['rendition'] {
  const codecs = [codecString, ...muxed.map((track) => track.codecString)];
  const name = `${Math.min(width, height)}p`;
  return { name, type: 'video', codecs, width, height, isIndependent: true, segments: [] };
}

function audioRendition({ codecString, language, config }: AudioTrack): Track['rendition'] {
  const name = language === 'und' ? 'audio' : `audio-${language.replaceAll(/[^\w]/g, '')}`;
  const sound = { language, channels: config.numberOfChannels, sampleRate: config.sampleRate };
  return { name, type: 'audio', codecs: [codecString], ...sound, isIndependent: true, segments: [] };
}

/** Seconds, 0 of none; titles may have more segments than a call has arguments. */
function longestOf(pieces: { seconds: number }[]): number {
  return pieces.reduce((longest, { seconds }) => Math.max(longest, seconds), 0);
}

function unusedName(wished: string, taken: Set<string>): string {
  let name = wished;
  for (let n = 2; taken.has(name); n++) name = `${wished}-${n}`;
  taken.add(name);
  return name;
}

function finished({ rendition, packets }: Track): Rendition {
  const { segments } = rendition;
  const rate = (bytes: number, seconds: number) => Math.ceil((8 * bytes) / Math.max(seconds, 0.001));
  const seconds = segments.reduce((sum, segment) => sum + segment.seconds, 0);
  const bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0);
  return {
    ...rendition,
    bandwidth: Math.max(rate(bytes, seconds), ...segments.map((segment) => rate(segment.bytes, segment.seconds))),
    averageBandwidth: rate(bytes, seconds),
    ...(rendition.type === 'video' ? { frameRate: Number((packets / Math.max(seconds, 0.001)).toFixed(3)) } : {}),
  };
}
