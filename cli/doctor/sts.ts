import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { CLIENT } from './client.ts';

/** Who the credentials of the environment are, asked in a region: one that is not enabled answers nobody. */
export async function callerIdentity(region: string): Promise<{ account: string; arn: string }> {
  const client = new STSClient({ ...CLIENT, region });
  const { Account = '', Arn = '' } = await client.send(new GetCallerIdentityCommand({}));
  return { account: Account, arn: Arn };
}
