import { EVENT_WITHOUT_TOKEN } from '../runtime/event-without-token.ts';
import { withApi, withoutApi } from './api-behaviour.ts';
import { AttachError } from './attach-error.ts';
import { type AttachedSettings, behavioursOf, SETTING_NAMES, settingsOf, withSettings } from './behaviours.ts';
import type { AttachingCloudFront, PolicyKind } from './cloudfront.ts';
import { COMPOSED_PREFIX, POLICY_PREFIX, stagingReference } from './names.ts';
import { type Attachment, type PlannedBehaviour, type Prepared, prepare, shown } from './plan.ts';
import { remember, rememberMade, type Saved } from './saved.ts';

/** How to go about it. */
export interface Running {
  /** Writes what was there to a file, before anything of it is changed. */
  save(saved: Saved): Promise<void>;
  /** Says how it goes. */
  report(line: string): void;
  /** Waits between two looks at a deployment, `POLL_SECONDS`. */
  sleep(): Promise<void>;
}

export const POLL_SECONDS = 10;
/** Half an hour; CloudFront takes minutes. */
const POLLS = 180;
const ATTEMPTS = 3;

/** What came of attaching. */
export interface Attached {
  behaviours: PlannedBehaviour[];
  /** Whether the distribution was changed; not when nothing had to be, nor when there are obstacles. */
  isChanged: boolean;
  /** The staging distribution, if it was attached to that. */
  staging?: { id: string; domainName: string };
}

/**
 * Attaches, after it has saved what is there, and waits until every edge location has it. With `staging` it does so at a copy of
 * the distribution, which gets the requests with `STAGING_HEADER`; without, a copy that there is goes away when the distribution has
 * what it had. Run again after any error: it goes on where it ended. Throws `AttachError`.
 */
export async function applyAttachment(
  cloudFront: AttachingCloudFront,
  attachment: Attachment,
  running: Running & { saved: Saved; staging: boolean },
): Promise<Attached> {
  await expectOwnStaging(cloudFront, running.saved);
  return running.staging
    ? attachToStaging(cloudFront, attachment, running)
    : attachToPrimary(cloudFront, attachment, running);
}

async function attachToPrimary(
  cloudFront: AttachingCloudFront,
  attachment: Attachment,
  running: Running & { saved: Saved },
): Promise<Attached> {
  const { distribution } = attachment;
  const keeper = new Keeper(running);
  const done = await change(cloudFront, attachment, distribution, keeper);
  if (!isPossible(done.behaviours)) return done;
  await deployed(cloudFront, distribution, running);
  await removeStaging(cloudFront, distribution, keeper, running);
  return done;
}

async function attachToStaging(
  cloudFront: AttachingCloudFront,
  attachment: Attachment,
  running: Running & { saved: Saved },
): Promise<Attached> {
  const { distribution } = attachment;
  const keeper = new Keeper(running);
  const primary = await cloudFront.distribution(distribution);
  if (primary.config.Staging) throw impossible('it is a staging distribution itself: attach to it without --staging');
  const policyThere = primary.config.ContinuousDeploymentPolicyId || undefined;
  if (policyThere !== undefined && policyThere !== keeper.saved.staging?.policy) {
    throw impossible(`it has a staging distribution already (continuous deployment policy ${policyThere})`);
  }
  const planned = shown(await prepare(cloudFront, attachment, primary.config));
  if (!isPossible(planned)) return { behaviours: planned, isChanged: false };
  const id = keeper.saved.staging?.id ?? (await cloudFront.stage(distribution, primary));
  if (!keeper.saved.staging) await keeper.keep({ ...keeper.saved, staging: { id } });
  const done = await change(cloudFront, attachment, id, keeper);
  const { domainName } = await deployed(cloudFront, id, running);
  const policy = await cloudFront.makeStagingPolicy(domainName);
  await keeper.keep({ ...keeper.saved, staging: { id, policy } });
  await setStagingPolicy(cloudFront, distribution, policy);
  await deployed(cloudFront, distribution, running);
  return { ...done, staging: { id, domainName } };
}

function isPossible(plan: PlannedBehaviour[]): boolean {
  return plan.every(({ obstacles }) => obstacles.length === 0);
}

function impossible(message: string): AttachError {
  return new AttachError('ERR_ATTACH_IMPOSSIBLE', message);
}

/** What is saved, in memory and in its file alike. */
class Keeper {
  saved: Saved;
  readonly #save: Running['save'];
  constructor({ saved, save }: { saved: Saved; save: Running['save'] }) {
    this.saved = saved;
    this.#save = save;
  }
  async keep(saved: Saved): Promise<void> {
    this.saved = saved;
    await this.#save(saved);
  }
}

