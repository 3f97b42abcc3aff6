import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  GetQueryExecutionCommand,
  type QueryExecution,
  StartQueryExecutionCommand,
  type StartQueryExecutionInput,
} from '@aws-sdk/client-athena';
import * as v from 'valibot';
import { vi } from 'vitest';
import type { HANDLERS } from '../../lambda/handlers.ts';
import { SETTINGS_VARIABLE } from '../../lambda/settings.ts';
import { STATE_MACHINES } from '../../lambda/state-machines.ts';
import { TABLES } from '../../lambda/tables.ts';
import { openDataDirectory } from '../../local/data-directory.ts';
import { startDynamoDb } from '../../local/dynamodb.ts';
import { connect } from '../../revocation/detect/duckdb.ts';
import { DetectionSettingsSchema } from '../../revocation/detect/settings.ts';
import { HOUR, type LoggedRequest, parquetFile } from './access-logs.ts';
import { AthenaService } from './athena-service.ts';
import { startDetectionServices } from './detection-services.ts';
import { permissionsFor, type SentCommand, startAwsEndpoint } from './sdk-commands.ts';
import { removeDirectory, temporaryDirectory } from './stack.ts';
import { deployedDefinition, StateMachine } from './state-machine.ts';

/** What stands for the resource of a state. */
// biome-ignore lint/suspicious/noExplicitAny: what a state passes on is for the resource to know.
type Resource = (input: any) => Promise<any>;

const { handlers } = STATE_MACHINES.detection;

/** The definition as it is deployed. */
export const DEPLOYED = deployedDefinition(STATE_MACHINES.detection, {
  Workgroup: 'detection',
  Database: 'portcullis',
  AlarmTopic: 'arn:aws:sns:us-east-1:123456789012:portcullis-alarms',
});

/** The last hour that is over. */
export const LAST_HOUR = Math.floor(Date.now() / 3_600_000) * 3600 - 3600;

/** How an execution ended. */
export interface Ended {
  /** What it resolved to; undefined when it failed. */
  // biome-ignore lint/suspicious/noExplicitAny: tests say what they expect.
  output?: any;
  failure?: Error;
  /** Messages that were published to the topic of alarms. */
  alarms: string[];
  /** What was counted, by name of the metric: the last value. */
  metrics: Record<string, number>;
  /** States that were entered. */
  states: string[];
  /** Bytes of the largest input or output of a state. */
  largest: number;
}

