import { setTimeout as sleep } from 'node:timers/promises';
import type { RevocationCommands } from '../../edge-functions/store/edge-store.ts';
import { StoreError, type StoreErrorCode } from '../../edge-functions/store/key-value-store.ts';
import type { EdgeRevocationChange, EdgeRevocations } from '../../edge-functions/store/revocations.ts';
import type { RevocationEntry, RevocationKey, RevocationKind, RevocationList } from '../list/revocation-list.ts';
import { coalesced } from './coalesced.ts';
import type { PublishReport, RevocationPublisher } from './revocation-publisher.ts';

/** Entries that are published one by one at most; more of them are a reconciliation, which lets others go first. */
const ONE_BY_ONE = 1000;
/** What passes by itself is tried so often, so many milliseconds apart at first and twice as many each time. */
const ATTEMPTS = 4;
const BACKOFF_MS = 200;
const PASSING: readonly StoreErrorCode[] = ['ERR_STORE_ETAG', 'ERR_STORE_THROTTLED', 'ERR_STORE_UNAVAILABLE'];

/**
 * Publishes sessions, assets and the cut-off to the edge store; subjects are unknown there. Changes that come while an
 * update is in flight go out together in the next one. What could not be published goes out with the next change, or
 * with the next reconciliation. Rejects with `StoreError`, and with what reading the list rejects with. `now`: seconds since the epoch.
 */
export function edgePublisher(list: RevocationList, store: RevocationCommands, now: () => number): RevocationPublisher {
  const changed = new Keys();
  /** What is still to be published because it failed. */
  const owed = new Keys();
  let omitted: RevocationKey[] = [];

  const reconcile = coalesced(async (): Promise<PublishReport> => {
    const taken = owed.take();
    try {
      const result = await retried(() => store.replaceRevocations(async () => wanted(await list.active(now()))));
      omitted = [...keysOf('asset', result.omitted.assets), ...keysOf('session', result.omitted.sessions)];
      return { published: result.published, omitted };
    } catch (error) {
      owed.add(taken);
      throw error;
    }
  });

  const publishChanged = coalesced(async (): Promise<PublishReport> => {
    const taken = [...changed.take(), ...owed.take()];
    if (taken.length > ONE_BY_ONE) {
      owed.add(taken);
      return reconcile();
    }
    try {
      const read = async () => change(taken, await list.holding(taken, now()));
      const published = await retried(() => store.changeRevocations(read));
      const names = new Set(taken.map(nameOf));
      omitted = omitted.filter((key) => !names.has(nameOf(key)));
      return { published, omitted };
    } catch (error) {
      owed.add(taken);
      // Something else has to go, and that is decided with the whole list in sight.
      if (error instanceof StoreError && error.code === 'ERR_STORE_LIMIT') return reconcile();
      throw error;
    }
  });

  return {
    publish(keys) {
      changed.add(keys);
      return publishChanged();
    },
    reconcile,
  };
}

/** A set of keys. */
class Keys {
  #keys = new Map<string, RevocationKey>();

  add(keys: RevocationKey[]): void {
    for (const { kind, id } of keys) this.#keys.set(nameOf({ kind, id }), { kind, id });
  }

  /** All of them, which leaves none. */
  take(): RevocationKey[] {
    const taken = [...this.#keys.values()];
    this.#keys.clear();
    return taken;
  }
}

/** The list as the edge enforces it. What people revoked comes first, then the latest: so goes out last what has to go. */
function wanted(entries: RevocationEntry[]): EdgeRevocations {
  const isAuto = ({ source }: RevocationEntry) => Number(source === 'auto');
  const sorted = entries.toSorted((a, b) => isAuto(a) - isAuto(b) || b.revokedAt - a.revokedAt);
  const ids = (kind: RevocationKind) => sorted.filter((entry) => entry.kind === kind).map(({ id }) => id);
  return { sessions: ids('session'), assets: ids('asset'), before: cutoff(entries) };
}

/** What the edge has to be told of `keys` when of those these entries hold. */
function change(keys: RevocationKey[], holding: RevocationEntry[]): EdgeRevocationChange {
  const held = new Set(holding.map(nameOf));
  const ids = (kind: RevocationKind) =>
    new Map(keys.filter((key) => key.kind === kind).map((key) => [key.id, held.has(nameOf(key))]));
  const isCutoff = keys.some(({ kind }) => kind === 'sessions-before');
  return { sessions: ids('session'), assets: ids('asset'), ...(isCutoff && { before: cutoff(holding) }) };
}

function cutoff(entries: RevocationEntry[]): number {
  return entries.reduce((latest, { kind, before = 0 }) => (kind === 'sessions-before' ? before : latest), 0);
}

function keysOf(kind: RevocationKind, ids: string[]): RevocationKey[] {
  return ids.map((id) => ({ kind, id }));
}

function nameOf({ kind, id }: RevocationKey): string {
  return `${kind}/${id}`;
}

async function retried<Result>(run: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      const passes = error instanceof StoreError && PASSING.includes(error.code);
      if (!passes || attempt === ATTEMPTS) throw error;
      await sleep(BACKOFF_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2));
    }
  }
}
