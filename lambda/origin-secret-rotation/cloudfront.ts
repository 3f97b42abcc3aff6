import {
  type CloudFrontClient,
  type DistributionConfig,
  GetDistributionCommand,
  type Origin,
  UpdateDistributionCommand,
} from '@aws-sdk/client-cloudfront';
import { type OriginHeader, OriginSecretError } from './origin-secret.ts';

/** How often a change is tried again because others changed the distribution meanwhile. */
const ATTEMPTS = 5;

/**
 * A custom origin header of a distribution: GetDistribution and UpdateDistribution (Amazon CloudFront API Reference). It never
 * adds the header to an origin: a secret goes to those only that have one. Rejects with `OriginSecretError` and with what the
 * client rejects with.
 */
export function originHeader(client: CloudFrontClient, Id: string, name: string): OriginHeader {
  const look = async () => {
    const { Distribution, ETag } = await client.send(new GetDistributionCommand({ Id }));
    const config = Distribution?.DistributionConfig;
    const values = config ? valuesOf(config, name) : [];
    if (!config || !ETag || values.length === 0) {
      const message = `no origin of distribution ${Id} sends '${name}': deploy it again (docs/deployment.md)`;
      throw new OriginSecretError('ERR_ORIGIN_SECRET_UNUSED', message);
    }
    return { config, ETag, values, isDeployed: Distribution?.Status === 'Deployed' };
  };
  return {
    async state(value) {
      const { values, isDeployed } = await look();
      if (values.some((each) => each !== value)) return 'other';
      return isDeployed ? 'deployed' : 'deploying';
    },
    async set(value) {
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const { config, ETag } = await look();
        const DistributionConfig = withValue(config, name, value);
        try {
          await client.send(new UpdateDistributionCommand({ Id, IfMatch: ETag, DistributionConfig }));
          return;
        } catch (error) {
          if ((error as Error).name !== 'PreconditionFailed') throw error;
        }
      }
      const message = `distribution ${Id} was changed by others ${ATTEMPTS} times meanwhile: rotate again`;
      throw new OriginSecretError('ERR_ORIGIN_SECRET_CONFLICT', message);
    },
  };
}

/** Header names are the same in upper and lower case (RFC 9110 §5.1). */
function isNamed(name: string, header: string | undefined): boolean {
  return header?.toLowerCase() === name;
}

function valuesOf({ Origins }: DistributionConfig, name: string): string[] {
  const headers = (Origins?.Items ?? []).flatMap(({ CustomHeaders }) => CustomHeaders?.Items ?? []);
  return headers.flatMap((header) => (isNamed(name, header.HeaderName) ? [header.HeaderValue ?? ''] : []));
}

/** An update replaces the whole configuration: all but this header stays as it was read. */
function withValue(config: DistributionConfig, name: string, HeaderValue: string): DistributionConfig {
  const changed = (origin: Origin): Origin => {
    if (!origin.CustomHeaders?.Items) return origin;
    const Items = origin.CustomHeaders.Items.map((header) =>
      isNamed(name, header.HeaderName) ? { ...header, HeaderValue } : header,
    );
    return { ...origin, CustomHeaders: { ...origin.CustomHeaders, Items } };
  };
  return {
    ...config,
    Origins: { Quantity: config.Origins?.Quantity, Items: (config.Origins?.Items ?? []).map(changed) },
  };
}
