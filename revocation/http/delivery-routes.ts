import { Hono, type MiddlewareHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import * as v from 'valibot';
import type { DeliveryCommands } from '../../edge-functions/store/edge-store.ts';
import { StoreError } from '../../edge-functions/store/key-value-store.ts';
import { parseBody } from './body.ts';

type CallerEnv = { Variables: { caller: { subject: string; roles: string[] } } };

/** What the delivery routes are made of. */
export interface DeliveryOptions {
  /** Middleware that lets only callers with the role through. */
  authorize: (role: 'security') => MiddlewareHandler<CallerEnv>;
  store: DeliveryCommands;
  /** Told who changed what: a mode can open everything. */
  report: (line: string) => void;
}

const Time = v.pipe(v.number(), v.integer(), v.minValue(0));
/** Body of `PUT /v1/edge/modes`. */
export const ModeRequest = v.strictObject({
  prefix: v.pipe(v.string(), v.maxLength(256)),
  mode: v.nullable(v.picklist(['off', 'log', 'enforce'])),
});
/** Body of `PUT /v1/assets/{id}/blocks`. */
export const BlocksRequest = v.strictObject({
  blocks: v.array(
    v.pipe(
      v.strictObject({
        from: v.optional(Time),
        until: v.optional(Time),
        countries: v.optional(v.pipe(v.array(v.pipe(v.string(), v.regex(/^[A-Z]{2}$/))), v.minLength(1))),
      }),
      v.check(({ from = 0, until = Number.POSITIVE_INFINITY }) => from < until, 'must begin before it ends'),
    ),
  ),
});

/** `GET` and `PUT /v1/edge/modes`, `GET /v1/edge/blocks`, `PUT /v1/assets/{id}/blocks`: what the edge does without a new deployment. */
export function deliveryRoutes({ authorize, store, report }: DeliveryOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();
  const modes = async () => ({ modes: (await store.modes()).map(([prefix, mode]) => ({ prefix, mode })) });

  app.get('/v1/edge/modes', authorize('security'), async (c) => c.json(await modes()));

  app.put('/v1/edge/modes', authorize('security'), async (c) => {
    const { prefix, mode } = parseBody(ModeRequest, await c.req.text());
    await refuseAsProblem(store.setMode(prefix, mode));
    report(`${c.get('caller').subject} set the mode below ${prefix} to ${mode ?? 'the one built in'}`);
    return c.json(await modes());
  });

  app.get('/v1/edge/blocks', authorize('security'), async (c) => {
    const blocked = await store.blockedAssets();
    return c.json({ assets: [...blocked].map(([asset, blocks]) => ({ asset, blocks })) });
  });

  app.put('/v1/assets/:id/blocks', authorize('security'), async (c) => {
    const asset = c.req.param('id');
    const { blocks } = parseBody(BlocksRequest, await c.req.text());
    await refuseAsProblem(store.blockAsset(asset, blocks));
    report(`${c.get('caller').subject} set the blocks of ${JSON.stringify(asset)} to ${JSON.stringify(blocks)}`);
    return c.json({ asset, blocks });
  });

  return app;
}

/** Turns what the store cannot take into 422: a prefix that matches nothing, more rules or blocks than an entry holds. */
async function refuseAsProblem(command: Promise<void>): Promise<void> {
  await command.catch((error: Error) => {
    if (!(error instanceof StoreError)) throw error;
    throw new HTTPException(422, { message: error.message, cause: { code: error.code } });
  });
}
