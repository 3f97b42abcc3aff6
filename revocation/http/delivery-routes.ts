import { Hono } from 'hono';
import * as v from 'valibot';
import type { DeliveryCommands } from '../../edge-functions/store/edge-store.ts';
import { parseBody } from './body.ts';
import type { Authorize, CallerEnv } from './caller.ts';
import { problem } from './problem-docs.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the delivery routes are made of. */
export interface DeliveryOptions {
  authorize: Authorize;
  store: DeliveryCommands;
  /** Told who changed what: a mode can open everything. */
  report: (line: string) => void;
}

const Time = v.pipe(v.number(), v.integer(), v.minValue(0));
const Mode = v.picklist(['off', 'log', 'enforce']);
/** Body of `PUT /v1/edge/modes`. */
export const ModeRequest = v.strictObject({
  prefix: v.pipe(v.string(), v.maxLength(256)),
  mode: v.nullable(Mode),
});
/** Answer of `GET` and `PUT /v1/edge/modes`: the modes that are set, the longest prefix first. */
export const ModesResponse = v.object({ modes: v.array(v.object({ prefix: v.string(), mode: Mode })) });

/** Body of `POST /v1/assets/{id}/blocks`; times in seconds since the epoch, countries ISO 3166-1 alpha-2. */
export const BlockRequest = v.pipe(
  v.strictObject({
    from: v.optional(Time),
    until: v.optional(Time),
    countries: v.optional(
      v.pipe(
        v.array(
          v.pipe(
            v.string(),
            v.regex(
              /^(?!UK)[A-Z]{2}$/,
              "must be a country as two capital letters, like 'DE', and 'GB' for the United Kingdom",
            ),
          ),
        ),
        v.minLength(1),
      ),
    ),
  }),
  v.check(({ from = 0, until = Number.POSITIVE_INFINITY }) => from < until, 'must begin before it ends'),
);
/** Body of `PUT /v1/assets/{id}/blocks`. */
export const BlocksRequest = v.strictObject({ blocks: v.array(BlockRequest) });

/** Answer of `POST` and `PUT /v1/assets/{id}/blocks`. */
export const AssetBlocksResponse = v.object({
  asset: v.string(),
  blocks: v.array(
    v.object({ from: v.optional(Time), until: v.optional(Time), countries: v.optional(v.array(v.string())) }),
  ),
});
/** Answer of `GET /v1/edge/blocks`. */
export const BlocksResponse = v.object({ assets: v.array(AssetBlocksResponse) });

/** `GET` and `PUT /v1/edge/modes`, `GET /v1/edge/blocks`, `POST`, `PUT` and `DELETE /v1/assets/{id}/blocks`: what the edge does without a new deployment. */
export function deliveryRoutes({ authorize, store, report }: DeliveryOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();
  const modes = async () => {
    const rules = await refuseAsProblem(store.modes());
    return { modes: rules.map(([prefix, mode]) => ({ prefix, mode })) };
  };

  app.get('/v1/edge/modes', authorize('security'), async (c) => c.json(await modes()));

  app.put('/v1/edge/modes', authorize('security'), async (c) => {
    const { prefix, mode } = parseBody(ModeRequest, await c.req.text());
    await refuseAsProblem(store.setMode(prefix, mode));
    report(`${c.get('caller').subject} set the mode below ${prefix} to ${mode ?? 'the one built in'}`);
    return c.json(await modes());
  });

  app.get('/v1/edge/blocks', authorize('security'), async (c) => {
    const blocked = await refuseAsProblem(store.blockedAssets());
    return c.json({ assets: [...blocked].map(([asset, blocks]) => ({ asset, blocks })) });
  });

  app.post('/v1/assets/:id/blocks', authorize('security'), async (c) => {
    const asset = c.req.param('id');
    const block = parseBody(BlockRequest, await c.req.text());
    const blocks = await refuseAsProblem(store.addBlock(asset, block));
    report(`${c.get('caller').subject} added to the blocks of ${JSON.stringify(asset)}: ${JSON.stringify(block)}`);
    return c.json({ asset, blocks });
  });

  app.delete('/v1/assets/:id/blocks', authorize('security'), async (c) => {
    const asset = c.req.param('id');
    if (!(await refuseAsProblem(store.removeBlocks(asset))))
      throw problem('ERR_NOT_BLOCKED', 'The asset has no blocks.');
    report(`${c.get('caller').subject} took all blocks of ${JSON.stringify(asset)} back`);
    return c.body(null, 204);
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
