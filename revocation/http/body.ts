import { HTTPException } from 'hono/http-exception';
import * as v from 'valibot';

/** A JSON body checked against `schema`; no body at all counts as `{}`. 400 with the path of the first field that is wrong. */
export function parseBody<Schema extends v.GenericSchema>(schema: Schema, text: string): v.InferOutput<Schema> {
  let body: unknown;
  try {
    body = text === '' ? {} : JSON.parse(text);
  } catch {
    throw new HTTPException(400, { message: 'The body is not JSON.', cause: { code: 'ERR_BODY_INVALID' } });
  }
  const result = v.safeParse(schema, body);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  const message = `The body is not as expected: ${path ? `${path}: ` : ''}${issue.message}.`;
  throw new HTTPException(400, { message, cause: { code: 'ERR_BODY_INVALID' } });
}
