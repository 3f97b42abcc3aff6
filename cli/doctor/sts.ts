import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';

/** Who the credentials of the environment are, asked in a region: one that is not enabled answers nobody. */
export async function callerIdentity(region: string): Promise<{ account: string; arn: string }> {
  const client = new STSClient({ region, maxAttempts: 2 });
  const { Account = '', Arn = '' } = await client.send(new GetCallerIdentityCommand({}));
  return { account: Account, arn: Arn };
}
