import {
  type CachePolicyConfig,
  type CloudFrontClient,
  CopyDistributionCommand,
  CreateCachePolicyCommand,
  CreateContinuousDeploymentPolicyCommand,
  CreateFunctionCommand,
  CreateOriginRequestPolicyCommand,
  CreateResponseHeadersPolicyCommand,
  DeleteCachePolicyCommand,
  DeleteContinuousDeploymentPolicyCommand,
  DeleteDistributionCommand,
  DeleteFunctionCommand,
  DeleteOriginRequestPolicyCommand,
  DeleteResponseHeadersPolicyCommand,
  DescribeFunctionCommand,
  type DistributionConfig,
  GetCachePolicyCommand,
  GetContinuousDeploymentPolicyCommand,
  GetDistributionCommand,
  GetDistributionConfigCommand,
  GetFunctionCommand,
  GetOriginRequestPolicyCommand,
  GetResponseHeadersPolicyCommand,
  ListCachePoliciesCommand,
  ListContinuousDeploymentPoliciesCommand,
  ListDistributionsCommand,
  ListOriginRequestPoliciesCommand,
  ListResponseHeadersPoliciesCommand,
  type OriginRequestPolicyConfig,
  PublishFunctionCommand,
  type ResponseHeadersPolicyConfig,
  TestFunctionCommand,
  UpdateDistributionCommand,
} from '@aws-sdk/client-cloudfront';
import { type AwsFailure, awsFailure } from '../store/aws-failure.ts';
import { AttachError, type AttachErrorCode } from './attach-error.ts';
import { STAGING_HEADER, stagingReference } from './names.ts';

/** Policies that a behaviour has, by kind. */
export interface PolicyConfigs {
  originRequestPolicy: OriginRequestPolicyConfig;
  cachePolicy: CachePolicyConfig;
  responseHeadersPolicy: ResponseHeadersPolicyConfig;
}
export type PolicyKind = keyof PolicyConfigs;

/** A function as it is LIVE. */
export interface LiveFunction {
  arn: string;
  code: string;
  comment: string;
  /** ARNs of its KeyValueStore, one at most. */
  stores: string[];
}

/** A distribution's configuration, and the version that an update has to name. */
export interface DistributionVersion {
  version: string;
  config: DistributionConfig;
}

interface PolicyCalls<Config> {
  get(client: CloudFrontClient, Id: string): Promise<{ version: string | undefined; config: Config | undefined }>;
  create(client: CloudFrontClient, config: Config): Promise<string | undefined>;
  /** A page of those of this account. */
  list(client: CloudFrontClient, Marker?: string): Promise<{ items: Named[]; next?: string | undefined }>;
  remove(client: CloudFrontClient, Id: string, IfMatch: string): Promise<unknown>;
}
interface Named {
  id: string | undefined;
  name: string | undefined;
}

