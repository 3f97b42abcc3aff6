import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DetectionError } from './detection-engine.ts';
import { connect } from './duckdb.ts';
import { columnOfField } from './log-formats.ts';
import type { LogObject, LogObjects } from './log-objects.ts';

/** The hour in a name: `E2EXAMPLE.2026-11-22-14.5f2a….gz` (standard logs v1), or `…/2026/11/22/14/…` (v2). */
const HOUR = /(?<!\d)(\d{4})[-/](\d{2})[-/](\d{2})[-/](\d{2})(?!\d)/g;

/** The hour that the name of a log object says, seconds since the epoch; of several, the last. */
export function hourOf(name: string): number | undefined {
  const [, year, month, day, hour] = [...name.matchAll(HOUR)].at(-1) ?? [];
  const time = Date.parse(`${year}-${month}-${day}T${hour}:00:00Z`);
  return Number.isNaN(time) ? undefined : time / 1000;
}

/**
 * The log files of this machine that patterns name: a file, a folder with all that is in it, or a pattern with `*`, `?`, `[…]`
 * and `**`. Rejects with `DetectionError` `ERR_DETECTION_LOGS` when one of them names nothing, or something elsewhere.
 */
export function logFiles(patterns: string[]): LogObjects {
  return {
    async list(from) {
      const names = new Set<string>();
      for (const pattern of patterns) for (const name of await namesOf(pattern)) names.add(name);
      const objects = await Promise.all([...names].sort().map(logFile));
      return objects.filter(({ hour }) => hour === undefined || hour >= from - (from % 3600));
    },
  };
}

async function logFile(name: string): Promise<LogObject> {
  const { size, mtimeMs } = await stat(name);
  return { name, bytes: size, version: `${size}-${mtimeMs}`, hour: hourOf(name) };
}

/** Beginning of a file that tells what it is. */
const HEAD = 65536;
/** What other files begin with too: a `#` that is a heading or a comment, fields that any log has. */
const COMMENT = /^#[ !#\r\n]/;
/** A character that is in no text: what is compressed, in UTF-16 or zeros after a crash may be a log. */
const NO_TEXT = /[^\t\r\n -\u{10ffff}]/u;
const COMMON_COLUMNS = ['date', 'time'];

/**
 * Whether a file that cannot be read may be an access log all the same: one that is damaged, or in a format that we cannot read.
 * When in doubt it may: by a name that CloudFront gives, when it is empty or no text, begins as a log does, or speaks of
 * requests. Rejects when the file cannot be opened.
 */
export async function mayBeLog(name: string): Promise<boolean> {
  if (hourOf(name) !== undefined || /\.(?:gz|parquet)$/i.test(name)) return true;
  const file = await open(name);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD), 0, HEAD, 0).finally(() => file.close());
  const head = buffer.toString('latin1', 0, bytesRead);
  if (head === '' || head.startsWith('PAR1') || NO_TEXT.test(head)) return true;
  if (head.startsWith('#')) return !COMMENT.test(head);
  if (head.startsWith('{')) return mayBeJsonLog(head.split('\n', 1)[0] ?? '');
  return /\b(?:GET|HEAD|POST|OPTIONS)\b/.test(head);
}

/** Whether the first line of a log could be this: an object with a field of CloudFront, or one that is damaged. */
function mayBeJsonLog(line: string): boolean {
  // An object over several lines.
  if (line.trim() === '{') return false;
  try {
    const columns = Object.keys(JSON.parse(line)).map(columnOfField);
    return columns.some((column) => column !== undefined && !COMMON_COLUMNS.includes(column));
  } catch {
    return true;
  }
}

async function namesOf(pattern: string): Promise<string[]> {
  if (pattern.includes('://')) {
    const way = 'fetch the logs first, or let Athena read them (--athena, docs/athena.md)';
    throw new DetectionError('ERR_DETECTION_LOGS', `${pattern} is no file of this machine: ${way}`);
  }
  const found = await stat(pattern).catch(() => undefined);
  if (found?.isDirectory()) {
    const entries = await readdir(pattern, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  }
  const names = found ? [pattern] : await glob(pattern);
  if (names.length > 0) return names;
  throw new DetectionError('ERR_DETECTION_LOGS', `there are no log files at ${pattern}`);
}

/** The files that a pattern names. Node 20 has no function for this, and whoever reads log files has DuckDB. */
async function glob(pattern: string): Promise<string[]> {
  const connection = await connect(':memory:');
  try {
    const found = await connection.runAndReadAll('SELECT file FROM glob($1)', [pattern]);
    return found.getRowsJS().map(([file]) => String(file));
  } finally {
    connection.closeSync();
  }
}
