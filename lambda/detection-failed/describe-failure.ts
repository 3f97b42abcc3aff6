import type { QueryExecution } from '@aws-sdk/client-athena';
import { queryFailure } from '../../revocation/detect/athena.ts';

/** What a state machine knows of a failure (Step Functions Developer Guide, "Error names"): `Cause` is mostly JSON. */
export interface StateFailure {
  Error?: string;
  Cause?: string;
}

const AGAIN = 'Nothing was committed: the next run looks at the same logs again.';

/**
 * Why detection failed, for people: the message of an error of ours, what Athena says of a query with tokens in it cut, and of
 * anything else its name alone, as it may quote log lines.
 */
export function describeFailure({ Error: name = 'unknown', Cause = '' }: StateFailure): string {
  const cause = parsed(Cause);
  const query = cause.QueryExecution as QueryExecution | undefined;
  if (query?.QueryExecutionId) {
    const { code, message } = queryFailure(query.QueryExecutionId, query);
    return `Detection failed: ${code}: ${message}. ${AGAIN}`;
  }
  const said = name.startsWith('ERR_') && typeof cause.errorMessage === 'string' ? `: ${cause.errorMessage}` : '';
  return `Detection failed: ${name.replace(/[^\w.-]/g, '').slice(0, 100)}${said}. ${AGAIN}`;
}

function parsed(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
