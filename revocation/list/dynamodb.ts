import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import {
  BatchGetCommand,
  type BatchGetCommandOutput,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  type PutCommandInput,
  paginateScan,
  QueryCommand,
  ScanCommand,
} from '@aws-sdk/lib-dynamodb';
import * as v from 'valibot';
import { sendInBatches } from '../batches.ts';
import { decodeCursor, encodeCursor } from '../pages/cursor.ts';
import {
  type Added,
  REVOCATION_KINDS,
  type RevocationEntry,
  type RevocationEvent,
  type RevocationKey,
  type RevocationList,
  RevocationListError,
} from './revocation-list.ts';

/**
 * The table of revocations: one item, the head, for each thing that was ever revoked: the latest that happened to it. Time
 * to live: `deleteAt`. The id first, so that entries spread.
 */
export const REVOCATIONS_TABLE = {
  TableName: 'portcullis-revocations',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'id', AttributeType: 'S' },
    { AttributeName: 'kind', AttributeType: 'S' },
  ],
  KeySchema: [
    { AttributeName: 'id', KeyType: 'HASH' },
    { AttributeName: 'kind', KeyType: 'RANGE' },
  ],
} satisfies CreateTableCommandInput;

/** The table of what happened before: one item an event, under `<kind>/<id>` and its time. Time to live: `deleteAt`. */
export const REVOCATION_HISTORY_TABLE = {
  TableName: 'portcullis-revocation-history',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'of', AttributeType: 'S' },
    { AttributeName: 'at', AttributeType: 'N' },
  ],
  KeySchema: [
    { AttributeName: 'of', KeyType: 'HASH' },
    { AttributeName: 'at', KeyType: 'RANGE' },
  ],
} satisfies CreateTableCommandInput;

export const REVOCATION_TABLES = [REVOCATIONS_TABLE, REVOCATION_HISTORY_TABLE];

/** Largest number of keys in one BatchGetItem (DynamoDB API reference). */
const BATCH = 100;
/** How long what expired can still be looked up, in seconds. */
const KEPT_SECONDS = 30 * 86_400;
/** Of those who change the same entry at the same time one gets through at every attempt. */
const ATTEMPTS = 12;
const BACKOFF_MS = 10;
/** Asked for again within this time, a revocation is the same one: a click or a call that was repeated. */
const REPEATED_SECONDS = 60;
/** Scans for one page of the list, 1 MB each, after which it is handed over as it is. */
const SCANS = 5;

/** Events that are read in one call when all are wanted. */
const HISTORY_PAGE = 1000;

/** Where a page ended. DynamoDB takes a partition key of 2,048 bytes, a character of UTF-16 has three at most. */
const Place = v.strictTuple([v.pipe(v.string(), v.minLength(1), v.maxLength(680)), v.picklist(REVOCATION_KINDS)]);

/** Where a page of a history ended: the time of its last event. */
const Before = v.pipe(v.number(), v.safeInteger());

/** Events, the latest first, and the time before which there may be more. */
interface Events {
  events: RevocationEvent[];
  nextBefore: number | undefined;
}

/** What the head says, flat, as it is stored in both tables. */
interface EventItem extends RevocationEntry {
  at: number;
  action: RevocationEvent['action'];
  /** Who did it. */
  actor: string;
  /** When DynamoDB may delete it, seconds since the epoch; never when absent. */
  deleteAt?: number | undefined;
}

/** A head, with a mark of the one write that made it; none when a version without a history did. */
type Head = EventItem & { write?: string };

/** What to do with a head: the next event, or none, and what to say of it. */
interface Decision<Outcome> {
  next?: Omit<RevocationEvent, 'at'>;
  outcome: Outcome;
}

/**
 * The revocation list in DynamoDB, without transactions. A change reads the head, writes the event it stands for into
 * the history, and replaces the head if it is still the same: whoever dies on the way leaves a copy of what the head still
 * says. So the history is what is written there and the head, each event once. Expiry is checked here: DynamoDB's own may
 * lag by days. `active` and `page` scan: entries are in no order.
 */
