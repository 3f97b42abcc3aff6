import { Hono } from 'hono';
import { DOCS_POLICY, docsPage } from './docs-page.ts';
import { type ApiDocument, apiDocument, type DocumentOptions } from './openapi.ts';

const MAX_AGE = 'public, max-age=300';

/** `GET /v1/openapi.json` and `GET /v1/docs`: the description of all routes of `app`, for programs and for people. Open to all. */
export function documentationRoutes(app: Hono, options: DocumentOptions): Hono {
  const routes = new Hono();
  let madeDocument: Promise<ApiDocument> | undefined;
  let madePage: Promise<string> | undefined;
  // At the first request: by then `app` has all its routes. Kept, because anybody may ask for it at any rate.
  const document = () => (madeDocument ??= apiDocument(app, options));
  const page = () => (madePage ??= document().then(docsPage));

  routes.get('/v1/openapi.json', async (c) => {
    c.header('cache-control', MAX_AGE);
    return c.json(await document());
  });

  routes.get('/v1/docs', async (c) => {
    c.header('cache-control', MAX_AGE);
    c.header('content-security-policy', DOCS_POLICY);
    c.header('x-content-type-options', 'nosniff');
    c.header('referrer-policy', 'no-referrer');
    return c.html(await page());
  });

  return routes;
}
