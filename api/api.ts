import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { every } from 'hono/combine';
import { requestId } from 'hono/request-id';
import { type DecisionOptions, decisionRoutes } from '../revocation/http/decision-routes.ts';
import { type DeliveryOptions, deliveryRoutes } from '../revocation/http/delivery-routes.ts';
import { DETECTION_OPERATIONS } from '../revocation/http/detection-operations.ts';
import { type DetectionOptions, detectionRoutes } from '../revocation/http/detection-routes.ts';
import { REVOCATION_OPERATIONS } from '../revocation/http/operations.ts';
import { REVOCATION_PROBLEMS } from '../revocation/http/problem-docs.ts';
import { type RevocationOptions, revocationRoutes } from '../revocation/http/routes.ts';
import type { Authorize } from '../token-api/http/authorize.ts';
import { crossOrigin } from '../token-api/http/cross-origin.ts';
import { documentationRoutes } from '../token-api/http/documentation.ts';
import { idempotency } from '../token-api/http/idempotency.ts';
import { jsonOnly } from '../token-api/http/json-only.ts';
import { type KeyOptions, keyRoutes } from '../token-api/http/keys.ts';
import { describedRoles } from '../token-api/http/openapi.ts';
import { KEY_OPERATIONS, SERVICE_OPERATIONS, VENDING_OPERATIONS } from '../token-api/http/operations.ts';
import { problemDetails } from '../token-api/http/problem.ts';
import { PROBLEMS, problem } from '../token-api/http/problem-docs.ts';
import { rateLimit } from '../token-api/http/rate-limit.ts';
import { requestLog } from '../token-api/http/request-log.ts';
import { type VendingRoutesOptions, vendingRoutes } from '../token-api/http/routes.ts';
import type { ApiSettings } from '../token-api/http/settings.ts';
import type { Answers } from '../token-api/idempotency/answers.ts';
import type { RequestCounts } from '../token-api/rate-limits/request-counts.ts';
import type { Telemetry } from '../token-api/telemetry/telemetry.ts';
import type { VendedToken, Vending } from '../token-api/vending/vending.ts';

/** What the API is made of. */
export interface ApiOptions {
  settings: ApiSettings;
  /** Who calls, and whether they may. */
  authorize: Authorize;
  vending: Omit<VendingRoutesOptions, 'authorize'>;
  keys: Omit<KeyOptions, 'authorize'>;
  /** Of these four each may be left out; its routes are then neither there nor described. */
  revocation?: Omit<RevocationOptions, 'authorize'> | undefined;
  decisions?: Omit<DecisionOptions, 'authorize'> | undefined;
  detection?: Omit<DetectionOptions, 'authorize'> | undefined;
  delivery?: Omit<DeliveryOptions, 'authorize'> | undefined;
  counts: RequestCounts;
  answers: Answers;
  telemetry: Telemetry;
  /** Told of errors that are ours; with the id of the request where it is one request's. */
  report: (error: Error, requestId?: string) => void;
  /** Seconds since the epoch. */
  now: () => number;
}

const BODY_LIMIT_BYTES = 64 * 1024;
/** Characters of a request id that a caller may choose. */
const REQUEST_ID_LENGTH = 64;

const OPERATIONS = {
  ...VENDING_OPERATIONS,
  ...KEY_OPERATIONS,
  ...REVOCATION_OPERATIONS,
  ...DETECTION_OPERATIONS,
  ...SERVICE_OPERATIONS,
};
const ALL_PROBLEMS = { ...PROBLEMS, ...REVOCATION_PROBLEMS };

/** The HTTP API: the routes of the capabilities in one app, the same on this machine and in a Lambda function. */
export function createApi(options: ApiOptions): Hono {
  const { settings, telemetry, report, now, counts, answers, revocation, decisions, detection, delivery } = options;
  const { allowedOrigins, requestsPerMinute } = settings;
  const app = new Hono();
  app.onError(problemDetails(report));
  app.notFound(() => {
    throw problem('ERR_NOT_FOUND', 'There is nothing at this path.');
  });

  // The way of a request. Health first: whoever asks every second for it wants no line of it.
  app.get('/healthz', (c) => c.json({ ok: true }));
  app.use(requestId({ limitLength: REQUEST_ID_LENGTH }));
  app.use(crossOrigin(allowedOrigins));
  app.use(requestLog(telemetry));
  app.use(
    bodyLimit({
      maxSize: BODY_LIMIT_BYTES,
      onError: () => {
        throw problem('ERR_BODY_TOO_LARGE', `The body is larger than ${BODY_LIMIT_BYTES} bytes.`);
      },
    }),
  );
  app.use(jsonOnly);
  // Then, as every route says who may call it: who calls, whether they may, how often, and whether they did before.
  const limit = rateLimit({ requestsPerMinute, counts, report, now });
  const once = idempotency({ answers, report, now });
  const authorize: Authorize = (...roles) => describedRoles(every(options.authorize(...roles), limit, once), roles);

  const vending = countedVending(options.vending.vending, telemetry);
  app.route('/', vendingRoutes({ ...options.vending, vending, authorize }));
  app.route('/', keyRoutes({ ...options.keys, authorize }));
  if (revocation) app.route('/', revocationRoutes({ ...revocation, authorize }));
  if (decisions) app.route('/', decisionRoutes({ ...decisions, authorize }));
  if (detection) app.route('/', detectionRoutes({ ...detection, authorize }));
  if (delivery) app.route('/', deliveryRoutes({ ...delivery, authorize }));
  app.route('/', documentationRoutes(app, { operations: OPERATIONS, problems: ALL_PROBLEMS }));
  return app;
}

/** Vending whose tokens are counted. */
function countedVending(vending: Vending, telemetry: Telemetry): Vending {
  const counted = async (vended: Promise<VendedToken>) => {
    const token = await vended;
    telemetry.metric('TokensMinted', 1);
    return token;
  };
  return {
    check: (asset) => vending.check(asset),
    start: (...request) => counted(vending.start(...request)),
    renew: (...request) => counted(vending.renew(...request)),
    handOff: (...request) => counted(vending.handOff(...request)),
  };
}
