import { validator } from 'hono-openapi';
import type * as v from 'valibot';
import { problem } from './problem-docs.ts';

/** Validates a JSON body, and has it in the OpenAPI document; 400 with the path of the first field that is wrong. */
export function jsonBody<Schema extends v.GenericSchema>(schema: Schema) {
  return validator('json', schema, (result) => {
    if (result.success) return;
    const [issue] = result.error;
    const path = issue?.path?.map((part) => (typeof part === 'object' ? String(part.key) : String(part))).join('.');
    throw problem('ERR_BODY_INVALID', `The body is not as expected: ${path ? `${path}: ` : ''}${issue?.message}.`);
  });
}
