import { setTimeout as sleep } from 'node:timers/promises';
import type { Hono } from 'hono';
import { createApi } from '../../api/api.ts';
import { openReportedKeyRing } from '../../api/key-ring.ts';
import { EMBEDDED_KEYS, NO_EDGE_STORE, unenforcedByRuleGroup, withoutProbe } from '../../api/no-edge-store.ts';
import { NO_REVOCATIONS, sessionsEndAtEdge } from '../../api/no-revocations.ts';
import { sessionsEnd } from '../../api/sessions-end.ts';
import { unenforcedPrefixes } from '../../api/unenforced.ts';
import { composeVending, refusalsOfSessions } from '../../api/vending.ts';
import { tokenPrefix } from '../../edge-functions/build/settings.ts';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { modesOf } from '../../edge-functions/store/entries.ts';
import { AwsKeyValueStore, keyValueStoreClient } from '../../edge-functions/store/key-value-store-aws.ts';
import { MODES } from '../../edge-functions/store/names.ts';
import type { ModeRule } from '../../edge-functions/viewer-request/mode.ts';
import { dynamoDbDetectionRuns } from '../../revocation/detect/dynamodb.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import type { Publication } from '../../revocation/publish/publication.ts';
import { queuedPublication, sqsClient } from '../../revocation/publish/sqs.ts';
import { dynamoDbSuspiciousSessions } from '../../revocation/suspicious/dynamodb.ts';
import { dynamoDbAnswers } from '../../token-api/idempotency/dynamodb.ts';
import { edgeStorePublisher, type KeyPublisher } from '../../token-api/key-ring/key-publisher.ts';
import { edgeProbe } from '../../token-api/key-ring/probe.ts';
import { createRotation } from '../../token-api/key-ring/rotation.ts';
import { secretsManagerKeyRing } from '../../token-api/key-ring/secrets-manager.ts';
import { dynamoDbRequestCounts } from '../../token-api/rate-limits/dynamodb.ts';
import { powertoolsTelemetry } from '../../token-api/telemetry/powertools.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { gatewayAuthorization } from './gateway-authorization.ts';
import { secretClient } from './secrets-manager.ts';
import type { ApiHandlerSettings } from './settings.ts';
import { detectionMachine, stepFunctionsClient } from './step-functions.ts';

/** For how long a rotation waits for the edge to know a new key, in seconds: a caller waits 30 at most. */
const PROBE_SECONDS = 15;

const now = () => Math.floor(Date.now() / 1000);

/** The API of a deployment. Rejects with `KeyRingError` when the ring cannot be read, or is not there yet. */
export async function openApi(
  { edge, keys, api, edgeUrl, probeUrl, revocation, ...arns }: ApiHandlerSettings,
  originSecrets: () => readonly string[],
  report: (line: string) => void,
): Promise<Hono> {
  const { maxTokenLifetimeSeconds, leewaySeconds, mode } = edge;
  const client = dynamoDbClient();
  const telemetry = powertoolsTelemetry((line) => process.stdout.write(`${line}\n`));
  const keyValueStore = arns.edgeStore ? new AwsKeyValueStore(keyValueStoreClient(), arns.edgeStore) : undefined;
  const edgeStore = keyValueStore && new EdgeStore(keyValueStore);
  const store = secretsManagerKeyRing(secretClient(arns.keyRing), arns.keyRing);
  const keyRing = await openReportedKeyRing({ store, keys, telemetry, now, report });
  const list = revocation && dynamoDbRevocationList(client);
  const vending = composeVending({
    ...{ client, settings: edge, api, keyRing, edgeUrl, originSecrets, now },
    list: list ?? NO_REVOCATIONS,
    // Asset blocks are left to the edge: a call of the store costs as much as ten thousand invocations of the function.
    edgeStore: NO_EDGE_STORE,
  });
  const { assets, sessions } = vending;
  const revoking = list && {
    list,
    publication: reported(queuedPublication(sqsClient(), revocation.publications), report),
    revocationSeconds: maxTokenLifetimeSeconds + leewaySeconds,
    now,
  };
  const times = { ...keys, maxTokenLifetimeSeconds, leewaySeconds };
  const probing = {
    edgeUrl: probeUrl ?? edgeUrl,
    tokenPrefix: tokenPrefix(edge),
    patienceSeconds: PROBE_SECONDS,
    now,
    sleep,
  };
  const rotating = (publisher: KeyPublisher) => {
    const rotation = createRotation({ store, publisher, probe: edgeProbe(probing), times, now });
    return probeUrl === undefined ? withoutProbe(rotation) : rotation;
  };
  const changes = edgeStore
    ? {
        rotation: rotating(edgeStorePublisher(edgeStore)),
        endSessions: revoking ? sessionsEnd(revoking) : sessionsEndAtEdge(edgeStore),
      }
    : EMBEDDED_KEYS;
  return createApi({
    settings: api,
    authorize: gatewayAuthorization,
    vending,
    keys: {
      ...{ ...changes, store, times, report, now },
      // Within the leeway an expired token can still be renewed.
      sessionsWithKey: (kid) => sessions.withKey(kid, now() - leewaySeconds),
      onChange: () => keyRing.refresh(),
    },
    revocation: revoking && {
      ...revoking,
      unenforced: keyValueStore
        ? unenforcedPrefixes({ edgeStore: { modes: () => modesIn(keyValueStore) }, mode, assets, sessions })
        : unenforcedByRuleGroup,
    },
    detection: list && {
      ...{ list, report, now, refusalsOf: refusalsOfSessions(vending), suspicious: dynamoDbSuspiciousSessions(client) },
      detection: detectionMachine(
        stepFunctionsClient(),
        revocation.detectionMachine,
        revocation.mode,
        dynamoDbDetectionRuns(client),
        now,
      ),
    },
    delivery: list && edgeStore ? { store: edgeStore, report } : undefined,
    counts: dynamoDbRequestCounts(client),
    answers: dynamoDbAnswers(client),
    telemetry,
    report: (error, requestId = '') => report(`error in the API ${requestId}: ${error.stack}`),
    now,
  });
}

/** The modes, of their own entry: to list the store takes a call for every fifty sessions that are revoked. */
async function modesIn(store: AwsKeyValueStore): Promise<ModeRule[]> {
  return modesOf(new Map([[MODES, (await store.get(MODES)) ?? '[]']]));
}

/** A publication that says what went wrong. The reconciler looks at the whole list by the clock, and so makes up for it. */
function reported({ publish }: Publication, report: (line: string) => void): Publication {
  return {
    publish: (changed) =>
      publish(changed).catch((error: Error) => {
        report(`${changed.length} revocations were not queued, and wait for the next reconciliation: ${error.name}`);
        throw error;
      }),
  };
}
