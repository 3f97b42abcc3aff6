import { validator } from 'hono-openapi';
import type * as v from 'valibot';
import { problem } from './problem-docs.ts';

/** What is wrong with a field, in words that repeat nothing of what was sent. */
export function fieldMessage(issue: { message: string; expected?: string | null | undefined } | undefined): string {
  if (issue?.expected === 'never') return 'unknown field';
  return issue && /^Invalid [a-z ]+:/.test(issue.message)
    ? `must be ${issue.expected ?? 'another value'}`
    : (issue?.message ?? '');
}

/** The path of a field, `viewer.country`. */
export function fieldPath(path: readonly (PropertyKey | { key: PropertyKey })[] | undefined): string {
  return (path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
}

/** Validates a JSON body, and has it in the OpenAPI document; 400 with the path of the first field that is wrong. */
export function jsonBody<Schema extends v.GenericSchema>(schema: Schema) {
  return validator('json', schema, (result) => {
    if (result.success) return;
    const [issue] = result.error;
    const path = fieldPath(issue?.path);
    const message = `The body is not as expected: ${path ? `${path}: ` : ''}${fieldMessage(issue as v.BaseIssue<unknown>)}.`;
    throw problem('ERR_BODY_INVALID', message);
  });
}
