import type { VerificationKey } from '../../token/keys.ts';

/** Key names of the edge store, and the value stored under `k/<kid>`. Read by the edge function, so: constants only. */

/** Value of a signing key, as JSON. */
export interface EdgeKey extends VerificationKey {
  /** Sessions that began before this time (seconds since the epoch) are revoked; 0 when none are. */
  before: number;
}

export function keyName(kid: string): string {
  return 'k/' + kid;
}

export function revocationName(sid: string): string {
  return 'r/' + sid;
}
