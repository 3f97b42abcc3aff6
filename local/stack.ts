import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { getRequestListener } from '@hono/node-server';
import { createApi } from '../api/api.ts';
import { sessionsEnd } from '../api/sessions-end.ts';
import { unenforcedPrefixes } from '../api/unenforced.ts';
import { composeVending, refusalsOfSessions, VENDING_TABLES } from '../api/vending.ts';
import { type EdgeManifest, edgeManifest } from '../edge-functions/build/manifest.ts';
import { type EdgeSettings, tokenPrefix } from '../edge-functions/build/settings.ts';
import { loadFunction } from '../edge-functions/runtime/vm.ts';
import { EdgeStore } from '../edge-functions/store/edge-store.ts';
import { FileKeyValueStore } from '../edge-functions/store/file.ts';
import type { MasteringSettings } from '../enclave-render/settings.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../revocation/list/dynamodb.ts';
import { edgePublisher } from '../revocation/publish/edge-store.ts';
import { keepPublished } from '../revocation/publish/publication.ts';
import type { RevocationSettings } from '../revocation/settings.ts';
import { dynamoDbSuspiciousSessions } from '../revocation/suspicious/dynamodb.ts';
import { bearerAuthorization } from '../token-api/http/authorize.ts';
import type { ApiSettings } from '../token-api/http/settings.ts';
import { ANSWERS_TABLE, dynamoDbAnswers } from '../token-api/idempotency/dynamodb.ts';
import type { KeySettings } from '../token-api/key-ring/settings.ts';
import { dynamoDbRequestCounts, REQUEST_COUNTS_TABLE } from '../token-api/rate-limits/dynamodb.ts';
import type { Session, Sessions } from '../token-api/sessions/sessions.ts';
import { powertoolsTelemetry } from '../token-api/telemetry/powertools.ts';
import { createConsole } from './console.ts';
import { type DataDirectory, openDataDirectory, STACK_FILE } from './data-directory.ts';
import { Decisions } from './decisions.ts';
import { DETECTION_TABLES, openDetection } from './detection.ts';
import { startDynamoDb } from './dynamodb.ts';
import { AccessLog } from './edge/access-log.ts';
import { compileRuleGroup } from './edge/rule-group.ts';
import { createEdge } from './edge/server.ts';
import { DEFAULT_VIEWERS, parseViewers } from './edge/viewers.ts';
import { StackError } from './errors.ts';
import { BEARER_SECONDS, ISSUER, openIssuer } from './issuer.ts';
import { openKeyRing } from './key-ring.ts';
import { type OpenPort, openPort } from './listen.ts';
import { openLogFile } from './log-file.ts';
import { createOrigin } from './origin.ts';
import { packagePath } from './package-root.ts';
import { openTitles } from './served-titles.ts';
import { openSessionRules } from './session-rules.ts';
import { addTitles } from './titles.ts';

/** How to run a stack. */
export interface StackOptions {
  /** Where its state is kept; a temporary folder that goes with the stack when undefined. */
  data: string | undefined;
  /** Port of the edge; API and console take the next two. 0: any free ports. */
  port: number;
  /** What the edge function is built with. */
  settings: EdgeSettings;
  keys: KeySettings;
  /** How the API behaves. */
  api: ApiSettings;
  /** How leaking sessions are found, and where revocations are published besides the edge store. */
  revocation: RevocationSettings;
  /** The KMS that masters and content keys are encrypted with. */
  mastering: MasteringSettings;
  /** Whether the title is rendered in an enclave before it is mastered and packaged. */
  isRendered: boolean;
  /** Told what is going on, a line at a time. */
  report: (line: string) => void;
}

/** A stack that is up. */
export interface Stack {
  edge: string;
  api: string;
  /** URL of the console page, with its key in the fragment. */
  console: string;
  /** File (mode 0600) with a bearer token for each role. */
  tokenFile: string;
  close(): Promise<void>;
}

/** How often the sighting of one session is written down at most, in seconds. */
const SEEN_EVERY_SECONDS = 5;

const now = () => Math.floor(Date.now() / 1000);

/**
 * Brings up the delivery edge, the API, an origin with two titles and the console on loopback. Throws `StackError`,
 * `KeyRingError` or `StoreError` when it cannot, and leaves nothing running.
 */
