/** A host without a user name, which would be a password in every playlist. */
const ABSOLUTE = /^https:\/\/[^:@/?#]+(?::\d+)?(?:[/?#]|$)/;
/** Neither a scheme nor another host (RFC 3986 §4.2). */
const RELATIVE = /^(?![a-z][a-z0-9+.-]*:|\/\/)./i;
/** Characters of a URL (RFC 3986 §2) but the apostrophe: this one stands between quotes (RFC 8216 §4.2). */
const CHARACTERS = /^[\w.~:/?#[\]@!$&()*+,;=%-]+$/;

/** Whether players may be sent there for a content key: https, or relative to the playlist, and nothing that ends a quoted text. */
export function isKeyUrl(url: string): boolean {
  return CHARACTERS.test(url) && (ABSOLUTE.test(url) || RELATIVE.test(url));
}
