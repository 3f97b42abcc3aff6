import canonicalize from 'canonicalize';

/**
 * A value as canonical JSON (RFC 8785): the one text of it that is hashed and signed. Throws `TypeError` when it has
 * none.
 */
export function canonicalJson(value: unknown): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('not a value of JSON');
  return text;
}

/**
 * The value of a text that is canonical JSON, undefined of any other: what was signed has one reading then, with no
 * name twice and nothing that another parser would take otherwise.
 */
export function parseCanonicalJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return canonicalize(value) === text ? value : undefined;
  } catch {
    // Also a text so deep that it cannot be read, and a lone surrogate.
    return undefined;
  }
}
