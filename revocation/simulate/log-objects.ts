import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { finished, pipeline } from 'node:stream/promises';
import { createGzip, type Gzip } from 'node:zlib';
import { headerOf, type LogFormat } from './log-lines.ts';
import type { ParquetWriter } from './parquet.ts';
import type { Random } from './random.ts';

const DISTRIBUTION = 'E2EXAMPLE1234X';
/** "Up to several times an hour" (AWS, "Standard logging reference", timing of log file delivery). */
const PERIOD_SECONDS = 900;
/** Lines after which the object of a period is continued in another. */
const LINES_AN_OBJECT = 100_000;
/** Share of lines that come late, hours after the others. */
const LATE = 0.01;
/** Lines within which their order is lost. */
const SHUFFLED_LINES = 512;
/** Mostly only latency counts here; content as random as tokens hardly gets smaller by more effort. */
const GZIP_LEVEL = 1;

/** An object as it was written. Times are seconds since the epoch. */
export interface WrittenObject {
  /** Path below the folder of the logs. */
  name: string;
  hour: number;
  lines: number;
  /** When CloudFront would have delivered it. */
  arrivesAt: number;
}

/**
 * Writes lines into log objects as CloudFront delivers them: one or more for each quarter of an hour, with the lines of all
 * edge locations, not quite in order; some of them come hours later, in an object that is named for the hour of its lines.
 */
export class LogObjectWriter {
  readonly objects: WrittenObject[] = [];
  readonly #folder: string;
  readonly #format: LogFormat;
  readonly #header: string;
  readonly #random: Random;
  readonly #parquet: ParquetWriter | undefined;
  #current: OpenObject | undefined;
  #late: OpenObject | undefined;

  /** `parquet`: what makes Parquet files of lines, for that format. */
  constructor(folder: string, format: LogFormat, fields: string[], random: Random, parquet?: ParquetWriter) {
    this.#folder = folder;
    this.#format = format;
    this.#header = headerOf(format, fields);
    this.#random = random;
    this.#parquet = parquet;
  }

  /** Adds a line of a time that is not before that of the last one; seconds since the epoch. */
  async add(time: number, line: string): Promise<void> {
    const isLate = this.#random.chance(LATE);
    const period = isLate ? 3600 : PERIOD_SECONDS;
    const from = Math.floor(time / period) * period;
    let open = isLate ? this.#late : this.#current;
    if (open === undefined || open.from !== from || open.lines >= LINES_AN_OBJECT) {
      if (open) await this.#close(open);
      open = await this.#open(from, period, isLate);
      if (isLate) this.#late = open;
      else this.#current = open;
    }
    open.lines += 1;
    if (open.buffer.push(line) >= SHUFFLED_LINES) await open.flush(this.#random);
  }

  async end(): Promise<void> {
    for (const open of [this.#current, this.#late]) if (open) await this.#close(open);
  }

  async #open(from: number, period: number, isLate: boolean): Promise<OpenObject> {
    const hour = Math.floor(from / 3600) * 3600;
    const [date = '', hh = ''] = new Date(hour * 1000).toISOString().slice(0, 13).split('T');
    const unique = this.#random.uint32().toString(16).padStart(8, '0');
    const file = `${DISTRIBUTION}.${date}-${hh}.${unique}.${this.#format === 'parquet' ? 'parquet' : 'gz'}`;
    const name = this.#format === 'v1' ? file : join(DISTRIBUTION, date.replaceAll('-', '/'), hh, file);
    await mkdir(dirname(join(this.#folder, name)), { recursive: true });
    const delay = isLate ? this.#random.between(3600, 24 * 3600) : this.#random.between(300, 3600);
    const arrivesAt = Math.floor(from + period + delay);
    return new OpenObject(join(this.#folder, name), this.#header, this.#parquet, { name, hour, arrivesAt }, from);
  }

  async #close(open: OpenObject): Promise<void> {
    await open.end(this.#random);
    this.objects.push({ ...open.about, lines: open.lines });
  }
}

class OpenObject {
  lines = 0;
  readonly buffer: string[] = [];
  readonly about: Omit<WrittenObject, 'lines'>;
  readonly from: number;
  readonly #path: string;
  readonly #parquet: ParquetWriter | undefined;
  readonly #stream: Gzip | WriteStream;
  /** Resolves when all is on disk, rejects when it cannot be (a full disk). */
  readonly #written: Promise<void>;

  constructor(
    path: string,
    header: string,
    parquet: ParquetWriter | undefined,
    about: Omit<WrittenObject, 'lines'>,
    from: number,
  ) {
    this.about = about;
    this.from = from;
    this.#path = path;
    this.#parquet = parquet;
    const file = createWriteStream(parquet ? `${path}.lines` : path);
    if (parquet) {
      this.#stream = file;
      this.#written = finished(file);
    } else {
      this.#stream = createGzip({ level: GZIP_LEVEL });
      this.#written = pipeline(this.#stream, file);
    }
    // It is awaited later; until then a failure is no unhandled one.
    this.#written.catch(() => {});
    if (header) this.#stream.write(header);
  }

  async flush(random: Random): Promise<void> {
    shuffle(random, this.buffer);
    const text = this.buffer.join('');
    this.buffer.length = 0;
    if (!this.#stream.write(text)) await Promise.race([once(this.#stream, 'drain'), this.#written]);
  }

  async end(random: Random): Promise<void> {
    await this.flush(random);
    this.#stream.end();
    await this.#written;
    if (!this.#parquet) return;
    await this.#parquet.convert(`${this.#path}.lines`, this.#path);
    await rm(`${this.#path}.lines`);
  }
}

/** Fisher and Yates's shuffle, in place. */
function shuffle(random: Random, lines: string[]): void {
  for (let i = lines.length - 1; i > 0; i--) {
    const j = random.whole(0, i);
    [lines[i], lines[j]] = [lines[j] as string, lines[i] as string];
  }
}
