import type { Fetched } from './fetch-manifest.ts';
import type { RuleId } from './rules.ts';
import { withoutToken } from './without-token.ts';

/** Notes a finding about a place in a manifest. */
export type Note = (rule: RuleId, at: { url: URL; line?: number }, detail?: string) => void;

/** Fetches once, however often a manifest refers to it. */
export type Get = (url: URL, limit: number) => Promise<Fetched>;

/** A URI as findings show it: what may be a secret of a path or a query goes into no report. */
export function shownUri(uri: string): string {
  return withoutToken(uri.replace(/[?#].*$/, '')).slice(0, 200);
}

/**
 * Resolves a URI of a manifest and notes what would take the token off it. Undefined when there is nothing to fetch: what leads to
 * another host is not followed.
 */
export function follow(uri: string, base: URL, line: number, note: Note): URL | undefined {
  const at = { url: base, line };
  const isRootRelative = uri.startsWith('/') && !uri.startsWith('//');
  const isAbsolute = /^[a-z][a-z0-9+.-]*:/i.test(uri) || uri.startsWith('//');
  if (/^data:/i.test(uri)) return undefined;
  const shown = shownUri(uri);
  if (isRootRelative) note('root-relative-uri', at, shown);
  let url: URL;
  try {
    url = new URL(uri, base);
  } catch {
    note('unreachable', at, shown);
    return undefined;
  }
  if (isAbsolute)
    note(url.origin === base.origin && url.protocol !== 'file:' ? 'absolute-uri' : 'cross-domain', at, `${url.host}`);
  else if (uri.includes('?')) note('query-uri', at, shown);
  return url.origin === base.origin && url.protocol === base.protocol ? url : undefined;
}
