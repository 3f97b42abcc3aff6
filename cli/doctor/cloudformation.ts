import { CloudFormationClient, paginateDescribeStacks } from '@aws-sdk/client-cloudformation';
import { STACKS } from '../../config/stacks.ts';
import { CLIENT } from './client.ts';
import type { DeployedStack } from './stacks.ts';

/** The stacks of ours that are in a region. */
export async function deployedStacks(region: string): Promise<DeployedStack[]> {
  const client = new CloudFormationClient({ ...CLIENT, region });
  const found: DeployedStack[] = [];
  for await (const { Stacks = [] } of paginateDescribeStacks({ client }, {})) {
    for (const { StackName: name = '', StackStatus: status = '', Outputs = [] } of Stacks) {
      if (!Object.hasOwn(STACKS, name)) continue;
      const outputs = Object.fromEntries(
        Outputs.map(({ OutputKey = '', OutputValue = '' }) => [OutputKey, OutputValue]),
      );
      found.push({ name, region, status, outputs });
    }
  }
  return found;
}
