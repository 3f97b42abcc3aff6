import { randomUUID } from 'node:crypto';
import {
  AthenaClient,
  GetQueryExecutionCommand,
  GetQueryResultsCommand,
  type GetQueryResultsCommandOutput,
  GetWorkGroupCommand,
  type QueryExecution,
  StartQueryExecutionCommand,
  StopQueryExecutionCommand,
} from '@aws-sdk/client-athena';
import { type AwsFailure, awsFailure } from '../../edge-functions/store/aws-failure.ts';
import { redact } from '../../token/index.ts';
import type { AthenaSettings } from './athena-settings.ts';
import { type AthenaStatement, athenaTexts } from './athena-statements.ts';
import {
  type DetectionEngine,
  DetectionError,
  type DetectionErrorCode,
  type EngineCost,
  type FeatureRequest,
  type FeatureResult,
  type IdentityTimeline,
  type ReportProgress,
} from './detection-engine.ts';

/** A row of a result: text by name of the column, null for NULL. */
export type AthenaRow = Record<string, string | null>;

/** What Athena is asked, and how its answer is read: the SQL text and the row parser of DuckDB. */
export interface AthenaQueries {
  features(request: FeatureRequest): AthenaStatement;
  readFeatures(rows: AthenaRow[]): Omit<FeatureResult, 'cost'>;
  timelines(request: FeatureRequest, sessionIds: string[]): AthenaStatement;
  readTimelines(rows: AthenaRow[]): Map<string, IdentityTimeline[]>;
}

/** A window whose queries something else had run: times in seconds since the epoch, ids of query executions. */
export interface AskedWindow {
  from: number;
  to: number;
  /** Those of the features, in the order of `askFeatures` (`athena-steps.ts`). */
  features: string[];
  /** Those of the timelines, in the order of `askTimelines`. */
  timelines: string[][];
}

/** When an engine has to have its answers, and what time it is, in milliseconds since the epoch. */
export interface Deadline {
  at: number;
  now: () => number;
}

/** Waits, in milliseconds. */
type Sleep = (milliseconds: number) => Promise<unknown>;

/** Rows a page, the most that GetQueryResults gives. */
const PAGE = 1000;
/** How often a call is made that is throttled or not answered. */
const ATTEMPTS = 6;
/** How long to wait before asking again how a query is: at first, and at most, in milliseconds. */
const [FIRST_WAIT, LONGEST_WAIT] = [500, 10_000];
/**
 * How long all queries of an engine may take together, time in the queue included, in milliseconds. What follows has to be done
 * in the 15 minutes that a run has, and a Lambda function (AWS, "Lambda quotas").
 */
const PATIENCE_MS = 12 * 60_000;

/** Athena charges by terabyte, in whole megabytes, ten at least (Athena pricing, us-east-1; a terabyte is 2^40 bytes). */
const USD_PER_TERABYTE = 5;
const MEGABYTE = 1024 ** 2;
const LEAST_MEGABYTES = 10;

/** What a query costs that scanned so many bytes. */
export function athenaUsd(bytesScanned: number): number {
  const megabytes = Math.max(Math.ceil(bytesScanned / MEGABYTE), LEAST_MEGABYTES);
  return (megabytes * MEGABYTE * USD_PER_TERABYTE) / 1024 ** 4;
}

/**
 * Reads access logs with Athena: StartQueryExecution in a workgroup, GetQueryExecution until it has ended, all pages of
 * GetQueryResults (Athena API Reference). The limit on the bytes that a query may scan is the workgroup's, which Athena
 * enforces itself; without one, or with a higher one than the settings allow, nothing is asked (`ERR_DETECTION_SETUP`).
 *
 * Athena works a common table expression out again wherever it is named, from the logs on, so the relations in `kept` become
 * tables `portcullis_<run>_<relation>` for the time of a run (CREATE TABLE AS; User Guide, "Considerations and limitations for
 * CTAS queries"). Dropping them leaves their files below the workgroup's location for results: let those expire.
 *
 * An engine is for one run: what is asked at its deadline is given up (`ERR_DETECTION_QUERY`), and nothing is asked after it but
 * to stop a query and to drop tables.
 *
 * Rejects with `DetectionError`; a query that is given up is stopped. Athena finds the log objects itself, by the hours of the
 * request, and cannot say which it could not read: `refused` is empty.
 */
