import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  CreateSecretCommand,
  DeleteSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager';
import { GetParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { DeleteRuleGroupCommand, GetRuleGroupCommand, ListRuleGroupsCommand, WAFV2Client } from '@aws-sdk/client-wafv2';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { FileKeyValueStore } from '../../edge-functions/store/file.ts';
import { readKeys } from '../../edge-functions/store/keys-line.ts';
import { HANDLERS } from '../../lambda/handlers.ts';
import { TABLES } from '../../lambda/tables.ts';
import { type DataDirectory, openDataDirectory } from '../../local/data-directory.ts';
import { type LocalDynamoDb, startDynamoDb } from '../../local/dynamodb.ts';
import { packagePath } from '../../local/package-root.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import type { RevocationList } from '../../revocation/list/revocation-list.ts';
import { edgePublisher } from '../../revocation/publish/edge-store.ts';
import { ruleGroupPublisher } from '../../revocation/publish/rule-group-publisher.ts';
import { wafRuleGroup } from '../../revocation/publish/waf.ts';
import { mint } from '../../token/index.ts';
import { type KeyRing, mintingKey, parseKeyRing } from '../../token-api/key-ring/key-ring.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { sessionIds } from '../../token-api/minting/session-id.ts';
import {
  type CloudFormation,
  type CustomResource,
  type CustomResourceAnswer,
  startCloudFormation,
} from '../harness/cloudformation.ts';
import { CloudFrontFunctions } from '../harness/cloudfront-functions.ts';
import { EDGE_DEFAULTS, edgeFunction, outcomeOf, PATH, viewerRequest } from '../harness/edge.ts';
import { type RunningLambda, startLambda } from '../harness/lambda.ts';
import { TEST_CLAIMS, TEST_VIEWING } from '../harness/minting.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { type AwsEndpoint, permissionsFor, type SentCommand, startAwsEndpoint } from '../harness/sdk-commands.ts';

const EDGE_STORE = 'arn:aws:cloudfront::123456789012:key-value-store/54947df8-0e9e-4471-a2f9-9af509fb5889';
const EMBEDDED = 'portcullis-viewer-request-embedded';
const STORED = 'portcullis-viewer-request';
const GROUP = 'portcullis-revoked-sessions';
const CAPACITY = 300;
const LONG = process.env.PORTCULLIS_LONG_TESTS === '1';

const ruleGroupParameter = (group: string) => `/portcullis/rule-group/${group}`;
const now = () => Math.floor(Date.now() / 1000);
const moto = useMoto();

/** What the two handlers sent, in all tests. */
const sent: Record<'deployment' | 'key-rotation', SentCommand[]> = { deployment: [], 'key-rotation': [] };

describe.skipIf(!HAS_MOTO).each(['edge-store', 'function'] as const)(
  `a deployment over live state, keys at the %s${HAS_MOTO ? '' : ' (needs moto_server, which is not installed)'}`,
  (at) => {
    const secretName = `portcullis/key-ring-${at}`;
    let data: DataDirectory;
    let database: LocalDynamoDb;
    let keyValueStore: FileKeyValueStore;
    let functions: CloudFrontFunctions;
    let endpoints: Record<'deployment' | 'key-rotation', AwsEndpoint>;
    let lambdas: Record<'deployment' | 'key-rotation', RunningLambda>;
    let cloudFormation: CloudFormation;
    let secrets: SecretsManagerClient;
    let waf: WAFV2Client;
    let parameters: SSMClient;
    let list: RevocationList;
    let embeddedBody: string;
    const bodies: string[] = [];

    const resource = (kind: string, properties: object = {}): CustomResource => ({
      type: `Custom::Portcullis${kind}`,
      properties: { Revision: randomUUID(), ...properties },
    });
    const ruleGroup = (CapacityWcu = CAPACITY) =>
      resource('RuleGroup', { Name: `${GROUP}-${at}`, Scope: 'CLOUDFRONT', CapacityWcu: String(CapacityWcu) });
    const embedded = (body = embeddedBody) =>
      resource('EmbeddedFunction', { Name: EMBEDDED, Code: `${body}const KEYS={};\n` });
    const keyRing = () => resource('KeyRing', { SecretId: secretName });
    const reconcile = () => resource('Reconcile');

    /** What a template of this deployment makes, in the order of its dependencies. */
    const template = (body = embeddedBody, capacity = CAPACITY) => [
      ...(at === 'function' ? [embedded(body)] : []),
      keyRing(),
      ruleGroup(capacity),
      reconcile(),
    ];
    const physicalIds = new Map<string, string>();
    let deployed: CustomResource[] = [];

    async function deploy(resources: CustomResource[]): Promise<CustomResourceAnswer[]> {
      const answers: CustomResourceAnswer[] = [];
      for (const each of resources) {
        const before = deployed.find(({ type }) => type === each.type);
        const id = physicalIds.get(each.type);
        const answer =
          before && id !== undefined
            ? await cloudFormation.update(lambdas.deployment, id, each, before)
            : await cloudFormation.create(lambdas.deployment, each);
        answers.push(answer);
        if (answer.Status === 'SUCCESS') physicalIds.set(each.type, answer.PhysicalResourceId);
      }
      deployed = resources;
      return answers;
    }
    const succeeded = (answers: CustomResourceAnswer[]) =>
      expect(answers.map(({ Status, Reason }) => Reason ?? Status)).toEqual(answers.map(() => 'SUCCESS'));

    // moto_server takes the version that was put last for the current one unless told.
    const currentValue = () => new GetSecretValueCommand({ SecretId: secretName, VersionStage: 'AWSCURRENT' });
    async function ring(): Promise<KeyRing> {
      const { SecretString = '' } = await secrets.send(currentValue());
      return parseKeyRing(JSON.parse(SecretString));
    }
    async function group(capacity = CAPACITY) {
      const { RuleGroups = [] } = await waf.send(new ListRuleGroupsCommand({ Scope: 'CLOUDFRONT' }));
      const found = RuleGroups.filter(({ Name }) => Name === `${GROUP}-${at}-${capacity}`);
      expect(found).toHaveLength(1);
      const { Id: id = '', Name: name = '' } = found[0] ?? {};
      return { name, id, scope: 'CLOUDFRONT' as const };
    }
    async function rules(capacity = CAPACITY) {
      const { name, id, scope } = await group(capacity);
      const { RuleGroup } = await waf.send(new GetRuleGroupCommand({ Name: name, Id: id, Scope: scope }));
      return RuleGroup?.Rules ?? [];
    }
    const entries = async () => [...(await keyValueStore.list()).entries].sort();
    const liveKeys = () => readKeys(functions.live(EMBEDDED))?.keys;
    /** All that changes outside of CloudFormation. */
    const liveState = async () => ({
      ring: await ring(),
      rules: await rules(),
      entries: await entries(),
      keys: liveKeys(),
    });

    /** A playback URL's path by the ring as it is now. */
    async function token(sid = sessionIds()(12)): Promise<string> {
      const claims = { ...TEST_CLAIMS, sid, iat: now(), exp: now() + 3600, sst: now() };
      return `/${mint(claims, mintingKey(await ring()), TEST_VIEWING, nodeCrypto)}${PATH}`;
    }
    /** What the function that is LIVE makes of it. */
    async function atTheEdge(uri: string): Promise<string> {
      const code = functions.live(at === 'function' ? EMBEDDED : STORED);
      const store = new Map(await entries());
      const [result] = await runInVm(code, [viewerRequest(uri)], { now: now(), store });
      return outcomeOf(result);
    }

    /** A whole rotation, as Secrets Manager and the schedule call for it, until its key is current. */
    async function rotate(): Promise<void> {
      const run = randomUUID();
      const before = mintingKey(await ring()).kid;
      for (const Step of ['createSecret', 'setSecret', 'testSecret', 'finishSecret']) {
        await lambdas['key-rotation'].invoke({ Step, SecretId: secretName, ClientRequestToken: run });
      }
      for (let i = 0; i < 3 && mintingKey(await ring()).kid === before; i++) {
        await lambdas['key-rotation'].invoke({ source: 'aws.events', 'detail-type': 'Scheduled Event' });
      }
      expect(mintingKey(await ring()).kid).not.toBe(before);
    }

    /** Where nothing is denied a probe proves nothing: it fails, and is counted as an alarm wants it. */
    async function expectFailedProbe(testSecret: () => Promise<unknown>): Promise<void> {
      const failed = () => lambdas['key-rotation'].log().split('"RotationFailed":1').length - 1;
      const before = failed();
      const store = new EdgeStore(keyValueStore);
      await store.setMode('/.portcullis/', 'log');
      await expect(testSecret()).rejects.toThrow('lets a token with a wrong signature through');
      await store.setMode('/.portcullis/', 'enforce');
      expect(failed()).toBe(before + 1);
      expect(lambdas['key-rotation'].log()).toContain('"service":"key-rotation"');
    }

    /** What the reconciler does. */
    async function publishRevocations(): Promise<void> {
      await edgePublisher(list, new EdgeStore(keyValueStore), now).reconcile();
      const options = { tokenPrefix: '/', allowedOrigins: ['*'], sleep: async () => undefined };
      await ruleGroupPublisher(() => list.active(now()), wafRuleGroup(waf, await group()), options).reconcile();
    }
    async function revoke(id: string): Promise<void> {
      await list.add({ kind: 'session', id, source: 'manual', reasons: ['shared'], by: 'a test', revokedAt: now() });
      await publishRevocations();
    }

    beforeAll(async () => {
      data = await openDataDirectory(undefined);
      database = await startDynamoDb(data, TABLES.revocation);
      list = dynamoDbRevocationList(database.client);
      keyValueStore = await FileKeyValueStore.open(data.path('edge-store.json'));
      functions = new CloudFrontFunctions(async () => (await keyValueStore.list()).entries);
      functions.upload(STORED, await edgeFunction('store', {}));
      const built = readFileSync(packagePath('dist', 'edge', 'viewer-request.embedded.js'), 'utf8');
      embeddedBody = readKeys(built)?.body ?? '';
      const access = await moto();
      secrets = new SecretsManagerClient(access);
      waf = new WAFV2Client(access);
      parameters = new SSMClient(access);
      // Without a value, as CloudFormation makes it; or with a placeholder, as people do.
      const placeholder = at === 'function' ? { SecretString: '{"version":1,"keys":[]}' } : {};
      await secrets.send(new CreateSecretCommand({ Name: secretName, ...placeholder }));
      cloudFormation = await startCloudFormation();
      const backends = { dynamoDb: data.path('dynamodb.sock'), keyValueStore, functions, moto: access.endpoint };
      endpoints = { deployment: await startAwsEndpoint(backends), 'key-rotation': await startAwsEndpoint(backends) };
      const rotating = {
        edge: { ...EDGE_DEFAULTS, mode: at === 'edge-store' ? 'log' : 'enforce' },
        keys: { bakeSeconds: 0, refreshSeconds: 60, maxStaleSeconds: 900 },
        keyRing: secretName,
        publish: at === 'function' ? { to: at, name: EMBEDDED } : { to: at, arn: EDGE_STORE },
      };
      const revocation = { waf: { publish: true, name: `${GROUP}-${at}`, capacityWcu: CAPACITY } };
      const deploying = { ...rotating, edgeStore: EDGE_STORE, revocation, revocations: true };
      lambdas = {
        deployment: startLambda('deployment', deploying, endpoints.deployment.url),
        'key-rotation': startLambda('key-rotation', rotating, endpoints['key-rotation'].url),
      };
    });

    beforeEach(() => {
      for (const { before } of Object.values(endpoints)) expect(before({ action: '', resource: '' })).toBeUndefined();
    });

    afterAll(async () => {
      for (const name of ['deployment', 'key-rotation'] as const) {
        sent[name].push(...(endpoints?.[name].sent ?? []));
        const log = lambdas?.[name].log() ?? '';
        for (const { secret } of (await ring()).keys) if (secret !== '') expect(log).not.toContain(secret);
        expect(log).not.toContain(cloudFormation.signature);
        expect(log).not.toContain('const KEYS=');
        lambdas?.[name].stop();
        endpoints?.[name].stop();
      }
      cloudFormation?.close();
      await database?.close();
      await data?.close();
    });

    test('the first breaks off, is rolled back and begun again', async () => {
      for (const each of template()) {
        for (let nth = 0; nth < (LONG ? 30 : 3); nth++) {
          let commands = 0;
          endpoints.deployment.before = () =>
            commands++ < nth ? undefined : commands === nth + 1 ? 'after' : 'before';
          // What a rule group is told is tried again for long.
          if (each.type.endsWith('RuleGroup') && nth === 2 && !LONG) commands = -1000;
          const answer = await cloudFormation.create(lambdas.deployment, each);
          endpoints.deployment.before = () => undefined;
          succeeded([await cloudFormation.remove(lambdas.deployment, answer.PhysicalResourceId, each)]);
          if (answer.Status === 'SUCCESS') break;
        }
      }
    });

    test('the first makes a key ring and publishes it; minting may begin', async () => {
      succeeded(await deploy(template()));
      expect((await ring()).keys.map(({ state }) => state)).toEqual(['current']);
      expect(await atTheEdge(await token())).toBe(`allowed ${PATH}`);
      expect(await rules()).toEqual([]);
      // Where a roll-out denies nothing yet, the probe of a rotation is to be denied all the same.
      const modes = at === 'edge-store' ? [['/.portcullis/', 'enforce']] : [];
      expect(await new EdgeStore(keyValueStore).modes()).toEqual(modes);
    });

    test('Secrets Manager may try the rotation, while there is no edge to ask', async () => {
      const before = await liveState();
      const run = randomUUID();
      const { SecretString } = await secrets.send(currentValue());
      const version = { SecretId: secretName, ClientRequestToken: run, SecretString, VersionStages: ['AWSPENDING'] };
      await secrets.send(new PutSecretValueCommand(version));
      const sentBefore = endpoints['key-rotation'].sent.length;
      await lambdas['key-rotation'].invoke({ Step: 'testSecret', SecretId: secretName, ClientRequestToken: run });
      const commands = endpoints['key-rotation'].sent.slice(sentBefore).map(({ action }) => action);
      expect(commands.filter((action) => !action.startsWith('secretsmanager:'))).toEqual([]);
      const label = { SecretId: secretName, VersionStage: 'AWSPENDING', RemoveFromVersionId: run };
      await secrets.send(new UpdateSecretVersionStageCommand(label));
      expect(await liveState()).toEqual(before);
    });

    test('one over rotated keys, revoked sessions, modes and blocks changes none of them', async () => {
      const [first, revoked] = [await token(), sessionIds()(12)];
      await rotate();
      const second = await token();
      const shared = await token(revoked);
      await revoke(revoked);
      const store = new EdgeStore(keyValueStore);
      await store.setMode('/trailers/', 'log');
      await store.addBlock('borealis', { countries: ['GB'] });
      const before = await liveState();
      expect(before.rules).toHaveLength(1);
      expect(before.ring.keys.filter(({ state }) => state !== 'retired')).toHaveLength(2);

      bodies.push(`${embeddedBody}// the next version\n`);
      succeeded(await deploy(template(bodies[0])));
      expect(await liveState()).toEqual(before);
      if (at === 'function') expect(functions.live(EMBEDDED)).toContain('// the next version\n');
      expect([await atTheEdge(first), await atTheEdge(second)]).toEqual([`allowed ${PATH}`, `allowed ${PATH}`]);
      // The variant with embedded keys knows no revocations: there the rule group alone blocks.
      if (at === 'edge-store') expect(await atTheEdge(shared)).toBe('denied session-revoked');
    });

    test('one puts right what was lost', async () => {
      const before = await liveState();
      const names = before.entries.map(([name]) => name).filter((name) => /^[kr]\//.test(name));
      await keyValueStore.update({ puts: [], deletes: names }, await keyValueStore.etag());
      const { name, id, scope } = await group();
      const emptied = wafRuleGroup(waf, { name, id, scope });
      await emptied.update([], (await emptied.get()).lockToken);
      succeeded(await deploy(template(bodies[0])));
      expect(await liveState()).toEqual(before);
    });

    test('a rotation and a deployment that overlap both take effect', async () => {
      const run = randomUUID();
      const step = (Step: string) =>
        lambdas['key-rotation'].invoke({ Step, SecretId: secretName, ClientRequestToken: run });
      await step('createSecret');
      bodies.push(`${embeddedBody}// another version\n`);
      await Promise.all([
        deploy(template(bodies[1])).then(succeeded),
        step('setSecret').catch(() => step('setSecret')),
      ]);
      succeeded(await deploy(template(bodies[1])));
      await step('setSecret');
      if (at === 'edge-store') await expectFailedProbe(() => step('testSecret'));
      await step('testSecret');
      await step('finishSecret');
      await lambdas['key-rotation'].invoke({});
      expect((await ring()).keys.filter(({ run: by }) => by === run)).toMatchObject([{ state: 'current' }]);
      expect(await atTheEdge(await token())).toBe(`allowed ${PATH}`);
    });

    test.each(LONG ? (['before', 'after'] as const) : (['after'] as const))(
      'one that breaks off %s any of its commands takes nothing, and is rolled back or repeated',
      async (when) => {
        const before = await liveState();
        const uri = await token();
        const present = bodies[1] ?? '';
        const old = template(present);
        const next = `${embeddedBody}// breaks off\n`;
        // What does not depend on where the keys are is broken off once.
        const again = ['RuleGroup', 'Reconcile'].map((kind) => `Custom::Portcullis${kind}`);
        const kinds = old
          .map(({ type }) => type)
          .filter((type) => LONG || at === 'edge-store' || !again.includes(type));
        for (const kind of kinds) {
          const [was, will] = [old, template(next)].map((all) => all.find(({ type }) => type === kind));
          const id = physicalIds.get(kind) ?? '';
          if (!was || !will) throw new Error(kind);
          for (let nth = 0; ; nth += LONG ? 1 : 5) {
            let commands = 0;
            // From there on nothing is heard any more: so it is for one that was killed.
            endpoints.deployment.before = () => (commands++ < nth ? undefined : commands === nth + 1 ? when : 'before');
            const answer = await cloudFormation.update(lambdas.deployment, id, will, was);
            endpoints.deployment.before = () => undefined;
            expect(await atTheEdge(uri)).toBe(`allowed ${PATH}`);
            if (answer.Status === 'SUCCESS') break;
            expect(answer.PhysicalResourceId).toBe(id);
            if (nth % 2 === 0) succeeded([await cloudFormation.update(lambdas.deployment, id, will, was)]);
            succeeded([await cloudFormation.update(lambdas.deployment, id, was, will)]);
            expect(await liveState()).toEqual(before);
            if (at === 'function') expect(readKeys(functions.live(EMBEDDED))?.body).toBe(present);
          }
          succeeded([await cloudFormation.update(lambdas.deployment, id, was, will)]);
        }
        // Nothing that was left half-way keeps keys from being published.
        await rotate();
        expect(await atTheEdge(uri)).toBe(`allowed ${PATH}`);
      },
      LONG ? 600_000 : 120_000,
    );

    test('another capacity is another group, with the rules of the list before anything refers to it', async () => {
      const before = await rules();
      const [answer] = await deploy([ruleGroup(CAPACITY * 2)]);
      succeeded(answer ? [answer] : []);
      // By its name the web ACL finds it.
      const arnOf = async (capacity: number) => {
        const Name = ruleGroupParameter(`${GROUP}-${at}-${capacity}`);
        return (await parameters.send(new GetParameterCommand({ Name }))).Parameter?.Value;
      };
      expect(await arnOf(CAPACITY * 2)).toBe(answer?.PhysicalResourceId);
      expect((await rules(CAPACITY * 2)).map(({ Statement }) => Statement)).toEqual(
        before.map(({ Statement }) => Statement),
      );
      // Rolled back, and the new one removed.
      const abandoned = physicalIds.get('Custom::PortcullisRuleGroup') ?? '';
      const [back] = await deploy([ruleGroup()]);
      expect(back?.PhysicalResourceId).not.toBe(abandoned);
      expect(await rules()).toEqual(before);
      succeeded([await cloudFormation.remove(lambdas.deployment, abandoned, ruleGroup(CAPACITY * 2))]);
      const { RuleGroups = [] } = await waf.send(new ListRuleGroupsCommand({ Scope: 'CLOUDFRONT' }));
      expect(RuleGroups.map(({ ARN }) => ARN)).not.toContain(abandoned);
      await expect(arnOf(CAPACITY * 2)).rejects.toMatchObject({ name: 'ParameterNotFound' });
      expect(await arnOf(CAPACITY)).toBe(physicalIds.get('Custom::PortcullisRuleGroup'));
      expect(await rules()).toEqual(before);
    });

    test('a group of another name stays when its name changes, and each deployment says so until it is deleted', async () => {
      const renamed = `${GROUP}-renamed-${at}`;
      const other = resource('RuleGroup', { Name: renamed, Scope: 'CLOUDFRONT', CapacityWcu: String(CAPACITY) });
      const { PhysicalResourceId: arn } = await cloudFormation.create(lambdas.deployment, other);
      // The role is that of the present name: asked to remove it, the handler sends nothing, and does not fail.
      const from = endpoints.deployment.sent.length;
      succeeded([await cloudFormation.remove(lambdas.deployment, arn, other)]);
      expect(endpoints.deployment.sent.length).toBe(from);
      const says = `rule group ${renamed}-${CAPACITY} is of earlier settings: delete it when no web ACL refers to it`;
      const written = () => lambdas.deployment.log().split(says).length - 1;
      succeeded([await cloudFormation.create(lambdas.deployment, reconcile())]);
      expect(written()).toBe(1);
      expect(lambdas.deployment.log()).not.toContain(`rule group ${(await group()).name} is of earlier`);
      const [, id = ''] = /([^/]+)$/.exec(arn) ?? [];
      const named = { Name: `${renamed}-${CAPACITY}`, Id: id, Scope: 'CLOUDFRONT' } as const;
      const { LockToken } = await waf.send(new GetRuleGroupCommand(named));
      await waf.send(new DeleteRuleGroupCommand({ ...named, LockToken }));
      succeeded([await cloudFormation.create(lambdas.deployment, reconcile())]);
      expect(written()).toBe(1);
    });

    test('keys of another ring are never taken from the edge, nor is a ring made beside them', async () => {
      const before = await liveState();
      const { SecretString = '' } = await secrets.send(currentValue());
      await secrets.send(new DeleteSecretCommand({ SecretId: secretName, ForceDeleteWithoutRecovery: true }));
      await secrets.send(new CreateSecretCommand({ Name: secretName }));
      const answer = await cloudFormation.create(lambdas.deployment, keyRing());
      expect(answer).toMatchObject({ Status: 'FAILED', Reason: expect.stringContaining('ERR_RING_FOREIGN') });
      const { VersionIdsToStages = {} } = await secrets.send(new DescribeSecretCommand({ SecretId: secretName }));
      expect(Object.values(VersionIdsToStages).flat()).not.toContain('AWSCURRENT');
      expect([await entries(), liveKeys()]).toEqual([before.entries, before.keys]);
      // To remove what was not made removes nothing.
      succeeded([await cloudFormation.remove(lambdas.deployment, answer.PhysicalResourceId, keyRing())]);
      await secrets.send(new DeleteSecretCommand({ SecretId: secretName, ForceDeleteWithoutRecovery: true }));
      await secrets.send(new CreateSecretCommand({ Name: secretName, SecretString }));
      succeeded(await deploy(template(bodies[1])));
    });

    test.runIf(at === 'function')('the draft of somebody else is not overwritten, and said', async () => {
      functions.draft(EMBEDDED, `${embeddedBody}// a draft\nconst KEYS={};\n`);
      const answers = await deploy([embedded(`${embeddedBody}// over a draft\n`)]);
      expect(answers).toMatchObject([{ Status: 'FAILED', Reason: expect.stringContaining('ERR_DEPLOYMENT_DRAFT') }]);
      deployed = [embedded(bodies[1])];
      functions.draft(EMBEDDED, functions.live(EMBEDDED));
      succeeded(await deploy([embedded(bodies[1])]));
    });

    test.runIf(at === 'function')('code that denies the tokens of live keys is not published', async () => {
      const live = functions.live(EMBEDDED);
      const broken = 'async function handler(event) { return { statusCode: 403 }; }\n';
      const [answer] = await deploy([embedded(broken)]);
      expect(answer).toMatchObject({ Status: 'FAILED', Reason: expect.stringContaining('ERR_DEPLOYMENT_FUNCTION') });
      expect(functions.live(EMBEDDED)).toBe(live);
      deployed = [embedded(bodies[1])];
      succeeded(await deploy([embedded(bodies[1])]));
    });

    test('what it does not know, or of another version, is refused', async () => {
      const refused = async (each: CustomResource) => (await cloudFormation.create(lambdas.deployment, each)).Reason;
      expect(await refused(resource('Everything'))).toContain('ERR_DEPLOYMENT_PROPERTIES');
      expect(await refused(resource('RuleGroup', { Name: 'x' }))).toContain('ERR_DEPLOYMENT_PROPERTIES');
      const holdsKeys = functions.live(at === 'function' ? EMBEDDED : STORED);
      expect(await refused(resource('EmbeddedFunction', { Name: 'x', Code: holdsKeys }))).toContain('property Code');
    });

    test('another secret than its own is not rotated', async () => {
      const event = { Step: 'createSecret', SecretId: 'another', ClientRequestToken: randomUUID() };
      await expect(lambdas['key-rotation'].invoke(event)).rejects.toThrow('rotates portcullis/key-ring');
    });

    test('to remove all of it leaves the ring, and what is used', async () => {
      const before = await ring();
      functions.associate(EMBEDDED, true);
      for (const each of deployed) {
        const id = physicalIds.get(each.type) ?? '';
        succeeded([await cloudFormation.remove(lambdas.deployment, id, each)]);
      }
      expect(await ring()).toEqual(before);
      if (at === 'edge-store') return;
      expect(functions.has(EMBEDDED)).toBe(true);
      functions.associate(EMBEDDED, false);
      succeeded([await cloudFormation.remove(lambdas.deployment, EMBEDDED, embedded())]);
      succeeded([await cloudFormation.remove(lambdas.deployment, EMBEDDED, embedded())]);
      expect(functions.has(EMBEDDED)).toBe(false);
    });
  },
);

describe.skipIf(!HAS_MOTO)('the handlers', () => {
  const nameOf = (resource: string) => {
    if (resource.startsWith('portcullis/key-ring')) return 'keyRing';
    if (resource.startsWith(GROUP)) return 'ruleGroup';
    if (resource.startsWith(ruleGroupParameter(GROUP))) return 'ruleGroupParameter';
    const names: Record<string, string> = {
      [EDGE_STORE]: 'edgeStore',
      [EMBEDDED]: 'edgeFunction',
      [STORED]: 'viewerRequest',
      'portcullis-revocations': 'table:portcullis-revocations',
      '': '*',
    };
    return names[resource] ?? resource;
  };

  test.each(['deployment', 'key-rotation'] as const)(
    '%s has the permissions of what it sent, and no others',
    (name) => {
      const { keyRingKey, ...direct } = HANDLERS[name].permissions;
      expect(permissionsFor(sent[name], nameOf)).toEqual(direct);
      // Secrets Manager asks KMS in the name of the caller (User Guide, "Secret encryption and decryption").
      expect(keyRingKey).toEqual(['kms:Decrypt', 'kms:GenerateDataKey']);
    },
  );
});
