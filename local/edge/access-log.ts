import { createWriteStream, type WriteStream } from 'node:fs';
import { redact } from '../../token/index.ts';

/** The 33 fields of CloudFront standard logs (AWS, "Standard log file fields"), in their order. */
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
] as const;

export type LogEntry = Partial<Record<(typeof FIELDS)[number], string | number | undefined>>;

/** The access log of the edge server, in the format of CloudFront standard logs (version 1.0), unzipped. */
export class AccessLog {
  readonly #stream: WriteStream;

  constructor(path: string) {
    this.#stream = createWriteStream(path, { flags: 'a', mode: 0o600 });
    this.#stream.once('open', () => {
      this.#stream.write(`#Version: 1.0\n#Fields: ${FIELDS.join(' ')}\n`);
    });
  }

  /** Writes a line: tokens redacted, blanks and control characters percent-encoded as CloudFront does, `-` for nothing. */
  write(entry: LogEntry): void {
    this.#stream.write(`${FIELDS.map((field) => encode(entry[field])).join('\t')}\n`);
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#stream.end(() => resolve()));
  }
}

function encode(value: string | number | undefined): string {
  if (value === undefined || value === '') return '-';
  return redact(String(value)).replaceAll(/[^!-~]|["\\]/g, (character) => encodeURIComponent(character));
}