export function athenaEngine(
  client: AthenaClient,
  settings: AthenaSettings,
  queries: AthenaQueries,
  sleep: Sleep,
  deadline: Deadline = { at: Date.now() + PATIENCE_MS, now: Date.now },
): DetectionEngine {
  const athena = new AthenaQueryRunner(client, settings, sleep, deadline);
  return {
    async features(request, onProgress = () => {}) {
      const { rows, cost } = await athena.answer(queries.features(request), onProgress);
      return { ...queries.readFeatures(rows), cost };
    },
    async timelines(request, sessionIds, onCost = () => {}) {
      if (sessionIds.length === 0) return new Map();
      const { rows, cost } = await athena.answer(queries.timelines(request, sessionIds), () => {});
      onCost(cost);
      return queries.readTimelines(rows);
    },
    async close() {
      client.destroy();
    },
  };
}

/**
 * An engine whose queries have run: it reads what Athena answered to what `askFeatures` and `askTimelines` asked for these
 * windows (GetQueryExecution, GetQueryResults), and asks nothing. Knows no other window. Rejects with `DetectionError` when one
 * of the queries did not succeed.
 */
export function answeredEngine(
  client: AthenaClient,
  settings: AthenaSettings,
  queries: Pick<AthenaQueries, 'readFeatures' | 'readTimelines'>,
  sleep: Sleep,
  windows: AskedWindow[],
): DetectionEngine {
  const athena = new AthenaQueryRunner(client, settings, sleep, { at: Number.POSITIVE_INFINITY, now: Date.now });
  const timelines = new Map<AskedWindow, Map<string, IdentityTimeline[]>>();
  const asked = ({ from, to }: FeatureRequest): AskedWindow => {
    const window = windows.find((each) => each.from === from && each.to === to);
    if (!window)
      throw new DetectionError('ERR_DETECTION_QUERY', `Athena was not asked for the window from ${from} to ${to}`);
    return window;
  };
  return {
    async features(request) {
      const { rows, cost } = await athena.read(asked(request).features);
      return { ...queries.readFeatures(rows), cost };
    },
    async timelines(request, sessionIds, onCost = () => {}) {
      const window = asked(request);
      if (!timelines.has(window)) {
        const read = new Map<string, IdentityTimeline[]>();
        for (const ids of window.timelines) {
          const { rows, cost } = await athena.read(ids);
          onCost(cost);
          for (const [sessionId, timeline] of queries.readTimelines(rows)) read.set(sessionId, timeline);
        }
        timelines.set(window, read);
      }
      const wanted = new Set(sessionIds);
      return new Map([...(timelines.get(window) ?? [])].filter(([sessionId]) => wanted.has(sessionId)));
    },
    async close() {
      client.destroy();
    },
  };
}

/**
 * Rejects with `ERR_DETECTION_SETUP` when the workgroup has no limit on the bytes that a query may scan, or a higher one than the
 * settings allow (GetWorkGroup).
 */
export function checkWorkgroup(client: AthenaClient, settings: AthenaSettings, sleep: Sleep): Promise<void> {
  return new AthenaQueryRunner(client, settings, sleep, { at: Number.POSITIVE_INFINITY, now: Date.now }).checkLimit();
}

/** A client for the account of the environment. */
export function athenaClient({ region }: AthenaSettings): AthenaClient {
  return new AthenaClient(region === undefined ? {} : { region });
}

class AthenaQueryRunner {
  readonly #client: AthenaClient;
  readonly #settings: AthenaSettings;
  readonly #sleep: Sleep;
  readonly #deadline: Deadline;
  #hasLimit: Promise<void> | undefined;

  constructor(client: AthenaClient, settings: AthenaSettings, sleep: Sleep, deadline: Deadline) {
    this.#client = client;
    this.#settings = settings;
    this.#sleep = sleep;
    this.#deadline = deadline;
  }

