import { createHash } from 'node:crypto';
import type { AthenaQueries } from './athena.ts';
import { KEPT } from './athena-queries.ts';
import { type AthenaStatement, athenaTexts } from './athena-statements.ts';
import { TIMELINES_AT_ONCE } from './evaluate.ts';
import { RECORDED_AT_MOST } from './run-detection.ts';

// What is asked of Athena when something else starts the queries and waits for them: Step Functions.

/** A window of a run. Times are seconds since the epoch. */
export interface RunWindow {
  /** The run that it belongs to. */
  run: string;
  from: number;
  to: number;
  /** Names of all tables that its queries may make, which have to be dropped. */
  tables: string[];
}

/** A query to start. */
export interface Ask {
  sql: string;
  /**
   * ClientRequestToken, 64 characters (StartQueryExecution): who asks the same for the same run again gets the query that is
   * there, and Athena runs and charges it once.
   */
  token: string;
}

/** Queries for timelines that a window can have. */
const TIMELINE_QUERIES = Math.ceil(RECORDED_AT_MOST / TIMELINES_AT_ONCE);

/** A window of a run, by name of the run and times: the same names make the same tables. */
export function runWindow(run: string, { from, to }: { from: number; to: number }): RunWindow {
  const features = [...KEPT.features].map((name) => prefixOf(run, from, to) + name);
  const timelines = Array.from({ length: TIMELINE_QUERIES }, (_, i) =>
    [...KEPT.timelines].map((name) => prefixOf(run, from, to, i) + name),
  );
  return { run, from, to, tables: [...features, ...timelines.flat()] };
}

/** The queries that work out the features of a window, one after the other; the last one answers. */
export function askFeatures(
  queries: Pick<AthenaQueries, 'features'>,
  database: string,
  { run, from, to }: RunWindow,
): Ask[] {
  const statement = queries.features({ from, to, objects: [], everySession: false });
  return asks(statement, database, run, prefixOf(run, from, to));
}

/**
 * The queries that work out who fetched when, of the first `RECORDED_AT_MOST` of these sessions: lists that do not depend on
 * each other, each like that of `askFeatures`.
 */
export function askTimelines(
  queries: Pick<AthenaQueries, 'timelines'>,
  database: string,
  { run, from, to }: RunWindow,
  sessionIds: string[],
): Ask[][] {
  const plotted = sessionIds.slice(0, RECORDED_AT_MOST);
  return Array.from({ length: Math.ceil(plotted.length / TIMELINES_AT_ONCE) }, (_, i) => {
    const some = plotted.slice(i * TIMELINES_AT_ONCE, (i + 1) * TIMELINES_AT_ONCE);
    const statement = queries.timelines({ from, to, objects: [], everySession: false }, some);
    return asks(statement, database, run, prefixOf(run, from, to, i));
  });
}

function asks(statement: AthenaStatement, database: string, run: string, prefix: string): Ask[] {
  return athenaTexts(statement, database, prefix).map(({ sql }) => ({ sql, token: digest(run, sql) }));
}

/** `portcullis_<32 hexadecimal digits>_`: no other window and no other run has it. */
function prefixOf(...names: (string | number)[]): string {
  return `portcullis_${digest(...names).slice(0, 32)}_`;
}

function digest(...parts: (string | number)[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}