/** Plans and carries it out at one distribution, until nobody changed it in between. */
async function change(
  cloudFront: AttachingCloudFront,
  attachment: Attachment,
  id: string,
  keeper: Keeper,
): Promise<Attached> {
  let first: PlannedBehaviour[] | undefined;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const there = await cloudFront.distribution(id);
    const plan = await prepare(cloudFront, attachment, there.config);
    const planned = shown(plan);
    first ??= planned;
    if (!isPossible(planned)) return { behaviours: planned, isChanged: false };
    if (planned.every(({ changes }) => changes.length === 0)) return { behaviours: first, isChanged: attempt > 1 };
    const after = new Map<string, AttachedSettings>();
    for (const behaviour of plan.behaviours) after.set(behaviour.pattern, await make(cloudFront, behaviour, keeper));
    if (id === attachment.distribution) {
      let { saved } = keeper;
      for (const { pattern, now } of plan.behaviours) saved = remember(saved, pattern, now, after.get(pattern) ?? now);
      await keeper.keep(plan.api ? { ...saved, api: true } : saved);
    }
    const settled = withSettings(there.config, after);
    const config = plan.api ? withApi(settled, plan.api.wanted) : settled;
    if (await cloudFront.update(id, { version: there.version, config }))
      return { behaviours: planned, isChanged: true };
  }
  throw conflict(id);
}

function conflict(id: string): AttachError {
  return new AttachError(
    'ERR_ATTACH_CONFLICT',
    `others are changing distribution ${id}: wait until they are done, then try again`,
  );
}

/** Makes what a plan needs; resolves to what the behaviour is to have. */
async function make(cloudFront: AttachingCloudFront, plan: Prepared, keeper: Keeper): Promise<AttachedSettings> {
  const after = { ...plan.now };
  for (const kind of Object.keys(plan.policies) as PolicyKind[]) {
    const config = plan.policies[kind];
    if (!config) continue;
    after[kind] = await cloudFront.makePolicy(kind, config);
    await keeper.keep(rememberMade(keeper.saved, kind, after[kind]));
  }
  if (!plan.function) return after;
  if ('arn' in plan.function) return { ...after, viewerRequest: plan.function.arn };
  const { name, made } = plan.function;
  await keeper.keep(rememberMade(keeper.saved, 'function', name));
  // It must not make a composed function fail, whatever that answers.
  return { ...after, viewerRequest: await cloudFront.makeFunction(name, made, EVENT_WITHOUT_TOKEN) };
}

/** Waits until every edge location has the last update. */
async function deployed(cloudFront: AttachingCloudFront, id: string, { report, sleep }: Running) {
  for (let poll = 0; poll < POLLS; poll++) {
    const deployment = await cloudFront.deployment(id);
    if (deployment.isDeployed) return deployment;
    const minutes = Math.floor((poll * POLL_SECONDS) / 60);
    if ((poll * POLL_SECONDS) % 60 === 0)
      report(`distribution ${id}: on its way to the edge locations, ${minutes} min`);
    await sleep();
  }
  const advice = 'CloudFront goes on by itself: run the command again later';
  throw new AttachError('ERR_ATTACH_UNAVAILABLE', `distribution ${id} is still being deployed: ${advice}`);
}

async function setStagingPolicy(cloudFront: AttachingCloudFront, id: string, policy: string | null): Promise<void> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const { version, config } = await cloudFront.distribution(id);
    if ((config.ContinuousDeploymentPolicyId || null) === policy) return;
    const next = { ...config, ContinuousDeploymentPolicyId: policy ?? '' };
    if (await cloudFront.update(id, { version, config: next })) return;
  }
  throw conflict(id);
}

/**
 * Refuses a staging distribution, or its continuous deployment policy, that was not made of this distribution: the file that names
 * them is one that people pass on and edit, and nobody else's is to be changed or deleted by it.
 */
async function expectOwnStaging(cloudFront: AttachingCloudFront, { distribution, staging }: Saved): Promise<void> {
  if (!staging) return;
  const copy = await cloudFront.distributionIfThere(staging.id);
  if (copy && copy.config.CallerReference !== stagingReference(distribution)) {
    throw notMadeHere(`distribution ${staging.id}`);
  }
  const names = staging.policy === undefined ? undefined : await cloudFront.stagingDomainNames(staging.policy);
  if (!names) return;
  const { domainName } = copy ? await cloudFront.deployment(staging.id) : { domainName: undefined };
  if (names.some((name) => name !== domainName)) throw notMadeHere(`continuous deployment policy ${staging.policy}`);
}

