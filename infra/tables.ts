import { RemovalPolicy } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import type { Artefacts } from './artefacts.ts';

/**
 * The tables of a module, as its code describes them: encrypted, restorable to any second of 35 days, and neither an update
 * nor the end of the stack deletes one.
 */
export class Tables extends Construct {
  constructor(scope: Construct, module: keyof Artefacts['tables'], { tables, timeToLive }: Artefacts) {
    super(scope, 'Tables');
    for (const { TableName: name = '', BillingMode, ...described } of tables[module]) {
      const attributeName = timeToLive[name];
      const table = new dynamodb.CfnTable(this, name, {
        tableName: name,
        ...(BillingMode !== undefined && { billingMode: BillingMode }),
        ...(camelCased(described) as Pick<dynamodb.CfnTableProps, 'attributeDefinitions' | 'keySchema'>),
        pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
        sseSpecification: { sseEnabled: true },
        deletionProtectionEnabled: true,
        ...(attributeName !== undefined && { timeToLiveSpecification: { attributeName, enabled: true } }),
      });
      table.applyRemovalPolicy(RemovalPolicy.RETAIN);
    }
  }
}

/** CreateTable and CloudFormation describe tables alike; CDK begins the same names in lower case. */
function camelCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(camelCased);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, member]) => [
    `${name.charAt(0).toLowerCase()}${name.slice(1)}`,
    camelCased(member),
  ]);
  return Object.fromEntries(entries);
}
