import { Hono } from 'hono';
import * as v from 'valibot';
import type { Vending } from '../vending/vending.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { CatalogueId } from './catalogue-id.ts';
import { jsonBody } from './json-body.ts';
import { refuseAsProblem } from './refusal.ts';
import { viewerOf } from './viewer.ts';

/** What the playback route is made of. */
export interface PlaybackOptions {
  authorize: Authorize;
  vending: Vending;
  /** The secrets that prove at this moment that a request came through the edge: two while it rotates. */
  originSecrets: () => readonly string[];
}

/** Body of `POST /v1/playback`. */
export const PlaybackRequest = v.strictObject({ asset: CatalogueId });

/** Answer of `POST /v1/playback`; `expiresAt` in seconds since the epoch. */
export const PlaybackResponse = v.object({
  playbackUrl: v.string(),
  sessionId: v.string(),
  expiresAt: v.pipe(v.number(), v.integer()),
});

/** `POST /v1/playback`: starts a session for the caller, who is where the edge says. */
export function playbackRoutes({ authorize, vending, originSecrets }: PlaybackOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();

  app.post('/v1/playback', authorize('player', 'backend'), jsonBody(PlaybackRequest), async (c) => {
    const { asset } = c.req.valid('json');
    const viewer = { ...viewerOf(c, originSecrets()), subject: c.get('caller').subject };
    const { playbackUrl, sessionId, expiresAt } = await refuseAsProblem(() => vending.start(asset, viewer));
    c.header('cache-control', 'no-store');
    return c.json({ playbackUrl, sessionId, expiresAt });
  });

  return app;
}
