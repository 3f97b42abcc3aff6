import { basename } from 'node:path';
import type { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { createDetection, type Detection } from '../revocation/detect/detection.ts';
import type { DetectionEngine } from '../revocation/detect/detection-engine.ts';
import type { DetectionRun } from '../revocation/detect/detection-runs.ts';
import { openDuckDbEngine } from '../revocation/detect/duckdb.ts';
import {
  DETECTIONS_TABLE,
  dynamoDbDetectionRuns,
  dynamoDbLedger,
  LOG_OBJECTS_TABLE,
} from '../revocation/detect/dynamodb.ts';
import { logFiles } from '../revocation/detect/files.ts';
import type { LogObjects } from '../revocation/detect/log-objects.ts';
import type { DetectionPorts } from '../revocation/detect/run-detection.ts';
import type { DetectionSettings } from '../revocation/detect/settings.ts';
import { SUSPICIOUS_SESSIONS_TABLE } from '../revocation/suspicious/dynamodb.ts';
import type { AccessLog } from './edge/access-log.ts';

/** What detection on this machine is made of. */
export interface LocalDetectionOptions
  extends Pick<DetectionPorts, 'suspicious' | 'list' | 'publish' | 'revocationSeconds' | 'now' | 'report' | 'metric'> {
  client: DynamoDBDocumentClient;
  settings: DetectionSettings;
  /** Path before the token, begins and ends with a slash. */
  tokenPrefix: string;
  /** Folder of the access logs, and the one that is being written. */
  folder: string;
  log: AccessLog;
}

/** Detection over the logs of the stack, and how to end it. */
export interface LocalDetection {
  detection: Detection;
  close(): Promise<void>;
}

export const DETECTION_TABLES = [LOG_OBJECTS_TABLE, DETECTIONS_TABLE, SUSPICIOUS_SESSIONS_TABLE];

/** What this process is called in the table of runs. */
const HOLDER = 'local-stack';
/** Duration of the segments of the stack's own titles, in seconds. */
const SEGMENT_SECONDS = 2;

/** Beside everything else that the machine does: players are waiting for the edge. */
const LIMITS = { threads: 1, memoryLimit: '256MB' };

/** Detection by DuckDB over the access logs of the stack, run every `everySeconds` unless its mode is `off`. */
export async function openDetection(options: LocalDetectionOptions): Promise<LocalDetection> {
  const { client, tokenPrefix, folder, log, report } = options;
  const settings = { ...options.settings, segmentSeconds: SEGMENT_SECONDS };
  const engine = openedOnUse(() => openDuckDbEngine({ detection: settings, tokenPrefix }, LIMITS));
  const runs = dynamoDbDetectionRuns(client);
  // A stack that was killed in a run holds it still; the data directory is locked, so that nobody else runs.
  await runs.finish(HOLDER);
  const detection = createDetection(
    { ...options, logs: accessLogs(folder, log), ledger: dynamoDbLedger(client), engine },
    settings,
    runs,
    HOLDER,
  );
  const schedule = settings.mode === 'off' ? undefined : runEvery(settings.everySeconds, detection, report);
  return {
    detection,
    async close() {
      await schedule?.close();
      await engine.close();
    },
  };
}

/** The access logs in the folder. The one that is being written has no hour in its name. */
function accessLogs(folder: string, log: AccessLog): LogObjects {
  // The folder and not a pattern: finding those takes DuckDB, and most runs need none.
  const files = logFiles([folder]);
  return {
    async list(from) {
      const objects = (await files.list(from)).filter(({ name }) => basename(name).startsWith('access.'));
      return objects.map((object) => (basename(object.name) === 'access.log' ? { ...object, hour: log.hour } : object));
    },
  };
}

/** An engine that is opened when it is first asked: most runs find nothing new. */
function openedOnUse(open: () => Promise<DetectionEngine>): DetectionEngine {
  let opened: Promise<DetectionEngine> | undefined;
  const engine = () => {
    opened ??= open().catch((error: Error) => {
      // What keeps it from opening may pass.
      opened = undefined;
      throw error;
    });
    return opened;
  };
  return {
    features: async (...request) => (await engine()).features(...request),
    timelines: async (...request) => (await engine()).timelines(...request),
    close: async () => (await opened)?.close(),
  };
}

/** Runs detection by the clock, and says what is new of what it finds. */
function runEvery(seconds: number, detection: Detection, report: (line: string) => void): { close(): Promise<void> } {
  let said = '';
  const say = (line: string) => {
    if (line !== said && line !== '') report(line);
    said = line;
  };
  let running: Promise<void> = Promise.resolve();
  const run = async () => {
    try {
      const result = await detection.run();
      if (result.objects > 0) say(describeRun(result));
    } catch (error) {
      const { code, message } = error as { code?: unknown; message: string };
      if (code === 'ERR_DETECTION_SETUP') {
        // Nothing that comes by itself.
        clearInterval(timer);
        say(`detection is off: ${message}`);
      } else if (code !== 'ERR_DETECTION_RUNNING') say(`detection failed, and is tried again: ${message}`);
    }
  };
  const timer = setInterval(() => {
    running = run();
  }, seconds * 1000);
  return {
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}

/** What people should know of a run; nothing when it found nothing. */
function describeRun({ flagged, revoked, refused }: DetectionRun): string {
  const found = flagged > 0 ? [`${flagged} suspicious sessions, ${revoked} revoked`] : [];
  const unread = refused.map(({ name, why }) => `${basename(name)} was not read: ${why}`);
  const parts = [...found, ...unread];
  return parts.length > 0 ? `detection: ${parts.join('; ')}` : '';
}
