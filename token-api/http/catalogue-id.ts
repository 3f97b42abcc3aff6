import type { Context } from 'hono';
import * as v from 'valibot';
import { problem } from './problem-docs.ts';

/** Id of an asset or a policy in the catalogue: it stands in URLs, and an asset's in claim `aid`. */
export const CatalogueId = v.pipe(
  v.string(),
  v.regex(/^[\w-][\w.-]{0,127}$/, 'must be 1–128 letters, digits, _, - or ., and not begin with .'),
);

/** The path parameter `id`; 400 with `ERR_ID_INVALID` when it can be no id. */
export function catalogueIdOf(c: Context): string {
  const result = v.safeParse(CatalogueId, c.req.param('id'));
  if (result.success) return result.output;
  throw problem('ERR_ID_INVALID', `The id in the path ${result.issues[0].message}.`);
}
