import * as v from 'valibot';
import { problem } from './problem-docs.ts';

/** A JSON body checked against `schema`; no body at all counts as `{}`. 400 with the path of the first field that is wrong. */
export function parseBody<Schema extends v.GenericSchema>(schema: Schema, text: string): v.InferOutput<Schema> {
  let body: unknown;
  try {
    body = text === '' ? {} : JSON.parse(text);
  } catch {
    throw problem('ERR_BODY_INVALID', 'The body is not JSON.');
  }
  const result = v.safeParse(schema, body);
  if (result.success) return result.output;
  throw problem('ERR_BODY_INVALID', `The body is not as expected: ${describeIssue(result.issues[0])}.`);
}

/** What is wrong with a field, in words that repeat nothing of what was sent. */
export function describeIssue(issue: v.BaseIssue<unknown>): string {
  const { message, expected } = issue;
  const path = v.getDotPath(issue);
  const why = /^Invalid [a-z ]+:/.test(message) ? `must be ${expected ?? 'another value'}` : message;
  return `${path ? `${path}: ` : ''}${expected === 'never' ? 'unknown field' : why}`;
}
