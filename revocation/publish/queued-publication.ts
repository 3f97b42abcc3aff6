import type { RevocationKey } from '../list/revocation-list.ts';
import type { Target } from './publication.ts';
import { readPublication } from './sqs.ts';

/** What is told of a publication: lines for people, and counts by target. */
export interface PublicationReports {
  report: (line: string) => void;
  /** Entries that a target enforces, whenever the whole list was looked at. */
  countPublished: (target: string, published: number) => void;
  /** Entries that a target has no room for. */
  countOmitted: (target: string, omitted: number) => void;
  /** Called once for a target that could not be told. */
  countFailed: (target: string) => void;
}

/**
 * Publishes what messages of the queue say (`queuedPublication`) to all targets, together; resolves to whether the first of
 * them was told, so that the messages are done. A message that names no change, such as the one of a schedule, is about the whole list:
 * to look at that does no harm. What another target could not be told is reported and left to the next
 * reconciliation, which a schedule asks for every minute: it must not keep the first from learning what comes next.
 */
export async function publishQueued(
  targets: [Target, ...Target[]],
  bodies: string[],
  { report, countPublished, countOmitted, countFailed }: PublicationReports,
): Promise<boolean> {
  const messages = bodies.map(changedBy);
  const changed = messages.flatMap((keys): RevocationKey[] => keys ?? []);
  const isWhole = messages.includes(undefined);
  const [isPublished = false] = await Promise.all(
    targets.map(async ({ name, publisher }) => {
      try {
        const { published, omitted } = isWhole ? await publisher.reconcile() : await publisher.publish(changed);
        if (isWhole) countPublished(name, published);
        if (omitted.length > 0) countOmitted(name, omitted.length);
        return true;
      } catch (error) {
        countFailed(name);
        report(`revocations were not published to the ${name}, and will be again: ${(error as Error).message}`);
        return false;
      }
    }),
  );
  return isPublished;
}

/** What a message says has changed; undefined when it is none of ours. */
function changedBy(body: string): RevocationKey[] | undefined {
  try {
    return readPublication(body);
  } catch {
    return undefined;
  }
}
