import {
  App,
  CfnOutput,
  DefaultStackSynthesizer,
  type IReusableStackSynthesizer,
  type Stack,
  Tags,
  Validations,
} from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { ConfigurationError } from '../config/configuration.ts';
import { contradictions } from '../config/contradictions.ts';
import { EDGE_REGION, type ModuleName } from '../config/deployment.ts';
import type { Configuration } from '../config/schema.ts';
import { isDelivered, REGION_OUTPUT } from '../config/stacks.ts';
import type { Watched } from './alarms.ts';
import type { Artefacts } from './artefacts.ts';
import { careForCdkFunctions } from './cdk-functions.ts';
import { NAMES, stateMachineArn, topicArn, viewerRequestName } from './names.ts';
import { ApiStack } from './stacks/api-stack.ts';
import { BaseStack } from './stacks/base-stack.ts';
import { DeliveryStack } from './stacks/delivery-stack.ts';
import { EdgeStack } from './stacks/edge-stack.ts';
import { MasteringStack } from './stacks/mastering-stack.ts';
import { MonitoringStack } from './stacks/monitoring-stack.ts';
import { RenderStack } from './stacks/render-stack.ts';
import { RevocationStack } from './stacks/revocation-stack.ts';

/** Where templates and assets go. */
export interface AppOptions {
  /** Folder of the cloud assembly; a temporary one unless given. */
  outdir?: string;
  /** Buckets that assets are deployed from, instead of those of `cdk bootstrap`: `<bucket>-<region>`, below `prefix`. */
  assets?: { bucket: string; prefix: string };
}

/**
 * The CDK app of a configuration: a stack for each of its modules, and two in us-east-1 for what CloudFront wants there. The
 * edge stack comes first, the base stack publishes keys, and only then the delivery stack associates the function with a
 * distribution, whose name the API has to know. Throws `ConfigurationError`.
 */
export function portcullisApp(configuration: Configuration, artefacts: Artefacts, options: AppOptions = {}): App {
  const [contradiction] = contradictions(configuration);
  if (contradiction) throw new ConfigurationError(`${contradiction.path}: ${contradiction.why}`);
  const { aws } = configuration;
  const has = (name: ModuleName) => aws.modules.includes(name);
  const { outdir, assets } = options;
  const app = new App({
    analyticsReporting: false,
    ...(outdir !== undefined && { outdir }),
    ...(assets && { defaultStackSynthesizer: bucketSynthesizer(assets) }),
  });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  const isOneRegion = aws.region === EDGE_REGION;
  const shared = { configuration, artefacts, crossRegionReferences: !isOneRegion };
  const atTheEdge = { ...shared, env: { region: EDGE_REGION } };
  const regional = { ...shared, env: { region: aws.region } };

  // Every set of modules has one of the two stacks. By name: what it exported could not be taken away when base is added.
  let alarmsArn = topicArn(NAMES.renderAlarms, aws.region);
  let distributionId: string | undefined;
  if (has('base')) {
    const edge = new EdgeStack(app, 'portcullis-edge', atTheEdge);
    new CfnOutput(edge, REGION_OUTPUT, { value: aws.region, description: 'aws.region, for portcullis doctor' });
    const edgeStoreArn = edge.keyValueStore.keyValueStoreArn;
    const base = new BaseStack(app, 'portcullis-base', { ...regional, edgeStoreArn });
    base.addStackDependency(edge);
    const { httpApiId } = base;
    const mastering = has('mastering') ? new MasteringStack(app, 'portcullis-mastering', regional) : undefined;
    const keyServerDomainName = mastering?.keyServerDomainName;
    // One that was there before has its logs looked at too, and no functions of ours before somebody attaches them.
    const delivery = isDelivered(configuration)
      ? new DeliveryStack(app, 'portcullis-delivery', { ...atTheEdge, edge, httpApiId, keyServerDomainName })
      : undefined;
    delivery?.addStackDependency(base);
    if (mastering) delivery?.addStackDependency(mastering);
    alarmsArn = base.alarms.topic.topicArn;
    distributionId = delivery?.watchedDistributionId;
    if (has('revocation')) {
      const watched = { edgeStoreArn, distributionId, alarms: base.alarms };
      const revocation = new RevocationStack(app, 'portcullis-revocation', { ...regional, ...watched });
      revocation.addStackDependency(delivery ?? base);
      if (!isOneRegion) keepUsing(revocation, edgeStoreArn);
    }
    if (httpApiId !== undefined) {
      // A function that embeds its keys reads no store.
      const edgeStore = aws.keys.at === 'store' ? [edgeStoreArn] : [];
      const arns = { ...base.arns, originSecret: [edge.originSecret.secretArn], edgeStore };
      const distributionDomainName = delivery?.distribution?.distributionDomainName;
      const api = new ApiStack(app, 'portcullis-api', { ...regional, arns, httpApiId, distributionDomainName });
      api.addStackDependency(delivery ?? base);
      if (!isOneRegion) keepUsing(api, edgeStoreArn);
    }
  }
  const render = has('render') ? new RenderStack(app, 'portcullis-render', regional) : undefined;
  const watched: Watched = {
    distributionId,
    viewerRequest: viewerRequestName(configuration),
    stateMachineArn: (name) => stateMachineArn(name, aws.region),
  };
  const monitoring = new MonitoringStack(app, 'portcullis-monitoring', {
    ...{ ...regional, watched, topicArn: alarmsArn, hasDashboard: true },
    places: isOneRegion ? ['edge', 'region'] : ['region'],
  });
  if (render) monitoring.addStackDependency(render);
  if (!isOneRegion && has('base')) {
    const parts = { watched, hasDashboard: false };
    new MonitoringStack(app, 'portcullis-edge-monitoring', { ...atTheEdge, ...parts, places: ['edge'] });
  }
  // What describes CloudFormation (cfn-lint 1.51) knows no tags of dashboards.
  const excludeResourceTypes = ['AWS::CloudWatch::Dashboard'];
  const tags = { application: 'portcullis', ...aws.tags };
  careForCdkFunctions(app, { tags, logRetentionDays: aws.logRetentionDays });
  for (const [key, value] of Object.entries(tags)) {
    Tags.of(app).add(key, value, { excludeResourceTypes });
  }
  return app;
}

/**
 * Has a stack use the edge store whether it reads it or not. What CDK hands to another region it hands to each stack that uses it,
 * and it does not take it back while the stack as deployed uses it: `aws.keys.at` could not be changed.
 */
function keepUsing(stack: Stack, edgeStoreArn: string): void {
  new CfnOutput(stack, 'EdgeStoreArn', { value: edgeStoreArn });
}

/** For those without CDK: templates that find their assets in buckets of theirs, and ask for no bootstrapped account. */
function bucketSynthesizer({ bucket, prefix }: { bucket: string; prefix: string }): IReusableStackSynthesizer {
  const synthesizer = new DefaultStackSynthesizer({
    // biome-ignore lint/suspicious/noTemplateCurlyInString: CloudFormation fills it in.
    fileAssetsBucketName: `${bucket}-${'${AWS::Region}'}`,
    bucketPrefix: prefix,
    generateBootstrapVersionRule: false,
  });
  // Its declaration is not made for exactOptionalPropertyTypes.
  return synthesizer as IReusableStackSynthesizer;
}
