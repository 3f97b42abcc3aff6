import type { Verdict } from '../suspicious/suspicious-sessions.ts';

/** What a session is known to be: a scenario, and whether that is `harmless`, a `leak` or `undetectable`. */
export interface Labelled {
  scenario: string;
  kind: string;
}

/** What detection thinks of the sessions of a scenario. */
export interface ScenarioQuality extends Labelled {
  sessions: number;
  /** Share of them that is shown to people, those to be revoked included, and share to be revoked; 0 to 1. */
  review: number;
  auto: number;
}

/** The order in which kinds are listed; others come last. */
const KINDS = ['harmless', 'leak', 'undetectable'];
const rank = ({ kind }: Labelled) => (KINDS.includes(kind) ? KINDS.indexOf(kind) : KINDS.length);

/** Compares verdicts with labels, scenario by scenario. */
export function qualityByScenario(sessions: (Labelled & { verdict: Verdict })[]): ScenarioQuality[] {
  const counts = new Map<string, ScenarioQuality>();
  for (const { scenario, kind, verdict } of sessions) {
    const name = `${kind} ${scenario}`;
    const count = counts.get(name) ?? { scenario, kind, sessions: 0, review: 0, auto: 0 };
    counts.set(name, count);
    count.sessions++;
    if (verdict !== 'harmless') count.review++;
    if (verdict === 'auto') count.auto++;
  }
  return [...counts.values()]
    .map((count) => ({ ...count, review: count.review / count.sessions, auto: count.auto / count.sessions }))
    .sort((a, b) => rank(a) - rank(b));
}

/** The rows of a table with a header, cells separated by tabs (`labels.tsv` of the simulator), each by the names of its columns. */
export function readTable(text: string): Record<string, string>[] {
  const [header = '', ...lines] = text.trimEnd().split(/\r?\n/);
  const names = header.split('\t');
  return lines.map((line) => Object.fromEntries(line.split('\t').map((cell, i) => [names[i] ?? '', cell])));
}
