import type { DistributionConfig } from '@aws-sdk/client-cloudfront';
import type { EdgeFunction } from '../build/bundle.ts';
import { API_PATTERN, type ApiBehaviour, apiObstacle, apiOf } from './api-behaviour.ts';
import { AttachError } from './attach-error.ts';
import {
  type AttachedSettings,
  type Behaviour,
  obstacles,
  remarks,
  type SettingName,
  selected,
  settingsOf,
} from './behaviours.ts';
import type { AttachingCloudFront, LiveFunction, PolicyConfigs, PolicyKind } from './cloudfront.ts';
import { COMPOSED_PREFIX } from './names.ts';
import { splitsCache, withHeaders, withParameters, withReason } from './policies.ts';

/** What is attached, and what it takes. */
export interface Attachment {
  distribution: string;
  /** Path patterns of behaviours; the default one for none. */
  patterns: string[];
  /** Name of our function. */
  functionName: string;
  /** Name of a function that ours takes the place of, instead of running behind it: another validator of tokens. */
  replaces: string | undefined;
  /** Headers that CloudFront must generate for it. */
  generatedHeaders: string[];
  /** The HTTP API, if it is to have a behaviour too: its host, and what it knows the distribution by. */
  api: Pick<ApiBehaviour, 'domainName' | 'secret'> | undefined;
  /** Builds our function behind another (`composeBefore`), of which this is the name and the code. */
  compose(name: string, code: string, ours: string): Promise<EdgeFunction>;
}

/** What would become of a setting; null for nothing there. */
export interface PlannedChange {
  setting: SettingName | 'origin';
  from: string | null;
  to: string;
  /** What a policy gets beside what it has. */
  adds?: string[];
}

/** What would become of a behaviour. */
export interface PlannedBehaviour {
  pattern: string;
  changes: PlannedChange[];
  /** Why nothing can be done. */
  obstacles: string[];
  /** What else people should know. */
  remarks: string[];
}

/** A plan with what it takes to carry it out. */
export interface Prepared extends PlannedBehaviour {
  now: AttachedSettings;
  policies: Partial<PolicyConfigs>;
  /** The function to associate: one that is there, or one to be made. */
  function?: { arn: string } | { name: string; made: Omit<LiveFunction, 'arn'> };
}

/** All that is to be done at a distribution. */
export interface Plan {
  behaviours: Prepared[];
  api?: PlannedBehaviour & { wanted: ApiBehaviour };
}

/** What attaching would change. Reads only. Throws `AttachError`. */
export async function planAttachment(
  cloudFront: AttachingCloudFront,
  attachment: Attachment,
): Promise<PlannedBehaviour[]> {
  const { config } = await cloudFront.distribution(attachment.distribution);
  return shown(await prepare(cloudFront, attachment, config));
}

/** A plan as people and scripts see it; nothing of how it is carried out. */
export function shown({ behaviours, api }: Plan): PlannedBehaviour[] {
  const all = api ? [api, ...behaviours] : behaviours;
  return all.map(({ pattern, changes, obstacles, remarks }) => ({ pattern, changes, obstacles, remarks }));
}

/** Plans what is to be done at a configuration. Reads only. Throws `AttachError`. */
export async function prepare(
  cloudFront: AttachingCloudFront,
  attachment: Attachment,
  config: DistributionConfig,
): Promise<Plan> {
  const ours = await cloudFront.liveFunction(attachment.functionName);
  const behaviours: Prepared[] = [];
  for (const [pattern, behaviour] of selected(config, attachment.patterns)) {
    behaviours.push(await prepareBehaviour(cloudFront, attachment, ours, pattern, behaviour));
  }
  return attachment.api ? { behaviours, api: await prepareApi(cloudFront, attachment.api, config) } : { behaviours };
}

/** The policies come with the deployment, under this name both. */
const API_POLICY = 'portcullis-api';

async function prepareApi(
  cloudFront: AttachingCloudFront,
  api: NonNullable<Attachment['api']>,
  config: DistributionConfig,
): Promise<NonNullable<Plan['api']>> {
  const wanted: ApiBehaviour = {
    ...api,
    cachePolicy: await cloudFront.policyOfName('cachePolicy', API_POLICY),
    originRequestPolicy: await cloudFront.policyOfName('originRequestPolicy', API_POLICY),
  };
  const obstacle = apiObstacle(config);
  const there = apiOf(config, wanted);
  const change: PlannedChange = { setting: 'origin', from: there?.domainName ?? null, to: api.domainName };
  return {
    pattern: API_PATTERN,
    changes: obstacle !== null || there?.isCurrent ? [] : [change],
    obstacles: obstacle === null ? [] : [obstacle],
    remarks: [
      'the secret that the API knows it by does not rotate at this distribution: apply again when it was changed',
    ],
    wanted,
  };
}

