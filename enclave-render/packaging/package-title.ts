import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import type { MasterReader } from '../mastering/master-reader.ts';
import { CONTAINERS, type Container } from './containers.ts';
import {
  encryptSegment,
  type IvPolicy,
  type KeySchedule,
  type NewContentKey,
  sequenceIv,
  TitleKeys,
} from './content-keys.ts';
import { manifestMpd } from './dash.ts';
import { PackagingError } from './errors.ts';
import type { KeyTable } from './key-table.ts';
import { buildFolder } from './output-folder.ts';
import { cutParts } from './parts.ts';
import { mediaPlaylist, multivariantPlaylist } from './playlists.ts';
import { continueCounters, writeSegment } from './segment-writer.ts';
import { cutSegments, endOf, type Segment, type TrackPackets } from './segments.ts';
import { type AudioTrack, openSource, type Source } from './source.ts';
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
  const keys = encryption === 'none' ? undefined : new TitleKeys(encryption.newContentKey, encryption);
  const open: Source[] = [];
  try {
    return await buildFolder(out, request.force ?? false, async (folder) => {
      for (const { reader, name } of sources) open.push(await openSource(reader, name, container));
      const title = await new TitleBuild(folder, request, keys, open).run();
      if (keys && encryption !== 'none') {
        await writeKeyTable(encryption.keyTableFile, out, folder, {
          format: 'portcullis-content-keys/1',
          keys: keys.wrapped(),
        });
      }
      return title;
    });
  } finally {
    for (const source of open) source.close();
    keys?.clear();
  }
}

/** Into the title's folder, or to a place of its own, where it must not be served from. */
async function writeKeyTable(file: string | undefined, out: string, folder: string, table: KeyTable): Promise<void> {
  if (file && `${resolve(file)}${sep}`.startsWith(`${resolve(out)}${sep}`)) {
    throw new PackagingError(
      'ERR_PACKAGE_OPTIONS',
      `${file} is in the title's folder: keep the key table elsewhere, or there as keys.json`,
    );
  }
  await writeFile(file ?? join(folder, 'keys.json'), `${JSON.stringify(table, null, 2)}\n`, { mode: 0o600 });
}

/** What is known of a rendition while it is written. */
interface Track {
  name: string;
  rendition: Omit<Rendition, 'bandwidth' | 'averageBandwidth'>;
  counters: Map<number, number>;
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
    const longest = Math.max(...renditions.flatMap(({ segments }) => segments.map(({ seconds }) => seconds)));
    const title: PackagedTitle = {
      format: 'portcullis-packaging/1',
      container,
      encryption: encryption === 'none' ? 'none' : 'aes-128',
      ...(encryption === 'none' ? {} : { iv: encryption.iv }),
      targetDuration: Math.max(1, Math.round(longest)),
      ...(partSeconds === undefined ? {} : { partTarget: partSeconds }),
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

  async #package(
    source: Source,
    audio: AudioTrack[],
    others: Rendition[],
    onProgress: (seconds: number) => void,
  ): Promise<Rendition[]> {
    const { container, segmentSeconds, signal } = this.#request;
    const names = new Set(others.map(({ name }) => name));
    const isMuxed = container === 'ts' && source.video !== undefined;
    const tracks: Track[] = [];
    const begin = async (rendition: Track['rendition']) => {
      const name = unusedName(rendition.name, names);
      tracks.push({ name, rendition: { ...rendition, name }, counters: new Map(), packets: 0 });
      await mkdir(join(this.#folder, name));
    };
    if (source.video) {
      const { width, height, codecString } = source.video;
      const codecs = [codecString, ...(isMuxed ? audio.map((track) => track.codecString) : [])];
      await begin({
        name: `${Math.min(width, height)}p`,
        type: 'video',
        codecs,
        width,
        height,
        isIndependent: true,
        segments: [],
      });
    }
    for (const track of isMuxed ? [] : audio) {
      const { codecString, language, config } = track;
      const name = language === 'und' ? 'audio' : `audio-${language.replaceAll(/[^\w]/g, '')}`;
      const sound = { channels: config.numberOfChannels, sampleRate: config.sampleRate };
      await begin({
        name,
        type: 'audio',
        codecs: [codecString],
        language,
        ...sound,
        isIndependent: true,
        segments: [],
      });
    }
    for await (const segment of cutSegments({ ...source, audio }, segmentSeconds)) {
      signal?.throwIfAborted();
      for (const [track, contents] of this.#contents(tracks, segment, isMuxed))
        await this.#add(track, segment, contents);
      onProgress(segment.end);
    }
    await this.#writing;
    return tracks.map((track) => finished(track));
  }

  /** Which packets of a segment go into which rendition. */
  #contents(tracks: Track[], { video, audio }: Segment, isMuxed: boolean): [Track, TrackPackets[]][] {
    const all = [...(video ? [video] : []), ...audio];
    if (isMuxed) return tracks.map((track) => [track, all.filter(({ packets }) => packets.length > 0)]);
    return tracks.flatMap((track, index) => {
      const contents = all[index];
      return contents && contents.packets.length > 0 ? [[track, [contents]] as [Track, TrackPackets[]]] : [];
    });
  }

  async #add(track: Track, segment: Segment, contents: TrackPackets[]): Promise<void> {
    const { container, partSeconds, encryption } = this.#request;
    const { rendition } = track;
    const index = rendition.segments.length;
    const { bytes, init } = await writeSegment(container, contents);
    if (container === 'ts') continueCounters(bytes, track.counters);
    if (init && index === 0) {
      rendition.init = 'init.mp4';
      await writeFile(join(this.#folder, track.name, rendition.init), init);
    }
    const key = await this.#keys?.at(track.name, index);
    const iv =
      encryption !== 'none' && encryption.iv === 'random'
        ? crypto.getRandomValues(new Uint8Array(16))
        : sequenceIv(index);
    const seal = (clear: Uint8Array) => (key ? encryptSegment(clear, key.plaintext, iv) : [clear]);
    const stem = `segment-${String(index + 1).padStart(5, '0')}`;
    const { extension } = CONTAINERS[container];
    const [only] = contents;
    // Sound alone lasts as long as its packets do.
    const [start, end] =
      rendition.type === 'audio' && only
        ? [only.packets[0]?.timestamp ?? segment.start, endOf(only.packets)]
        : [segment.start, segment.end];
    const sealed = seal(bytes);
    const written: PackagedSegment = {
      file: `${stem}.${extension}`,
      start,
      seconds: end - start,
      bytes: sealed.reduce((sum, { length }) => sum + length, 0),
      ...(key ? { encryption: { key: key.wrapped.name, iv: Buffer.from(iv).toString('hex') } } : {}),
    };
    await this.#write(track, written.file, sealed);
    if (partSeconds !== undefined && only) {
      written.parts = [];
      for (const part of cutParts(only, start, end, partSeconds)) {
        const file = `${stem}.${written.parts.length + 1}.${extension}`;
        const { bytes: clear } = await writeSegment(container, [{ track: only.track, packets: part.packets }]);
        await this.#write(track, file, seal(clear));
        written.parts.push({ file, seconds: part.seconds, isIndependent: part.isIndependent });
      }
    }
    rendition.segments.push(written);
    rendition.isIndependent &&= segment.isIndependent;
    track.packets += only?.packets.length ?? 0;
  }

  async #write(track: Track, file: string, chunks: Uint8Array[]): Promise<void> {
    await this.#writing;
    this.#writing = writeFile(join(this.#folder, track.name, file), chunks);
    // Whoever waits next gets the error; until then it is nobody's.
    this.#writing.catch(() => {});
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
