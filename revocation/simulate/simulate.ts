import { createWriteStream } from 'node:fs';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { fieldsOf, type LogFormat, LogLines } from './log-lines.ts';
import { LogObjectWriter } from './log-objects.ts';
import { openParquetWriter } from './parquet.ts';
import { Random } from './random.ts';
import { SCENARIO_NAMES, SCENARIOS, type ScenarioName } from './scenarios.ts';
import type { Session } from './session.ts';
import { traffic } from './traffic.ts';

/** What to simulate. */
export interface SimulationRequest {
  /** A whole number below 2^32; the same requests give the same content. */
  seed: number;
  /** Playback sessions. */
  sessions: number;
  /** Seconds since the epoch: when the traffic begins and ends. */
  from: number;
  to: number;
  format: LogFormat;
  /** Whether the tokenised path is logged; only formats of v2 can do without. */
  uri: boolean;
}

/** What was written. */
export interface Simulation {
  seed: number;
  sessions: number;
  from: number;
  to: number;
  format: LogFormat;
  lines: number;
  objects: number;
  /** Of the log objects, as they are stored. */
  bytes: number;
  scenarios: { name: ScenarioName; kind: string; sessions: number; lines: number }[];
}

export type SimulationErrorCode =
  /** The folder holds something already, or cannot be written. */
  | 'ERR_SIMULATION_FOLDER'
  /** Something that the format needs is not installed. */
  | 'ERR_SIMULATION_SETUP';

/** Why nothing was simulated; the message says what to do. */
export class SimulationError extends Error {
  readonly code: SimulationErrorCode;
  constructor(code: SimulationErrorCode, message: string) {
    super(message);
    this.name = 'SimulationError';
    this.code = code;
  }
}

/** Simulated time between two reports of progress, in seconds. */
const REPORT_SECONDS = 60;

/**
 * Writes the logs of simulated traffic into an empty folder: `logs/` with the log objects, `labels.tsv` with what each session
 * is (a line a session: id, scenario, kind, `true` for a leak, when it began, when the leak began; seconds since the epoch),
 * `objects.tsv` with when each object would have arrived, `summary.json` with what this returns. Needs little memory however
 * long the logs are. `onProgress` is told how many of how many seconds are simulated. Rejects with `SimulationError`.
 */
export async function simulate(
  folder: string,
  request: SimulationRequest,
  onProgress?: (done: number, total: number) => void,
): Promise<Simulation> {
  const { seed, sessions, from, to, format, uri } = request;
  await claim(folder);
  const fields = fieldsOf(format, uri);
  const parquet = format === 'parquet' ? await parquetWriter(fields) : undefined;
  const logs = join(folder, 'logs');
  const lines = new LogLines(new Random(seed, 0, 3), format, uri);
  const writer = new LogObjectWriter(logs, format, fields, new Random(seed, 0, 4), parquet);
  const labels = createWriteStream(join(folder, 'labels.tsv'));
  const labelled = finished(labels);
  // It is awaited at the end; until then a failure is no unhandled one.
  labelled.catch(() => {});
  labels.write(row('session', 'scenario', 'kind', 'leak', 'started-at', 'leak-from'));
  const counts = new Map(SCENARIO_NAMES.map((name) => [name, { sessions: 0, lines: 0 }]));
  const count = (session: Session) => counts.get(session.scenario) ?? { sessions: 0, lines: 0 };

  const requests = traffic(seed, sessions, { from, to }, (session) => {
    const { id, scenario, kind, startedAt, leakFrom } = session;
    count(session).sessions += 1;
    labels.write(row(id, scenario, kind, kind === 'leak', startedAt, leakFrom ?? '-'));
  });
  let total = 0;
  let reported = from;
  try {
    for (const { session, request } of requests) {
      total += 1;
      count(session).lines += 1;
      await writer.add(request.time, lines.line(session, request));
      if (request.time - reported < REPORT_SECONDS) continue;
      reported = request.time;
      onProgress?.(reported - from, to - from);
    }
    await writer.end();
  } finally {
    parquet?.close();
    labels.end();
  }
  await labelled;
  onProgress?.(to - from, to - from);

  const objects = [...writer.objects].sort((a, b) => a.arrivesAt - b.arrivesAt || (a.name < b.name ? -1 : 1));
  await writeFile(
    join(folder, 'objects.tsv'),
    row('object', 'hour', 'lines', 'arrives-at') +
      objects.map(({ name, hour, lines, arrivesAt }) => row(name, hour, lines, arrivesAt)).join(''),
  );
  const sizes = await Promise.all(objects.map(({ name }) => stat(join(logs, name))));
  const simulation: Simulation = {
    ...{ seed, sessions, from, to, format, lines: total, objects: objects.length },
    bytes: sizes.reduce((sum, { size }) => sum + size, 0),
    scenarios: SCENARIO_NAMES.map((name) => ({
      name,
      kind: SCENARIOS[name].kind,
      ...(counts.get(name) ?? { sessions: 0, lines: 0 }),
    })),
  };
  await writeFile(join(folder, 'summary.json'), `${JSON.stringify(simulation, null, 2)}\n`);
  return simulation;
}

/** Makes the folder, or sees to it that it is empty: nothing is ever mixed with logs of other traffic. */
async function claim(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    if ((await readdir(folder)).length === 0) {
      await mkdir(join(folder, 'logs'));
      return;
    }
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code;
    throw new SimulationError('ERR_SIMULATION_FOLDER', `cannot write into ${folder}: ${why}`);
  }
  throw new SimulationError('ERR_SIMULATION_FOLDER', `${folder} is not empty: name a new folder, or empty this one`);
}

async function parquetWriter(fields: string[]) {
  try {
    return await openParquetWriter(fields);
  } catch {
    const advice = 'npm install @duckdb/node-api, or choose another format';
    throw new SimulationError('ERR_SIMULATION_SETUP', `Parquet files need DuckDB: ${advice}`);
  }
}

function row(...cells: (string | number | boolean)[]): string {
  return `${cells.join('\t')}\n`;
}
