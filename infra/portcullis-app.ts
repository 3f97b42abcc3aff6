import { App, Tags } from 'aws-cdk-lib';
import { ConfigurationError } from '../config/configuration.ts';
import { contradictions } from '../config/contradictions.ts';
import { EDGE_REGION, type ModuleName } from '../config/deployment.ts';
import type { Configuration } from '../config/schema.ts';
import type { Artefacts } from './artefacts.ts';
import { EdgeStack } from './stacks/edge-stack.ts';

/**
 * The CDK app of a configuration: a stack for each of its modules, and two in us-east-1 for what CloudFront wants there. The
 * edge stack comes first and the delivery stack, which has the distribution, last: no function is associated before its keys
 * are published. Throws `ConfigurationError`.
 */
export function portcullisApp(configuration: Configuration, artefacts: Artefacts, outdir?: string): App {
  const [contradiction] = contradictions(configuration);
  if (contradiction) throw new ConfigurationError(`${contradiction.path}: ${contradiction.why}`);
  const { aws } = configuration;
  const has = (name: ModuleName) => aws.modules.includes(name);
  const app = new App({ ...(outdir === undefined ? {} : { outdir }), analyticsReporting: false });
  const shared = { crossRegionReferences: aws.region !== EDGE_REGION };
  if (has('base')) {
    new EdgeStack(app, 'portcullis-edge', { ...shared, env: { region: EDGE_REGION }, artefacts });
  }
  for (const [key, value] of Object.entries({ application: 'portcullis', ...aws.tags })) Tags.of(app).add(key, value);
  return app;
}
