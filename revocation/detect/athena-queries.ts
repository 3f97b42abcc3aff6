import type { AthenaQueries } from './athena.ts';
import type { AthenaSettings } from './athena-settings.ts';
import { athenaLogTable } from './athena-table.ts';
import type { FeatureRequest } from './detection-engine.ts';
import { isLocated } from './log-fields.ts';
import { readFeatureRows, readTimelineRows } from './rows.ts';
import type { DetectionSettings } from './settings.ts';
import { type DetectionQuery, featuresSql, isProven, relations, TIMELINES, timelineRelations } from './sql.ts';

/** What is named often: with these as tables Athena reads the logs twice for features, without them more than a hundred times. */
export const KEPT: Record<'features' | 'timelines', ReadonlySet<string>> = {
  features: new Set(['activity', 'screening', 'viewers', 'minutes', 'candidate_requests', 'fetches']),
  timelines: new Set(['activity']),
};

/** The one SQL text of detection, and its row parser, for Athena. `tokenPrefix`: the path before the token. */
export function athenaQueries(settings: DetectionSettings, athena: AthenaSettings, tokenPrefix: string): AthenaQueries {
  const table = athenaLogTable(athena);
  const query = ({ from, to }: FeatureRequest): DetectionQuery => ({ settings, tokenPrefix, table, from, to });
  return {
    features: (request) => ({
      relations: relations(query(request)),
      kept: KEPT.features,
      select: featuresSql(request.everySession),
    }),
    readFeatures(rows) {
      const { sessions, sessionCount, requestCount, odd } = readFeatureRows(rows);
      const known = { proven: isProven(table.columns), located: isLocated(table.columns) };
      return { sessions, sessionCount, rows: requestCount, refused: [], odd, ...known };
    },
    timelines(request, sessionIds) {
      const parts = timelineRelations(query(request), sessionIds);
      return { relations: parts, kept: KEPT.timelines, select: TIMELINES };
    },
    readTimelines: readTimelineRows,
  };
}
