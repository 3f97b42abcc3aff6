import { REASON_DOCS } from '../../token/reason-docs.ts';

const explanations = new Map<string, string>([
  ...Object.entries(REASON_DOCS).map(([reason, { meaning }]): [string, string] => [
    reason,
    meaning.replaceAll('`', ''),
  ]),
  // Not the edge function's own: the firewall in front of it answers first.
  ['waf-blocked', 'The web application firewall blocked the request before it reached the edge function.'],
]);

/** One sentence on why the edge refuses, or nothing for a reason this page does not know. */
export function explain(reason: string): string {
  return explanations.get(reason) ?? '';
}