/** The calls for each kind of policy (Amazon CloudFront API Reference): the same, under other names. */
const POLICIES: { [Kind in PolicyKind]: PolicyCalls<PolicyConfigs[Kind]> } = {
  originRequestPolicy: {
    async get(client, Id) {
      const { ETag, OriginRequestPolicy } = await client.send(new GetOriginRequestPolicyCommand({ Id }));
      return { version: ETag, config: OriginRequestPolicy?.OriginRequestPolicyConfig };
    },
    async create(client, OriginRequestPolicyConfig) {
      const made = await client.send(new CreateOriginRequestPolicyCommand({ OriginRequestPolicyConfig }));
      return made.OriginRequestPolicy?.Id;
    },
    async list(client, Marker) {
      const page = await client.send(new ListOriginRequestPoliciesCommand({ Type: 'custom', Marker }));
      const { Items = [], NextMarker } = page.OriginRequestPolicyList ?? {};
      const items = Items.map(({ OriginRequestPolicy: policy }) => ({
        id: policy?.Id,
        name: policy?.OriginRequestPolicyConfig?.Name,
      }));
      return { items, next: NextMarker };
    },
    remove: (client, Id, IfMatch) => client.send(new DeleteOriginRequestPolicyCommand({ Id, IfMatch })),
  },
  cachePolicy: {
    async get(client, Id) {
      const { ETag, CachePolicy } = await client.send(new GetCachePolicyCommand({ Id }));
      return { version: ETag, config: CachePolicy?.CachePolicyConfig };
    },
    async create(client, CachePolicyConfig) {
      return (await client.send(new CreateCachePolicyCommand({ CachePolicyConfig }))).CachePolicy?.Id;
    },
    async list(client, Marker) {
      const page = await client.send(new ListCachePoliciesCommand({ Type: 'custom', Marker }));
      const { Items = [], NextMarker } = page.CachePolicyList ?? {};
      const items = Items.map(({ CachePolicy: policy }) => ({ id: policy?.Id, name: policy?.CachePolicyConfig?.Name }));
      return { items, next: NextMarker };
    },
    remove: (client, Id, IfMatch) => client.send(new DeleteCachePolicyCommand({ Id, IfMatch })),
  },
  responseHeadersPolicy: {
    async get(client, Id) {
      const { ETag, ResponseHeadersPolicy } = await client.send(new GetResponseHeadersPolicyCommand({ Id }));
      return { version: ETag, config: ResponseHeadersPolicy?.ResponseHeadersPolicyConfig };
    },
    async create(client, ResponseHeadersPolicyConfig) {
      const made = await client.send(new CreateResponseHeadersPolicyCommand({ ResponseHeadersPolicyConfig }));
      return made.ResponseHeadersPolicy?.Id;
    },
    async list(client, Marker) {
      const page = await client.send(new ListResponseHeadersPoliciesCommand({ Type: 'custom', Marker }));
      const { Items = [], NextMarker } = page.ResponseHeadersPolicyList ?? {};
      const items = Items.map(({ ResponseHeadersPolicy: policy }) => ({
        id: policy?.Id,
        name: policy?.ResponseHeadersPolicyConfig?.Name,
      }));
      return { items, next: NextMarker };
    },
    remove: (client, Id, IfMatch) => client.send(new DeleteResponseHeadersPolicyCommand({ Id, IfMatch })),
  },
};

const CODES: Record<AwsFailure['cause'], AttachErrorCode> = {
  credentials: 'ERR_ATTACH_CREDENTIALS',
  denied: 'ERR_ATTACH_DENIED',
  throttled: 'ERR_ATTACH_THROTTLED',
  unreachable: 'ERR_ATTACH_UNAVAILABLE',
  failed: 'ERR_ATTACH_UNAVAILABLE',
  refused: 'ERR_ATTACH_AWS',
  answer: 'ERR_ATTACH_AWS',
};
const MISSING = /^NoSuch\w*$/;
const VERSION = /^(?:PreconditionFailed|InvalidIfMatchVersion)$/;

/** The calls to CloudFront that attaching needs, with its errors in our words: all reject with `AttachError`. */
export class AttachingCloudFront {
  readonly #client: CloudFrontClient;

  constructor(client: CloudFrontClient) {
    this.#client = client;
  }

  async distribution(Id: string): Promise<DistributionVersion> {
    const there = await this.distributionIfThere(Id);
    if (!there) throw missing(`distribution ${Id}`);
    return there;
  }

  /** A distribution; undefined when there is none. */
  async distributionIfThere(Id: string): Promise<DistributionVersion | undefined> {
    const call = this.#client.send(new GetDistributionConfigCommand({ Id }));
    const answer = await this.#unless(MISSING, call, `distribution ${Id}`);
    if (!answer) return undefined;
    const { ETag, DistributionConfig } = answer;
    if (!ETag || !DistributionConfig) throw incomplete();
    return { version: ETag, config: DistributionConfig };
  }

