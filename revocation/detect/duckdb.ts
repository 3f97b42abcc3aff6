import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DuckDBConnection } from '@duckdb/node-api';
import {
  type DetectionEngine,
  DetectionError,
  type FeatureRequest,
  type FeatureResult,
  type RefusedObject,
  type ReportProgress,
} from './detection-engine.ts';
import { isLocated, LOCATING_COLUMNS } from './log-fields.ts';
import {
  columnOfField,
  copyLines,
  formatOf,
  gzipLength,
  type LogFormat,
  LogObjectError,
  requireColumns,
} from './log-formats.ts';
import type { LogObject } from './log-objects.ts';
import { type Row, readFeatureRows, readTimelineRows } from './rows.ts';
import type { DetectionSettings } from './settings.ts';
import {
  type DetectionQuery,
  featuresSql,
  isProven,
  type LogColumn,
  type LogTable,
  type Relation,
  relations,
  TIMELINES,
  timelineRelations,
} from './sql.ts';

/**
 * What DuckDB calls otherwise than Trino, or does otherwise unless told. Only what the text of `sql.ts` uses.
 */
const DIALECT = `
  SET TimeZone = 'UTC';
  SET integer_division = true;
  SET preserve_insertion_order = false;
  CREATE OR REPLACE MACRO regexp_like(string, pattern) AS regexp_matches(string, pattern);
  SET lock_configuration = true;`;

export interface DuckDbOptions {
  /** Threads that work at the same time; as many as the machine has unless given. */
  threads?: number | undefined;
  /** What DuckDB may hold in memory at most, as it writes it: `512MB`. What does not fit goes to the temporary folder. */
  memoryLimit?: string | undefined;
  /** Where a folder of its own is made for intermediate results; the system's temporary folder unless given. */
  tempDirectory?: string | undefined;
}

/** What the engine needs to know of the configuration. */
export interface DuckDbSettings {
  detection: DetectionSettings;
  /** The path before the token, from `edge.tokenPosition`: `/`, or like `/live/`. */
  tokenPrefix: string;
}

/**
 * Opens DuckDB as the engine that reads log files of this machine. Rejects with `DetectionError` `ERR_DETECTION_SETUP` when the
 * optional package `@duckdb/node-api` is not installed, or cannot work here.
 */
