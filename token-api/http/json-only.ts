import type { MiddlewareHandler } from 'hono';
import { problem } from './problem-docs.ts';

const JSON_TYPE = /^application\/json\s*(?:;|$)/i;

/** Refuses a body that does not say that it is JSON: it would be taken for none, and a wish in it be left out. */
export const jsonOnly: MiddlewareHandler = async (c, next) => {
  const hasBody = c.req.header('transfer-encoding') !== undefined || Number(c.req.header('content-length') ?? 0) > 0;
  if (hasBody && !JSON_TYPE.test(c.req.header('content-type') ?? '')) {
    throw problem(
      'ERR_BODY_INVALID',
      'The body must be JSON and say so: send the header content-type: application/json.',
    );
  }
  await next();
};
