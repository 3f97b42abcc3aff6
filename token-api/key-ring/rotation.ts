import type { MintingKey } from '../../token/index.ts';
import type { KeyPublisher } from './key-publisher.ts';
import { deriveKeys, isCompatKey, type KeyRing, KeyRingError, timestamp, verificationKeys } from './key-ring.ts';
import type { KeyRingStore, PendingRotation, StoredRing } from './key-ring-store.ts';
import { activatesAt, advanceRing, type KeyTimes, nextKey, withNextKey, withoutKey } from './transitions.ts';

export type RotationErrorCode =
  /** Another rotation is under way. */
  | 'ERR_ROTATION_RUNNING'
  /** This rotation is not, or no longer, under way. */
  | 'ERR_ROTATION_NOT_PENDING'
  /** The ring was changed since this rotation prepared its own: start a new one. */
  | 'ERR_ROTATION_OUTDATED'
  /** The key that was made last is not current yet. */
  | 'ERR_ROTATION_EARLY'
  /** The published edge does not accept a token of the new key, or accepts anything. */
  | 'ERR_ROTATION_PROBE'
  /** This process may not change the keys of the edge: rotate where it says. */
  | 'ERR_ROTATION_ELSEWHERE'
  /** What was called for is no step of a rotation. */
  | 'ERR_ROTATION_STEP';

/** Why a rotation cannot go on; it can be repeated. Never carries a secret. */
export class RotationError extends Error {
  readonly code: RotationErrorCode;
  constructor(code: RotationErrorCode, message: string) {
    super(message);
    this.name = 'RotationError';
    this.code = code;
  }
}

/** What rotation is made of. */
export interface RotationOptions {
  store: KeyRingStore;
  publisher: KeyPublisher;
  /** Rejects with `ERR_ROTATION_PROBE` unless the published edge accepts a token of this key. */
  probe: (key: MintingKey) => Promise<void>;
  times: KeyTimes;
  /** Seconds since the epoch. */
  now: () => number;
  /** Told when a rotation is ended that got stuck: nobody else says so, as whoever made it may be gone. */
  reportStuck?: () => void;
}

/** What dropping a key led to. */
export interface DroppedKey {
  ring: KeyRing;
  /** When minting goes on, in seconds since the epoch; null when it did not stop. */
  mintingResumesAt: number | null;
}

/**
 * The four steps of a rotation as Secrets Manager calls them (AWS Secrets Manager User Guide, "Rotation function steps"),
 * each of which may be repeated, and what happens to a ring between rotations. `run` is the ClientRequestToken. All of it
 * may be done by several processes at once: the ring changes only from the version that was read, and the edge is always
 * made what ring and rotation under way say together.
 */
export interface Rotation {
  /** Prepares a ring with a new key beside the current one. */
  createSecret(run: string): Promise<void>;
  /** Publishes the keys of both rings. */
  setSecret(run: string): Promise<void>;
  /** Has the published edge verify a token of the new key. */
  testSecret(run: string): Promise<void>;
  /** Makes the prepared ring the current one. Its new key is minted with once it has been published for long enough. */
  finishSecret(run: string): Promise<void>;
  /** All four, for `run`, or for the rotation that has prepared a ring and not ended: that is resumed. */
  rotate(run: string): Promise<void>;
  /** Does what is due, on a timer: publishes what is not, makes the next key current, retires old ones, ends what got stuck. */
  advance(): Promise<KeyRing | null>;
  /** Drops a key that somebody else may have, at once: whatever was minted with it is denied. Throws `ERR_KEY_UNKNOWN`. */
  dropKey(kid: string, run: string): Promise<DroppedKey>;
}

/** After this long without an end a rotation counts as stuck, in seconds. Secrets Manager gives a run of a function 15 minutes. */
const STUCK_SECONDS = 3600;
/** How often a change is tried again that another process forestalled. */
const ATTEMPTS = 8;

