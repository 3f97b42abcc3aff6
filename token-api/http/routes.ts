import { Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import * as v from 'valibot';
import { TokenError } from '../../token/index.ts';
import type { AssetCatalogue } from '../assets/assets.ts';
import type { Minter } from '../minting/minter.ts';
import { MintingError } from '../minting/policy.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { jsonBody } from './json-body.ts';
import { viewerOf } from './viewer.ts';

/** What the vending routes are made of. */
export interface VendingOptions {
  authorize: Authorize;
  assets: AssetCatalogue;
  sessions: Sessions;
  minter: Minter;
  /** Base URL of the edge, `https://media.example.com`. */
  edgeUrl: string;
  originSecret: string;
  /** Which of these sessions are on the revocation list. */
  revokedSessions: (sessionIds: string[]) => Promise<Set<string>>;
  /** Seconds since the epoch. */
  now: () => number;
}

const PlaybackRequest = v.strictObject({ asset: v.pipe(v.string(), v.minLength(1), v.maxLength(128)) });

/** `POST /v1/playback`, `GET /v1/assets`, `GET /v1/sessions`. */
export function vendingRoutes(options: VendingOptions): Hono<CallerEnv> {
  const { authorize, assets, sessions, minter, edgeUrl, originSecret, revokedSessions, now } = options;
  const app = new Hono<CallerEnv>();

  app.post('/v1/playback', authorize('player', 'backend'), jsonBody(PlaybackRequest), async (c) => {
    const { asset: id } = c.req.valid('json');
    const asset = await assets.get(id);
    if (!asset) {
      throw new HTTPException(404, { message: 'There is no such asset.', cause: { code: 'ERR_ASSET_UNKNOWN' } });
    }
    const viewer = { ...viewerOf(c, originSecret), subject: c.get('caller').subject };
    const policy = { ...asset.policy, asset: asset.id };
    const minted = refuseAsProblem(() => minter.mint({ policy, viewer, url: `${edgeUrl}${asset.path}` }));
    await sessions.start({
      sessionId: minted.sessionId,
      asset: asset.id,
      subject: viewer.subject,
      startedAt: minted.issuedAt,
      expiresAt: minted.expiresAt,
    });
    c.header('cache-control', 'no-store');
    return c.json({ playbackUrl: minted.url, sessionId: minted.sessionId, expiresAt: minted.expiresAt });
  });

  app.get('/v1/assets', authorize('player', 'backend', 'security'), async (c) => {
    const all = await assets.list();
    return c.json({ assets: all.map(({ id, title, path }) => ({ id, title, path })) });
  });

  app.get('/v1/sessions', authorize('security'), async (c) => {
    const live = await sessions.live(now());
    const revoked = await revokedSessions(live.map(({ sessionId }) => sessionId));
    return c.json({ sessions: live.map((session) => ({ ...session, revoked: revoked.has(session.sessionId) })) });
  });

  return app;
}

/** Turns a refusal of the minter into 422: the request was understood, but this viewer cannot have this token. */
function refuseAsProblem<Result>(run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    if (!(error instanceof MintingError || error instanceof TokenError)) throw error;
    throw new HTTPException(422, { message: error.message, cause: { code: error.code } });
  }
}