  /** Whether every edge location has its last update, and its host name. */
  async deployment(Id: string): Promise<{ isDeployed: boolean; domainName: string }> {
    const call = this.#client.send(new GetDistributionCommand({ Id }));
    const { Distribution } = await this.#refused(call, `distribution ${Id}`);
    if (!Distribution?.Status || !Distribution.DomainName) throw incomplete();
    return { isDeployed: Distribution.Status === 'Deployed', domainName: Distribution.DomainName };
  }

  /**
   * Replaces a configuration that still has this version. Resolves to false when it has another: somebody else's, or ours, when
   * the reply to an earlier attempt was lost.
   */
  async update(Id: string, { version: IfMatch, config: DistributionConfig }: DistributionVersion): Promise<boolean> {
    const call = this.#client.send(new UpdateDistributionCommand({ Id, IfMatch, DistributionConfig }));
    return (await this.#unless(VERSION, call, `distribution ${Id}`)) !== undefined;
  }

  async policy<Kind extends PolicyKind>(kind: Kind, id: string): Promise<PolicyConfigs[Kind]> {
    const { config } = await this.#refused(POLICIES[kind].get(this.#client, id), `policy ${id}`);
    if (!config) throw incomplete();
    return config;
  }

  /** What a policy is called; undefined when it is gone. */
  async policyName<Kind extends PolicyKind>(kind: Kind, id: string): Promise<string | undefined> {
    const there = await this.#unless(MISSING, POLICIES[kind].get(this.#client, id), `policy ${id}`);
    return there?.config?.Name;
  }

  /** Makes a policy, or finds the one of its name; resolves to its id. */
  async makePolicy<Kind extends PolicyKind>(kind: Kind, config: PolicyConfigs[Kind]): Promise<string> {
    const made = POLICIES[kind].create(this.#client, config);
    const id = await this.#unless(/AlreadyExists$/, made, `policy ${config.Name}`);
    return id ?? this.policyOfName(kind, config.Name ?? '');
  }

  /** The id of a policy of this account. Throws `ERR_ATTACH_MISSING`. */
  async policyOfName(kind: PolicyKind, name: string): Promise<string> {
    let next: string | undefined;
    do {
      const page = await this.#refused(POLICIES[kind].list(this.#client, next), `policy ${name}`);
      const found = page.items.find((policy) => policy.name === name)?.id;
      if (found) return found;
      next = page.next;
    } while (next);
    throw missing(`policy ${name}`);
  }

  /** What is LIVE of a function. Throws `ERR_ATTACH_MISSING`. */
  async liveFunction(Name: string): Promise<LiveFunction> {
    return this.#function(Name, 'LIVE');
  }

  async #function(Name: string, Stage: 'LIVE' | 'DEVELOPMENT'): Promise<LiveFunction & { version: string }> {
    const about = `function ${Name}`;
    const described = await this.#refused(this.#client.send(new DescribeFunctionCommand({ Name, Stage })), about);
    const { FunctionCode } = await this.#refused(this.#client.send(new GetFunctionCommand({ Name, Stage })), about);
    const { FunctionMetadata, FunctionConfig } = described.FunctionSummary ?? {};
    if (!described.ETag || !FunctionMetadata?.FunctionARN || !FunctionConfig || !FunctionCode) throw incomplete();
    const stores = FunctionConfig.KeyValueStoreAssociations?.Items ?? [];
    return {
      version: described.ETag,
      arn: FunctionMetadata.FunctionARN,
      code: Buffer.from(FunctionCode).toString(),
      comment: FunctionConfig.Comment ?? '',
      stores: stores.flatMap(({ KeyValueStoreARN }) => KeyValueStoreARN ?? []),
    };
  }

  /**
   * Makes and publishes a function, or finds the one of its name, which then has to have this code. CloudFront runs it on `event`
   * before it is published; an error of it is `ERR_ATTACH_IMPOSSIBLE`. Resolves to its ARN.
   */
  async makeFunction(
    Name: string,
    { code, comment, stores }: Omit<LiveFunction, 'arn'>,
    event: object,
  ): Promise<string> {
    const about = `function ${Name}`;
    const Items = stores.map((KeyValueStoreARN) => ({ KeyValueStoreARN }));
    const create = new CreateFunctionCommand({
      Name,
      FunctionCode: Buffer.from(code),
      FunctionConfig: {
        Comment: comment,
        Runtime: 'cloudfront-js-2.0',
        ...(Items.length > 0 && { KeyValueStoreAssociations: { Quantity: Items.length, Items } }),
      },
    });
    await this.#unless(/^FunctionAlreadyExists$/, this.#client.send(create), about);
    const draft = await this.#function(Name, 'DEVELOPMENT');
    if (draft.code !== code) {
      throw new AttachError('ERR_ATTACH_IMPOSSIBLE', `${about} was changed by somebody: delete it, then try again`);
    }
    const live = await this.#unless(
      MISSING,
      this.#client.send(new DescribeFunctionCommand({ Name, Stage: 'LIVE' })),
      about,
    );
    if (live) return draft.arn;
    const test = new TestFunctionCommand({
      ...{ Name, IfMatch: draft.version, Stage: 'DEVELOPMENT' },
      EventObject: Buffer.from(JSON.stringify(event)),
    });
    const { TestResult } = await this.#refused(this.#client.send(test), about);
    if (TestResult?.FunctionErrorMessage) {
      await this.#unless(/./, this.#client.send(new DeleteFunctionCommand({ Name, IfMatch: draft.version })), about);
      throw new AttachError(
        'ERR_ATTACH_IMPOSSIBLE',
        `${about} fails on a request: what is there cannot run before ours`,
      );
    }
    const publish = this.#client.send(new PublishFunctionCommand({ Name, IfMatch: draft.version }));
    // Refused when it is LIVE already: the reply to an earlier attempt was lost.
    await this.#unless(VERSION, publish, about);
    return (await this.liveFunction(Name)).arn;
  }

