import { setTimeout as sleep } from 'node:timers/promises';
import { answeredEngine, athenaClient } from '../../revocation/detect/athena.ts';
import { athenaQueries } from '../../revocation/detect/athena-queries.ts';
import { type Ask, askTimelines, type RunWindow } from '../../revocation/detect/athena-steps.ts';
import { evaluate } from '../../revocation/detect/evaluate.ts';
import { DetectionHandlerSchema } from '../detection-settings.ts';
import { namedByCode } from '../error-names.ts';
import { readSettings } from '../settings.ts';

const { detection, athena, tokenPrefix } = readSettings(DetectionHandlerSchema);
const queries = athenaQueries(detection, athena, tokenPrefix);
const client = athenaClient(athena);

/** The queries that work out who fetched when in a window, for the sessions that look worst by its features. */
export const handler = namedByCode(async (window: RunWindow & { features: string[] }): Promise<Ask[][]> => {
  const { from, to } = window;
  const engine = answeredEngine(client, athena, queries, sleep, [{ ...window, timelines: [] }]);
  const wanted = { windows: [{ from, to, objects: [] }], everySession: false, plotAtMost: 0 };
  const { findings } = await evaluate(engine, detection, wanted);
  const sessionIds = findings.map(({ sessionId }) => sessionId);
  return askTimelines(queries, athena.database, window, sessionIds);
});
