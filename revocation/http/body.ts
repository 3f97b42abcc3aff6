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
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  throw problem('ERR_BODY_INVALID', `The body is not as expected: ${path ? `${path}: ` : ''}${messageOf(issue)}.`);
}

/** What is wrong with a field, in words that repeat nothing of what was sent. */
function messageOf({ message, expected }: v.BaseIssue<unknown>): string {
  if (expected === 'never') return 'unknown field';
  return /^Invalid [a-z ]+:/.test(message) ? `must be ${expected ?? 'another value'}` : message;
}
