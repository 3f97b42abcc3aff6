import type { DeliveryCommands } from '../edge-functions/store/edge-store.ts';
import {
  type RevocationEntry,
  type RevocationKey,
  type RevocationList,
  SESSIONS_BEFORE_ID,
} from '../revocation/list/revocation-list.ts';
import { isBlocked } from '../token/index.ts';
import type { Session } from '../token-api/sessions/sessions.ts';
import type { Refusal, VendingOptions, VendingQuestion } from '../token-api/vending/vending.ts';

const CUTOFF: RevocationKey = { kind: 'sessions-before', id: SESSIONS_BEFORE_ID };

/** What the revocation list and the asset blocks say against a token. */
export function refusalOf(
  list: Pick<RevocationList, 'holding'>,
  edgeStore: Pick<DeliveryCommands, 'blockedAssets'>,
  now: () => number,
): VendingOptions['refusalOf'] {
  return async (question, viewing) => {
    const refusal = listedRefusal(question, byName(await list.holding(keysOf(question), now())));
    if (refusal) return refusal;
    const blocks = (await edgeStore.blockedAssets()).get(question.asset) ?? [];
    return isBlocked(blocks, viewing, now()) ? 'asset-withdrawn' : undefined;
  };
}

/** Why those of these sessions get no later token that the revocation list is against, by session id. */
export async function listedRefusals(
  list: Pick<RevocationList, 'holding'>,
  sessions: Session[],
  now: number,
): Promise<Map<string, Refusal>> {
  const questions = sessions.map(({ sessionId, startedAt, asset, subject }) => {
    return { session: { id: sessionId, startedAt }, asset, subject };
  });
  const listed = byName(await list.holding(questions.flatMap(keysOf), now));
  const refusals = new Map<string, Refusal>();
  for (const question of questions) {
    const refusal = listedRefusal(question, listed);
    if (refusal) refusals.set(question.session.id, refusal);
  }
  return refusals;
}

/** The entries that would be against a token. */
function keysOf({ session, asset, subject }: VendingQuestion): RevocationKey[] {
  return [
    ...(session ? [{ kind: 'session', id: session.id } as const, CUTOFF] : []),
    { kind: 'asset', id: asset },
    ...(subject === undefined ? [] : [{ kind: 'subject', id: subject } as const]),
  ];
}

/** Which of the listed entries is against a token; first what the edge denies too, which knows no subjects. */
function listedRefusal(question: VendingQuestion, listed: Map<string, RevocationEntry>): Refusal | undefined {
  const { session, asset, subject } = question;
  if (session && listed.has(nameOf({ kind: 'session', id: session.id }))) return 'session-revoked';
  if (session && session.startedAt < (listed.get(nameOf(CUTOFF))?.before ?? 0)) return 'session-cutoff';
  if (listed.has(nameOf({ kind: 'asset', id: asset }))) return 'asset-withdrawn';
  if (subject !== undefined && listed.has(nameOf({ kind: 'subject', id: subject }))) return 'subject-revoked';
  return undefined;
}

function byName(entries: RevocationEntry[]): Map<string, RevocationEntry> {
  return new Map(entries.map((entry) => [nameOf(entry), entry]));
}

function nameOf({ kind, id }: RevocationKey): string {
  return `${kind}/${id}`;
}
