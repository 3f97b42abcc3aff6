import type { Refusal } from '../token-api/vending/vending.ts';
import { formatTime, note } from './command.ts';

/** The state of a session that something is against. That of a revoked subject plays on, and gets no later token. */
export const STATES: Record<Refusal, string> = {
  'session-revoked': 'revoked',
  'session-cutoff': 'cut off',
  'asset-withdrawn': 'withdrawn',
  'subject-revoked': 'not renewed',
};

/** What the API answers to a revocation. */
export interface Revoked {
  outcome: 'added' | 'changed' | 'kept';
  reason: string;
  by: string;
  revokedAt: number;
  expiresAt?: number;
  unenforced?: { prefix: string; mode: string }[];
}

/** What a revocation did, in a line for people. `name`: of what was revoked. */
export function describeRevoked(name: string, { outcome, reason, by, revokedAt, expiresAt }: Revoked): string {
  if (outcome === 'added') return `revoked ${name}`;
  if (outcome === 'changed') return `revoked ${name}, in place of an earlier revocation`;
  const why = reason === '' ? 'without a reason' : `because: ${reason}`;
  const until = expiresAt === undefined ? 'until taken back' : `until ${formatTime(expiresAt)}`;
  return `already revoked: ${name}, by ${by} at ${formatTime(revokedAt)}, ${why}; holds ${until}`;
}

/** Says what whoever revoked may not expect: that another reason stands, that the edge goes on serving, that it is late. */
export function noteRevoked(status: number, { outcome, reason, unenforced = [] }: Revoked, told: string): void {
  if (outcome === 'kept' && told !== '' && told !== reason) note('the reason of the first time stands, not this one');
  if (unenforced.length > 0) {
    const where = unenforced.map(({ prefix, mode }) => `${prefix} (mode ${mode})`).join(', ');
    const advice = 'portcullis edge mode enforce --prefix <path> ends that';
    note(`the viewer-request function goes on letting it through below ${where}; ${advice}`);
  }
  noteLate(status);
}

/** Says that a change of the revocation list (202) is still on its way to the edge. */
export function noteLate(status: number): void {
  if (status === 202) note('the edge could not be told in time; it is told again by itself');
}
