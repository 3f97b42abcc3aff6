import { HTTPException } from 'hono/http-exception';
import { validator } from 'hono-openapi';
import type * as v from 'valibot';

/** Validates a JSON body, and has it in the OpenAPI document; 400 with the path of the first field that is wrong. */
export function jsonBody<Schema extends v.GenericSchema>(schema: Schema) {
  return validator('json', schema, (result) => {
    if (result.success) return;
    const [issue] = result.error;
    const path = issue?.path?.map((part) => (typeof part === 'object' ? String(part.key) : String(part))).join('.');
    const message = `The body is not as expected: ${path ? `${path}: ` : ''}${issue?.message}.`;
    throw new HTTPException(400, { message, cause: { code: 'ERR_BODY_INVALID' } });
  });
}
