import { type App, type CfnResource, CustomResourceProviderBase, Stack } from 'aws-cdk-lib';
import * as logs from 'aws-cdk-lib/aws-logs';

/** What functions of CDK's own are given. */
export interface CdkFunctionProps {
  tags: Record<string, string>;
  logRetentionDays: number;
}

/**
 * Gives the functions that CDK adds of its own, such as those that hand values to another region, what ours have: arm64, tags,
 * and a log that ends. Instead of AWS's policy for logs, their roles have that log alone. CDK adds them in the synthesis and after
 * all aspects, when it resolves references: validation is what it does next (CDK, `core/lib/private/synthesis.ts`).
 */
export function careForCdkFunctions(app: App, props: CdkFunctionProps): void {
  app.node.addValidation({
    validate: () => {
      for (const construct of app.node.findAll()) {
        if (construct instanceof CustomResourceProviderBase) careFor(construct, props);
      }
      return [];
    },
  });
}

function careFor(provider: CustomResourceProviderBase, { tags, logRetentionDays }: CdkFunctionProps): void {
  const role = provider.node.findChild('Role') as CfnResource;
  const handler = provider.node.findChild('Handler') as CfnResource;
  // A second synthesis of the same app.
  if (provider.node.tryFindChild('Log')) return;
  const list = Object.entries(tags)
    .map(([key, value]) => ({ key, value }))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  const { stackName } = Stack.of(provider);
  // Custom::CrossRegionExportWriterCustomResourceProvider
  const name = provider.node.id.replace(/^Custom::|CustomResourceProvider$/g, '');
  const log = new logs.CfnLogGroup(provider, 'Log', {
    logGroupName: `/portcullis/cdk/${stackName}/${name}`,
    retentionInDays: logRetentionDays,
    tags: list,
  });
  provider.addToRolePolicy({
    Effect: 'Allow',
    Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
    Resource: log.attrArn,
  });
  role.addPropertyDeletionOverride('ManagedPolicyArns');
  handler.addPropertyOverride('Architectures', ['arm64']);
  handler.addPropertyOverride('LoggingConfig', { LogGroup: log.ref });
  const written = list.map(({ key, value }) => ({ Key: key, Value: value }));
  for (const resource of [role, handler]) resource.addPropertyOverride('Tags', written);
}
