const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const HEXTET = /^[0-9a-f]{1,4}$/i;

/** The groups between colons as lower-case hexadecimal without leading zeros; null when one is not a hextet. */
function hextets(text: string): string[] | null {
  if (text === '') return [];
  const groups = text.split(':');
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i] as string;
    if (!HEXTET.test(group)) return null;
    groups[i] = parseInt(group, 16).toString(16);
  }
  return groups;
}

/**
 * One spelling per address: IPv4 in dotted decimal; IPv6 (RFC 4291 §2.2) as eight lower-case groups without leading
 * zeros and without `::`; an IPv4-mapped IPv6 address (§2.5.5.2) as its IPv4 address. '' when `text` is no address.
 * Written out rather than compressed (RFC 5952) so that a network prefix is a prefix of the groups.
 */
export function canonicalIp(text: string): string {
  if (text.search(IPV4) === 0) return text;
  if (text.length > 45) return '';
  const colon = text.lastIndexOf(':');
  const tail = text.slice(colon + 1);
  if (tail.indexOf('.') >= 0) {
    if (colon < 0 || !IPV4.test(tail)) return '';
    const octets = tail.split('.');
    const high = Number(octets[0]) * 256 + Number(octets[1]);
    const low = Number(octets[2]) * 256 + Number(octets[3]);
    text = text.slice(0, colon + 1) + high.toString(16) + ':' + low.toString(16);
  }
  const gap = text.indexOf('::');
  const left = hextets(gap < 0 ? text : text.slice(0, gap));
  const right = hextets(gap < 0 ? '' : text.slice(gap + 2));
  if (!left || !right) return '';
  let missing = 8 - left.length - right.length;
  if (gap < 0 ? missing !== 0 : missing < 1) return '';
  while (missing > 0) {
    left.push('0');
    missing--;
  }
  const groups = left.concat(right);
  const text6 = groups.join(':');
  if (text6.indexOf('0:0:0:0:0:ffff:') !== 0) return text6;
  const high = parseInt(groups[6] as string, 16);
  const low = parseInt(groups[7] as string, 16);
  return (high >> 8) + '.' + (high & 255) + '.' + (low >> 8) + '.' + (low & 255);
}