/** A deployment of detection on this machine: real handlers and state machine, dynalite, Athena's SQL in DuckDB. */
export async function deployDetection(detection: object) {
  const data = await openDataDirectory(undefined);
  const database = await startDynamoDb(data, TABLES.revocation);
  const athena = new AthenaService();
  athena.polls = 1;
  const services = await startDetectionServices(athena);
  const endpoint = await startAwsEndpoint({ dynamoDb: data.path('dynamodb.sock'), moto: services.url });
  const url = endpoint.url.replace('localhost', '127.0.0.1');
  const settings = {
    detection: v.parse(DetectionSettingsSchema, detection),
    athena: {
      ...{ database: 'portcullis', table: 'access_logs', location: 's3://logs/cdn/', distributionId: 'E1A2B3' },
      ...{ workgroup: 'detection', region: 'us-east-1' },
    },
    tokenPrefix: '/',
    revocationSeconds: 86_400,
    resultsBucket: 'results',
    publications: `${url}/123456789012/publications.fifo`,
  };
  vi.stubEnv(SETTINGS_VARIABLE, JSON.stringify(settings));
  vi.stubEnv('AWS_ENDPOINT_URL', url);
  vi.stubEnv('AWS_REGION', 'us-east-1');
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
  // Powertools then writes to the console, and not past it.
  vi.stubEnv('POWERTOOLS_DEV', 'true');
  vi.stubEnv('POWERTOOLS_METRICS_DISABLED', 'false');
  // Each deployment has handlers of its own: they read their settings when they are loaded.
  vi.resetModules();
  const loaded: Record<string, (input: object) => Promise<object>> = {};
  for (const name of Object.values(handlers)) {
    loaded[name] = (await import(`../../lambda/${name}/index.ts`)).handler;
  }

  const folder = temporaryDirectory();
  const logs = await connect(':memory:');
  await logs.run(`SET TimeZone = 'UTC'; SET integer_division = true; SET threads = 1;
    CREATE MACRO regexp_like(string, pattern) AS regexp_matches(string, pattern); CREATE SCHEMA portcullis`);
  athena.execute = async (sql) => {
    const inDuckDb = sql.replace("WITH (format = 'PARQUET') AS", 'AS').replaceAll('`', '"');
    const reader = await logs.runAndReadAll(inDuckDb);
    const rows = reader.getRowsJson().map((row) => row.map((value) => (value === null ? null : String(value))));
    return { columns: reader.columnNames(), rows };
  };

  const sent: Record<string, SentCommand[]> = {};
  let objects = 0;

  /** Runs a handler as Step Functions does: of an error it learns name and message. */
  const invoke = (name: string) => async (input: object) => {
    const from = endpoint.sent.length;
    try {
      const output = await loaded[name]?.(JSON.parse(JSON.stringify(input)));
      await world.after(name);
      return JSON.parse(JSON.stringify(output)) as object;
    } catch (error) {
      const { name: errorType, message: errorMessage } = error as Error;
      throw Object.assign(new Error(JSON.stringify({ errorType, errorMessage })), { name: errorType });
    } finally {
      const known = sent[name] ?? [];
      sent[name] = [...known, ...endpoint.sent.slice(from)];
    }
  };

  /** What `athena:startQueryExecution.sync` does. */
  const ask = async (input: StartQueryExecutionInput) => {
    const { QueryExecutionId } = await athena.client
      .send(new StartQueryExecutionCommand(input))
      .catch((error: Error) => {
        throw Object.assign(error, { name: `Athena.${error.name}` });
      });
    for (;;) {
      const { QueryExecution } = await athena.client.send(new GetQueryExecutionCommand({ QueryExecutionId }));
      const { State } = (QueryExecution as QueryExecution).Status ?? {};
      if (State === 'SUCCEEDED') return { QueryExecution: { ...QueryExecution, Query: input.QueryString } };
      if (State === 'FAILED')
        throw Object.assign(new Error(JSON.stringify({ QueryExecution })), { name: 'States.TaskFailed' });
      await sleep(1);
    }
  };

  const world = {
    athena,
    services,
    aws: endpoint,
    client: database.client,
    settings,
    invoke,
    /** Runs when a handler has done its work: to throw. */
    after: async (_name: string): Promise<void> => undefined,

    /** Delivers an object with these requests, whose times are seconds after the beginning of the last hour. */
    async deliver(name: string, requests: LoggedRequest[]): Promise<void> {
      const moved = requests.map((request) => ({ ...request, at: request.at + LAST_HOUR - HOUR }));
      const { name: path } = await parquetFile(folder, `${objects++}.parquet`, moved);
      const hour = new Date(LAST_HOUR * 1000).toISOString().slice(0, 13).replaceAll(/[T-]/g, '/');
      const make = objects === 1 ? 'CREATE TABLE portcullis.access_logs AS' : 'INSERT INTO portcullis.access_logs';
      await logs.run(`${make} SELECT *, '${hour}' AS hour FROM '${path}'`);
      services.objects.set(`logs/cdn/E1A2B3/${hour}/${name}`, readFileSync(path));
    },

    /** The tables that are there beside that of the logs. */
    async tables(): Promise<string[]> {
      const { rows } = (await athena.execute?.('SELECT table_name FROM information_schema.tables')) ?? { rows: [] };
      return rows.flat().filter((name): name is string => name !== null && name !== 'access_logs');
    },

    /** Runs the state machine to its end; `name` is that of the execution. */
    async execute(name: string): Promise<Ended> {
      const alarms: string[] = [];
      const steps = Object.entries(handlers).map(([state, handler]) => [
        state.replace('Detection', ''),
        invoke(handler),
      ]);
      const resources: Record<string, Resource> = {
        ...Object.fromEntries(steps),
        AskFeature: ask,
        AskTimeline: ask,
        async DropTablesOfWindow({ DatabaseName, TablesToDelete }) {
          for (const table of TablesToDelete) await athena.execute?.(`DROP TABLE IF EXISTS ${DatabaseName}.${table}`);
          return { Errors: [] };
        },
        Alarm: async ({ Message }) => ({ MessageId: String(alarms.push(Message)) }),
      };
      const machine = new StateMachine(DEPLOYED, { validationOptions: { noValidate: true } });
      const execution = machine.run(
        {},
        {
          overrides: {
            taskResourceLocalHandlers: resources,
            retryIntervalOverrides: Object.fromEntries(
              [
                ...Object.keys(handlers).map((state) => state.replace('Detection', '')),
                'AskFeature',
                'AskTimeline',
              ].map((state) => [state, 1]),
            ),
          },
          context: { Execution: { Name: name } },
        },
      );
      const metrics: Record<string, number> = {};
      const log = vi.spyOn(console, 'log').mockImplementation((line) => {
        const { _aws, ...counted } = JSON.parse(line);
        for (const { Name } of _aws.CloudWatchMetrics[0].Metrics) metrics[Name] = counted[Name];
      });
      const said = (['warn', 'error'] as const).map((level) =>
        vi.spyOn(console, level).mockImplementation(() => undefined),
      );
      const states: string[] = [];
      let largest = 0;
      const watched = (async () => {
        for await (const event of execution.eventLogs) {
          const { state } = event as { state?: { name: string; input?: unknown; output?: unknown } };
          if (event.type.endsWith('StateEntered')) states.push(state?.name ?? '');
          for (const value of [state?.input, state?.output]) {
            largest = Math.max(largest, Buffer.byteLength(JSON.stringify(value ?? null)));
          }
        }
      })();
      const ended: Partial<Ended> = {};
      try {
        ended.output = await execution.result;
      } catch (failure) {
        ended.failure = failure as Error;
      }
      await watched;
      for (const spy of [log, ...said]) spy.mockRestore();
      return { ...ended, alarms, metrics, states, largest };
    },

    /** What the commands that a handler sent need, by resource. */
    permissions(name: keyof typeof HANDLERS): Record<string, string[]> {
      return permissionsFor(sent[name] ?? [], (resource) => {
        if (resource.startsWith('http')) return 'publications';
        if (resource === 'logs' || resource === 'results') return `${resource}Bucket`;
        return resource === '' ? 'workgroup' : `table:${resource}`;
      });
    },

    async close(): Promise<void> {
      vi.unstubAllEnvs();
      logs.closeSync();
      endpoint.stop();
      services.stop();
      await database.close();
      await data.close();
      removeDirectory(folder);
    },
  };
  return world;
}
