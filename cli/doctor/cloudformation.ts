import {
  CloudFormationClient,
  type CloudFormationServiceException,
  DescribeStacksCommand,
  type Stack,
} from '@aws-sdk/client-cloudformation';
import { STACKS } from '../../config/stacks.ts';
import { CLIENT } from './client.ts';
import type { DeployedStack } from './stacks.ts';

/**
 * The stacks of ours that are in a region. Each is asked for by its name: to describe all takes `ListStacks` too, and pages
 * through everybody's (AWS CloudFormation API Reference, "DescribeStacks"). Throws errors of the SDK.
 */
export async function deployedStacks(region: string): Promise<DeployedStack[]> {
  const client = new CloudFormationClient({ ...CLIENT, region });
  const found: DeployedStack[] = [];
  for (const name of Object.keys(STACKS)) {
    const stack = await describe(client, name);
    if (stack === undefined) continue;
    const { StackStatus: status = '', Outputs = [] } = stack;
    const outputs = Object.fromEntries(Outputs.map(({ OutputKey = '', OutputValue = '' }) => [OutputKey, OutputValue]));
    found.push({ name, region, status, outputs });
  }
  return found;
}

/** Of a stack that is not there CloudFormation says by its message alone that it is not (API Reference, "DescribeStacks"). */
async function describe(client: CloudFormationClient, name: string): Promise<Stack | undefined> {
  try {
    return (await client.send(new DescribeStacksCommand({ StackName: name }))).Stacks?.[0];
  } catch (error) {
    const { name: code, message } = error as CloudFormationServiceException;
    if (code === 'ValidationError' && message.endsWith('does not exist')) return undefined;
    throw error;
  }
}
