import { EDGE_REGION, type ModuleName } from './deployment.ts';
import type { Configuration } from './schema.ts';

const has =
  (...names: ModuleName[]) =>
  ({ aws }: Configuration) =>
    names.some((name) => aws.modules.includes(name));

/** Whether there is a distribution that is known: one that is made, or one that was there and is named. */
export function hasDistribution({ aws: { delivery } }: Configuration): boolean {
  return delivery.origin !== undefined || delivery.distributionId !== undefined;
}

/** Whether a distribution is made, or something for one that is there: a web ACL, the delivery of its logs. */
export function isDelivered({ aws, revocation }: Configuration): boolean {
  if (!aws.modules.includes('base')) return false;
  const isWatched = aws.modules.includes('revocation') && aws.delivery.distributionId !== undefined;
  return aws.delivery.origin !== undefined || revocation.waf.publish || isWatched;
}

/** The stacks of a deployment (`infra/`): where each is, and which configurations have it. */
export const STACKS: Record<string, { at: 'edge' | 'region'; isFor: (configuration: Configuration) => boolean }> = {
  'portcullis-edge': { at: 'edge', isFor: has('base') },
  'portcullis-base': { at: 'region', isFor: has('base') },
  'portcullis-mastering': { at: 'region', isFor: has('mastering') },
  'portcullis-delivery': { at: 'edge', isFor: isDelivered },
  'portcullis-revocation': { at: 'region', isFor: has('revocation') },
  'portcullis-api': { at: 'region', isFor: has('api') },
  'portcullis-render': { at: 'region', isFor: has('render') },
  'portcullis-monitoring': { at: 'region', isFor: () => true },
  'portcullis-edge-monitoring': { at: 'edge', isFor: (c) => has('base')(c) && c.aws.region !== EDGE_REGION },
};

/** The region of each stack that a configuration has, by name. */
export function stacksOf(configuration: Configuration): Map<string, string> {
  const { region } = configuration.aws;
  const present = Object.entries(STACKS).filter(([, { isFor }]) => isFor(configuration));
  return new Map(present.map(([name, { at }]) => [name, at === 'edge' ? EDGE_REGION : region]));
}

/** Output of `portcullis-edge`: `aws.region` as it was deployed with. What is elsewhere is found by it. */
export const REGION_OUTPUT = 'Region';