/** Takes the staging distribution away, which CloudFront allows when it is disabled everywhere. */
async function removeStaging(
  cloudFront: AttachingCloudFront,
  primary: string,
  keeper: Keeper,
  running: Running,
): Promise<void> {
  const { staging } = keeper.saved;
  if (!staging) return;
  const { config } = await cloudFront.distribution(primary);
  if (staging.policy !== undefined && config.ContinuousDeploymentPolicyId === staging.policy) {
    await setStagingPolicy(cloudFront, primary, null);
    await deployed(cloudFront, primary, running);
  }
  if (staging.policy !== undefined) await cloudFront.removeStagingPolicy(staging.policy);
  await removeCopy(cloudFront, staging.id, running);
  const { staging: _gone, ...saved } = keeper.saved;
  await keeper.keep(saved);
}

/** Disables the copy that was made of a distribution, and deletes it; one that is gone is gone. */
async function removeCopy(cloudFront: AttachingCloudFront, id: string, running: Running): Promise<void> {
  try {
    for (let attempt = 1; ; attempt++) {
      const { version, config } = await cloudFront.distribution(id);
      if (!config.Enabled) break;
      if (attempt > ATTEMPTS) throw conflict(id);
      await cloudFront.update(id, { version, config: { ...config, Enabled: false } });
    }
    await deployed(cloudFront, id, running);
    await cloudFront.removeDistribution(id);
  } catch (error) {
    if (!(error instanceof AttachError) || error.code !== 'ERR_ATTACH_MISSING') throw error;
  }
}

/** What came of undoing. */
export interface Undone {
  /** Patterns of behaviours that are as they were. */
  behaviours: string[];
  isChanged: boolean;
  /** Policies and functions of ours that something still uses: they stay. */
  left: string[];
}

/**
 * Sets the behaviours to what was saved, and waits; then deletes what was made for them. What else was changed of the distribution
 * stays. Throws `ERR_ATTACH_CHANGED` when somebody changed since what was attached, unless `force` is true.
 */
export async function undoAttachment(
  cloudFront: AttachingCloudFront,
  running: Running & { saved: Saved; force: boolean },
): Promise<Undone> {
  await expectOwnStaging(cloudFront, running.saved);
  const keeper = new Keeper(running);
  const { distribution, behaviours } = running.saved;
  const isChanged = await restore(cloudFront, running.saved, running.force);
  await deployed(cloudFront, distribution, running);
  await removeStaging(cloudFront, distribution, keeper, running);
  const left: string[] = [];
  for (const { kind, id } of keeper.saved.made) {
    const name = kind === 'function' ? id : await cloudFront.policyName(kind, id);
    if (name === undefined) continue;
    if (!name.startsWith(kind === 'function' ? COMPOSED_PREFIX : POLICY_PREFIX)) throw notMadeHere(`${kind} ${id}`);
    if (!(await cloudFront.remove(kind, id))) left.push(`${kind} ${id}`);
  }
  return { behaviours: Object.keys(behaviours), isChanged, left };
}

async function restore(
  cloudFront: AttachingCloudFront,
  { distribution: id, behaviours, api: hasApi = false }: Saved,
  force: boolean,
): Promise<boolean> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const { version, config } = await cloudFront.distribution(id);
    const there = behavioursOf(config);
    const wanted = new Map<string, AttachedSettings>();
    for (const [pattern, { before, after }] of Object.entries(behaviours)) {
      const behaviour = there.get(pattern);
      if (!behaviour) {
        if (force) continue;
        throw changedSince(`behaviour '${pattern}' is gone`);
      }
      const now = settingsOf(behaviour);
      const changed = SETTING_NAMES.filter((name) => now[name] !== before[name]);
      const foreign = changed.find((name) => now[name] !== after[name]);
      if (foreign && !force) throw changedSince(`the ${foreign} of behaviour '${pattern}' is not what was attached`);
      if (changed.length > 0) wanted.set(pattern, before);
    }
    const rest = hasApi ? withoutApi(config) : config;
    if (wanted.size === 0 && rest === config) return attempt > 1;
    if (await cloudFront.update(id, { version, config: withSettings(rest, wanted) })) return true;
  }
  throw conflict(id);
}

function changedSince(what: string): AttachError {
  const advice = 'look at it with --plan; --force sets it to what was there before attaching all the same';
  return new AttachError('ERR_ATTACH_CHANGED', `somebody changed the distribution since: ${what}; ${advice}`);
}

function notMadeHere(what: string): AttachError {
  const advice = 'take it out of that file, then try again';
  return new AttachError(
    'ERR_ATTACH_SAVED',
    `the file of what was there names ${what}, which was not made here: ${advice}`,
  );
}
