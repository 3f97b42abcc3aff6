import { type CachedKeyRing, openCachedKeyRing } from '../token-api/key-ring/cached-key-ring.ts';
import type { KeyRingStore } from '../token-api/key-ring/key-ring-store.ts';
import type { KeySettings } from '../token-api/key-ring/settings.ts';
import type { Telemetry } from '../token-api/telemetry/telemetry.ts';

/** What the API's key ring is opened with. */
export interface ReportedKeyRingOptions {
  store: Pick<KeyRingStore, 'current'>;
  keys: KeySettings;
  telemetry: Pick<Telemetry, 'metric'>;
  /** Seconds since the epoch. */
  now: () => number;
  report: (line: string) => void;
}

/** The key ring that the API mints with, whose age is counted, and told when it cannot be read again. Rejects as `openCachedKeyRing`. */
export function openReportedKeyRing(options: ReportedKeyRingOptions): Promise<CachedKeyRing> {
  const { store, keys, telemetry, now, report } = options;
  return openCachedKeyRing({
    read: store.current,
    refreshSeconds: keys.refreshSeconds,
    maxStaleSeconds: keys.maxStaleSeconds,
    onRefresh: (ageSeconds, error) => {
      telemetry.metric('KeyRingAge', ageSeconds);
      if (!error) return;
      telemetry.metric('KeyRingUnread', 1);
      report(`the key ring was not read again, it is ${Math.round(ageSeconds)} s old: ${error.message}`);
    },
    now,
    uptime: () => performance.now() / 1000,
  });
}
