import { createHash } from 'node:crypto';
import { CustomResource, Duration, Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import type { Configuration } from '../config/schema.ts';
import type { Artefacts } from './artefacts.ts';
import { functionArn } from './names.ts';

/** What the handler `deployment` makes: resources with a live state that CloudFormation must not know, or it would put it back. */
export type DeploymentResourceType = 'KeyRing' | 'RuleGroup' | 'EmbeddedFunction' | 'Reconcile';

/**
 * A custom resource of the handler `deployment`, in the region of that. It is updated by every deployment that changes an
 * artefact, a setting or the stacks, by `revision`: then the handler makes good what the deployment may have undone.
 */
export function deploymentResource(
  scope: Construct,
  type: DeploymentResourceType,
  properties: Record<string, unknown>,
): CustomResource {
  return new CustomResource(scope, `Live${type}`, {
    serviceToken: functionArn('deployment', Stack.of(scope).region),
    resourceType: `Custom::Portcullis${type}`,
    properties,
    // The handler answers within 15 minutes; one that cannot even start would keep CloudFormation waiting for an hour.
    serviceTimeout: Duration.minutes(20),
  });
}

/** Digest (hex) of all that is deployed: artefacts, settings, and what makes the templates. */
export function revision(configuration: Configuration, { edge, handlers, infraSha256 }: Artefacts): string {
  const digests = Object.entries(handlers).map(([name, { sha256 }]) => [name, sha256]);
  return createHash('sha256')
    .update(JSON.stringify([configuration, edge.functions, digests, infraSha256]))
    .digest('hex');
}