  /** Deletes a policy or function of ours; resolves to whether it is gone. One that somebody else uses stays. */
  async remove(kind: PolicyKind | 'function', id: string): Promise<boolean> {
    try {
      if (kind === 'function') {
        const { ETag } = await this.#client.send(new DescribeFunctionCommand({ Name: id, Stage: 'DEVELOPMENT' }));
        await this.#client.send(new DeleteFunctionCommand({ Name: id, IfMatch: ETag }));
      } else {
        const { version = '' } = await POLICIES[kind].get(this.#client, id);
        await POLICIES[kind].remove(this.#client, id, version);
      }
      return true;
    } catch (error) {
      const { name } = error as Error;
      if (/InUse$/.test(name)) return false;
      if (MISSING.test(name)) return true;
      throw translated(error, `${kind} ${id}`);
    }
  }

  /** Copies a distribution into a staging one, or finds the copy that was made of it; resolves to its id. */
  async stage(primary: string, { version }: DistributionVersion): Promise<string> {
    const CallerReference = stagingReference(primary);
    const copy = new CopyDistributionCommand({
      ...{ PrimaryDistributionId: primary, Staging: true, IfMatch: version, Enabled: true, CallerReference },
    });
    const made = await this.#unless(/^DistributionAlreadyExists$/, this.#client.send(copy), `distribution ${primary}`);
    if (made?.Distribution?.Id) return made.Distribution.Id;
    let Marker: string | undefined;
    do {
      const { DistributionList } = await this.#refused(
        this.#client.send(new ListDistributionsCommand({ Marker })),
        'distributions',
      );
      for (const { Id = '', Staging } of DistributionList?.Items ?? []) {
        if (Staging && (await this.distribution(Id)).config.CallerReference === CallerReference) return Id;
      }
      Marker = DistributionList?.NextMarker;
    } while (Marker);
    throw incomplete();
  }

  /** Makes requests with `STAGING_HEADER` go to a staging distribution, once the primary names the policy; resolves to its id. */
  async makeStagingPolicy(domainName: string): Promise<string> {
    const about = `staging distribution ${domainName}`;
    const create = new CreateContinuousDeploymentPolicyCommand({
      ContinuousDeploymentPolicyConfig: {
        StagingDistributionDnsNames: { Quantity: 1, Items: [domainName] },
        Enabled: true,
        TrafficConfig: { Type: 'SingleHeader', SingleHeaderConfig: STAGING_HEADER },
      },
    });
    const taken = /^(?:ContinuousDeploymentPolicyAlreadyExists|StagingDistributionInUse)$/;
    const made = await this.#unless(taken, this.#client.send(create), about);
    if (made?.ContinuousDeploymentPolicy?.Id) return made.ContinuousDeploymentPolicy.Id;
    let Marker: string | undefined;
    do {
      const { ContinuousDeploymentPolicyList: list } = await this.#refused(
        this.#client.send(new ListContinuousDeploymentPoliciesCommand({ Marker })),
        about,
      );
      for (const { ContinuousDeploymentPolicy: policy } of list?.Items ?? []) {
        const names = policy?.ContinuousDeploymentPolicyConfig?.StagingDistributionDnsNames?.Items ?? [];
        if (policy?.Id && names.includes(domainName)) return policy.Id;
      }
      Marker = list?.NextMarker;
    } while (Marker);
    throw incomplete();
  }

