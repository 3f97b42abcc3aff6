import { validator } from 'hono-openapi';
import * as v from 'valibot';
import { REVOCATION_KINDS } from '../list/revocation-list.ts';
import { describeIssue } from './body.ts';
import { problem } from './problem-docs.ts';

const LIMIT = 'must be a whole number from 1 to 1000';

const page = {
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
};

/** The query of a list: `limit` (1–1000, 100 by default) and `cursor`, which is `next` of the page before. */
export const PageQuery = v.object(page);

/** The query of the revocation list: a page, of one kind perhaps. */
export const RevocationsQuery = v.object({ kind: v.optional(v.picklist(REVOCATION_KINDS)), ...page });

/** Validates a query, and has it in the OpenAPI document; 400 with `ERR_QUERY_INVALID`. */
export function query<Schema extends v.GenericSchema>(schema: Schema) {
  return validator('query', schema, (result) => {
    if (result.success) return;
    const [issue] = result.error as [v.BaseIssue<unknown>];
    throw problem('ERR_QUERY_INVALID', `The query is not as expected: ${describeIssue(issue)}.`);
  });
}
