import { setTimeout as sleep } from 'node:timers/promises';

/** The database was asked again and again for the rest of a batch, and took none of it. */
export class BatchError extends Error {
  readonly code = 'ERR_DATABASE_THROTTLED';
  constructor() {
    super('The database takes no more calls just now; try again.');
    this.name = 'BatchError';
  }
}

/** Calls for one batch; with the waits between them, some twenty seconds at most. */
const ATTEMPTS = 12;
const BACKOFF_MS = 20;
const LONGEST_BACKOFF_MS = 4000;

/**
 * Sends items in batches of `size`, one batch after the other. `send` resolves to those that the service left unprocessed,
 * which are sent again after a wait that doubles (DynamoDB developer guide, "Error retries and exponential backoff").
 * Rejects with `BatchError`, or with what `send` rejects with.
 */
export async function sendInBatches<Item>(
  items: Item[],
  size: number,
  send: (batch: Item[]) => Promise<Item[]>,
): Promise<void> {
  for (let i = 0; i < items.length; i += size) {
    let rest = items.slice(i, i + size);
    for (let attempt = 1; rest.length > 0; attempt++) {
      rest = await send(rest);
      if (rest.length === 0) break;
      if (attempt === ATTEMPTS) throw new BatchError();
      await sleep(Math.random() * Math.min(BACKOFF_MS * 2 ** attempt, LONGEST_BACKOFF_MS));
    }
  }
}
