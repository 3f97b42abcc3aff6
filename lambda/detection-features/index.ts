import { athenaQueries } from '../../revocation/detect/athena-queries.ts';
import { type Ask, askFeatures, type RunWindow } from '../../revocation/detect/athena-steps.ts';
import { DetectionHandlerSchema } from '../detection-settings.ts';
import { namedByCode } from '../error-names.ts';
import { readSettings } from '../settings.ts';

const { detection, athena, tokenPrefix } = readSettings(DetectionHandlerSchema);
const queries = athenaQueries(detection, athena, tokenPrefix);

/** The queries that work out the features of a window, one after the other. */
export const handler = namedByCode(
  async (window: RunWindow): Promise<Ask[]> => askFeatures(queries, athena.database, window),
);