  /** The rows of a statement, and what all of it cost. Rejects with `DetectionError`. */
  async answer(
    statement: AthenaStatement,
    onProgress: ReportProgress,
  ): Promise<{ rows: AthenaRow[]; cost: EngineCost }> {
    this.#hasLimit ??= this.checkLimit();
    await this.#hasLimit.catch((error: Error) => {
      // It may be there when it is asked for again.
      this.#hasLimit = undefined;
      throw error;
    });
    const { database } = this.#settings;
    const texts = athenaTexts(statement, database, `portcullis_${randomUUID().replaceAll('-', '')}_`);
    const tables: string[] = [];
    const cost = { bytesScanned: 0, usd: 0 };
    let asked = 0;
    const ask = async (sql: string) => {
      onProgress(PHASE, asked++, texts.length);
      const { id, bytesScanned } = await this.#run(sql);
      cost.bytesScanned += bytesScanned;
      cost.usd += athenaUsd(bytesScanned);
      return id;
    };
    try {
      let id = '';
      for (const { sql, table } of texts) {
        // Before it is there: creating it may fail with the table made.
        if (table !== undefined) tables.push(table);
        id = await ask(sql);
      }
      const rows = await this.#rows(id);
      onProgress(PHASE, asked, texts.length);
      return { rows, cost };
    } finally {
      // Nothing depends on it, no later run uses these names: it is not waited for, and done past the deadline too.
      const drop = (table: string) =>
        this.#start(`DROP TABLE IF EXISTS \`${database}\`.\`${table}\``).catch(() => undefined);
      await Promise.all(tables.map(drop));
    }
  }

  /** The rows of the last of these queries, and what all of them cost. Rejects when one of them has not succeeded. */
  async read(ids: string[]): Promise<{ rows: AthenaRow[]; cost: EngineCost }> {
    const cost = { bytesScanned: 0, usd: 0 };
    for (const id of ids) {
      const input = { QueryExecutionId: id };
      const { QueryExecution: query = {} } = await this.#call(() =>
        this.#client.send(new GetQueryExecutionCommand(input)),
      );
      if (query.Status?.State !== 'SUCCEEDED') throw queryFailure(id, query);
      const scanned = query.Statistics?.DataScannedInBytes ?? 0;
      cost.bytesScanned += scanned;
      cost.usd += athenaUsd(scanned);
    }
    const last = ids.at(-1);
    if (last === undefined) throw new DetectionError('ERR_DETECTION_QUERY', 'Athena was asked nothing');
    return { rows: await this.#rows(last), cost };
  }

  /** Runs a query until it has succeeded. */
  async #run(sql: string): Promise<{ id: string; bytesScanned: number }> {
    if (this.#isOver()) throw new DetectionError('ERR_DETECTION_QUERY', `Athena ${LATE}`);
    const id = await this.#start(sql);
    const query = await this.#ended(id).catch(async (error: Error) => {
      // Nobody would read its answer, and it goes on costing.
      await this.#client.send(new StopQueryExecutionCommand({ QueryExecutionId: id })).catch(() => undefined);
      throw error;
    });
    if (query.Status?.State !== 'SUCCEEDED') throw queryFailure(id, query);
    return { id, bytesScanned: query.Statistics?.DataScannedInBytes ?? 0 };
  }

  /** Rejects when the workgroup lets a query scan more than the settings do. */
  async checkLimit(): Promise<void> {
    const { workgroup, bytesScannedLimit } = this.#settings;
    const { WorkGroup } = await this.#call(() => this.#client.send(new GetWorkGroupCommand({ WorkGroup: workgroup })));
    const limit = WorkGroup?.Configuration?.BytesScannedCutoffPerQuery;
    if (limit !== undefined && limit <= bytesScannedLimit) return;
    const has =
      limit === undefined ? 'has no limit on the bytes that a query scans' : `lets a query scan ${limit} bytes`;
    const how = `aws athena update-work-group --work-group ${workgroup} --configuration-updates BytesScannedCutoffPerQuery=${bytesScannedLimit}`;
    throw new DetectionError('ERR_DETECTION_SETUP', `the workgroup ${workgroup} ${has}: ${how}`);
  }

  async #start(sql: string): Promise<string> {
    const input = {
      QueryString: sql,
      // The same for every attempt, so that one whose reply was lost is not run, and paid for, twice.
      ClientRequestToken: randomUUID(),
      QueryExecutionContext: { Database: this.#settings.database },
      WorkGroup: this.#settings.workgroup,
    };
    const { QueryExecutionId: id } = await this.#call(() => this.#client.send(new StartQueryExecutionCommand(input)));
    if (!id) throw new DetectionError('ERR_DETECTION_QUERY', 'what answered is not Athena: it started no query');
    return id;
  }

  #isOver(): boolean {
    return this.#deadline.now() >= this.#deadline.at;
  }

  /** Waits until a query has ended, well or not. */
  async #ended(id: string): Promise<QueryExecution> {
    for (let wait = FIRST_WAIT; !this.#isOver(); wait = Math.min(wait * 1.5, LONGEST_WAIT)) {
      const { QueryExecution: query = {} } = await this.#call(() =>
        this.#client.send(new GetQueryExecutionCommand({ QueryExecutionId: id })),
      );
      if (ENDED.has(query.Status?.State ?? '')) return query;
      // Not in step with other queries of the account, which share its rate of calls.
      await this.#sleep(wait * (0.75 + Math.random() / 4));
    }
    throw new DetectionError('ERR_DETECTION_QUERY', `Athena query ${id} was stopped, as Athena ${LATE}`);
  }

  async #rows(id: string): Promise<AthenaRow[]> {
    const rows: AthenaRow[] = [];
    let token: string | undefined;
    do {
      const input = { QueryExecutionId: id, MaxResults: PAGE, ...(token === undefined ? {} : { NextToken: token }) };
      const { ResultSet, NextToken }: GetQueryResultsCommandOutput = await this.#call(() =>
        this.#client.send(new GetQueryResultsCommand(input)),
      );
      const names = (ResultSet?.ResultSetMetadata?.ColumnInfo ?? []).map(({ Name = '' }) => Name);
      for (const { Data = [] } of ResultSet?.Rows ?? []) {
        rows.push(Object.fromEntries(names.map((name, i) => [name, Data[i]?.VarCharValue ?? null])));
      }
      if (NextToken !== undefined && NextToken === token) {
        throw new DetectionError('ERR_DETECTION_QUERY', `Athena gives the same page of query ${id} for ever`);
      }
      token = NextToken;
    } while (token !== undefined);
    // The first one holds the names of the columns.
    return rows.slice(1);
  }

  /** Makes a call again, later each time, while Athena throttles it or does not answer. */
  async #call<Result>(call: () => Promise<Result>): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await call();
      } catch (error) {
        const failure = awsFailure(error, 'Athena', PERMISSIONS);
        if (!failure) throw error;
        if (attempt === ATTEMPTS || !PASSING.has(failure.cause)) throw refused(error as Error, failure);
        await this.#sleep(FIRST_WAIT * 2 ** attempt * (0.5 + Math.random() / 2));
      }
    }
  }
}

