import type { RevocationKey } from '../list/revocation-list.ts';
import type { PublishReport, RevocationPublisher } from './revocation-publisher.ts';

/** How often each target is reconciled with the list, in milliseconds. */
const RECONCILE_MS = 60_000;
/** After a failure the first reconciliation comes so soon, each further one after twice that time. */
const RETRY_MS = 1000;
/** Left-out entries that are named. */
const NAMED = 5;

/** Where the list is published, by its name for people: `edge store`. */
export interface Target {
  name: string;
  publisher: RevocationPublisher;
}

/** Tells the targets of the list what changed on it. */
export interface Publication {
  /**
   * Publishes a change to all targets; waits for the first alone. Resolves to whether that one has it: false where others were
   * told to see to it. Rejects when it could not be told, which is reported and tried again, sooner than every minute.
   */
  publish(changed: RevocationKey[]): Promise<boolean>;
}

/** Publications of this process. */
export interface KeptPublication extends Publication {
  /** Ends it: no reconciliation begins any more. */
  close(): Promise<void>;
}

/**
 * Reconciles every target with the list now and then, sooner after a failure. What goes wrong or is left out is reported;
 * `countOmitted` is told of every publication that leaves out some.
 */
export function keepPublished(
  targets: [Target, ...Target[]],
  report: (line: string) => void,
  countOmitted: (target: string, omitted: number) => void,
): KeptPublication {
  const [first, ...others] = targets.map((target) => keepReconciled(target, report, countOmitted));
  return {
    async publish(changed) {
      for (const other of others) void other.publish(changed).catch(() => undefined);
      return first?.publish(changed) ?? false;
    },
    async close() {
      for (const kept of [first, ...others]) await kept?.close();
    },
  };
}

function keepReconciled(
  { name, publisher }: Target,
  report: (line: string) => void,
  countOmitted: (target: string, omitted: number) => void,
): KeptPublication {
  let failures = 0;
  let omitted = 0;
  let isClosed = false;
  let timer: NodeJS.Timeout | undefined;
  let reconciling: Promise<unknown> = Promise.resolve();

  const schedule = () => {
    clearTimeout(timer);
    if (isClosed) return;
    const wait = failures === 0 ? RECONCILE_MS : Math.min(RETRY_MS * 2 ** (failures - 1), RECONCILE_MS);
    timer = setTimeout(() => {
      reconciling = reported(publisher.reconcile()).then(schedule, () => undefined);
    }, wait);
  };
  const reported = async (result: Promise<PublishReport>): Promise<void> => {
    try {
      const { omitted: left } = await result;
      failures = 0;
      if (left.length > 0 && left.length !== omitted) report(describeOmitted(name, left));
      if (left.length > 0) countOmitted(name, left.length);
      omitted = left.length;
    } catch (error) {
      failures++;
      report(`revocations were not published to the ${name}, and will be again: ${(error as Error).message}`);
      schedule();
      throw error;
    }
  };
  schedule();
  return {
    async publish(changed) {
      await reported(publisher.publish(changed));
      return true;
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await reconciling;
    },
  };
}

function describeOmitted(name: string, omitted: RevocationKey[]): string {
  const named = omitted.slice(0, NAMED).map(({ kind, id }) => `${kind} ${id}`);
  const more = omitted.length > NAMED ? ', …' : '';
  return `the ${name} has no room for ${omitted.length} revocations, among them ${named.join(', ')}${more}`;
}
