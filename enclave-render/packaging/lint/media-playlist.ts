import { type Examination, withoutQuery } from './examination.ts';
import type { PlaylistLine } from './playlist-parser.ts';

/** What other playlists of the title are compared with. */
export interface MediaPlaylist {
  segments: number;
  isEncrypted: boolean;
  /** Whether it ends (`EXT-X-ENDLIST`): only then can several be compared, a live one goes on between two requests. */
  isComplete: boolean;
  mediaSequence: number;
  discontinuitySequence: number;
  /** Indices of the segments that come after a discontinuity. */
  discontinuities: number[];
}

type TagLine = Extract<PlaylistLine, { type: 'tag' }>;
type UriLine = Extract<PlaylistLine, { type: 'uri' }>;

const KEY_BYTES = 16;
const FRAGMENTED_MP4 = /\.(?:m4s|mp4|cmfv|cmfa|m4v|m4a)$/i;

/** Checks a media playlist (RFC 8216 §4.3.3) and what it refers to. */
export async function lintMediaPlaylist(
  lines: PlaylistLine[],
  url: URL,
  examination: Examination,
): Promise<MediaPlaylist> {
  const reading = new Reading(url, examination);
  for (const line of lines) {
    if (line.type === 'uri') reading.segment(line);
    else await reading.tag(line);
  }
  return reading.finish();
}

/** What is known of a media playlist while it is read line by line. */
class Reading {
  readonly #url: URL;
  readonly #examination: Examination;
  readonly #result: MediaPlaylist = {
    segments: 0,
    isEncrypted: false,
    isComplete: false,
    mediaSequence: 0,
    discontinuitySequence: 0,
    discontinuities: [],
  };
  readonly #uris: UriLine[] = [];
  readonly #sequenceTags = new Set<string>();
  #target: number | undefined;
  /** Of the segment that comes next. */
  #duration: number | undefined;
  #key: { isNone: boolean; hasIv: boolean } | undefined;
  #hasMap = false;
  #lacksMap = false;
  /** Lines; 0 when there is none. */
  #firstClear = 0;
  #firstEncrypted = 0;

  constructor(url: URL, examination: Examination) {
    this.#url = url;
    this.#examination = examination;
  }

  segment(entry: UriLine): void {
    const at = { url: this.#url, line: entry.line };
    if (this.#duration === undefined) this.#examination.note('duration-missing', at, withoutQuery(entry.uri));
    else if (this.#target !== undefined && Math.round(this.#duration) > this.#target) {
      const detail = `${this.#duration} s, and ${this.#target} s are announced`;
      this.#examination.note('target-duration-exceeded', at, detail);
    }
    this.#duration = undefined;
    if (this.#isEncrypted) this.#firstEncrypted ||= entry.line;
    else this.#firstClear ||= entry.line;
    if (!this.#hasMap && !this.#lacksMap && FRAGMENTED_MP4.test(withoutQuery(entry.uri))) {
      this.#lacksMap = true;
      this.#examination.note('map-missing', at);
    }
    this.#uris.push(entry);
    this.#result.segments++;
  }

  async tag({ name, value, attributes, line }: TagLine): Promise<void> {
    const uri = attributes.get('URI');
    switch (name) {
      case 'EXT-X-TARGETDURATION':
        this.#target = /^\d+$/.test(value) ? Number(value) : undefined;
        break;
      case 'EXTINF':
        this.#duration = Number.parseFloat(value) >= 0 ? Number.parseFloat(value) : undefined;
        break;
      case 'EXT-X-ENDLIST':
        this.#result.isComplete = true;
        break;
      case 'EXT-X-DISCONTINUITY':
        this.#result.discontinuities.push(this.#result.segments);
        break;
      case 'EXT-X-MEDIA-SEQUENCE':
        this.#requireEarly(name, line);
        this.#result.mediaSequence = Number(value);
        break;
      case 'EXT-X-DISCONTINUITY-SEQUENCE':
        this.#requireEarly(name, line);
        this.#result.discontinuitySequence = Number(value);
        break;
      case 'EXT-X-KEY':
        await this.#keyTag(attributes, line);
        break;
      case 'EXT-X-MAP':
        await this.#mapTag(uri, line);
        break;
      case 'EXT-X-PART':
      case 'EXT-X-PRELOAD-HINT':
      case 'EXT-X-RENDITION-REPORT':
        if (uri !== undefined) this.#examination.follow(uri, this.#url, line);
        break;
    }
  }

  async finish(): Promise<MediaPlaylist> {
    const examination = this.#examination;
    const url = this.#url;
    if (this.#target === undefined) examination.note('target-duration-missing', { url });
    if (this.#firstClear > 0 && this.#firstEncrypted > 0) {
      examination.note('mixed-encryption', { url, line: Math.max(this.#firstClear, this.#firstEncrypted) });
    }
    for (const [index, { uri, line }] of this.#uris.entries()) {
      const followed = examination.follow(uri, url, line);
      const isAtAnEnd = index === 0 || index === this.#uris.length - 1;
      if (followed && isAtAnEnd) await examination.requireThere(followed, { url, line });
    }
    return { ...this.#result, isEncrypted: this.#firstEncrypted > 0 };
  }

  get #isEncrypted(): boolean {
    return this.#key !== undefined && !this.#key.isNone;
  }

  #requireEarly(name: string, line: number): void {
    if (this.#result.segments > 0 || this.#sequenceTags.has(name)) {
      this.#examination.note('media-sequence-late', { url: this.#url, line }, name);
    }
    this.#sequenceTags.add(name);
  }

  async #keyTag(attributes: Map<string, string>, line: number): Promise<void> {
    const examination = this.#examination;
    const at = { url: this.#url, line };
    const method = attributes.get('METHOD') ?? '';
    const uri = attributes.get('URI');
    const iv = attributes.get('IV');
    this.#key = { isNone: method === 'NONE', hasIv: iv !== undefined };
    if (iv !== undefined && !/^0[xX][0-9a-fA-F]{32}$/.test(iv)) examination.note('iv-invalid', at);
    if (method === 'NONE') return;
    if (!uri) examination.note('key-without-uri', at);
    if (method !== 'AES-128') examination.note('key-method', at, method);
    if (method !== 'AES-128' || !uri) return;
    const followed = examination.follow(uri, this.#url, line);
    if (!followed) return;
    const { bytes, why } = await examination.get(followed, KEY_BYTES + 1);
    if (!bytes) examination.note('key-missing', at, why);
    else if (bytes.length !== KEY_BYTES) examination.note('key-missing', at, 'it is not 16 bytes');
  }

  async #mapTag(uri: string | undefined, line: number): Promise<void> {
    const at = { url: this.#url, line };
    this.#hasMap = true;
    if (this.#isEncrypted && !this.#key?.hasIv) this.#examination.note('init-encrypted-without-iv', at);
    const followed = uri === undefined ? undefined : this.#examination.follow(uri, this.#url, line);
    if (followed) await this.#examination.requireThere(followed, at);
  }
}
