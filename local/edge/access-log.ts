import { redact } from '../../token/index.ts';
import { type LogFile, openLogFile } from '../log-file.ts';

/**
 * The 33 fields of CloudFront standard logs (AWS, "Standard log file fields"), in their order, and what the viewer-request
 * function logs of its decision, a field of standard logs v2.
 */
export const FIELDS = [
  'date',
  'time',
  'x-edge-location',
  'sc-bytes',
  'c-ip',
  'cs-method',
  'cs(Host)',
  'cs-uri-stem',
  'sc-status',
  'cs(Referer)',
  'cs(User-Agent)',
  'cs-uri-query',
  'cs(Cookie)',
  'x-edge-result-type',
  'x-edge-request-id',
  'x-host-header',
  'cs-protocol',
  'cs-bytes',
  'time-taken',
  'x-forwarded-for',
  'ssl-protocol',
  'ssl-cipher',
  'x-edge-response-result-type',
  'cs-protocol-version',
  'fle-status',
  'fle-encrypted-fields',
  'c-port',
  'time-to-first-byte',
  'x-edge-detailed-result-type',
  'sc-content-type',
  'sc-content-len',
  'sc-range-start',
  'sc-range-end',
  'viewer-request-log-data',
] as const;

export type LogEntry = Partial<Record<(typeof FIELDS)[number], string | number | undefined>>;

/** The access log of the edge server, in the format of CloudFront standard logs (version 1.0), unzipped. */
export class AccessLog {
  readonly #file: LogFile;

  private constructor(file: LogFile) {
    this.#file = file;
  }

  /** Opens the log; `report` is told when a line cannot be written. Rejects when the file cannot be opened. */
  static async open(path: string, report: (line: string) => void): Promise<AccessLog> {
    const file = await openLogFile('access log', path, report);
    file.write('#Version: 1.0');
    file.write(`#Fields: ${FIELDS.join(' ')}`);
    return new AccessLog(file);
  }

  /** Writes a line: tokens redacted, blanks and control characters percent-encoded as CloudFront does, `-` for nothing. */
  write(entry: LogEntry): void {
    this.#file.write(FIELDS.map((field) => encode(entry[field])).join('\t'));
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function encode(value: string | number | undefined): string {
  if (value === undefined || value === '') return '-';
  return redact(String(value)).replaceAll(/[^!-~]|["\\]/gu, (character) =>
    Buffer.from(character).toString('hex').toUpperCase().replaceAll(/../g, '%$&'),
  );
}