  /** The staging distributions that a continuous deployment policy is about, by domain name; undefined when there is none. */
  async stagingDomainNames(Id: string): Promise<string[] | undefined> {
    const call = this.#client.send(new GetContinuousDeploymentPolicyCommand({ Id }));
    const there = await this.#unless(MISSING, call, `continuous deployment policy ${Id}`);
    const config = there?.ContinuousDeploymentPolicy?.ContinuousDeploymentPolicyConfig;
    return there && (config?.StagingDistributionDnsNames?.Items ?? []);
  }

  async removeStagingPolicy(Id: string): Promise<void> {
    const removal = async () => {
      const { ETag } = await this.#client.send(new GetContinuousDeploymentPolicyCommand({ Id }));
      await this.#client.send(new DeleteContinuousDeploymentPolicyCommand({ Id, IfMatch: ETag }));
      return true;
    };
    await this.#unless(MISSING, removal(), `continuous deployment policy ${Id}`);
  }

  /** Deletes a distribution that is disabled and deployed. */
  async removeDistribution(Id: string): Promise<void> {
    const { version } = await this.distribution(Id);
    const removal = this.#client.send(new DeleteDistributionCommand({ Id, IfMatch: version }));
    await this.#unless(MISSING, removal, `distribution ${Id}`);
  }

  /** The answer of a call, or undefined when it is refused with an error of such a name. */
  async #unless<Answer>(names: RegExp, call: Promise<Answer>, about: string): Promise<Answer | undefined> {
    return call.catch((error) => {
      if (names.test((error as Error).name)) return undefined;
      throw translated(error, about);
    });
  }

  async #refused<Answer>(call: Promise<Answer>, about: string): Promise<Answer> {
    return call.catch((error) => {
      throw translated(error, about);
    });
  }
}

function incomplete(): AttachError {
  return new AttachError('ERR_ATTACH_AWS', 'the answer lacks a field: what answered is not CloudFront');
}

function missing(about: string): AttachError {
  const advice =
    'check the name and the account; what is of Portcullis comes with its module base (docs/deployment.md)';
  return new AttachError('ERR_ATTACH_MISSING', `${about}: there is none, or it was never published: ${advice}`);
}

function translated(error: unknown, about: string): unknown {
  if (MISSING.test((error as Error).name)) return missing(about);
  const failure = awsFailure(error, 'CloudFront', 'the permissions in docs/attach.md');
  return failure ? new AttachError(CODES[failure.cause], `${about}: ${failure.advice} (${failure.detail})`) : error;
}
