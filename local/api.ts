import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { HTTPException } from 'hono/http-exception';
import { type DeliveryOptions, deliveryRoutes } from '../revocation/http/delivery-routes.ts';
import { type RevocationOptions, revocationRoutes } from '../revocation/http/routes.ts';
import { type KeyRoutesOptions, keyRoutes } from '../token-api/http/keys.ts';
import { problemDetails } from '../token-api/http/problem.ts';
import { type VendingRoutesOptions, vendingRoutes } from '../token-api/http/routes.ts';

/** What the API is made of. */
export interface ApiOptions {
  vending: VendingRoutesOptions;
  keys: KeyRoutesOptions;
  revocation: RevocationOptions;
  delivery: DeliveryOptions;
  /** Origins whose pages may call the API; `*` for all. */
  allowedOrigins: string[];
  /** Told of errors that are ours. */
  report: (error: Error) => void;
}

const BODY_LIMIT_BYTES = 64 * 1024;

/** The HTTP API: the routes of the capabilities in one app, the same on this machine and in a Lambda function. */
export function createApi({ vending, keys, revocation, delivery, allowedOrigins, report }: ApiOptions): Hono {
  const app = new Hono();
  app.onError(problemDetails(report));
  app.notFound(() => {
    throw new HTTPException(404, { message: 'There is nothing at this path.' });
  });
  // A wildcard lets nobody in: callers carry their bearer token themselves, no browser adds it.
  const origin = allowedOrigins.includes('*') ? '*' : allowedOrigins;
  app.use(cors({ origin, allowHeaders: ['authorization', 'content-type'], maxAge: 600 }));
  app.use(
    bodyLimit({
      maxSize: BODY_LIMIT_BYTES,
      onError: () => {
        const message = `The body is larger than ${BODY_LIMIT_BYTES} bytes.`;
        throw new HTTPException(413, { message, cause: { code: 'ERR_BODY_TOO_LARGE' } });
      },
    }),
  );
  app.get('/healthz', (c) => c.json({ ok: true }));
  app.route('/', vendingRoutes(vending));
  app.route('/', keyRoutes(keys));
  app.route('/', revocationRoutes(revocation));
  app.route('/', deliveryRoutes(delivery));
  return app;
}