/** What the progress of features counts: statements. */
const PHASE = 'ask Athena';
const LATE =
  'has not answered all that was asked in the time of a run: look at fewer hours at once, or run detection again';
const ENDED = new Set(['SUCCEEDED', 'FAILED', 'CANCELLED']);
const PASSING = new Set<AwsFailure['cause']>(['throttled', 'unreachable', 'failed']);
const PERMISSIONS =
  'athena:GetWorkGroup, StartQueryExecution, GetQueryExecution, GetQueryResults and StopQueryExecution on the workgroup, glue:GetTable, GetDatabase, CreateTable and DeleteTable, and S3 access to logs and results';

/** Why a query failed, in what Athena says of it, that has to do with rights or with what is not there. */
const ACCESS =
  /TABLE_NOT_FOUND|SCHEMA_NOT_FOUND|CATALOG_NOT_FOUND|does not exist|is not found|PERMISSION_DENIED|access ?denied|not authori[sz]ed|insufficient permissions/i;
/** Longest part of what Athena says that is repeated, in characters. */
const REASON_LENGTH = 300;

/** What Athena says on one line; it may quote log lines, whose tokens are cut. */
function said(reason: string): string {
  return redact(reason.replace(/[\p{Cc}\s]+/gu, ' ')).slice(0, REASON_LENGTH);
}

/** Why a query did not succeed, in what GetQueryExecution says of it. */
export function queryFailure(id: string, { Status }: Pick<QueryExecution, 'Status'>): DetectionError {
  const reason = Status?.StateChangeReason ?? '';
  const quoted = reason ? `: ${said(reason)}` : '';
  if (/bytes scanned limit/i.test(reason)) {
    const message = `Athena query ${id} reached the workgroup's limit on scanned bytes: look at fewer hours, or raise the limit`;
    return new DetectionError('ERR_DETECTION_QUERY', message);
  }
  if (Status?.State === 'CANCELLED') {
    return new DetectionError('ERR_DETECTION_QUERY', `Athena query ${id} was cancelled${quoted}; run detection again`);
  }
  const code: DetectionErrorCode = ACCESS.test(reason) ? 'ERR_DETECTION_ACCESS' : 'ERR_DETECTION_QUERY';
  const again = Status?.AthenaError?.Retryable ? '; run detection again' : '';
  return new DetectionError(code, `Athena query ${id} failed${quoted}${again}`);
}

function refused(error: Error, failure: AwsFailure): DetectionError {
  const { cause, advice, detail } = failure;
  const isAccess = cause === 'credentials' || cause === 'denied' || (cause === 'refused' && ACCESS.test(error.message));
  const quoted = cause === 'refused' ? `: ${said(error.message)}` : '';
  const code: DetectionErrorCode = isAccess ? 'ERR_DETECTION_ACCESS' : 'ERR_DETECTION_QUERY';
  return new DetectionError(code, `${advice}${quoted} (${detail})`);
}