export async function openDuckDbEngine(
  settings: DuckDbSettings,
  options: DuckDbOptions = {},
): Promise<DetectionEngine> {
  const parent = options.tempDirectory ?? tmpdir();
  await removeAbandoned(parent);
  // Readable by nobody else (mkdtemp, mode 0700): it holds what viewers watched.
  const folder = await mkdtemp(join(parent, `${FOLDER}${process.pid}-`));
  try {
    const connection = await connect(':memory:', {
      threads: String(options.threads ?? availableParallelism()),
      memory_limit: options.memoryLimit ?? '512MB',
      temp_directory: folder,
    });
    await connection.run(DIALECT);
    return new DuckDbEngine(settings, connection, folder);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** How the name of a folder of ours begins; the process that made it follows. */
const FOLDER = 'portcullis-detect-';

/** Removes the folders of processes that were killed. What is of another user, or of a process that may live, stays. */
async function removeAbandoned(parent: string): Promise<void> {
  const names = await readdir(parent).catch(() => []);
  for (const name of names) {
    const [, pid] = /^portcullis-detect-(\d+)-\w{6}$/.exec(name) ?? [];
    if (pid && !isRunning(Number(pid))) await rm(join(parent, name), { recursive: true, force: true }).catch(() => {});
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/**
 * What a DuckDB of ours may not do: fetch and load native code, or take up secrets that lie about (DuckDB, "Securing DuckDB").
 * What is needed of it (Parquet, JSON, time zones) is built in.
 */
const CONFINED = {
  autoinstall_known_extensions: 'false',
  autoload_known_extensions: 'false',
  allow_persistent_secrets: 'false',
};

/** A connection to a DuckDB of its own. Rejects with `DetectionError` `ERR_DETECTION_SETUP`. */
export async function connect(database: string, configuration: Record<string, string> = {}): Promise<DuckDBConnection> {
  const duckdb = await import('@duckdb/node-api').catch(() => {
    throw new DetectionError(
      'ERR_DETECTION_SETUP',
      'reading logs on this machine needs DuckDB: npm install @duckdb/node-api@1.5.6-r.1',
    );
  });
  const instance = await duckdb.DuckDBInstance.create(database, { ...configuration, ...CONFINED }).catch(
    (error: Error) => {
      throw new DetectionError('ERR_DETECTION_SETUP', `DuckDB does not start: ${error.message}`);
    },
  );
  return instance.connect();
}

/** A string literal of DuckDB. */
const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
/** A file name in which no character means several files. */
const fileName = (path: string) => text(path.replaceAll(/[*?[]/g, '[$&]'));

/** Columns of the log, and what they are called in an object. */
type Columns = ReadonlyMap<LogColumn, string>;

/** What every reader is told: a folder named `cs_method=HEAD` is no column that counts instead of the one in the file. */
const AS_NAMED = 'hive_partitioning = false';

/** The relation of Parquet files of ours. */
const parquet = (parts: string[]) => `read_parquet([${parts.map(text).join(', ')}], ${AS_NAMED})`;

/** Log objects that one statement reads, because they are written alike. */
interface Batch {
  format: LogFormat;
  columns: Columns;
  objects: LogObject[];
}

/** Relations that are made when the objects are read. */
const LOADED = ['lines', 'addresses', 'activity'];
/** Relations that are looked at once, so that keeping them would cost more than it saves. */
const VIEWS = ['lines', 'candidate_lines', 'candidate_requests'];
/** Objects that one statement stores. */
const BATCH = 64;
/** The relation `lines` when there is no log. */
const NO_LINES = `(SELECT '' AS session_id, 0 AS time, '' AS path, '' AS title, 0 AS segment, '' AS ip, '' AS asn,
  '' AS country, '' AS user_agent, '' AS referer, '' AS edge_location WHERE 1 = 0)`;

class DuckDbEngine implements DetectionEngine {
  readonly #settings: DuckDbSettings;
  readonly #connection: DuckDBConnection;
  readonly #folder: string;
  /** One thing at a time: all work on the same tables. */
  #queue: Promise<unknown> = Promise.resolve();
  #closing = new AbortController();
  /** The logs themselves, when they can be read where they lie. */
  #logs: LogTable | undefined;
  /** The lines that were read, as Parquet files. */
  #parts: string[] = [];
  #partNumber = 0;
  /** What the tables hold now: the request as text, and what was found when they were filled. */
  #loaded: ({ request: string } & Pick<FeatureResult, 'rows' | 'refused' | 'proven' | 'located'>) | undefined;

  constructor(settings: DuckDbSettings, connection: DuckDBConnection, folder: string) {
    this.#settings = settings;
    this.#connection = connection;
    this.#folder = folder;
  }

  features(request: FeatureRequest, onProgress: ReportProgress = () => {}): Promise<FeatureResult> {
    return this.#oneAtATime(async () => {
      const { rows, refused, proven, located } = await this.#load(request, onProgress);
      const steps = this.#relations(request).filter(({ name }) => !LOADED.includes(name));
      for (const [index, relation] of steps.entries()) {
        onProgress('measure sessions', index, steps.length);
        await this.#keep(relation);
      }
      const result = readFeatureRows(await this.#rows(featuresSql(request.everySession)));
      onProgress('measure sessions', steps.length, steps.length);
      const { sessions, sessionCount, odd } = result;
      return { sessions, sessionCount, rows, refused, odd, proven, located };
    });
  }

  timelines(request: FeatureRequest, sessionIds: string[]) {
    return this.#oneAtATime(async () => {
      if (sessionIds.length === 0) return new Map();
      await this.#load(request, () => {});
      const query = this.#query(request, { name: 'lines', columns: new Set() });
      const steps = timelineRelations(query, sessionIds).filter(({ name }) => !LOADED.includes(name));
      for (const relation of steps) await this.#keep(relation);
      return readTimelineRows(await this.#rows(TIMELINES));
    });
  }

  /** Ends what is under way, which then rejects, and removes everything that was stored. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#connection.interrupt();
    await this.#queue;
    this.#connection.closeSync();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Runs what is asked for when all that was asked for before is done; says of a failure what to do. */
  #oneAtATime<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work).catch((error: unknown) => {
      this.#loaded = undefined;
      if (this.#closing.signal.aborted) throw new DetectionError('ERR_DETECTION_QUERY', 'detection was ended');
      if (error instanceof DetectionError) throw error;
      throw new DetectionError('ERR_DETECTION_QUERY', `DuckDB: ${(error as Error).message.split('\n')[0]}`);
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  #query({ from, to }: FeatureRequest, table: LogTable): DetectionQuery {
    return { settings: this.#settings.detection, tokenPrefix: this.#settings.tokenPrefix, table, from, to };
  }

  /** The relations of the request, the lines being those of `#logs` or, without, those that are stored. */
  #relations(request: FeatureRequest): Relation[] {
    if (this.#logs) return relations(this.#query(request, this.#logs));
    const lines = `SELECT * FROM ${this.#parts.length > 0 ? parquet(this.#parts) : NO_LINES}`;
    const stored: Record<string, string> = {
      lines,
      candidate_lines: `${lines} WHERE session_id IN (SELECT session_id FROM candidates)`,
    };
    const ofText = relations(this.#query(request, { name: 'lines', columns: new Set() }));
    return ofText.map(({ name, sql }) => ({ name, sql: stored[name] ?? sql }));
  }

  /** Keeps a relation as a table, so that it is computed once, unless it is looked at once. */
  async #keep({ name, sql }: Relation): Promise<void> {
    this.#closing.signal.throwIfAborted();
    await this.#connection.run(`CREATE OR REPLACE ${VIEWS.includes(name) ? 'VIEW' : 'TABLE'} ${name} AS ${sql}`);
  }

  async #rows(sql: string): Promise<Row[]> {
    this.#closing.signal.throwIfAborted();
    return (await this.#connection.runAndReadAll(sql)).getRowObjectsJS();
  }

  /** Reads the objects, up to the relation `activity`, unless that was done for the same request already. */
  async #load(
    request: FeatureRequest,
    onProgress: ReportProgress,
  ): Promise<Pick<FeatureResult, 'rows' | 'refused' | 'proven' | 'located'>> {
    const { from, to, objects } = request;
    const asked = JSON.stringify([from, to, objects]);
    if (this.#loaded?.request === asked) return this.#loaded;
    this.#loaded = undefined;
    const refused: RefusedObject[] = [];
    const refuse: Refuse = ({ name }, error) => void refused.push({ name, ...refusalOf(error) });
    const batches = ofSharedColumns(await this.#batches(objects, refuse));
    const proven = batches.every(({ columns }) => isProven(new Set(columns.keys())));
    const located = batches.every(({ columns }) => isLocated(new Set(columns.keys())));
    const total = objects.reduce((sum, { bytes }) => sum + bytes, 0);
    const load = () => keepEach(this.#relations(request).filter(({ name }) => LOADED.includes(name)));
    const keepEach = async (made: Relation[]) => {
      for (const relation of made) await this.#keep(relation);
      await this.#connection.run('DROP TABLE addresses');
    };
    await this.#forget();
    if (await this.#readWhereItLies(batches, load, (share) => onProgress('read logs', total * share, total))) {
      const [counted] = await this.#rows(`SELECT CAST(count(*) AS double) AS rows FROM ${this.#logs?.name}`);
      this.#loaded = { request: asked, rows: Number(counted?.rows ?? 0), refused, proven, located };
      return this.#loaded;
    }
    let done = 0;
    for (const batch of batches) {
      const bytes = batch.objects.reduce((sum, object) => sum + object.bytes, 0);
      await this.#reporting(
        () => this.#read(request, batch, refuse),
        (share) => onProgress('read logs', done + bytes * share, total),
      );
      done += bytes;
      onProgress('read logs', done, total);
    }
    if (objects.length > 0 && refused.length === objects.length) {
      throw new DetectionError(
        'ERR_DETECTION_LOGS',
        `none of the ${objects.length} log objects can be read; ${refused[0]?.name}: ${refused[0]?.why}`,
        refused,
      );
    }
    await load();
    const [counted] = await this.#rows('SELECT CAST(count(*) AS double) AS rows FROM lines');
    this.#loaded = { request: asked, rows: Number(counted?.rows ?? 0), refused, proven, located };
    return this.#loaded;
  }

  /** Does some work, and reports four times a second how much of the running statement is done, 0 to 1. */
  async #reporting(work: () => Promise<void>, report: (share: number) => void): Promise<void> {
    const share = () => Math.min(Math.max(this.#connection.progress.percentage / 100, 0), 1);
    const timer = setInterval(() => report(share()), 250).unref();
    await work().finally(() => clearInterval(timer));
  }

  /** Reads Parquet where it lies: to look at it twice costs less than to store it. Resolves to whether that is possible. */
  async #readWhereItLies(
    batches: Batch[],
    load: () => Promise<void>,
    report: (share: number) => void,
  ): Promise<boolean> {
    const [batch, ...others] = batches;
    if (batch?.format.kind !== 'parquet' || others.length > 0) return false;
    const { format, columns, objects } = batch;
    const paths = objects.map(({ name }) => name);
    this.#logs = { name: `(${fields(format, columns, paths, false)}) logs`, columns: new Set(columns.keys()) };
    try {
      await this.#reporting(load, report);
      return true;
    } catch {
      // One of them cannot be read: which, comes out when they are stored.
      this.#logs = undefined;
      return false;
    }
  }

  /** Groups objects that are written alike, so that many are read by one statement. */
  async #batches(objects: LogObject[], refuse: Refuse): Promise<Batch[]> {
    const batches: Batch[] = [];
    const alike = new Map<string, Batch>();
    for (const object of objects) {
      try {
        const format = await formatOf(object.name, object.bytes);
        const columns = columnsOf(format.kind === 'parquet' ? await this.#parquetColumns(object.name) : format.fields);
        requireColumns(new Set(columns.keys()));
        const likeness = JSON.stringify([format, ...columns]);
        const batch = alike.get(likeness);
        if (batch && (format.kind === 'parquet' || batch.objects.length < BATCH)) {
          batch.objects.push(object);
        } else {
          const started = { format, columns, objects: [object] };
          alike.set(likeness, started);
          batches.push(started);
        }
      } catch (error) {
        refuse(object, error);
      }
    }
    return batches;
  }

  async #parquetColumns(path: string): Promise<string[]> {
    const rows = await this.#rows(`SELECT name FROM parquet_schema(${fileName(path)}) WHERE num_children IS NULL`);
    return rows.map(({ name }) => String(name));
  }

  /** Reads a batch; what cannot be read is refused, and none of its lines is kept. */
  async #read(request: FeatureRequest, batch: Batch, refuse: Refuse): Promise<void> {
    const { format, objects } = batch;
    // Gzip of standard logs, and Parquet, are what comes in great numbers: read as they are, and looked at closely only when
    // something does not fit.
    const isReadAsIs = format.kind === 'parquet' || (format.kind === 'tsv' && format.isGzip);
    for (const object of isReadAsIs ? await this.#readTogether(request, batch) : objects) {
      try {
        if (format.kind === 'parquet') await this.#store(request, batch, [object.name], false);
        else await this.#readCopy(request, batch, object);
      } catch (error) {
        refuse(object, error);
      }
    }
  }

  /** Reads objects as they are, by one statement if it can be. Resolves to those that this does not do for. */
  async #readTogether(request: FeatureRequest, batch: Batch): Promise<LogObject[]> {
    const { objects } = batch;
    const again = (some: LogObject[]) => this.#readTogether(request, { ...batch, objects: some });
    const names = objects.map(({ name }) => name);
    const part = await this.#store(request, batch, names, false).catch(() => undefined);
    if (part === undefined) {
      // One that cannot be read fails for all: halve, until it is alone.
      if (objects.length === 1) return objects;
      const half = objects.length >> 1;
      return [...(await again(objects.slice(0, half))), ...(await again(objects.slice(half)))];
    }
    const unfit = await this.#cutOff(batch, part);
    if (unfit.length === 0) return [];
    this.#parts = this.#parts.filter((kept) => kept !== part);
    await rm(part);
    const fit = objects.filter((object) => !unfit.includes(object));
    return fit.length > 0 ? [...unfit, ...(await again(fit))] : unfit;
  }

  /** Objects whose lines are not as long together as the gzip file says: DuckDB takes one that is cut off for a shorter one. */
  async #cutOff({ format, objects }: Batch, part: string): Promise<LogObject[]> {
    if (format.kind !== 'tsv') return [];
    const sums = `SELECT object, CAST(sum(bytes) AS double) AS bytes FROM ${parquet([part])} GROUP BY object`;
    const read = new Map((await this.#rows(sums)).map(({ object, bytes }) => [object, Number(bytes)]));
    const lengths = await Promise.all(objects.map(({ name, bytes }) => gzipLength(name, bytes)));
    return objects.filter(({ name }, i) => (format.headerBytes + (read.get(name) ?? 0)) % 2 ** 32 !== lengths[i]);
  }

  /** Reads one object from a copy of its lines, each of which has been looked at. */
  async #readCopy(request: FeatureRequest, batch: Batch, object: LogObject): Promise<void> {
    const copy = join(this.#folder, 'copy.log');
    try {
      await copyLines(object.name, object.bytes, batch.format, copy, this.#closing.signal);
      await this.#store(request, batch, [copy], true);
    } finally {
      await rm(copy, { force: true });
    }
  }

  /**
   * Stores the lines of these files as a Parquet file, because a second look at the logs would cost more: all of them, or
   * none when it rejects. Resolves to the name of the file.
   */
  async #store(request: FeatureRequest, { format, columns }: Batch, paths: string[], isCopy: boolean): Promise<string> {
    const table = {
      name: `(${fields(format, columns, paths, isCopy)}) lines`,
      columns: new Set(columns.keys()),
      kept: ['object', 'bytes'],
    };
    const sql = relations(this.#query(request, table)).find(({ name }) => name === 'lines')?.sql;
    const part = join(this.#folder, `lines-${this.#partNumber++}.parquet`);
    try {
      this.#closing.signal.throwIfAborted();
      await this.#connection.run(`COPY (${sql}) TO ${text(part)} (FORMAT parquet, COMPRESSION lz4_raw)`);
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    }
    this.#parts.push(part);
    return part;
  }

  /** Removes what was read before. */
  async #forget(): Promise<void> {
    this.#logs = undefined;
    for (const part of this.#parts) await rm(part, { force: true });
    this.#parts = [];
  }
}

type Refuse = (object: LogObject, error: unknown) => void;

/** What DuckDB's message begins with when it is not about what the file holds. */
const PASSING = /^(?:IO|Out of Memory|Interrupt) Error/;

/** What to say of an object that could not be read, and whether that may pass although the object stays as it is. */
function refusalOf(error: unknown): Pick<RefusedObject, 'why' | 'mayPass'> {
  if (error instanceof LogObjectError) return { why: error.message };
  const { code, message } = error as NodeJS.ErrnoException;
  if (code) return { why: `it cannot be opened (${code})`, mayPass: true };
  const why = `DuckDB cannot read it: ${message.split('\n')[0]}`;
  return PASSING.test(message) ? { why, mayPass: true } : { why };
}

function columnsOf(names: string[]): Columns {
  const columns = new Map<LogColumn, string>();
  for (const [index, name] of names.entries()) {
    const column = columnOfField(name);
    if (column && !columns.has(column)) columns.set(column, names[index] ?? '');
  }
  return columns;
}

/** Batches without the columns that some have and others lack: the same viewer would be two, one with an operator and one without. */
function ofSharedColumns(batches: Batch[]): Batch[] {
  const partial: LogColumn[] = LOCATING_COLUMNS.filter((name) => !batches.every(({ columns }) => columns.has(name)));
  return batches.map((batch) => ({
    ...batch,
    columns: new Map([...batch.columns].filter(([column]) => !partial.includes(column))),
  }));
}

/** A name that may hold anything. */
const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;

/** Statement that reads files: `LOG_COLUMNS`, the file as `object`, and the length of each line as `bytes`. */
function fields(format: LogFormat, columns: Columns, paths: string[], isCopy: boolean): string {
  const files = `[${paths.map(fileName).join(', ')}]`;
  const select = (bytes: string) =>
    `SELECT ${[...columns].map(([column, name]) => `CAST(${quoted(name)} AS VARCHAR) AS "${column}"`).join(', ')}, ` +
    `filename AS object, ${bytes} AS bytes`;
  if (format.kind === 'parquet') return `${select('0')} FROM read_parquet(${files}, filename = true, ${AS_NAMED})`;
  const names = format.kind === 'tsv' ? format.fields : [...columns.values()];
  const types = `{${names.map((name) => `${text(name)}: 'VARCHAR'`).join(', ')}}`;
  if (format.kind === 'json') {
    return `${select('0')} FROM read_json(${files}, format = 'newline_delimited', columns = ${types}, filename = true,
      ${AS_NAMED})`;
  }
  // Bytes of the fields, and one for the tab or line feed after each.
  const bytes = `${names.map((name) => `strlen(${quoted(name)})`).join(' + ')} + ${names.length}`;
  return `${select(bytes)} FROM read_csv(${files}, auto_detect = false, header = false, skip = ${isCopy ? 0 : format.headerLines},
    delim = '\t', quote = '', escape = '', nullstr = '\x01', columns = ${types}, filename = true, ${AS_NAMED})`;
}