export function dynamoDbRevocationList(client: DynamoDBDocumentClient): RevocationList {
  const { TableName } = REVOCATIONS_TABLE;
  const { TableName: HISTORY } = REVOCATION_HISTORY_TABLE;

  async function readHead({ kind, id }: RevocationKey): Promise<Head | undefined> {
    const { Item } = await client.send(new GetCommand({ TableName, Key: { id, kind }, ConsistentRead: true }));
    return Item && headOf(Item);
  }

  /** Changes the head as `decide` says, which is asked again when somebody else was faster. */
  async function change<Outcome>(
    key: RevocationKey,
    now: number,
    decide: (head: Head | undefined) => Decision<Outcome>,
  ): Promise<Outcome> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const head = await readHead(key);
      const { next, outcome } = decide(head);
      if (!next) return outcome;
      if (head) await archive(head);
      const at = Math.max(now * 1000, head ? head.at + 1 : 0);
      const item: Head = { ...itemOf({ ...next, at }), write: randomUUID() };
      if ((await replaceHead(head, item)) || (await isWritten(item))) return outcome;
      await sleep(Math.random() * BACKOFF_MS * attempt);
    }
    throw new RevocationListError();
  }

  async function archive(head: Head): Promise<void> {
    await client.send(new PutCommand({ TableName: HISTORY, Item: { ...head, of: nameOf(head) } }));
  }

  /**
   * Whether a head was written although its condition failed: the client repeats a call whose reply was lost, and the
   * second time the first one stands in its way. Somebody else may have replaced it by then.
   */
  async function isWritten(head: Head): Promise<boolean> {
    if ((await readHead(head))?.write === head.write) return true;
    const Key = { of: nameOf(head), at: head.at };
    const { Item } = await client.send(new GetCommand({ TableName: HISTORY, Key, ConsistentRead: true }));
    return Item?.write === head.write;
  }

  /** Replaces the head if it is still `head`; resolves to whether it was. */
  async function replaceHead(head: Head | undefined, Item: Head): Promise<boolean> {
    try {
      await client.send(new PutCommand({ TableName, Item, ...isStill(head) }));
      return true;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw error;
    }
  }

  /** The latest events of a key before a time, in milliseconds, and whether there may be earlier ones. */
  async function eventsBefore(key: RevocationKey, before: number, limit: number): Promise<Events> {
    // The head first: what replaces it meanwhile puts it into the history before.
    const head = await readHead(key);
    const { Items = [], LastEvaluatedKey } = await client.send(
      new QueryCommand({
        TableName: HISTORY,
        ConsistentRead: true,
        KeyConditionExpression: '#of = :of AND #at < :before',
        ExpressionAttributeNames: { '#of': 'of', '#at': 'at' },
        ExpressionAttributeValues: { ':of': nameOf(key), ':before': before },
        ScanIndexForward: false,
        Limit: limit,
      }),
    );
    const found = new Map((Items as EventItem[]).map((item) => [item.at, eventOf(item)]));
    if (head && head.at < before) found.set(head.at, eventOf(head));
    const sorted = [...found.values()].sort((a, b) => b.at - a.at);
    const events = sorted.slice(0, limit);
    const isLast = !LastEvaluatedKey && sorted.length <= limit;
    return { events, nextBefore: isLast ? undefined : events.at(-1)?.at };
  }

  async function holding(keys: RevocationKey[], now: number): Promise<RevocationEntry[]> {
    const found: RevocationEntry[] = [];
    const unique = [...new Map(keys.map(({ kind, id }) => [nameOf({ kind, id }), { id, kind }])).values()];
    await sendInBatches(unique, BATCH, async (Keys) => {
      const page: BatchGetCommandOutput = await client.send(
        new BatchGetCommand({ RequestItems: { [TableName]: { Keys, ConsistentRead: true } } }),
      );
      found.push(...entriesOf(page.Responses?.[TableName], now));
      return (page.UnprocessedKeys?.[TableName]?.Keys ?? []) as typeof Keys;
    });
    return found;
  }

  return {
    add: (entry) => change(entry, entry.revokedAt, (head) => decideToAdd(head, entry)),
    remove: (kind, id, by, now) =>
      change({ kind, id }, now, (head) => {
        if (!head || !holds(head, now)) return { outcome: false };
        return { outcome: true, next: { action: 'restored', entry: entryOf(head), by } };
      }),
    async get(kind, id, now) {
      const head = await readHead({ kind, id });
      return head && holds(head, now) ? entryOf(head) : undefined;
    },
    holding,
    async revoked(kind, ids, now) {
      const entries = await holding(
        ids.map((id) => ({ kind, id })),
        now,
      );
      return new Set(entries.map(({ id }) => id));
    },
    async active(now) {
      const entries: RevocationEntry[] = [];
      // What is not read here is let through at the edge.
      const pages = paginateScan({ client }, { TableName, ConsistentRead: true, ...thatHolds(now) });
      for await (const { Items } of pages) entries.push(...entriesOf(Items, now));
      return entries;
    },
    async page(now, { kind, limit, cursor }) {
      const list = `revocations/${kind ?? ''}`;
      const place = cursor === undefined ? undefined : decodeCursor(list, Place, cursor);
      const entries: RevocationEntry[] = [];
      let startKey: Record<string, unknown> | undefined = place && { id: place[0], kind: place[1] };
      for (let scan = 1; scan <= SCANS; scan++) {
        const { Items, LastEvaluatedKey } = await client.send(
          new ScanCommand({ TableName, ConsistentRead: true, ExclusiveStartKey: startKey, ...thatHolds(now, kind) }),
        );
        entries.push(...entriesOf(Items, now));
        startKey = LastEvaluatedKey;
        if (entries.length > limit) {
          entries.length = limit;
          const last = entries[limit - 1];
          startKey = { id: last?.id, kind: last?.kind };
        }
        if (!startKey || entries.length === limit) break;
      }
      return { entries, next: startKey && encodeCursor(list, [startKey.id, startKey.kind]) };
    },
    async history(kind, id) {
      const events: RevocationEvent[] = [];
      for (let before: number | undefined = Number.MAX_SAFE_INTEGER; before !== undefined; ) {
        const page: Events = await eventsBefore({ kind, id }, before, HISTORY_PAGE);
        events.push(...page.events);
        before = page.nextBefore;
      }
      return events;
    },
    async historyPage(kind, id, { limit, cursor }) {
      const name = `history/${nameOf({ kind, id })}`;
      const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : decodeCursor(name, Before, cursor);
      const { events, nextBefore } = await eventsBefore({ kind, id }, before, limit);
      return { events, next: nextBefore === undefined ? undefined : encodeCursor(name, nextBefore) };
    },
  };
}

