import { DeleteParameterCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';

/** Parameters of rule groups begin so; the name of the group follows. */
export const PARAMETERS = '/portcullis/rule-group';

/** A client for us-east-1, where the web ACL of a distribution is, and so CloudFormation reads the parameter. */
export function parameterClient(): SSMClient {
  return new SSMClient({ region: 'us-east-1' });
}

/**
 * Writes the ARN of a rule group where the template of the web ACL refers to it by the name of the group. WAF gives the id in it,
 * and an export between stacks must not change while it is used. AWS Systems Manager API Reference, PutParameter; rejects with
 * what the client rejects with.
 */
export async function writeRuleGroupArn(client: SSMClient, group: string, arn: string): Promise<void> {
  const Description = 'ARN of the rule group of revoked sessions, written by Portcullis';
  const parameter = { Name: `${PARAMETERS}/${group}`, Type: 'String', Value: arn, Overwrite: true } as const;
  await client.send(new PutParameterCommand({ ...parameter, Description }));
}

/** Removes it again, if it is there (DeleteParameter). */
export async function removeRuleGroupArn(client: SSMClient, group: string): Promise<void> {
  await client.send(new DeleteParameterCommand({ Name: `${PARAMETERS}/${group}` })).catch((error: Error) => {
    if (error.name !== 'ParameterNotFound') throw error;
  });
}
