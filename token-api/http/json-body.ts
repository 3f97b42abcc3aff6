import { validator } from 'hono-openapi';
import * as v from 'valibot';
import { issueMessage } from '../minting/policy.ts';
import { problem } from './problem-docs.ts';

/** The first thing that is wrong with what was sent, `viewer.country: must be …`. Repeats nothing of it. */
export function describeField(issues: readonly { message: string }[]): string {
  // Our schemas are valibot's, and so are the issues that the validator of any library hands on.
  const [issue] = issues as [v.BaseIssue<unknown>];
  const path = v.getDotPath(issue);
  const message = issue.expected === 'never' ? 'unknown field' : issueMessage(issue);
  return path ? `${path}: ${message}` : message;
}

/** Validates a JSON body, and has it in the OpenAPI document; 400 with the path of the first field that is wrong. */
export function jsonBody<Schema extends v.GenericSchema>(schema: Schema) {
  return validator('json', schema, (result) => {
    if (result.success) return;
    throw problem('ERR_BODY_INVALID', `The body is not as expected: ${describeField(result.error)}.`);
  });
}
