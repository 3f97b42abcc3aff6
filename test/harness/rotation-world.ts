import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { type KeyValueStore, StoreError } from '../../edge-functions/store/key-value-store.ts';
import { type MintingKey, mint, parse, type VerificationKey, verify } from '../../token/index.ts';
import { edgeStorePublisher } from '../../token-api/key-ring/key-publisher.ts';
import { isCompatKey, isPlaceholder, mintingKey, parseKeyRing } from '../../token-api/key-ring/key-ring.ts';
import { createRotation, type Rotation, RotationError } from '../../token-api/key-ring/rotation.ts';
import { secretsManagerKeyRing } from '../../token-api/key-ring/secrets-manager.ts';
import type { KeyTimes } from '../../token-api/key-ring/transitions.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { NOW, TEST_CLAIMS, TEST_VIEWING } from './minting.ts';

/** What may happen to a call of a service: the caller dies before it, loses its reply, or makes it twice. */
export const FAULTS = ['died', 'lost', 'repeated'] as const;
export type Fault = (typeof FAULTS)[number];

/** Times that keep a simulated life short; the proportions are those of the defaults. */
export const TIMES: KeyTimes = {
  bakeSeconds: 600,
  maxStaleSeconds: 300,
  maxTokenLifetimeSeconds: 1800,
  leewaySeconds: 30,
};
/** How far the replicas of the edge store may be behind: none more than a key bakes. */
const LAGS = [0, 250, TIMES.bakeSeconds];
/** Between two looks at everything, in seconds. */
const GLANCE = 50;
/** How often the timer runs, in seconds. */
const TICK = 580;

/** What a token, and the value of its key at the edge, came to: asked many million times over. */
const verdicts = new Map<string, Map<string, string>>();
/** What is minted with while a secret has this value. */
const mintingKeys = new Map<string, MintingKey | undefined>();

interface Version {
  value?: string;
  stages: Set<string>;
}

/** A process that talks to the services: it can be stopped before each call, and things go wrong for it. */
export interface Process {
  rotation: Rotation;
  calls: number;
  /** What happens at which call, counted from 0. */
  fault: { at: number; kind: Fault } | undefined;
  isDead: boolean;
  /** Called before each call; resolves when it may be made. */
  gate: () => Promise<void>;
}

/**
 * Secrets Manager and an edge store with replicas, in virtual time, as several processes see them; and every player there
 * could be, each with an unexpired token of whatever key a minter may have used. After each call and every few seconds all
 * of their tokens are verified against all replicas; what is refused is written down in `refusals`.
 */
export class RotationWorld {
  time = NOW;
  readonly refusals: string[] = [];
  readonly #versions = new Map<string, Version>();
  #lastChanged = NOW;
  #entries = new Map<string, string>();
  #etag = 0;
  /** What the edge store held from when on. */
  readonly #history: { since: number; entries: Map<string, string> }[] = [];
  /** What was AWSCURRENT from when to when, latest last. */
  readonly #current: { since: number; until: number; key: MintingKey | undefined }[] = [];
  /** Until when tokens of a key are unexpired, with one of them. */
  readonly #players = new Map<string, { token: string; key: MintingKey; until: number }>();
  /** Keys whose tokens are meant to be refused. */
  readonly dropped = new Set<string>();
  /** Rotations that were ended because they got stuck. */
  stuck = 0;

  constructor(secret: string, entries: Record<string, VerificationKey> = {}) {
    this.#versions.set('00000000-initial-version-of-the-secret', { value: secret, stages: new Set(['AWSCURRENT']) });
    for (const [kid, key] of Object.entries(entries))
      this.#entries.set(`k/${kid}`, JSON.stringify({ ...key, before: 0 }));
    this.#history.push({ since: 0, entries: new Map(this.#entries) });
    this.#look();
  }

