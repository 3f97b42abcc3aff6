import { type Context, Hono } from 'hono';
import * as v from 'valibot';
import { type ViewerAttributes, ViewerSchema } from '../minting/policy.ts';
import type { VendedToken, Vending } from '../vending/vending.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { CatalogueId } from './catalogue-id.ts';
import { jsonBody } from './json-body.ts';
import { problem } from './problem-docs.ts';
import { refuseAsProblem } from './refusal.ts';
import { requestingViewerOf } from './viewer.ts';

/** What the token routes are made of. */
export interface TokenOptions {
  authorize: Authorize;
  vending: Vending;
  /** As of `PlaybackOptions`. */
  originSecrets: () => readonly string[];
}

/** A token, or a playback URL that carries one. */
const Presented = v.pipe(v.string(), v.minLength(1), v.maxLength(8192));

/** Body of `POST /v1/tokens`. */
export const TokenRequest = v.strictObject({
  asset: CatalogueId,
  viewer: ViewerSchema,
  /** Playback URL other than the asset's own, without a token. */
  url: v.optional(v.pipe(v.string(), v.maxLength(8192))),
});

/** Body of `POST /v1/tokens/renewal`; `viewer` is for a backend to give, of a player the edge says it. */
export const RenewalRequest = v.strictObject({ token: Presented, viewer: v.optional(ViewerSchema) });

/**
 * Body of `POST /v1/tokens/handoff`. `viewer` is the other device, of which nothing can be said that tells where it is;
 * `presenter` whoever hands the session over, for a backend to give.
 */
export const HandoffRequest = v.strictObject({
  token: Presented,
  viewer: v.pick(ViewerSchema, ['ja4', 'device', 'userAgent', 'referer', 'method', 'headers', 'query']),
  presenter: v.optional(ViewerSchema),
});

/** Answer of all three; `expiresAt` in seconds since the epoch. */
export const TokenResponse = v.object({
  token: v.string(),
  /** Absent when a token was presented alone and its asset is not in the catalogue. */
  playbackUrl: v.optional(v.string()),
  sessionId: v.string(),
  expiresAt: v.pipe(v.number(), v.integer()),
});

/** `POST /v1/tokens`, `POST /v1/tokens/renewal`, `POST /v1/tokens/handoff`. */
export function tokenRoutes({ authorize, vending, originSecrets }: TokenOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();

  /** Who presents a token, and whose it must be: a player one of its own, from where the edge says it is. */
  const presenterOf = (c: Context<CallerEnv>, given: ViewerAttributes | undefined) => {
    const { subject, roles } = c.get('caller');
    if (roles.includes('backend')) return { viewer: given ?? {}, subject: undefined };
    if (given === undefined) return { viewer: requestingViewerOf(c, originSecrets()), subject };
    throw problem('ERR_ROLE', 'Only the role backend may say who the viewer is.');
  };

  const answer = (c: Context<CallerEnv>, { token, playbackUrl, sessionId, expiresAt }: VendedToken) => {
    c.header('cache-control', 'no-store');
    return c.json({ token, playbackUrl, sessionId, expiresAt });
  };

  app.post('/v1/tokens', authorize('backend'), jsonBody(TokenRequest), async (c) => {
    const { asset, viewer, url } = c.req.valid('json');
    return answer(c, await refuseAsProblem(() => vending.start(asset, viewer, url)));
  });

  app.post('/v1/tokens/renewal', authorize('player', 'backend'), jsonBody(RenewalRequest), async (c) => {
    const { token, viewer: given } = c.req.valid('json');
    const { viewer, subject } = presenterOf(c, given);
    return answer(c, await refuseAsProblem(() => vending.renew(token, viewer, subject)));
  });

  app.post('/v1/tokens/handoff', authorize('player', 'backend'), jsonBody(HandoffRequest), async (c) => {
    const { token, viewer: device, presenter } = c.req.valid('json');
    const { viewer, subject } = presenterOf(c, presenter);
    return answer(c, await refuseAsProblem(() => vending.handOff(token, viewer, device, subject)));
  });

  return app;
}