/** Whether an entry may be added to what there is, and as what. */
function decideToAdd(head: Head | undefined, entry: RevocationEntry): Decision<Added> {
  const now = entry.revokedAt;
  const add = (added: RevocationEntry, outcome: Added['outcome']): Decision<Added> => ({
    outcome: { entry: added, outcome },
    next: { action: 'revoked', entry: added, by: added.by },
  });
  if (!head || isOver(head, now)) return add(entryOf(entry), 'added');
  const present = entryOf(head);
  if (head.action === 'restored') {
    // What a person took back stays so for as long as it would have been revoked, unless a person says otherwise.
    if (entry.source === 'auto') return { outcome: { entry: present, outcome: 'restored-by-hand' } };
    return add(entryOf(entry), 'added');
  }
  const isLaterCutoff = entry.before !== undefined && entry.before > (present.before ?? 0);
  if (entry.source === 'auto') return { outcome: { entry: present, outcome: 'kept' } };
  if (present.source === 'manual' && !isLaterCutoff) {
    const expiresAt = entry.expiresAt ?? 0;
    if (expiresAt < (present.expiresAt ?? Number.POSITIVE_INFINITY) + REPEATED_SECONDS) {
      return { outcome: { entry: present, outcome: 'kept' } };
    }
    // A token that was minted since the first time, elsewhere, must not outlive the entry.
    const longer = { ...present, expiresAt };
    return { outcome: { entry: longer, outcome: 'kept' }, next: { action: 'revoked', entry: longer, by: entry.by } };
  }
  const { before, expiresAt, ...rest } = entry;
  const changed = entryOf(rest);
  if (before !== undefined) changed.before = Math.max(before, present.before ?? 0);
  if (expiresAt !== undefined && present.expiresAt !== undefined) {
    changed.expiresAt = Math.max(expiresAt, present.expiresAt);
  }
  return add(changed, 'changed');
}

