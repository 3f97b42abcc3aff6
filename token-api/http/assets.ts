import { Hono } from 'hono';
import * as v from 'valibot';
import { isUnsafePath } from '../../token/index.ts';
import type { AssetCatalogue } from '../assets/assets.ts';
import { type Vending, VendingError } from '../vending/vending.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { CatalogueId, catalogueIdOf } from './catalogue-id.ts';
import { jsonBody } from './json-body.ts';
import { pageQuery } from './page-query.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the asset routes are made of. */
export interface AssetOptions {
  authorize: Authorize;
  assets: AssetCatalogue;
  vending: Vending;
}

/** Body of `PUT /v1/assets/{id}`; the title is the id unless given. */
export const AssetRequest = v.strictObject({
  title: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(256))),
  path: v.pipe(
    v.string(),
    v.maxLength(1024),
    v.check((path) => !isUnsafePath(path), 'must be an absolute path without dot segments, // or escaped separators'),
  ),
  policy: CatalogueId,
});

/** An asset. */
export const AssetResponse = v.object({ id: v.string(), title: v.string(), path: v.string(), policy: v.string() });

/** Answer of `GET /v1/assets`; `next` is the cursor of the next page, absent on the last. */
export const AssetsResponse = v.object({ assets: v.array(AssetResponse), next: v.optional(v.string()) });

/** `GET /v1/assets`, `GET`, `PUT` and `DELETE /v1/assets/{id}`. */
export function assetRoutes({ authorize, assets, vending }: AssetOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();
  const anyone = authorize('player', 'backend', 'security');
  const unknown = () => new VendingError('ERR_ASSET_UNKNOWN', 'There is no such asset.');

  app.get('/v1/assets', anyone, pageQuery(), async (c) => {
    const { items, next } = await refuseAsProblem(() => assets.page(c.req.valid('query')));
    return c.json({ assets: items, next });
  });

  app.get('/v1/assets/:id', anyone, async (c) => {
    const id = catalogueIdOf(c);
    const asset = await refuseAsProblem(async () => {
      const found = await assets.get(id);
      if (!found) throw unknown();
      return found;
    });
    return c.json(asset);
  });

  app.put('/v1/assets/:id', authorize('backend'), jsonBody(AssetRequest), async (c) => {
    const id = catalogueIdOf(c);
    const { title = id, path, policy } = c.req.valid('json');
    const asset = { id, title, path, policy };
    await refuseAsProblem(() => vending.check(asset));
    const isNew = await assets.put(asset);
    return c.json(asset, isNew ? 201 : 200);
  });

  app.delete('/v1/assets/:id', authorize('backend'), async (c) => {
    const id = catalogueIdOf(c);
    await refuseAsProblem(async () => {
      if (!(await assets.remove(id))) throw unknown();
    });
    return c.body(null, 204);
  });

  return app;
}
