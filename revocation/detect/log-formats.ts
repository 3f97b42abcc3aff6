import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { constants, createGunzip, gunzipSync } from 'node:zlib';
import { columnOf, STANDARD_FIELDS, V2_FIELDS } from './log-fields.ts';
import { LOG_COLUMNS, type LogColumn, neededColumns } from './sql.ts';

/** How a log object is written, found out from its first bytes. */
export type LogFormat =
  /** Standard logs v1, and v2 as w3c: two lines that begin with `#`, then fields separated by tabs. */
  | { kind: 'tsv'; isGzip: boolean; fields: string[]; headerLines: number; headerBytes: number }
  /** Standard logs v2 as JSON, an object a line; `fields` are the keys of the first. */
  | { kind: 'json'; isGzip: boolean; fields: string[] }
  /** Standard logs v2 as Parquet. */
  | { kind: 'parquet' };

/** Why a log object cannot be read; the message says what to do. */
export class LogObjectError extends Error {}

/** Beginning of a file that is looked at: a header, or the first line. */
const HEAD = 65536;
const GZIP = Buffer.from([0x1f, 0x8b]);
const PARQUET = Buffer.from('PAR1');
const LINE_FEED = 10;
/** Characters of the longest line that is read; CloudFront writes fewer than 65,536. */
const LINE_MAX = 1e6;

/** The column that a field is to detection, whatever format its name is from; undefined for one that it does not read. */
export function columnOfField(field: string): LogColumn | undefined {
  const name = columnOf(field);
  return LOG_COLUMNS.find((column) => column === name);
}