/** The condition that the head is still this one; `at` only ever grows, and is not stored by a version without a history. */
function isStill(head: Head | undefined): Partial<PutCommandInput> {
  if (!head) return { ConditionExpression: 'attribute_not_exists(id)' };
  return {
    ConditionExpression: '#at = :at OR (attribute_not_exists(#at) AND revokedAt = :revokedAt)',
    ExpressionAttributeNames: { '#at': 'at' },
    ExpressionAttributeValues: { ':at': head.at, ':revokedAt': head.revokedAt },
  };
}

/** The filter for heads that revoke at `now`, of one kind or all. */
function thatHolds(now: number, kind?: string) {
  const conditions = [
    '(attribute_not_exists(expiresAt) OR expiresAt > :now)',
    '(attribute_not_exists(#action) OR #action = :revoked)',
    ...(kind === undefined ? [] : ['#kind = :kind']),
  ];
  return {
    FilterExpression: conditions.join(' AND '),
    ExpressionAttributeNames: { '#action': 'action', ...(kind !== undefined && { '#kind': 'kind' }) },
    ExpressionAttributeValues: { ':now': now, ':revoked': 'revoked', ...(kind !== undefined && { ':kind': kind }) },
  };
}

function nameOf({ kind, id }: RevocationKey): string {
  return `${kind}/${id}`;
}

function isOver({ expiresAt }: Head, now: number): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}

function holds(head: Head, now: number): boolean {
  return head.action === 'revoked' && !isOver(head, now);
}

/** The entries of items that hold at `now`. */
function entriesOf(items: Record<string, unknown>[] | undefined, now: number): RevocationEntry[] {
  return (items ?? [])
    .map(headOf)
    .filter((head) => holds(head, now))
    .map(entryOf);
}

/** An item of the table of heads. What was stored before there was a history still revokes, as of a person who gave no reason. */
function headOf(item: Record<string, unknown>): Head {
  const at = Number(item.revokedAt) * 1000;
  return { at, action: 'revoked', actor: item.by, source: 'manual', reasons: [], ...item } as unknown as Head;
}

function itemOf({ at, action, entry, by }: RevocationEvent): EventItem {
  const { expiresAt } = entry;
  const kept = expiresAt === undefined ? {} : { deleteAt: expiresAt + KEPT_SECONDS };
  return { ...entryOf(entry), at, action, actor: by, ...kept };
}

/** An entry alone, without what is undefined: DynamoDB stores no such thing. */
function entryOf(item: RevocationEntry): RevocationEntry {
  const { kind, id, source, reasons, score, by, revokedAt, before, expiresAt } = item;
  return {
    ...{ kind, id, source, reasons, by, revokedAt },
    ...(score !== undefined && { score }),
    ...(before !== undefined && { before }),
    ...(expiresAt !== undefined && { expiresAt }),
  };
}

function eventOf(item: EventItem): RevocationEvent {
  const { at, action, actor } = item;
  return { at, action, entry: entryOf(item), by: actor };
}
