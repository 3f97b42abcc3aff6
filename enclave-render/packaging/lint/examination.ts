import { performance } from 'node:perf_hooks';
import type { Fetched, ManifestStore } from './fetch-manifest.ts';
import type { Limits } from './limits.ts';
import { type Finding, finding, type RuleId } from './rules.ts';
import { withoutToken } from './without-token.ts';

/** A place in a manifest. */
export interface Place {
  url: URL;
  line?: number;
}

/** The text of a manifest, and how many bytes that were. */
export interface Manifest {
  url: URL;
  text: string;
  bytes: number;
}

/** Ends an examination before its time. */
class LimitReached extends Error {
  readonly at: Place;
  constructor(at: Place, message: string) {
    super(message);
    this.name = 'LimitReached';
    this.at = at;
  }
}

/** What of a name goes into a finding. */
const NAME_CHARACTERS = 1000;
const DETAIL_CHARACTERS = 200;

/** One run of the linter: what it fetches and what it finds, within limits. */
export class Examination {
  readonly findings: Finding[] = [];
  readonly #store: ManifestStore;
  readonly #limits: Limits;
  readonly #fetched = new Map<string, Fetched>();
  #bytes = 0;
  /** On the clock of `performance.now`. */
  readonly #endsAt: number;

  constructor(store: ManifestStore, limits: Limits) {
    this.#store = store;
    this.#limits = limits;
    this.#endsAt = performance.now() + 1000 * limits.totalSeconds;
  }

  /** How many files have been fetched, or tried to. */
  get fetched(): number {
    return this.#fetched.size;
  }

  /** Runs a check up to its end, or to a limit, which is a finding then. */
  async run(check: () => Promise<void>): Promise<void> {
    try {
      await check();
    } catch (error) {
      if (!(error instanceof LimitReached)) throw error;
      this.#add('limit-reached', error.at, error.message);
    }
  }

  /** Notes a breach of a rule. No token gets into it. */
  note(rule: RuleId, at: Place, detail = ''): void {
    const { findings } = this.#limits;
    if (this.findings.length >= findings) throw new LimitReached(at, `there are more than ${findings} findings`);
    this.#add(rule, at, detail);
  }

  #add(rule: RuleId, { url, line }: Place, detail: string): void {
    const name = this.#store.name(url).slice(0, NAME_CHARACTERS);
    const where = line === undefined ? name : `${name}:${line}`;
    this.findings.push(finding(rule, where, withoutToken(detail).slice(0, DETAIL_CHARACTERS)));
  }

  /** Fetches at most `bytes` of something, once however often manifests refer to it. */
  async get(url: URL, bytes: number): Promise<Fetched> {
    const id = `${bytes} ${url.href}`;
    const known = this.#fetched.get(id);
    if (known) return known;
    const { fetches, totalBytes, totalSeconds, answerSeconds } = this.#limits;
    if (this.#fetched.size >= fetches) throw new LimitReached({ url }, `there are more than ${fetches} files`);
    const left = this.#endsAt - performance.now();
    if (left <= 0) throw new LimitReached({ url }, `it took longer than ${totalSeconds} s so far`);
    const signal = AbortSignal.timeout(Math.ceil(Math.min(1000 * answerSeconds, left)));
    const answer = await this.#store.fetch(url, bytes, signal);
    this.#fetched.set(id, answer);
    this.#bytes += answer.bytes?.length ?? 0;
    if (this.#bytes > totalBytes) throw new LimitReached({ url }, `all files have more than ${totalBytes} bytes`);
    return answer;
  }

  /** Fetches a manifest; only its first part when it is too large to be one. */
  async getManifest(url: URL): Promise<{ manifest: Manifest | undefined; why: string }> {
    const { bytes, why } = await this.get(url, this.#limits.manifestBytes + 1);
    return { manifest: bytes && { url, text: Buffer.from(bytes).toString('utf8'), bytes: bytes.length }, why };
  }

  /** Ends the examination at a manifest that is too large to be one. */
  requireWhole({ url, text, bytes }: Manifest): void {
    const { manifestBytes, manifestLines } = this.#limits;
    if (bytes > manifestBytes) throw new LimitReached({ url }, `it has more than ${manifestBytes} bytes`);
    let lines = 1;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++;
    if (lines > manifestLines) throw new LimitReached({ url }, `it has more than ${manifestLines} lines`);
  }

  /** Notes `unreachable` when something cannot be fetched. Of a segment only whether it is there is asked. */
  async requireThere(url: URL, at: Place): Promise<void> {
    const { bytes, why } = await this.get(url, 1);
    if (!bytes) this.note('unreachable', at, why);
  }

  /**
   * Resolves a URI of a manifest and notes what would take the token off it. Undefined when there is nothing to fetch: what leads
   * to another host is not followed.
   */
  follow(uri: string, base: URL, line: number): URL | undefined {
    const at = { url: base, line };
    if (/^data:/i.test(uri)) return undefined;
    const { uriCharacters } = this.#limits;
    if (uri.length > uriCharacters) {
      this.note('unreachable', at, `a URI of more than ${uriCharacters} characters`);
      return undefined;
    }
    const isRootRelative = uri.startsWith('/') && !uri.startsWith('//');
    const isAbsolute = /^[a-z][a-z0-9+.-]*:/i.test(uri) || uri.startsWith('//');
    if (isRootRelative) this.note('root-relative-uri', at, withoutQuery(uri));
    let url: URL;
    try {
      url = new URL(uri, base);
    } catch {
      this.note('unreachable', at, withoutQuery(uri));
      return undefined;
    }
    const isSameOrigin = url.origin === base.origin && url.protocol === base.protocol;
    // Files have no host that would be the same.
    if (isAbsolute) this.note(isSameOrigin && url.protocol !== 'file:' ? 'absolute-uri' : 'cross-domain', at, url.host);
    else if (uri.includes('?')) this.note('query-uri', at, withoutQuery(uri));
    return isSameOrigin ? url : undefined;
  }
}

/** A URI as findings show it: what may be a secret of a query goes into no report. */
export function withoutQuery(uri: string): string {
  return uri.split(/[?#]/, 1)[0] ?? '';
}
