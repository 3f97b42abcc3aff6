import { EDGE_REGION, MODULES } from './deployment.ts';
import type { Configuration } from './schema.ts';

/** What is wrong with a configuration. */
export interface ConfigurationProblem {
  /** The offending field, like `aws.modules`; `configuration` for all of it. */
  path: string;
  /** Says what is wrong, and what would go. */
  why: string;
}

/** What settings that are good by themselves contradict each other in; none for a configuration that can be deployed. */
export function contradictions({ edge, keys, revocation, aws }: Configuration): ConfigurationProblem[] {
  const found: ConfigurationProblem[] = [];
  const has = (name: keyof typeof MODULES) => aws.modules.includes(name);
  const refuse = (path: string, why: string) => found.push({ path, why });

  for (const name of aws.modules) {
    for (const needed of MODULES[name].needs) {
      if (!has(needed)) refuse('aws.modules', `'${name}' needs '${needed}': name that too, or leave '${name}' out`);
    }
  }
  // The new key bakes; then the old one is taken until its last token has expired (`retiresAt`). All of that has to be over by the
  // next rotation, so that no more than two keys are ever taken.
  const overlap = aws.keys.rotationDays * 86_400 - keys.bakeSeconds - keys.maxStaleSeconds;
  if (edge.maxTokenLifetimeSeconds + edge.leewaySeconds > overlap) {
    refuse(
      'edge.maxTokenLifetimeSeconds',
      `keys overlap for ${overlap} seconds when they rotate every ${aws.keys.rotationDays} days: a token must not live longer; shorten it, or raise aws.keys.rotationDays`,
    );
  }
  // Without an origin they are those of a distribution that is there, and has its certificate.
  if (aws.delivery.origin && aws.delivery.domainNames.length > 0 && !aws.delivery.certificateArn) {
    refuse(
      'aws.delivery.certificateArn',
      `aws.delivery.domainNames need a certificate in ${EDGE_REGION}: give its ARN, or leave them out`,
    );
  }
  if (aws.delivery.origin && aws.delivery.distributionId) {
    refuse('aws.delivery.distributionId', 'is of a distribution that is there; with aws.delivery.origin one is made');
  }
  if (aws.delivery.origin === 'packages' && !has('mastering')) {
    refuse('aws.delivery.origin', "'packages' is the bucket of the module 'mastering': name that in aws.modules");
  }
  if (has('api') && edge.tokenPosition.startsWith('/v1/')) {
    refuse('edge.tokenPosition', "'/v1/' is where the API is, and no function checks tokens there: take another path");
  }
  if (has('console')) {
    if (!aws.delivery.origin) {
      refuse(
        'aws.delivery.origin',
        "the module 'console' is a behaviour of the distribution: name the origin of that, or leave 'console' out",
      );
    }
    if (edge.tokenPosition.startsWith('/console/')) {
      refuse(
        'edge.tokenPosition',
        "'/console/' is where the console is, and no function checks tokens there: take another path",
      );
    }
    if (aws.identity && !aws.console) {
      refuse(
        'aws.console.clientId',
        "the module 'console' logs people in at aws.identity.issuer: name a public client of that",
      );
    }
  }
  if (aws.console && !aws.identity) {
    refuse(
      'aws.console.clientId',
      'is of aws.identity.issuer, which is not there: leave it out, as the user pool has a client of its own',
    );
  }
  if (has('revocation') && aws.keys.at === 'embedded' && !revocation.waf.publish) {
    refuse(
      'revocation.waf.publish',
      "a function with embedded keys reads no store: without a rule group revocations reach nobody; set it, or aws.keys.at to 'store'",
    );
  }
  if (has('render') && !aws.render) {
    refuse('aws.render', "the module 'render' needs pcrs and imageId of the enclave (docs/enclave.md)");
  }
  if (revocation.waf.publish && revocation.waf.scope === 'REGIONAL' && has('base')) {
    refuse('revocation.waf.scope', "a distribution has a web ACL of scope 'CLOUDFRONT': set it to that");
  }
  return found;
}
