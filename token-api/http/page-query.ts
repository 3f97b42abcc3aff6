import { validator } from 'hono-openapi';
import * as v from 'valibot';
import { describeField } from './json-body.ts';
import { problem } from './problem-docs.ts';

const LIMIT = 'must be a whole number from 1 to 1000';

/** The query of a list: `limit` (1–1000, 100 by default) and `cursor`, which is `next` of the page before. */
export const PageQuery = v.object({
  limit: v.optional(
    v.pipe(
      v.string(LIMIT),
      v.regex(/^\d{1,4}$/, LIMIT),
      v.transform(Number),
      v.minValue(1, LIMIT),
      v.maxValue(1000, LIMIT),
    ),
    '100',
  ),
  cursor: v.optional(v.pipe(v.string(), v.maxLength(1024))),
});

/** Validates the query of a list, and has it in the OpenAPI document; 400 with `ERR_QUERY_INVALID`. */
export function pageQuery() {
  return validator('query', PageQuery, (result) => {
    if (result.success) return;
    throw problem('ERR_QUERY_INVALID', `The query is not as expected: ${describeField(result.error)}.`);
  });
}
