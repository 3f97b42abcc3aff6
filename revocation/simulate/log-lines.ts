import { STANDARD_FIELDS, V2_FIELDS } from '../detect/log-fields.ts';
import type { PlaybackRequest } from './playback.ts';
import type { Random } from './random.ts';
import type { Session } from './session.ts';

const URI_STEM = STANDARD_FIELDS.indexOf('cs-uri-stem');

/** Formats that CloudFront delivers to S3: legacy logs, and three of v2. Parquet is made of tab-separated lines of v2. */
export const LOG_FORMATS = ['v1', 'parquet', 'json', 'w3c'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** Which fields a log has, in their order; `uri`: whether the tokenised path is logged, which only v2 can leave out. */
export function fieldsOf(format: LogFormat, uri: boolean): string[] {
  if (format === 'v1') return [...STANDARD_FIELDS];
  return [...STANDARD_FIELDS, ...V2_FIELDS].filter((field) => uri || field !== 'cs-uri-stem');
}

/** The lines before the first request, each with its end. */
export function headerOf(format: LogFormat, fields: string[]): string {
  return format === 'v1' || format === 'w3c' ? `#Version: 1.0\n#Fields: ${fields.join(' ')}\n` : '';
}

const HOST = 'd111111abcdef8.cloudfront.net';
const ALIAS = 'media.example.com';
const CONTENT_TYPES: Record<string, string> = {
  m3u8: 'application/vnd.apple.mpegurl',
  mp4: 'video/mp4',
  m4s: 'video/iso.segment',
};

/** CloudFront writes blanks and controls percent-encoded. */
const ENCODED = new Map<string, string>();
function encoded(value: string): string {
  let known = ENCODED.get(value);
  if (known === undefined) {
    known = value === '' ? '-' : encodeURI(value).replaceAll('%25', '%');
    ENCODED.set(value, known);
  }
  return known;
}

/** Writes requests as lines of a log, each with its end. */
export class LogLines {
  readonly #random: Random;
  readonly #format: LogFormat;
  readonly #uri: boolean;
  readonly #keys: string[];
  #second = Number.NaN;
  #date = '';
  #time = '';

  /** `random`: for what is by chance in a line, such as its request id. */
  constructor(random: Random, format: LogFormat, uri: boolean) {
    this.#random = random;
    this.#format = format;
    this.#uri = uri;
    this.#keys = fieldsOf(format, uri).map((field) => JSON.stringify(field));
  }

  line(session: Session, request: PlaybackRequest): string {
    const values = this.#values(session, request);
    if (this.#format === 'v1') values.length = STANDARD_FIELDS.length;
    else if (!this.#uri) values.splice(URI_STEM, 1);
    if (this.#format !== 'json') return `${values.join('\t')}\n`;
    return `{${values.map((value, i) => `${this.#keys[i]}:${JSON.stringify(value)}`).join(',')}}\n`;
  }

  #values(session: Session, { time, connection, device, path, query, status, bytes, hit }: PlaybackRequest): string[] {
    const random = this.#random;
    this.#setTime(Math.floor(time));
    const isDenied = status === 401;
    const token = isDenied ? forged(session.token(time), random) : session.token(time);
    const result = isDenied ? 'FunctionGeneratedResponse' : hit ? 'Hit' : 'Miss';
    const firstByte = (isDenied ? 0.001 : hit ? random.between(0.001, 0.02) : random.between(0.03, 0.3)).toFixed(3);
    const taken = (Number(firstByte) + bytes / 6_000_000).toFixed(3);
    const type = isDenied ? '-' : (CONTENT_TYPES[path.slice(path.lastIndexOf('.') + 1)] ?? '-');
    return [
      this.#date,
      this.#time,
      connection.edgeLocation,
      String(bytes + 480),
      connection.ip,
      'GET',
      HOST,
      `/${token}${path}`,
      String(status),
      encoded(device.referer),
      encoded(device.userAgent),
      query || '-',
      '-',
      result,
      requestId(random),
      ALIAS,
      'https',
      String(520 + random.whole(0, 60)),
      taken,
      '-',
      'TLSv1.3',
      'TLS_AES_128_GCM_SHA256',
      result,
      'HTTP/2.0',
      '-',
      '-',
      String(connection.port),
      firstByte,
      result,
      type,
      String(bytes),
      '-',
      '-',
      connection.asn,
      connection.country,
      // What the viewer-request function writes (docs/edge.md): no session id that is not proven.
      isDenied ? `-,token-signature-invalid,${path}` : `${session.id},allowed,${path}`,
    ];
  }

  #setTime(second: number): void {
    if (second === this.#second) return;
    this.#second = second;
    const text = new Date(second * 1000).toISOString();
    this.#date = text.slice(0, 10);
    this.#time = text.slice(11, 19);
  }
}

/** The same session id and header before something else. */
function forged(token: string, random: Random): string {
  const [sid = '', header = ''] = token.split('.');
  return `${sid}.${header}.eyJ${random.base64url(60)}.${random.base64url(43)}`;
}

const REQUEST_ID = Buffer.alloc(42);

/** 56 characters, as they are in logs. */
function requestId(random: Random): string {
  for (let at = 0; at < 40; at += 4) REQUEST_ID.writeUInt32LE(random.uint32(), at);
  return REQUEST_ID.toString('base64');
}