/** Reads `length` bytes at `position`, fewer at the end of the file. */
async function readBytes(path: string, position: number, length: number): Promise<Buffer> {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Finds out how a file of `bytes` bytes is written. Throws `LogObjectError` when it is no log that can be read. */
export async function formatOf(path: string, bytes: number): Promise<LogFormat> {
  if (bytes === 0) throw new LogObjectError('it is empty: no log object of CloudFront is; delete it');
  const start = await readBytes(path, 0, Math.min(bytes, HEAD));
  if (start.subarray(0, 4).equals(PARQUET)) {
    const end = await readBytes(path, bytes - 4, 4);
    if (bytes < 12 || !end.equals(PARQUET))
      throw new LogObjectError('this Parquet file ends too early: fetch it again');
    return { kind: 'parquet' };
  }
  const isGzip = start.subarray(0, 2).equals(GZIP);
  const head = isGzip ? inflateHead(start) : start;
  if (head.length === 0) throw new LogObjectError('there is nothing in it: fetch it again, or delete it');
  if (head[0] === '{'.charCodeAt(0)) return { kind: 'json', isGzip, fields: jsonKeys(head) };
  if (head[0] === '#'.charCodeAt(0)) return { kind: 'tsv', isGzip, ...tsvHeader(head) };
  throw new LogObjectError(
    'it is no access log of CloudFront: it begins neither with #Version and #Fields (standard logs v1, w3c), nor as JSON or ' +
      'Parquet. Choose one of these formats for the log delivery',
  );
}

/** What the first bytes of a gzip file hold. */
function inflateHead(start: Buffer): Buffer {
  try {
    return gunzipSync(start, { finishFlush: constants.Z_SYNC_FLUSH });
  } catch {
    throw new LogObjectError('it begins like a gzip file, but is none: fetch it again');
  }
}

function jsonKeys(head: Buffer): string[] {
  const end = head.indexOf(LINE_FEED);
  try {
    return Object.keys(JSON.parse(head.subarray(0, end < 0 ? head.length : end).toString()));
  } catch {
    throw new LogObjectError('its first line is no JSON object: it must have one log line a line');
  }
}

function tsvHeader(head: Buffer): { fields: string[]; headerLines: number; headerBytes: number } {
  let fields: string[] | undefined;
  let headerLines = 0;
  let headerBytes = 0;
  while (head[headerBytes] === '#'.charCodeAt(0)) {
    const end = head.indexOf(LINE_FEED, headerBytes);
    const line = head.subarray(headerBytes, end < 0 ? head.length : end).toString();
    if (line.startsWith('#Fields:')) fields = line.slice('#Fields:'.length).trim().split(/\s+/);
    headerLines++;
    headerBytes = end < 0 ? head.length : end + 1;
  }
  if (!fields)
    throw new LogObjectError('it has no line that begins with #Fields: and names its fields: fetch it again');
  return { fields, headerLines, headerBytes };
}

/** The name that CloudFront has for a column: `cs(User-Agent)`. */
const fieldOf = (column: LogColumn) => [...STANDARD_FIELDS, ...V2_FIELDS].find((field) => columnOf(field) === column);

/** Throws `LogObjectError` unless a log with these columns has those that detection needs. */
export function requireColumns(columns: ReadonlySet<LogColumn>): void {
  const missing = neededColumns(columns).filter((column) => !columns.has(column));
  if (missing.length > 0) {
    throw new LogObjectError(
      `it lacks ${missing.map(fieldOf).join(', ')}: add ${missing.length > 1 ? 'these fields' : 'this field'} ` +
        'to the log delivery of CloudFront; logs of another CDN cannot be read',
    );
  }
}

/** Length of what a gzip file holds, modulo 2³²: its last four bytes (RFC 1952 §2.3.1). Of several members, that of the last. */
export async function gzipLength(path: string, bytes: number): Promise<number> {
  const trailer = await readBytes(path, bytes - 4, 4);
  return trailer.length === 4 ? trailer.readUInt32LE() : 0;
}

/**
 * Copies the lines of the first `bytes` bytes of a log, without headers, to a file that is as the engine wants it: every line
 * complete, every one with all fields. In a plain file what follows the last line feed is a line that is still being written,
 * and is left out; it counts when the object is read again in its next version. Throws `LogObjectError` for a file that is
 * damaged, or when `signal` ended it.
 */
export async function copyLines(
  path: string,
  bytes: number,
  format: LogFormat,
  target: string,
  signal: AbortSignal,
): Promise<void> {
  if (format.kind === 'parquet') throw new TypeError('Parquet has no lines');
  const source = createReadStream(path, { end: bytes - 1, signal });
  const input = format.isGzip ? source.pipe(createGunzip()) : source;
  source.on('error', (error) => input.destroy(error));
  const output = createWriteStream(target, { mode: 0o600 });
  let lineNumber = 0;
  let rest = '';
  try {
    for await (const chunk of input.setEncoding('utf8')) {
      // Searched in the chunk alone: to split the rest again with every chunk takes minutes when no line ends.
      const end = chunk.lastIndexOf('\n');
      const lines = end < 0 ? [] : (rest + chunk.slice(0, end)).split('\n');
      rest = end < 0 ? rest + chunk : chunk.slice(end + 1);
      if (rest.length > LINE_MAX) {
        throw new LogObjectError(
          `line ${lineNumber + lines.length + 1} is longer than a megabyte: it is no log of CloudFront`,
        );
      }
      let kept = '';
      for (const line of lines) {
        lineNumber++;
        if (isLogLine(line, lineNumber, format)) kept += `${line}\n`;
      }
      if (!output.write(kept)) await once(output, 'drain');
    }
    if (rest !== '' && format.isGzip)
      throw new LogObjectError(`its last line is cut off (line ${lineNumber + 1}): fetch it again`);
  } catch (error) {
    if (error instanceof LogObjectError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    if (!code?.startsWith('Z_')) throw error;
    throw new LogObjectError('this gzip file is cut off or damaged: fetch it again');
  } finally {
    output.end();
    await once(output, 'close');
  }
}

/** Whether a line is one of the log, not of its header. Throws `LogObjectError` for one that is damaged. */
function isLogLine(line: string, lineNumber: number, format: LogFormat): boolean {
  if (format.kind === 'tsv') {
    if (line.startsWith('#')) {
      const fields = line.startsWith('#Fields:') ? line.slice('#Fields:'.length).trim().split(/\s+/) : format.fields;
      if (fields.join() === format.fields.join()) return false;
      throw new LogObjectError(`its fields change in line ${lineNumber}: split it there`);
    }
    const count = line.split('\t').length;
    if (count === format.fields.length) return true;
    throw new LogObjectError(`line ${lineNumber} has ${count} of ${format.fields.length} fields: fetch it again`);
  }
  if (line.startsWith('{') && line.trimEnd().endsWith('}')) return true;
  throw new LogObjectError(`line ${lineNumber} is no JSON object: fetch it again`);
}