/** Rotates the keys of a ring. Rejects with `RotationError`, or with what store, publisher and probe reject with. */
export function createRotation({ store, publisher, probe, times, now, reportStuck }: RotationOptions): Rotation {
  /** Makes the edge accept what it should; resolves to the keys it did not have. The order of the two reads counts: a
   * rotation that ends in between must be seen in the second. */
  const publish = () =>
    publisher.publish(async (published) => {
      const pending = await store.pending();
      const { ring } = await store.current();
      const keys = { ...(pending?.ring && verificationKeys(pending.ring)), ...(ring && verificationKeys(ring)) };
      // What the current ring retired since the other was prepared stays retired.
      for (const key of ring?.keys ?? []) if (key.state === 'retired') delete keys[key.kid];
      const known = new Set([...(ring?.keys ?? []), ...(pending?.ring?.keys ?? [])].map(({ kid }) => kid));
      if (published.length > 0 && !published.some((kid) => known.has(kid))) {
        const message = `the edge accepts ${published.join(', ')}, and this ring has none of them: it is the ring of another edge, or not what it was. Use the right one, or remove those keys from the edge first`;
        throw new KeyRingError('ERR_RING_FOREIGN', message);
      }
      return keys;
    });

  /** The rotation under way that is not `run`, unless it is done or stuck: then it is cleared. */
  const otherRotation = async (run: string, { ring }: StoredRing): Promise<PendingRotation | undefined> => {
    const pending = await store.pending();
    if (!pending || pending.run === run) return undefined;
    const isUnfinished = !isDone(pending.run, ring);
    if (isUnfinished && now() < pending.since + STUCK_SECONDS) return pending;
    // What was prepared in place of a placeholder may be at the edge already, and nobody else knows of it.
    if (!ring) return undefined;
    await store.abandon(pending.run);
    if (isUnfinished) reportStuck?.();
    return undefined;
  };

  /** The ring that `run` prepared; undefined when it is the current one already. */
  const prepared = async (run: string): Promise<KeyRing | undefined> => {
    const pending = await store.pending();
    const { ring } = await store.current();
    if (isDone(run, ring)) return undefined;
    if (pending?.run === run && pending.ring) return pending.ring;
    throw new RotationError('ERR_ROTATION_NOT_PENDING', `rotation ${run} is not under way: start a new one`);
  };

  const advance = async (): Promise<KeyRing | null> => {
    for (let attempt = 1; ; attempt++) {
      const current = await store.current();
      if (!current.ring) return null;
      await otherRotation('', current);
      const added = await publish();
      const ring = advanceRing(current.ring, now(), times, added);
      if (ring === current.ring) return ring;
      // What changed may make the next thing due, and retired keys have to go from the edge: once more.
      await store.replace(ring, current.version).catch((error) => retryConflict(error, attempt));
    }
  };

  /** Writes the ring once more, so that the version before the current one no longer holds a secret that was dropped. */
  const forget = async (attempt: number): Promise<void> => {
    const { ring, version } = await store.current();
    if (ring) await store.replace(ring, version).catch((error) => retryConflict(error, attempt));
  };

  const steps: Omit<Rotation, 'rotate'> = {
    advance,
    async createSecret(run) {
      const before = await store.current();
      if (isDone(run, before.ring)) return;
      const pending = await store.pending();
      if (pending?.run === run && pending.ring) return;
      const other = await otherRotation(run, before);
      if (other) {
        const message = `rotation ${other.run} is under way since ${timestamp(other.since)}: wait for it; it counts as stuck after an hour`;
        throw new RotationError('ERR_ROTATION_RUNNING', message);
      }
      await advance();
      const { ring, version } = await store.current();
      const waiting = ring && nextKey(ring);
      if (waiting) {
        const when = timestamp(activatesAt(waiting, times) ?? now() + times.bakeSeconds);
        const message = `key '${waiting.kid}' is next and becomes current at ${when}: rotate again after that`;
        throw new RotationError('ERR_ROTATION_EARLY', message);
      }
      const next = (!ring && pending?.ring && adopted(pending.ring, run)) || withNextKey(ring, run, now());
      await store.prepare(run, { ...next, basedOn: version, preparedAt: timestamp(now()) });
    },
    async setSecret(run) {
      if (await prepared(run)) await publish();
    },
    async testSecret(run) {
      const ring = await prepared(run);
      const key = ring && nextKey(ring);
      if (key) await probe({ kid: key.kid, ...deriveKeys(key.secret) });
    },
    async finishSecret(run) {
      const ring = await prepared(run);
      if (ring) {
        await store.promote(run, ring.basedOn ?? '').catch(async (error) => {
          if (!isConflict(error)) throw error;
          await store.abandon(run);
          const message = `the key ring was changed while rotation ${run} ran: start a new one`;
          throw new RotationError('ERR_ROTATION_OUTDATED', message);
        });
      }
      await advance();
    },
    async dropKey(kid, run) {
      for (let attempt = 1; ; attempt++) {
        const { ring, version } = await store.current();
        const present: KeyRing = ring ?? { version: 1, keys: [] };
        // Dropped already by a run that ended before the edge knew of it: go on from there.
        const isDropped = present.keys.some((key) => key.kid === kid && key.compromised);
        const dropped = isDropped ? present : withoutKey(present, kid, run, now());
        const pending = await store.pending();
        if (pending) await store.abandon(pending.run);
        const isReplaced = await (isDropped ? Promise.resolve() : store.replace(dropped, version)).then(
          () => true,
          (error) => retryConflict(error, attempt),
        );
        if (!isReplaced) continue;
        // The edge first; what else is due can wait, for a clock to be set right if need be.
        await publish();
        const advanced = (await advance().catch(unlessClock)) ?? dropped;
        await forget(attempt);
        return { ring: advanced, mintingResumesAt: resumesAt(advanced, times, now()) };
      }
    },
  };
  return {
    ...steps,
    async rotate(newRun) {
      const pending = await store.pending();
      const run = pending?.ring ? pending.run : newRun;
      await steps.createSecret(run);
      await steps.setSecret(run);
      await steps.testSecret(run);
      await steps.finishSecret(run);
    },
  };
}

