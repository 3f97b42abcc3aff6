import { Hono } from 'hono';
import * as v from 'valibot';
import type { AssetCatalogue } from '../assets/assets.ts';
import { loadPolicy } from '../minting/loaded-policy.ts';
import { MintingError, type Policy, PolicySchema } from '../minting/policy.ts';
import type { PolicyCatalogue } from '../policies/policies.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { catalogueIdOf } from './catalogue-id.ts';
import { jsonBody } from './json-body.ts';
import { pageQuery } from './page-query.ts';
import { problem } from './problem-docs.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the policy routes are made of. */
export interface PolicyOptions {
  authorize: Authorize;
  policies: PolicyCatalogue;
  assets: AssetCatalogue;
  /** Largest lifetime of a token that may be minted, in seconds. */
  maxLifetimeSeconds: number;
}

/** Body of `PUT /v1/policies/{id}`: any object here, because the policy's own check names the mistake more closely. */
export const PolicyRequest = v.record(v.string(), v.unknown());

/** A policy by id. */
export const PolicyResponse = v.object({ id: v.string(), policy: PolicySchema });

/** Answer of `GET /v1/policies`; `next` is the cursor of the next page, absent on the last. */
export const PoliciesResponse = v.object({ policies: v.array(PolicyResponse), next: v.optional(v.string()) });

/** Assets that are named when a policy cannot be deleted for them. */
const NAMED = 10;

/** `GET /v1/policies`, `GET`, `PUT` and `DELETE /v1/policies/{id}`. */
export function policyRoutes({ authorize, policies, assets, maxLifetimeSeconds }: PolicyOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();
  const reader = authorize('backend', 'security');

  app.get('/v1/policies', reader, pageQuery(), async (c) => {
    const { items, next } = await refuseAsProblem(() => policies.page(c.req.valid('query')));
    return c.json({ policies: items, next });
  });

  app.get('/v1/policies/:id', reader, async (c) => {
    const id = catalogueIdOf(c);
    const policy = await policies.get(id);
    if (!policy) throw unknown();
    return c.json({ id, policy });
  });

  app.put('/v1/policies/:id', authorize('backend'), jsonBody(PolicyRequest), async (c) => {
    const id = catalogueIdOf(c);
    const policy = await refuseAsProblem(() => sharedPolicy(c.req.valid('json'), maxLifetimeSeconds));
    const isNew = await policies.put({ id, policy });
    return c.json({ id, policy }, isNew ? 201 : 200);
  });

  app.delete('/v1/policies/:id', authorize('backend'), async (c) => {
    const id = catalogueIdOf(c);
    const users = await assets.withPolicy(id, NAMED + 1);
    if (users.length > 0) {
      const named = users.slice(0, NAMED).join(', ') + (users.length > NAMED ? ' and others' : '');
      const message = `Assets refer to the policy: ${named}. Give them another or delete them first.`;
      throw problem('ERR_POLICY_IN_USE', message);
    }
    if (!(await policies.remove(id))) throw unknown();
    return c.body(null, 204);
  });

  return app;
}

/** 404: the policy is what was asked for, not what an asset refers to. */
const unknown = () => problem('ERR_POLICY_UNKNOWN', 'There is no such policy.', { status: 404 });

/** Checks a policy that is stored for any asset. Throws `MintingError`. */
function sharedPolicy(input: unknown, maxLifetimeSeconds: number): Policy {
  const { policy } = loadPolicy(input, { maxLifetimeSeconds });
  if (policy.asset !== undefined) {
    const message = 'policy: asset: leave it out; the asset id of a token is that of the catalogue';
    throw new MintingError('ERR_POLICY_ASSET', message);
  }
  return policy;
}
