import { Hono } from 'hono';
import { type AssetOptions, assetRoutes } from './assets.ts';
import type { CallerEnv } from './authorize.ts';
import { type PlaybackOptions, playbackRoutes } from './playback.ts';
import { type PolicyOptions, policyRoutes } from './policies.ts';
import { type SessionOptions, sessionRoutes } from './sessions.ts';
import { type TokenOptions, tokenRoutes } from './tokens.ts';

/** What the vending routes are made of. */
export type VendingRoutesOptions = PlaybackOptions & TokenOptions & AssetOptions & PolicyOptions & SessionOptions;

/** The routes of the vending side, a file for each resource. */
export function vendingRoutes(options: VendingRoutesOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();
  app.route('/', playbackRoutes(options));
  app.route('/', tokenRoutes(options));
  app.route('/', assetRoutes(options));
  app.route('/', policyRoutes(options));
  app.route('/', sessionRoutes(options));
  return app;
}
