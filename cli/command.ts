import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { InvalidArgumentError } from 'commander';
import { EXIT_CODES } from './exit-codes.ts';

/** What a command that answers no sets as its exit code. */
export const EXIT_NO = EXIT_CODES.no.code;

/** Something in the input or the surroundings that the user can mend. */
export class InputError extends Error {
  readonly code = 'ERR_INPUT';
}

/** The JSON in a file. Throws `InputError`. */
export async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readText(path));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${path} is not JSON`);
  }
}

/** The text in a file. Throws `InputError`. */
export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new InputError(`cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/**
 * An argument that may come from standard input, written `-`, because everyone on the machine may read the arguments of a
 * process. Throws `InputError`.
 */
export async function argumentOrInput(argument: string): Promise<string> {
  if (argument !== '-') return argument;
  const input = (await text(process.stdin)).trim();
  if (input === '') throw new InputError('standard input is empty: pipe into the command what - stands for');
  return input;
}

/** Parses an option that is a pair of an encryption context, `name=value`, and may be repeated. */
export function contextPair(text: string, previous: Record<string, string> = {}): Record<string, string> {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError('It must be name=value.');
  // Not by assignment: a pair may be called __proto__.
  return Object.fromEntries([...Object.entries(previous), [name, value]]);
}

/** Parses an option that is a whole number between `min` and `max`. */
export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max))
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    return value;
  };
}

/** Parses an option that is a time, in seconds since the epoch, up to the year 9999. */
export const epochSeconds = integer(0, 253_402_300_799);

/** Parses a time: seconds since the epoch, or with date and zone (RFC 3339). */
export function time(text: string): number {
  if (/^\d+$/.test(text)) return epochSeconds(text);
  const isDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text);
  const seconds = isDate ? Math.floor(Date.parse(text) / 1000) : Number.NaN;
  if (Number.isNaN(seconds)) {
    throw new InvalidArgumentError(
      'It must be seconds since the epoch, or a time with its zone: 2026-11-22T14:00:00Z.',
    );
  }
  return seconds;
}

/**
 * What a terminal acts on instead of showing it: controls (C0, DEL, C1), separators of lines and paragraphs, and what
 * changes the direction of the text around it (UAX #9 §2).
 */
const CONTROLS = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** One line for a terminal, with controls as JSON escapes them: titles and subjects are whatever somebody sent. */
export function printable(line: string): string {
  return line.replace(CONTROLS, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A value as JSON on one line, which a terminal may show. */
export function printableJson(value: unknown): string {
  return printable(JSON.stringify(value));
}

/** Says something beside the answer, on stderr. */
export function note(line: string): void {
  process.stderr.write(`portcullis: note: ${printable(line)}\n`);
}

/** Says how it goes, on stderr; may be several lines. */
export function report(lines: string): void {
  process.stderr.write(`${lines.split('\n').map(printable).join('\n')}\n`);
}

/** Seconds since the epoch: the option `--now`, or the system clock. */
export function nowOr(seconds: number | undefined): number {
  return seconds ?? Math.floor(Date.now() / 1000);
}

/** Prints the answer: JSON on one line, or the lines for people. */
export function print(json: boolean | undefined, answer: unknown, lines: string[]): void {
  process.stdout.write(`${json ? printableJson(answer) : lines.map(printable).join('\n')}\n`);
}

/** Rows of cells as lines, each column as wide as its widest cell. */
export function alignColumns(cells: string[][]): string[] {
  const rows = cells.map((row) => row.map(printable));
  const widths = rows.reduce<number[]>((all, row) => row.map((cell, i) => Math.max(all[i] ?? 0, cell.length)), []);
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** A time for people, UTC. */
export function formatTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().replace('.000Z', 'Z');
}
