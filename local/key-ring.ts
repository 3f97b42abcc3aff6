import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openReportedKeyRing } from '../api/key-ring.ts';
import { type EdgeSettings, tokenPrefix } from '../edge-functions/build/settings.ts';
import type { EdgeStore } from '../edge-functions/store/edge-store.ts';
import type { CachedKeyRing } from '../token-api/key-ring/cached-key-ring.ts';
import { fileKeyRing, writeKeyRing } from '../token-api/key-ring/file.ts';
import { edgeStorePublisher } from '../token-api/key-ring/key-publisher.ts';
import { createKeyRing, KeyRingError } from '../token-api/key-ring/key-ring.ts';
import type { KeyRingStore } from '../token-api/key-ring/key-ring-store.ts';
import { edgeProbe } from '../token-api/key-ring/probe.ts';
import { createRotation, type Rotation } from '../token-api/key-ring/rotation.ts';
import type { KeySettings } from '../token-api/key-ring/settings.ts';
import type { KeyTimes } from '../token-api/key-ring/transitions.ts';
import type { Telemetry } from '../token-api/telemetry/telemetry.ts';
import { type DataDirectory, KEY_RING_FILE } from './data-directory.ts';

/** The key ring of a stack, published and kept up to date. */
export interface LocalKeyRing {
  store: KeyRingStore;
  rotation: Rotation;
  cached: CachedKeyRing;
  times: KeyTimes;
  close(): Promise<void>;
}

/** What a stack's key ring is made of. */
export interface LocalKeyRingOptions {
  edgeStore: EdgeStore;
  edgeUrl: string;
  settings: EdgeSettings;
  keys: KeySettings;
  telemetry: Pick<Telemetry, 'metric'>;
  /** Seconds since the epoch. */
  now: () => number;
  report: (line: string) => void;
}

/** How often what is due is done to the ring, in milliseconds. */
const ADVANCE_MS = 2000;
/** For how long a rotation waits for the edge to know a new key, in seconds. */
const PROBE_SECONDS = 10;

/** Opens the ring of a data directory, made at first start, and publishes it. A damaged ring is an error, never replaced. */
export async function openKeyRing(data: DataDirectory, options: LocalKeyRingOptions): Promise<LocalKeyRing> {
  const { edgeStore, edgeUrl, settings, keys, telemetry, now, report } = options;
  const { maxTokenLifetimeSeconds, leewaySeconds } = settings;
  const path = data.path(KEY_RING_FILE);
  if (!existsSync(path)) {
    report(`a new key ring in ${path}`);
    await writeKeyRing(path, createKeyRing(now()));
  }
  const prefix = tokenPrefix(settings);
  // The probe proves nothing where the edge does not enforce.
  if (settings.mode !== 'enforce') await edgeStore.setMode(`${prefix}.portcullis/`, 'enforce');
  const store = fileKeyRing(path);
  const times = { ...keys, maxTokenLifetimeSeconds, leewaySeconds };
  const patience = { patienceSeconds: PROBE_SECONDS, sleep };
  const rotation = createRotation({
    store,
    publisher: edgeStorePublisher(edgeStore),
    probe: edgeProbe({ edgeUrl, tokenPrefix: prefix, now, ...patience }),
    times,
    now,
  });
  if (!(await rotation.advance())) {
    const message = `${path} holds no key, but exactly one key must be current: move it away and a new ring is made`;
    throw new KeyRingError('ERR_RING_MISSING', message);
  }
  const cached = await openReportedKeyRing({ store, keys, telemetry, now, report });
  let known = '';
  let complaint = '';
  const advance = async () => {
    const ring = JSON.stringify(await rotation.advance());
    if (ring !== known) await cached.refresh();
    known = ring;
    complaint = '';
  };
  let advancing: Promise<unknown> = Promise.resolve();
  const timer = setInterval(() => {
    advancing = advancing.then(advance).catch(({ message }: Error) => {
      // Once, not every time, as long as it is the same.
      if (message !== complaint) report(`the key ring was not advanced: ${message}`);
      complaint = message;
    });
  }, ADVANCE_MS);
  return {
    store,
    rotation,
    cached,
    times,
    async close() {
      clearInterval(timer);
      await advancing;
    },
  };
}
