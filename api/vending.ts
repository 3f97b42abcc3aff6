import type { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { type EdgeSettings, tokenPrefix } from '../edge-functions/build/settings.ts';
import type { DeliveryCommands } from '../edge-functions/store/edge-store.ts';
import type { RevocationList } from '../revocation/list/revocation-list.ts';
import { ASSETS_TABLE, dynamoDbAssets } from '../token-api/assets/dynamodb.ts';
import { dynamoDbConcurrencyLimit, SUBJECTS_TABLE } from '../token-api/concurrency/dynamodb.ts';
import type { VendingRoutesOptions } from '../token-api/http/routes.ts';
import type { ApiSettings } from '../token-api/http/settings.ts';
import type { CachedKeyRing } from '../token-api/key-ring/cached-key-ring.ts';
import { createMinter } from '../token-api/minting/minter.ts';
import { createRenewer } from '../token-api/minting/renewal.ts';
import { dynamoDbPolicies, POLICIES_TABLE } from '../token-api/policies/dynamodb.ts';
import { dynamoDbSessions, SESSIONS_TABLE } from '../token-api/sessions/dynamodb.ts';
import { createVending, type Refusal } from '../token-api/vending/vending.ts';
import { listedRefusals, refusalOf } from './refusals.ts';

/** The tables of the vending side. */
export const VENDING_TABLES = [SESSIONS_TABLE, ASSETS_TABLE, POLICIES_TABLE, SUBJECTS_TABLE];

/** What the vending side is put together from. */
export interface VendingParts {
  client: DynamoDBDocumentClient;
  settings: EdgeSettings;
  api: ApiSettings;
  keyRing: CachedKeyRing;
  edgeUrl: string;
  /** The secrets that prove at this moment that a request came through the edge: two while it rotates. */
  originSecrets: () => readonly string[];
  list: Pick<RevocationList, 'holding' | 'revoked'>;
  edgeStore: Pick<DeliveryCommands, 'blockedAssets'>;
  now: () => number;
}

/** Puts the vending side together. */
export function composeVending(parts: VendingParts): Omit<VendingRoutesOptions, 'authorize'> {
  const { client, settings, api, keyRing, edgeUrl, originSecrets, list, now } = parts;
  const key = () => keyRing.mintingKey();
  const { maxTokenLifetimeSeconds, leewaySeconds } = settings;
  const { maxSessionSeconds, sessionsPerSubject, handoffSeconds } = api;
  const maxPolicySeconds = Math.min(maxTokenLifetimeSeconds, maxSessionSeconds);
  const prefix = tokenPrefix(settings);
  const assets = dynamoDbAssets(client);
  const policies = dynamoDbPolicies(client);
  const sessions = dynamoDbSessions(client);
  const revokedSessions = (ids: string[]) => list.revoked('session', ids, now());
  const vending = createVending({
    assets,
    policies,
    sessions,
    concurrency: dynamoDbConcurrencyLimit(client, sessionsPerSubject, revokedSessions),
    minter: createMinter({ key, maxLifetimeSeconds: maxPolicySeconds, tokenPrefix: prefix, now }),
    renewer: createRenewer({
      key,
      verificationKey: (kid) => keyRing.verificationKey(kid),
      maxLifetimeSeconds: maxTokenLifetimeSeconds,
      leewaySeconds,
      maxSessionSeconds,
      handoffSeconds,
      tokenPrefix: prefix,
      now,
    }),
    ready: () => keyRing.ready(),
    refreshKeys: () => keyRing.refresh(),
    edgeUrl,
    tokenPrefix: prefix,
    refusalOf: refusalOf(list, parts.edgeStore, now),
    now,
  });
  return {
    vending,
    assets,
    policies,
    sessions,
    originSecrets,
    listedRefusals: (listed) => listedRefusals(list, listed, now()),
    maxLifetimeSeconds: maxPolicySeconds,
    now,
  };
}

/** Why those of these sessions get no later token that the revocation list is against; of one that was vended elsewhere nothing is known. */
export function refusalsOfSessions({
  sessions,
  listedRefusals,
}: Pick<VendingRoutesOptions, 'sessions' | 'listedRefusals'>): (sessionIds: string[]) => Promise<Map<string, Refusal>> {
  return async (sessionIds) => {
    const known = await Promise.all(sessionIds.map((id) => sessions.get(id)));
    return listedRefusals(known.filter((session) => session !== undefined));
  };
}