  /** A new process, with nothing in its memory. */
  process(options: { probe?: () => Promise<void>; now?: () => number } = {}): Process {
    const process: Process = { calls: 0, fault: undefined, isDead: false, gate: async () => {} } as unknown as Process;
    const call = async <Result>(effect: () => Result): Promise<Result> => {
      await process.gate();
      const fault = process.fault?.at === process.calls ? process.fault.kind : undefined;
      process.calls++;
      if (fault === 'died') process.isDead = true;
      // Nothing that was dead ever gets an answer.
      if (process.isDead) return new Promise<never>(() => {});
      this.pass(1);
      const result = attempt(effect);
      const last = fault === 'repeated' ? attempt(effect) : result;
      this.#look();
      if (fault === 'lost') throw Object.assign(new Error('socket hang up'), { name: 'TimeoutError' });
      return last();
    };
    const client = { send: (command: { input: object }) => call(() => this.#secretsManager(command)) };
    const store = new EdgeStore(this.#edgeStore(call));
    process.rotation = createRotation({
      store: secretsManagerKeyRing(client as unknown as SecretsManagerClient, 'portcullis'),
      publisher: edgeStorePublisher(store),
      probe: options.probe ?? ((key) => call(() => this.#probe(key))),
      times: TIMES,
      now: options.now ?? (() => this.time),
      reportStuck: () => {
        this.stuck++;
      },
    });
    return process;
  }

  /** Lets time pass, looking at everything now and then. */
  pass(seconds: number): void {
    const end = this.time + seconds;
    while (this.time < end) {
      this.time = Math.min(this.time + GLANCE, end);
      this.#look();
    }
  }

  /** Runs the timer until the ring is at rest and no token of another key than the current one is left. */
  async settle(): Promise<void> {
    const { bakeSeconds, maxStaleSeconds, maxTokenLifetimeSeconds, leewaySeconds } = TIMES;
    const end = this.time + 2 * (bakeSeconds + maxStaleSeconds + maxTokenLifetimeSeconds + leewaySeconds) + 3600;
    while (this.time < end && !this.#isAtRest()) {
      this.pass(TICK);
      await this.process().rotation.advance();
    }
  }

  #isAtRest(): boolean {
    const { ring, stages, edge } = this.state();
    const states = Object.values(ring);
    const atRest = states.length > 0 && states.every((state) => state === 'current' || state === 'retired');
    const others = [...this.#players].filter(([kid, { until }]) => ring[kid] !== 'current' && until > this.time - 60);
    return atRest && stages.length === 1 && edge.length === 1 && others.length === 0;
  }

  /** Key ids at the edge, and the states of the keys in the ring, by id. */
  state(): { edge: string[]; ring: Record<string, string>; stages: string[] } {
    const stages = [...this.#versions.values()].flatMap((version) => [...version.stages]);
    return {
      edge: [...this.#entries.keys()].map((name) => name.slice(2)).sort(),
      ring: Object.fromEntries(this.#ring()?.keys.map(({ kid, state }) => [kid, state]) ?? []),
      stages: stages.filter((stage) => stage !== 'AWSPREVIOUS' && stage !== 'PORTCULLIS_CANDIDATE').sort(),
    };
  }

  /** The values of all versions that have a staging label. */
  labelled(): string[] {
    return [...this.#versions.values()].flatMap(({ value, stages }) => (stages.size > 0 && value ? [value] : []));
  }

  /** Starts a rotation as Secrets Manager does: a version without a value. */
  begin(run: string): void {
    for (const version of this.#versions.values()) version.stages.delete('AWSPENDING');
    this.#versions.set(run, { stages: new Set(['AWSPENDING']) });
    this.#lastChanged = this.time;
  }

  #ring() {
    const current = [...this.#versions.values()].find(({ stages }) => stages.has('AWSCURRENT'));
    const content = JSON.parse(current?.value ?? 'null');
    return isPlaceholder(content) ? undefined : parseKeyRing(content);
  }

  /** The key that a minter uses who just read the secret. */
  #mintedWith(): MintingKey | undefined {
    const value = [...this.#versions.values()].find(({ stages }) => stages.has('AWSCURRENT'))?.value ?? '';
    if (!mintingKeys.has(value)) {
      const ring = this.#ring();
      mintingKeys.set(
        value,
        ring?.keys.some((key) => key.state === 'current' && !isCompatKey(key)) ? mintingKey(ring) : undefined,
      );
    }
    return mintingKeys.get(value);
  }

  #look(): void {
    const key = this.#mintedWith();
    const last = this.#current.at(-1);
    if (last && last.key === key) last.until = this.time;
    else this.#current.push({ since: this.time, until: this.time, key });
    // Every ring that a minter may still hold was minted with just now.
    for (const { key: used, until } of this.#current) {
      if (!used || until < this.time - TIMES.maxStaleSeconds || this.dropped.has(used.kid)) continue;
      const player = this.#players.get(used.kid);
      const iat = NOW;
      const token =
        player?.token ?? mint({ ...TEST_CLAIMS, iat, exp: iat + 1800, sst: iat }, used, TEST_VIEWING, nodeCrypto);
      this.#players.set(used.kid, { token, key: used, until: this.time + TIMES.maxTokenLifetimeSeconds });
    }
    for (const [kid, { token, until }] of this.#players) {
      if (this.time >= until + TIMES.leewaySeconds || this.dropped.has(kid)) continue;
      for (const lag of LAGS) {
        const reason = this.#verified(kid, token, lag);
        if (reason !== '') this.refusals.push(`${kid} at ${this.time - NOW} s, ${lag} s behind: ${reason}`);
      }
    }
  }

  /** What a replica that is so far behind says of a token; the token's own times are another matter. */
  #verified(kid: string, token: string, lag: number): string {
    const replica = this.#history.findLast(({ since }) => since <= this.time - lag)?.entries;
    const value = replica?.get(`k/${kid}`) ?? 'null';
    const known = verdicts.get(token) ?? new Map<string, string>();
    verdicts.set(token, known);
    const verdict = known.get(value) ?? verdictOn(token, JSON.parse(value));
    known.set(value, verdict);
    return verdict;
  }

  /** The nearest replica only: what a probe from one place can see. */
  #probe(key: MintingKey): void {
    const claims = { ...TEST_CLAIMS, aid: 'portcullis-probe' };
    const reason = this.#verified(key.kid, mint(claims, key, TEST_VIEWING, nodeCrypto), 0);
    if (reason !== '') throw new RotationError('ERR_ROTATION_PROBE', reason);
  }

  #edgeStore(call: <Result>(effect: () => Result) => Promise<Result>): KeyValueStore {
    return {
      list: () => call(() => ({ entries: new Map(this.#entries), etag: String(this.#etag) })),
      etag: () => call(() => String(this.#etag)),
      update: ({ puts, deletes }, ifMatch) =>
        call(() => {
          if (ifMatch !== String(this.#etag)) throw new StoreError('ERR_STORE_ETAG', 'changed by somebody else');
          this.#entries = new Map(this.#entries);
          for (const { key, value } of puts) this.#entries.set(key, value);
          for (const key of deletes) this.#entries.delete(key);
          this.#history.push({ since: this.time, entries: this.#entries });
          return String(++this.#etag);
        }),
    };
  }

  /** Secrets Manager's actions as its API reference describes them, staging labels above all. */
  #secretsManager(command: { input: object }): object {
    const input = command.input as Record<string, string> & { VersionStages?: string[] };
    const fail = (name: string): never => {
      throw Object.assign(new Error(name), { name });
    };
    const withStage = (stage: string) => [...this.#versions].find(([, { stages }]) => stages.has(stage));
    switch (command.constructor.name) {
      case 'DescribeSecretCommand': {
        const entries = [...this.#versions].map(([id, { stages }]) => [id, [...stages]]);
        return { VersionIdsToStages: Object.fromEntries(entries), LastChangedDate: new Date(this.#lastChanged * 1000) };
      }
      case 'GetSecretValueCommand': {
        const id = input.VersionId ?? withStage(input.VersionStage ?? '')?.[0] ?? '';
        const value = this.#versions.get(id)?.value;
        return value === undefined ? fail('ResourceNotFoundException') : { SecretString: value, VersionId: id };
      }
      case 'PutSecretValueCommand': {
        const { ClientRequestToken: id = '', SecretString: value = '' } = input;
        const present = this.#versions.get(id);
        if (present?.value !== undefined && present.value !== value) return fail('ResourceExistsException');
        this.#lastChanged = this.time;
        const stages = present?.stages ?? new Set();
        // A repeated call changes nothing, not even labels.
        if (present?.value === undefined) {
          for (const stage of input.VersionStages ?? []) {
            withStage(stage)?.[1].stages.delete(stage);
            stages.add(stage);
          }
        }
        this.#versions.set(id, { value, stages });
        return {};
      }
      case 'UpdateSecretVersionStageCommand': {
        const { VersionStage: stage = '', RemoveFromVersionId: from, MoveToVersionId: to } = input;
        const holder = withStage(stage)?.[0];
        if (holder !== from) return fail('InvalidParameterException');
        if (to !== undefined && this.#versions.get(to)?.value === undefined) return fail('ResourceNotFoundException');
        if (from) this.#versions.get(from)?.stages.delete(stage);
        // Secrets Manager marks the version that was current.
        if (from && stage === 'AWSCURRENT') {
          withStage('AWSPREVIOUS')?.[1].stages.delete('AWSPREVIOUS');
          this.#versions.get(from)?.stages.add('AWSPREVIOUS');
        }
        if (to) this.#versions.get(to)?.stages.add(stage);
        this.#lastChanged = this.time;
        return {};
      }
      default:
        throw new Error(`not simulated: ${command.constructor.name}`);
    }
  }
}

/** What an edge with this key says of a token: a denial reason, or '' when it lets it through. */
function verdictOn(token: string, key: VerificationKey | null): string {
  const parsed = parse(`/${token}/aurora/master.m3u8`, '/', nodeCrypto);
  if (typeof parsed === 'string') return parsed;
  const rules = { crypto: nodeCrypto, maxLifetimeSeconds: 86400, leewaySeconds: 0 };
  const decision = verify(parsed, key, { session: false, before: 0 }, TEST_VIEWING, NOW + 1, rules);
  return typeof decision === 'string' ? decision : '';
}

/** Runs an effect and keeps what came of it: it may have thrown. */
function attempt<Result>(effect: () => Result): () => Result {
  try {
    const result = effect();
    return () => result;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/** Lets processes run by turns: each does `work`, and goes on by one call at a time when it is stepped. */
export class Turns {
  readonly #stopped = new Map<Process, (() => void) | undefined>();
  readonly #ended = new Set<Process>();
  #changed: () => void = () => {};

  start(process: Process, work: (process: Process) => Promise<unknown>): void {
    process.gate = () =>
      new Promise((resolve) => {
        this.#stopped.set(process, resolve);
        this.#changed();
      });
    this.#stopped.set(process, undefined);
    const end = () => {
      this.#ended.add(process);
      this.#changed();
    };
    work(process).then(end, end);
  }

  /** Lets a process make one more call; false when it has ended. */
  async step(process: Process): Promise<boolean> {
    await this.#idle(process);
    if (this.#ended.has(process)) return false;
    const go = this.#stopped.get(process);
    this.#stopped.set(process, undefined);
    go?.();
    await this.#idle(process);
    return true;
  }

  /** Waits until a process stands before a call, or has ended. */
  async #idle(process: Process): Promise<void> {
    while (!this.#ended.has(process) && !this.#stopped.get(process) && !process.isDead) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }
}
