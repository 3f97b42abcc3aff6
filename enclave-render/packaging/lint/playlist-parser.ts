/**
 * A line of a playlist that counts: a tag with its attributes, or a URI. An own reading of RFC 8216 §4.1 and §4.2 in a page: the
 * parsers that npm has turn a playlist into a model and lose what is wrong with it, which is all that a linter is about.
 */
export type PlaylistLine =
  | { type: 'tag'; name: string; value: string; attributes: Map<string, string>; line: number }
  | { type: 'uri'; uri: string; line: number };

/** Whether a text begins as playlists do. */
export function isPlaylist(text: string): boolean {
  return /^\ufeff?#EXTM3U[^\S\n]*(?:\n|$)/.test(text);
}

/** The lines of a playlist; undefined when it does not begin as one. */
export function parsePlaylist(text: string): PlaylistLine[] | undefined {
  if (!isPlaylist(text)) return undefined;
  const lines = text.replace(/^\ufeff/, '').split(/\r?\n/);
  return lines.flatMap((raw, index): PlaylistLine[] => {
    const text = raw.trim();
    const line = index + 1;
    if (text === '') return [];
    if (!text.startsWith('#')) return [{ type: 'uri', uri: text, line }];
    if (!text.startsWith('#EXT')) return [];
    const colon = text.indexOf(':');
    const [name, value] = colon < 0 ? [text.slice(1), ''] : [text.slice(1, colon), text.slice(colon + 1)];
    return [{ type: 'tag', name, value, attributes: parseAttributes(value), line }];
  });
}

/** A name is read from its beginning only: one that goes on for megabytes would take forever from each of its letters. */
const ATTRIBUTE = /(?<![A-Z0-9-])([A-Z0-9-]+)=(?:"([^"\r\n]*)"|([^",\s][^,]*)?)(?:,|$)/g;

/** An attribute list (RFC 8216 §4.2); quotes are taken off. */
function parseAttributes(value: string): Map<string, string> {
  const attributes = new Map<string, string>();
  for (const [, name = '', quoted, plain] of value.matchAll(ATTRIBUTE)) attributes.set(name, quoted ?? plain ?? '');
  return attributes;
}
