import { DescribeKeyCommand, KMSClient, NotFoundException } from '@aws-sdk/client-kms';
import { CLIENT } from './client.ts';
import { type Finding, failed, ok } from './finding.ts';

/** Whether a KMS key can encrypt data keys now. `isOurs`: the deployment makes it when it is not there. */
export async function keyState(keyId: string, region: string, isOurs: boolean): Promise<Finding> {
  const client = new KMSClient({ ...CLIENT, region });
  try {
    const { KeyMetadata: key } = await client.send(new DescribeKeyCommand({ KeyId: keyId }));
    if (key?.KeyState !== 'Enabled') return failed(`${keyId} is ${key?.KeyState}: enable it, or cancel its deletion`);
    if (key.KeyUsage !== 'ENCRYPT_DECRYPT' || key.KeySpec !== 'SYMMETRIC_DEFAULT') {
      return failed(`${keyId} is a key for ${key.KeyUsage}, ${key.KeySpec}: name a symmetric one that encrypts`);
    }
    return ok(`${keyId} is enabled`);
  } catch (error) {
    if (!(error instanceof NotFoundException)) throw error;
    if (isOurs) return ok(`${keyId} is not there yet`);
    return failed(`there is no ${keyId} in ${region}: make one, or name another in mastering.keyId (docs/kms.md)`);
  }
}
