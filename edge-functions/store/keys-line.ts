import * as v from 'valibot';
import { KEY_ID, type VerificationKey } from '../../token/index.ts';

/** Largest function that CloudFront takes, in bytes (AWS, "Quotas on CloudFront Functions"). */
export const BYTE_BUDGET = 10240;

/** What a variant with embedded keys knows under a key id: a key of ours, a compatibility key (base64url), or both. */
export type EmbeddedKey = Partial<VerificationKey> & { compat?: string };

/** A function with embedded keys in its two parts. */
export interface EmbeddedFunction {
  /** All but the last line, the line feed before it included. */
  body: string;
  /** What the last line carries, by key id. */
  keys: Record<string, EmbeddedKey>;
}

/** Nothing but the line that `withKeys` writes; an editor may have taken the line feed from its end. */
const FUNCTION = /^([\s\S]*\n)const KEYS=(\{.*\});\n?$/;

/** 32 bytes of ours; of the other dialect 16 to 64 bytes. */
const KEY = v.pipe(v.string(), v.regex(/^[\w-]{43}$(?!\n)/));
const COMPAT_KEY = v.pipe(v.string(), v.regex(/^[\w-]{22,86}$(?!\n)/));

const Ring = v.record(
  v.pipe(v.string(), v.regex(KEY_ID)),
  v.union([
    v.strictObject({ sign: KEY, bind: KEY, compat: v.exactOptional(COMPAT_KEY) }),
    v.strictObject({ compat: COMPAT_KEY }),
  ]),
);

/**
 * The code of a function whose last line carries the ring: what verifies, by key id, never the ring secrets. The same
 * ring gives the same line, in whatever order its keys come.
 */
export function withKeys(body: string, ring: Record<string, EmbeddedKey>): string {
  const sorted = Object.entries(ring).sort(([a], [b]) => (a < b ? -1 : 1));
  const keys = Object.fromEntries(sorted.map(([kid, { sign, bind, compat }]) => [kid, { sign, bind, compat }]));
  return `${body}const KEYS=${JSON.stringify(keys)};\n`;
}

/** The parts of a function with embedded keys; null when its last line is not one that `withKeys` writes. */
export function readKeys(code: string): EmbeddedFunction | null {
  const [, body, line] = FUNCTION.exec(code) ?? [];
  if (body === undefined || line === undefined) return null;
  let content: unknown;
  try {
    content = JSON.parse(line);
  } catch {
    return null;
  }
  const ring = v.safeParse(Ring, content);
  // A record leaves out names like `__proto__`: a line that would not come out as it went in is not ours.
  if (!ring.success || Object.keys(ring.output).length !== Object.keys(content as object).length) return null;
  return { body, keys: ring.output };
}