async function prepareBehaviour(
  cloudFront: AttachingCloudFront,
  attachment: Attachment,
  ours: LiveFunction,
  pattern: string,
  behaviour: Behaviour,
): Promise<Prepared> {
  const now = settingsOf(behaviour);
  const plan: Prepared = {
    pattern,
    now,
    changes: [],
    policies: {},
    obstacles: obstacles(behaviour),
    remarks: remarks(behaviour),
  };
  if (plan.obstacles.length > 0) return plan;
  try {
    await planFunction(cloudFront, attachment, ours, plan);
    await planPolicies(cloudFront, attachment, plan);
  } catch (error) {
    if (!(error instanceof AttachError) || error.code !== 'ERR_ATTACH_IMPOSSIBLE') throw error;
    plan.obstacles.push(error.message);
  }
  return plan;
}

async function planFunction(
  cloudFront: AttachingCloudFront,
  { functionName, replaces, compose }: Attachment,
  ours: LiveFunction,
  plan: Prepared,
): Promise<void> {
  const present = plan.now.viewerRequest;
  if (present === ours.arn) return;
  const presentName = present?.replace(/^.*:function\//, '');
  if (presentName === undefined || presentName === replaces) {
    plan.function = { arn: ours.arn };
    plan.changes.push({ setting: 'viewerRequest', from: presentName ?? null, to: functionName });
    return;
  }
  const there = await cloudFront.liveFunction(presentName);
  // One that an earlier run composed: what is in it before ours is composed again, with ours as it is now.
  const [, name = presentName] =
    (presentName.startsWith(COMPOSED_PREFIX) && /^portcullis: ([\w-]{1,64}) before /.exec(there.comment)) || [];
  const theirs = name === presentName ? there : await cloudFront.liveFunction(name);
  if (theirs.stores.some((store) => !ours.stores.includes(store))) {
    const why = 'it has a KeyValueStore of its own, and a function takes one';
    throw new AttachError(
      'ERR_ATTACH_IMPOSSIBLE',
      `function '${name}' is there already and cannot run before ours: ${why}`,
    );
  }
  const { code, bytes, sha256 } = await compose(name, theirs.code, ours.code);
  const composed = `${COMPOSED_PREFIX}${name.slice(0, 30)}-${sha256.slice(0, 12)}`;
  if (composed === presentName) return;
  const comment = `portcullis: ${name} before ${functionName}`.slice(0, 128);
  plan.function = { name: composed, made: { code, comment, stores: ours.stores } };
  plan.changes.push({
    setting: 'viewerRequest',
    from: presentName,
    to: `${composed} (${name} before ours, ${bytes} bytes)`,
  });
  plan.remarks.push(
    `function '${name}' goes on running, before ours: it sees paths with their tokens; check what it does to them`,
  );
}

async function planPolicies(
  cloudFront: AttachingCloudFront,
  { generatedHeaders }: Attachment,
  { now, policies, changes, remarks }: Prepared,
): Promise<void> {
  const there = async <Kind extends PolicyKind>(kind: Kind) => {
    const id = now[kind];
    return id === null ? undefined : cloudFront.policy(kind, id);
  };
  const request = await there('originRequestPolicy');
  const cache = await there('cachePolicy');
  const response = await there('responseHeadersPolicy');
  const wanted = {
    originRequestPolicy: withHeaders(request, generatedHeaders),
    cachePolicy: cache ? withParameters(cache) : null,
    responseHeadersPolicy: response ? withReason(response) : null,
  };
  const names = { originRequestPolicy: request?.Name, cachePolicy: cache?.Name, responseHeadersPolicy: response?.Name };
  for (const kind of Object.keys(wanted) as PolicyKind[]) {
    const derived = wanted[kind];
    if (!derived) continue;
    Object.assign(policies, { [kind]: derived.config });
    changes.push({ setting: kind, from: names[kind] ?? null, to: derived.config.Name ?? '', adds: derived.added });
  }
  if (wanted.cachePolicy) remarks.push('with another cache policy its objects are fetched from the origin anew');
  const split = cache ? splitsCache(cache, generatedHeaders) : [];
  if (split.length > 0)
    remarks.push(`its cache keeps objects apart by ${split.join(', ')}: viewers share less than they could`);
}