export async function startStack({
  data: path,
  port,
  settings,
  keys,
  api: apiSettings,
  revocation,
  mastering,
  isRendered,
  report,
}: StackOptions): Promise<Stack> {
  const closers: (() => Promise<unknown>)[] = [];
  const openPorts: OpenPort[] = [];
  // Ports first, so that nobody asks a half-closed stack; then in reverse, because what was started last may still use
  // what was started first.
  const close = async () => {
    for (const opened of openPorts.splice(0)) await opened.close();
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const built = await builtFunction(settings);
    const { maxTokenLifetimeSeconds, leewaySeconds } = settings;
    const revocationSeconds = maxTokenLifetimeSeconds + leewaySeconds;
    const data = await openDataDirectory(path);
    closers.push(() => data.close());

    const take = async (wanted: number) => {
      const opened = await openPort(wanted);
      openPorts.push(opened);
      return opened;
    };
    const edgePort = await take(port);
    const apiPort = await take(port && port + 1);
    const consolePort = await take(port && port + 2);
    const originPort = await take(0);

    await mkdir(data.path('logs'), { recursive: true });
    const apiLog = openLogFile('log of the API', data.path('logs/api.log'), report);
    closers.push(() => apiLog.close());
    const telemetry = powertoolsTelemetry(apiLog.write);

    const keyValueStore = await FileKeyValueStore.open(data.path('edge-store.json'));
    const edgeStore = new EdgeStore(keyValueStore);
    const keyRingOptions = { edgeStore, edgeUrl: edgePort.url, settings, keys, telemetry, now, report };
    const keyRing = await openKeyRing(data, keyRingOptions);
    closers.push(() => keyRing.close());

    const tables = [...VENDING_TABLES, ...REVOCATION_TABLES, ...DETECTION_TABLES, REQUEST_COUNTS_TABLE, ANSWERS_TABLE];
    const dynamoDb = await startDynamoDb(data, tables);
    closers.push(() => dynamoDb.close());
    const list = dynamoDbRevocationList(dynamoDb.client);
    const publisher = edgePublisher(list, edgeStore, now);
    await publisher.reconcile();
    const { waf } = revocation;
    const sessionRules = waf.publish ? await openSessionRules(data, list, settings, waf, now) : undefined;
    await sessionRules?.publisher.reconcile();
    const publication = keepPublished(
      [
        { name: 'edge store', publisher },
        ...(sessionRules ? [{ name: 'WAF rule group', publisher: sessionRules.publisher }] : []),
      ],
      report,
      (target, omitted) => telemetry.metric('RevocationsOmitted', omitted, { target }),
    );
    closers.push(() => publication.close());

    const log = new AccessLog(data.path('logs/access.log'), report);
    closers.push(() => log.close());
    const suspicious = dynamoDbSuspiciousSessions(dynamoDb.client);
    const { detection, close: closeDetection } = await openDetection({
      client: dynamoDb.client,
      settings: revocation.detection,
      tokenPrefix: tokenPrefix(settings),
      folder: data.path('logs'),
      log,
      suspicious,
      list,
      publish: (ids) => publication.publish(ids.map((id) => ({ kind: 'session', id }))),
      revocationSeconds,
      now,
      report,
      metric: (name, value) => telemetry.metric(name, value),
    });
    closers.push(closeDetection);

    // Before the title, which may take minutes to render: what is damaged is said at once.
    const issuer = await openIssuer(data);
    const ownRules = compileRuleGroup(await readOrCreate(data, 'rule-group.json', []));
    const viewers = parseViewers(await readOrCreate(data, 'viewers.json', DEFAULT_VIEWERS));

    const originSecret = randomBytes(32).toString('base64url');
    const { chain, titleFolder, keyServer } = await openTitles(data, mastering, isRendered, now, report);
    originPort.serve(createOrigin({ titleFolder, keyServer, originSecret }));

    const decisions = new Decisions();
    const vending = composeVending({
      client: dynamoDb.client,
      settings,
      api: apiSettings,
      keyRing: keyRing.cached,
      edgeUrl: edgePort.url,
      originSecrets: () => [originSecret],
      list,
      edgeStore,
      now,
    });
    await addTitles(vending);
    const consoleOrigins = [consolePort.url, consolePort.url.replace('127.0.0.1', 'localhost')];
    const api = createApi({
      settings: { ...apiSettings, allowedOrigins: [...consoleOrigins, ...apiSettings.allowedOrigins] },
      authorize: bearerAuthorization(issuer.keys, ISSUER),
      vending,
      revocation: {
        list,
        publication,
        unenforced: unenforcedPrefixes({
          edgeStore,
          mode: settings.mode,
          assets: vending.assets,
          sessions: vending.sessions,
        }),
        revocationSeconds,
        now,
      },
      decisions: { decisions },
      detection: { suspicious, list, detection, refusalsOf: refusalsOfSessions(vending), report, now },
      delivery: { store: edgeStore, report },
      keys: {
        store: keyRing.store,
        rotation: keyRing.rotation,
        times: keyRing.times,
        // Within the leeway an expired token can still be renewed.
        sessionsWithKey: (kid) => vending.sessions.withKey(kid, now() - leewaySeconds),
        endSessions: sessionsEnd({ list, publication, revocationSeconds, now }),
        onChange: () => keyRing.cached.refresh(),
        report,
        now,
      },
      counts: dynamoDbRequestCounts(dynamoDb.client),
      answers: dynamoDbAnswers(dynamoDb.client),
      telemetry,
      report: (error, requestId = '') => report(`error in the API ${requestId}: ${error.stack}`),
      now,
    });
    apiPort.serve(getRequestListener(api.fetch));

    const edge = createEdge({
      viewerRequest: loadFunction(built.code, now, (key) => keyValueStore.get(key)),
      ruleGroup: (request) => sessionRules?.ruleGroup(request) ?? ownRules(request),
      viewers,
      tokenPrefix: tokenPrefix(settings),
      generatedHeaders: built.manifest.generatedHeaders,
      apiUrl: apiPort.url,
      originUrl: originPort.url,
      originSecret,
      log,
      onDecision: (decision) => decisions.record(decision),
      onSeen: sightings(vending.sessions, report),
    });
    closers.push(() => edge.close());
    edgePort.serve(edge.listener);

    const consoleKey = randomBytes(16).toString('base64url');
    const consoleSession = async () => ({ edge: edgePort.url, api: apiPort.url, tokens: await issuer.tokens(), chain });
    consolePort.serve(createConsole(packagePath('dist', 'console'), consoleKey, consoleSession));

    const tokenFile = data.path('tokens.json');
    const writeTokens = async () => data.write('tokens.json', await issuer.tokens());
    await writeTokens();
    const renewing = setInterval(
      () => {
        writeTokens().catch((error: Error) => report(`the bearer tokens were not renewed: ${error.message}`));
      },
      (BEARER_SECONDS * 1000) / 2,
    );
    closers.push(async () => clearInterval(renewing));
    await data.write(STACK_FILE, { edge: edgePort.url, api: apiPort.url, tokenFile, keyTimes: keyRing.times });
    // Whoever has the port next must not be sent a bearer token.
    closers.push(() => rm(data.path(STACK_FILE), { force: true }));

    const consoleUrl = `${consolePort.url}/#key=${consoleKey}`;
    return { edge: edgePort.url, api: apiPort.url, console: consoleUrl, tokenFile, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The function for these settings with its manifest: the one that was shipped when they are its own. Throws `ERR_STACK_NOT_BUILT`. */
async function builtFunction(settings: EdgeSettings): Promise<{ code: string; manifest: EdgeManifest }> {
  const file = packagePath('dist', 'edge', 'viewer-request.js');
  if (!existsSync(file)) throw new StackError('ERR_STACK_NOT_BUILT', 'nothing is built yet; run: npm run build');
  const manifest = JSON.parse(await readFile(packagePath('dist', 'edge', 'manifest.json'), 'utf8')) as EdgeManifest;
  if (isDeepStrictEqual(manifest.settings, settings)) return { code: await readFile(file, 'utf8'), manifest };
  // Only here: with the settings that it was shipped with, the stack starts without rollup and terser.
  const { buildEdgeFunction } = await import('../edge-functions/build/bundle.ts');
  const built = await buildEdgeFunction(
    packagePath('dist', 'lib', 'edge-functions', 'viewer-request'),
    'store',
    settings,
  );
  return { code: built.code, manifest: edgeManifest({ 'viewer-request.js': built }, settings) };
}

/** Content of a settings file of the stack, written with its default at first start. */
async function readOrCreate(data: DataDirectory, name: string, initial: unknown): Promise<unknown> {
  const content = await data.read(name);
  if (content !== undefined) return content;
  await data.write(name, initial);
  return initial;
}

/** Writes down when the edge sees a session, for each session every few seconds: a player asks many times a second. */
function sightings(sessions: Sessions, report: (line: string) => void): (session: Session, seenAt: number) => void {
  const lastWritten = new Map<string, number>();
  return (session, seenAt) => {
    if (seenAt - (lastWritten.get(session.sessionId) ?? 0) < SEEN_EVERY_SECONDS) return;
    lastWritten.set(session.sessionId, seenAt);
    for (const [id, at] of lastWritten) if (seenAt - at > SEEN_EVERY_SECONDS) lastWritten.delete(id);
    sessions.seen(session, seenAt).catch((error: Error) => report(`a sighting was not recorded: ${error.message}`));
  };
}
