import { closeSync, existsSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { type LogField, STANDARD_FIELDS } from '../../revocation/detect/log-fields.ts';
import { redact } from '../../token/index.ts';
import { type LogFile, openLogFile } from '../log-file.ts';

/** Those of standard logs; then, of v2, what the viewer-request function logs of its decision, the viewer's network and country. */
export const FIELDS = [
  ...STANDARD_FIELDS,
  'viewer-request-log-data',
  'asn',
  'c-country',
] as const satisfies readonly LogField[];

export type LogEntry = Partial<Record<LogField, string | number | undefined>>;

const HEADER = `#Version: 1.0\n#Fields: ${FIELDS.join(' ')}\n`;

/**
 * The access log of the edge server, in the format of CloudFront standard logs (version 1.0), unzipped. `access.log` is that
 * of this hour; when the hour is over it becomes `access.YYYY-MM-DD-HH.log` (UTC), named as CloudFront names its objects.
 */
export class AccessLog {
  readonly #path: string;
  readonly #report: (line: string) => void;
  #file: LogFile;
  /** The hour that the lines in the file are from, `2026-11-22-14`. */
  #hour: string;

  /** Opens the log; `report` is told when a line cannot be written. Throws `ERR_STACK_DATA`. */
  constructor(path: string, report: (line: string) => void) {
    this.#path = path;
    this.#report = report;
    this.#hour = hourOf(new Date());
    const found = statSync(path, { throwIfNoEntry: false });
    const isOurs = found?.isFile() && hourOf(found.mtime) === this.#hour && beginningOf(path) === HEADER;
    // What is there from an hour before, or with other fields, makes room.
    if (found?.isFile() && found.size > 0 && !isOurs) renameSync(path, unusedName(path, hourOf(found.mtime)));
    this.#file = openLogFile('access log', path, report);
    if (!isOurs) this.#file.write(HEADER.trimEnd());
  }

  /** The hour that the lines in `access.log` are from, seconds since the epoch. */
  get hour(): number {
    return Date.parse(this.#hour.replace(/-(\d\d)$/, 'T$1:00Z')) / 1000;
  }

  /** Writes a line: tokens redacted, blanks and control characters percent-encoded as CloudFront does, `-` for nothing. */
  write(entry: LogEntry & { date: string; time: string }): void {
    const hour = `${entry.date}-${entry.time.slice(0, 2)}`;
    if (hour !== this.#hour) this.#rollOver(hour);
    this.#file.write(FIELDS.map((field) => encode(entry[field])).join('\t'));
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** Gives the file the name of its hour, and begins another. Lines that are still on their way to it get there all the same. */
  #rollOver(hour: string): void {
    const finished = this.#hour;
    // Also when it fails: it is tried again when the next hour is over, and not with every line.
    this.#hour = hour;
    try {
      renameSync(this.#path, unusedName(this.#path, finished));
      const next = openLogFile('access log', this.#path, this.#report);
      void this.#file.close();
      this.#file = next;
      this.#file.write(HEADER.trimEnd());
    } catch (error) {
      this.#report(`the access log is not rolled over: ${(error as Error).message}`);
    }
  }
}

function hourOf(date: Date): string {
  return date.toISOString().slice(0, 13).replace('T', '-');
}

function beginningOf(path: string): string {
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(HEADER.length);
    return buffer.toString('utf8', 0, readSync(file, buffer));
  } finally {
    closeSync(file);
  }
}

/** Where the lines of an hour go: `access.2026-11-22-14.log`, or with a number before the end when that is taken. */
function unusedName(path: string, hour: string): string {
  const base = path.replace(/\.log$/, `.${hour}`);
  for (let i = 1; ; i++) {
    const name = i === 1 ? `${base}.log` : `${base}.${i}.log`;
    if (!existsSync(name)) return name;
  }
}

function encode(value: string | number | undefined): string {
  if (value === undefined || value === '') return '-';
  return redact(String(value)).replaceAll(/[^!-~]|["\\]/gu, (character) =>
    Buffer.from(character).toString('hex').toUpperCase().replaceAll(/../g, '%$&'),
  );
}
