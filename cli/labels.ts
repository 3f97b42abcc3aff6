import type { Evaluation } from '../revocation/detect/evaluate.ts';
import { type Labelled, qualityByScenario, readTable, type ScenarioQuality } from '../revocation/detect/quality.ts';
import { alignColumns, InputError, note, readText } from './command.ts';

/** A session and what it is. */
type Label = Labelled & { session: string };

/** The labels of a file. Throws `InputError`. */
export async function readLabels(path: string): Promise<Label[]> {
  const rows = readTable(await readText(path));
  const labels = rows.filter((label): label is Label & Record<string, string> =>
    [label.session, label.scenario, label.kind].every(Boolean),
  );
  if (rows.length > 0 && labels.length === rows.length) return labels;
  throw new InputError(
    `${path} is no table of labels: its first line must name the columns session, scenario and kind, separated by tabs ` +
      '(labels.tsv of session simulate), and every line must have all three',
  );
}

/** How what was found compares with the labels; says what is in the one and not in the other. */
export function compare(labels: Label[], { findings, sessionCount }: Evaluation): ScenarioQuality[] {
  const verdicts = new Map(findings.map(({ sessionId, verdict }) => [sessionId, verdict]));
  const known = new Set(labels.map(({ session }) => session));
  if (labels.length > sessionCount) {
    note(
      `${labels.length} sessions have a label, and ${sessionCount} are in these logs: the others count as not found`,
    );
  }
  const strangers = findings.filter(({ sessionId, verdict }) => verdict !== 'harmless' && !known.has(sessionId)).length;
  if (strangers > 0) note(`${strangers} of the sessions found have no label`);
  return qualityByScenario(labels.map((label) => ({ ...label, verdict: verdicts.get(label.session) ?? 'harmless' })));
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** A line a scenario, after an empty one. */
export function qualityTable(quality: ScenarioQuality[]): string[] {
  const rows = quality.map(({ scenario, kind, sessions, review, auto }) => {
    return [scenario, kind, String(sessions), percent(review), percent(auto)];
  });
  return ['', ...alignColumns([['scenario', 'kind', 'sessions', 'review', 'auto'], ...rows])];
}
