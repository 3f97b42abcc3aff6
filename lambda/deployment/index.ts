import { setTimeout as sleep } from 'node:timers/promises';
import type { CloudFormationCustomResourceEvent, Context } from 'aws-lambda';
import * as v from 'valibot';
import { tokenPrefix } from '../../edge-functions/build/settings.ts';
import { cloudFrontClient } from '../../edge-functions/measure/cloudfront.ts';
import type { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { readKeys } from '../../edge-functions/store/keys-line.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import { edgePublisher } from '../../revocation/publish/edge-store.ts';
import { ruleGroupPublisher } from '../../revocation/publish/rule-group-publisher.ts';
import { ruleGroupName } from '../../revocation/publish/settings.ts';
import { type FoundRuleGroup, findRuleGroup, wafClient, wafRuleGroup } from '../../revocation/publish/waf.ts';
import { RevocationSettingsSchema } from '../../revocation/settings.ts';
import { probeEvents } from '../../token-api/key-ring/probe.ts';
import { secretsManagerClient } from '../../token-api/key-ring/secrets-manager.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { now, openEdgeStore, openRotation, rotationSettings } from '../rotation.ts';
import { readSettings } from '../settings.ts';
import { deleteEmbeddedFunction, makeEmbeddedFunction } from './cloudfront.ts';
import { answerCustomResource, type CustomResourceType } from './custom-resource.ts';
import { DeploymentError } from './deployment-error.ts';
import { bootstrapKeyRing } from './key-ring.ts';
import { parameterClient, removeRuleGroupArn, writeRuleGroupArn } from './ssm.ts';
import { deleteRuleGroup, earlierRuleGroups, makeRuleGroup } from './waf.ts';

const { edgeStore, revocation, revocations, ...rotating } = readSettings(
  v.strictObject({
    ...rotationSettings,
    /** ARN of the KeyValueStore. */
    edgeStore: v.string(),
    revocation: RevocationSettingsSchema,
    /** Whether there is a revocation list. */
    revocations: v.boolean(),
  }),
);
const { edge, keyRing, publish } = rotating;
const { scope } = revocation.waf;
const secrets = secretsManagerClient();
const functions = cloudFrontClient();
const waf = wafClient(scope);
const parameters = parameterClient();
const list = dynamoDbRevocationList(dynamoDbClient());
const prefix = tokenPrefix(edge);

async function publishKeys(store: EdgeStore): Promise<void> {
  // Where the edge does not enforce, the probe of a rotation proves nothing.
  if (publish.to === 'edge-store' && edge.mode !== 'enforce') await store.setMode(`${prefix}.portcullis/`, 'enforce');
  await bootstrapKeyRing(secrets, keyRing, openRotation(rotating, store), now);
}

/** Makes the rule group what the list says. In the first deployment there is no list yet, and nothing revoked. */
async function publishToRuleGroup({ name, id }: FoundRuleGroup): Promise<void> {
  const group = wafRuleGroup(waf, { name, id, scope });
  const options = { tokenPrefix: prefix, allowedOrigins: edge.allowedOrigins, sleep };
  await ruleGroupPublisher(() => list.active(now()), group, options).reconcile();
}

/** Says which rule groups nobody publishes to any more: CloudFormation asks once to remove one, mostly while it is used. */
async function reportEarlierRuleGroups(): Promise<void> {
  const { waf: settings } = revocation;
  const names = await earlierRuleGroups(waf, scope, settings.publish ? ruleGroupName(settings) : undefined);
  for (const name of names) {
    console.error(`rule group ${name} is of earlier settings: delete it when no web ACL refers to it`);
  }
}

const kept = (what: string) => console.error(`${what} stays: delete it when nothing refers to it`);

const TYPES: Record<string, CustomResourceType> = {
  'Custom::PortcullisKeyRing': {
    async make() {
      await publishKeys(openEdgeStore(edgeStore));
      return { physicalId: keyRing };
    },
    // Whoever deletes the ring ends every session there is: that is done by hand.
    remove: async () => undefined,
  },
  'Custom::PortcullisRuleGroup': {
    async make(properties, before) {
      const group = await makeRuleGroup(waf, ruleGroupOf(properties));
      // Another one has the rules before anything refers to it.
      const isAnother = before === undefined || ruleGroupName(ruleGroupOf(before)) !== group.name;
      if (isAnother && revocations) await publishToRuleGroup(group).catch(unlessNoTable);
      await writeRuleGroupArn(parameters, group.name, group.arn);
      return { physicalId: group.arn };
    },
    async remove(arn) {
      const [, name = ''] = /\/([^/]+)\/[^/]+$/.exec(arn) ?? [];
      // One of another `revocation.waf.name` is out of reach of the role by now.
      const isReached = name.startsWith(`${revocation.waf.name}-`);
      if (!isReached || !(await deleteRuleGroup(waf, arn))) return kept(arn);
      await removeRuleGroupArn(parameters, name);
    },
  },
  'Custom::PortcullisEmbeddedFunction': {
    async make(properties, before) {
      const { Name: name, Code: body } = parsed(EmbeddedFunction, properties);
      const bodyBefore = before && parsed(EmbeddedFunction, before).Code;
      await makeEmbeddedFunction(functions, { name, body, bodyBefore }, (keys) => probeEvents(keys, prefix, now()));
      return { physicalId: name };
    },
    async remove(name) {
      if (!(await deleteEmbeddedFunction(functions, name))) kept(name);
    },
  },
  'Custom::PortcullisReconcile': {
    async make() {
      // Looked at anew: what this function published at the deployment before may be there no more.
      const store = openEdgeStore(edgeStore);
      await publishKeys(store);
      if (revocations) {
        await edgePublisher(list, store, now).reconcile();
        const { waf: settings } = revocation;
        const group = settings.publish ? await findRuleGroup(waf, ruleGroupName(settings), scope) : undefined;
        if (group) await publishToRuleGroup(group);
      }
      await reportEarlierRuleGroups().catch(({ name }: Error) => console.error(`rule groups were not listed: ${name}`));
      return { physicalId: 'portcullis-reconciled' };
    },
    remove: async () => undefined,
  },
};

const EmbeddedFunction = v.object({
  Name: v.string(),
  // A template is no place for keys: those are in the ring, and in the function itself.
  Code: v.pipe(
    v.string(),
    v.check((code) => code.endsWith('\nconst KEYS={};\n') && readKeys(code) !== null, 'a last line without keys'),
    v.transform((code) => readKeys(code)?.body ?? ''),
  ),
});
// CloudFormation makes text of every number.
const RuleGroup = v.object({
  Name: v.string(),
  Scope: v.literal(scope),
  CapacityWcu: v.pipe(v.unknown(), v.transform(Number), v.integer(), v.minValue(1)),
});

function ruleGroupOf(properties: Record<string, unknown>) {
  const { Name: name, Scope, CapacityWcu: capacityWcu } = parsed(RuleGroup, properties);
  return { name, scope: Scope, capacityWcu };
}

function parsed<Schema extends v.GenericSchema>(schema: Schema, properties: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, properties);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const expected = issue.kind === 'schema' ? issue.expected : issue.message;
  const message = `property ${v.getDotPath(issue) ?? ''}: expected ${expected}: deploy templates and functions of one version`;
  throw new DeploymentError('ERR_DEPLOYMENT_PROPERTIES', message);
}

/** The table of the list is made after the rule group. */
function unlessNoTable(error: Error): void {
  if (error.name !== 'ResourceNotFoundException') throw error;
}

/** Makes what has a live state that CloudFormation must not know, and puts right what a deployment may have undone. */
export async function handler(event: CloudFormationCustomResourceEvent, context: Context): Promise<void> {
  await answerCustomResource(event, TYPES, () => context.getRemainingTimeInMillis());
}