/** What Secrets Manager calls a rotation function with (AWS Secrets Manager User Guide, "Lambda rotation functions"). */
export interface RotationEvent {
  Step: 'createSecret' | 'setSecret' | 'testSecret' | 'finishSecret';
  /** ARN of the secret. */
  SecretId: string;
  /** The rotation: the id of the version that it makes. */
  ClientRequestToken: string;
}

/** Does the step of an event. Rejects with `ERR_ROTATION_STEP` when it is none of the four. */
export async function rotationStep(
  rotation: Rotation,
  { Step, ClientRequestToken }: Pick<RotationEvent, 'Step' | 'ClientRequestToken'>,
): Promise<void> {
  switch (Step) {
    case 'createSecret':
    case 'setSecret':
    case 'testSecret':
    case 'finishSecret':
      return rotation[Step](ClientRequestToken);
    default:
      throw new RotationError('ERR_ROTATION_STEP', 'Step must be createSecret, setSecret, testSecret or finishSecret');
  }
}

/** When a ring without a current key has one; null when it has. `now`: seconds since the epoch. */
export function resumesAt(ring: KeyRing, times: KeyTimes, now: number): number | null {
  const next = nextKey(ring);
  if (!next || ring.keys.some((key) => key.state === 'current' && !isCompatKey(key))) return null;
  return activatesAt(next, times) ?? now + times.bakeSeconds;
}

/** The ring that another rotation prepared, as that of `run`. */
function adopted(ring: KeyRing, run: string): KeyRing {
  return { version: 1, keys: ring.keys.map((key) => (key.state === 'next' ? { ...key, run } : key)) };
}

/** Whether the ring has the key that a rotation made. */
function isDone(run: string, ring: KeyRing | null): boolean {
  return ring?.keys.some((key) => key.run === run) ?? false;
}

function isConflict(error: unknown): boolean {
  return error instanceof KeyRingError && error.code === 'ERR_RING_CONFLICT';
}

function unlessClock(error: unknown): null {
  if (error instanceof KeyRingError && error.code === 'ERR_RING_CLOCK') return null;
  throw error;
}

function retryConflict(error: unknown, attempt: number): false {
  if (!isConflict(error) || attempt >= ATTEMPTS) throw error;
  return false;
}
