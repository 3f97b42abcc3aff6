import type { CacheBehavior, DistributionConfig, Origin } from '@aws-sdk/client-cloudfront';

/** The HTTP API behind a distribution: what infra makes of it where it makes the distribution too. */
export interface ApiBehaviour {
  /** Host of the HTTP API, `<id>.execute-api.<region>.amazonaws.com`. */
  domainName: string;
  /** What the API knows the distribution by. */
  secret: string;
  /** Ids of its policies. */
  cachePolicy: string;
  originRequestPolicy: string;
}

export const API_PATTERN = '/v1/*';
const ORIGIN_ID = 'portcullis-api';
/** The header that the API reads (`ORIGIN_SECRET_HEADER`). */
const SECRET_HEADER = 'x-origin-secret';

const ALL_METHODS = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'POST', 'PATCH', 'DELETE'] as const;

/** Whether a behaviour is the API's. Others may send other paths to its origin: those are not. */
const isOfApi = ({ PathPattern, TargetOriginId }: CacheBehavior) =>
  PathPattern === API_PATTERN && TargetOriginId === ORIGIN_ID;

/** Why the API can have no behaviour: its pattern is somebody else's. Null when it can. */
export function apiObstacle(config: DistributionConfig): string | null {
  const there = config.CacheBehaviors?.Items?.find(({ PathPattern }) => PathPattern === API_PATTERN);
  if (!there || there.TargetOriginId === ORIGIN_ID) return null;
  return `there is a behaviour '${API_PATTERN}' already, of origin '${there.TargetOriginId}': the API needs that path`;
}

/** Where the API is at a distribution, and whether it is as wanted; null when it is not there. */
export function apiOf(
  config: DistributionConfig,
  wanted: ApiBehaviour,
): { domainName: string; isCurrent: boolean } | null {
  const origin = config.Origins?.Items?.find(({ Id }) => Id === ORIGIN_ID);
  const behaviour = config.CacheBehaviors?.Items?.find(isOfApi);
  if (!origin || !behaviour) return null;
  const secret = origin.CustomHeaders?.Items?.find(({ HeaderName }) => HeaderName === SECRET_HEADER)?.HeaderValue;
  const isCurrent =
    origin.DomainName === wanted.domainName &&
    secret === wanted.secret &&
    behaviour.CachePolicyId === wanted.cachePolicy &&
    behaviour.OriginRequestPolicyId === wanted.originRequestPolicy;
  return { domainName: origin.DomainName ?? '', isCurrent };
}

/** The configuration with the API before all other behaviours, so that no wider pattern takes its requests. */
export function withApi(config: DistributionConfig, api: ApiBehaviour): DistributionConfig {
  const origins = (config.Origins?.Items ?? []).filter(({ Id }) => Id !== ORIGIN_ID);
  const behaviours = (config.CacheBehaviors?.Items ?? []).filter((behaviour) => !isOfApi(behaviour));
  const origin: Origin = {
    Id: ORIGIN_ID,
    DomainName: api.domainName,
    OriginPath: '',
    CustomHeaders: { Quantity: 1, Items: [{ HeaderName: SECRET_HEADER, HeaderValue: api.secret }] },
    CustomOriginConfig: {
      HTTPPort: 80,
      HTTPSPort: 443,
      OriginProtocolPolicy: 'https-only',
      OriginSslProtocols: { Quantity: 1, Items: ['TLSv1.2'] },
    },
  };
  const behaviour: CacheBehavior = {
    PathPattern: API_PATTERN,
    TargetOriginId: ORIGIN_ID,
    ViewerProtocolPolicy: 'https-only',
    AllowedMethods: {
      Quantity: ALL_METHODS.length,
      Items: [...ALL_METHODS],
      CachedMethods: { Quantity: 2, Items: ['GET', 'HEAD'] },
    },
    Compress: true,
    SmoothStreaming: false,
    FieldLevelEncryptionId: '',
    LambdaFunctionAssociations: { Quantity: 0 },
    FunctionAssociations: { Quantity: 0 },
    CachePolicyId: api.cachePolicy,
    OriginRequestPolicyId: api.originRequestPolicy,
  };
  return {
    ...config,
    Origins: listed([...origins, origin]),
    CacheBehaviors: listed([behaviour, ...behaviours]),
  };
}

/**
 * The configuration without the API's behaviour, and without its origin unless another behaviour uses that; `config` itself when
 * neither is there.
 */
export function withoutApi(config: DistributionConfig): DistributionConfig {
  const origins = config.Origins?.Items ?? [];
  const behaviours = config.CacheBehaviors?.Items ?? [];
  const otherBehaviours = behaviours.filter((behaviour) => !isOfApi(behaviour));
  const isUsed = [config.DefaultCacheBehavior, ...otherBehaviours].some((b) => b?.TargetOriginId === ORIGIN_ID);
  const otherOrigins = isUsed ? origins : origins.filter(({ Id }) => Id !== ORIGIN_ID);
  if (otherOrigins.length === origins.length && otherBehaviours.length === behaviours.length) return config;
  return {
    ...config,
    Origins: listed(otherOrigins),
    CacheBehaviors: otherBehaviours.length > 0 ? listed(otherBehaviours) : { Quantity: 0 },
  };
}

function listed<Item>(Items: Item[]): { Quantity: number; Items: Item[] } {
  return { Quantity: Items.length, Items };
}
