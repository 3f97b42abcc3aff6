const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$(?!\n)/;
const IPV6 = /^(?:[\da-f]{1,4}:){7}[\da-f]{1,4}$(?!\n)/;
const MAPPED = /^(?:0:){5}ffff:(\w+):(\w+)$/;

/** Two octets in decimal as a group in hexadecimal. */
function hextet(high: string | undefined, low: string | undefined): string {
  return (Number(high) * 256 + Number(low)).toString(16);
}

/** A group in hexadecimal as two octets in decimal. */
function octets(group: string): string {
  const bits = parseInt(group, 16);
  return (bits >> 8) + '.' + (bits & 255);
}

/**
 * One spelling per address: IPv4 in dotted decimal; IPv6 (RFC 4291 §2.2) as eight lower-case groups without leading
 * zeros and without `::`; an IPv4-mapped IPv6 address (§2.5.5.2) as its IPv4 address. '' when `text` is no address.
 * Written out rather than compressed (RFC 5952) so that a network prefix is a prefix of the groups.
 */
export function canonicalIp(text: string): string {
  if (typeof text !== 'string') return '';
  if (text.search(IPV4) === 0) return text;
  let groups = text.toLowerCase();
  // The last two groups may be written as an IPv4 address.
  const tail = groups.slice(groups.lastIndexOf(':') + 1);
  if (tail.search(IPV4) === 0) {
    const four = tail.split('.');
    groups = groups.slice(0, -tail.length) + hextet(four[0], four[1]) + ':' + hextet(four[2], four[3]);
  }
  const gap = groups.indexOf('::');
  if (gap >= 0) {
    const present = groups.split(':').filter(Boolean).length;
    if (present > 7) return '';
    const right = groups.slice(gap + 2);
    groups = (gap > 0 ? groups.slice(0, gap) + ':' : '') + '0:'.repeat(7 - present) + '0' + (right && ':' + right);
  }
  if (groups.search(IPV6) < 0) return '';
  groups = groups.replace(/\b0+(?=\w)/g, '');
  const mapped = groups.match(MAPPED);
  return mapped ? octets(mapped[1] as string) + '.' + octets(mapped[2] as string) : groups;
}
