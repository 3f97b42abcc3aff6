import { bindingValue } from '../bindings.ts';
import type { TokenCrypto } from '../crypto.ts';
import type { Reason } from '../reasons.ts';
import type { Viewing } from '../viewer.ts';
import { type CompatClaims, FLAGS, SESSION } from './claims.ts';

/** Bindings that a viewer may lack whose location is not known, when claim `<flag>_fallback` says so, and that flag. */
const LOCATIONS: { [binding: string]: string } = { country: 'co', city: 'cty', region: 'reg' };

/**
 * Bindings in whose values a colon is no surprise, and that no origin takes for an identity. `intsig` covers values joined
 * by colons, so that in any other value a colon, beside a second one that the viewer chooses, could stand for their joint;
 * and in these too beside two others, because a third value may then stand between them.
 */
export const MAY_HOLD_COLON = /^header:(?:user-agent|referer|origin)$/;

/** What `intsig` covers, in its order: bindings of ours, and `session` for the session id. */
export function compatBindings(claims: CompatClaims): string[] {
  return FLAGS.filter((row) => claims[row[0]])
    .map((row) => row[1] as string)
    .concat(
      (claims.headers || []).map((name) => 'header:' + name.toLowerCase()),
      (claims.qs || []).map((name) => 'query:' + name),
    );
}

/** How many of the bound values the viewer chooses: those are the bindings with a colon in their names. */
export function countChosen(bindings: string[]): number {
  return bindings.join().split(':').length - 1;
}

/** A canonical address as the format spells it: IPv4 in dotted decimal, IPv6 as eight groups of four digits; '' unless of this version. */
export function spellIp(ip: string, version: unknown): string {
  if (ip.indexOf(':') < 0) return version === 4 ? ip : '';
  return version === 6 ? ip.replace(/\w+/g, (group) => ('000' + group).slice(-4)) : '';
}

/** A query value as whoever minted may have had it: decoded. As sent when it cannot be decoded. */
function decoded(value: string): string {
  try {
    return decodeURIComponent(value.split('+').join(' '));
  } catch (e) {
    return value;
  }
}

/**
 * Decides about everything that `intsig` binds; '' when it is as it was at minting, or nothing is bound. A bound value that
 * is absent, occurs twice or could stand for two denies, except where the token names a fallback for a location that is
 * not known: there the format leaves nothing that could be verified, so the other values only have to be there, and an
 * address, which nobody can pass on with a link, may not be bound at all.
 */
export function checkCompatBindings(
  claims: CompatClaims,
  sid: string,
  viewing: Viewing,
  key: string,
  crypto: TokenCrypto,
): Reason | '' {
  const bindings = compatBindings(claims);
  const chosen = countChosen(bindings);
  let isUnknown = false;
  const values = bindings.map((binding) => {
    const location = LOCATIONS[binding];
    const value = binding === SESSION ? sid : bindingValue(binding, viewing);
    if (binding === 'ip') return spellIp(value, claims.ip_ver);
    if (location && value === '' && (isUnknown || claims[(location + '_fallback') as 'co_fallback'])) {
      isUnknown = true;
      return '-';
    }
    const mayHold = chosen < 2 || (chosen < 3 && MAY_HOLD_COLON.test(binding));
    return !mayHold && decoded(value).indexOf(':') >= 0 ? '' : value;
  });

  const mac = claims.intsig;
  // A session id that is not signed would let its bearer pass for another session.
  if (sid && !claims.ssn) return 'token-session-mismatch';
  if (bindings.length === 0) return '';
  if (!mac) return 'token-claims-invalid';
  if (values.indexOf('') >= 0 || (isUnknown && claims.ip)) return 'binding-missing';
  // Minted from query values as sent or decoded, and from an address in either case; from an unknown location nothing can be.
  const sent = values.join(':');
  const isOther = (others: string[]) => others.join(':') !== sent && crypto.isMac(key, others.join(':'), mac);
  return isUnknown ||
    crypto.isMac(key, sent, mac) ||
    isOther(values.map((value, i) => ((bindings[i] as string)[0] === 'q' ? decoded(value) : value))) ||
    isOther(values.map((value, i) => (bindings[i] === 'ip' ? value.toUpperCase() : value)))
    ? ''
    : 'binding-mismatch';
}
