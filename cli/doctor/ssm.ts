import { GetParameterCommand, ParameterNotFound, SSMClient } from '@aws-sdk/client-ssm';
import { CLIENT } from './client.ts';
import { type Finding, failed, ok } from './finding.ts';

/** The least version of `cdk bootstrap` that our templates take, and where a region has its own (AWS CDK guide, "Bootstrapping"). */
const LEAST_BOOTSTRAP = 6;
const BOOTSTRAP_VERSION = '/cdk-bootstrap/hnb659fds/version';

/** Whether `cdk deploy` finds its buckets and roles in a region. */
export async function bootstrap(region: string, account: string): Promise<Finding> {
  const command = `npx cdk bootstrap aws://${account}/${region}`;
  try {
    const client = new SSMClient({ ...CLIENT, region });
    const { Parameter } = await client.send(new GetParameterCommand({ Name: BOOTSTRAP_VERSION }));
    const version = Number(Parameter?.Value);
    if (version >= LEAST_BOOTSTRAP) return ok(`version ${version}`);
    return failed(`version ${Parameter?.Value} is older than ${LEAST_BOOTSTRAP}: ${command}`);
  } catch (error) {
    if (error instanceof ParameterNotFound) return failed(`not bootstrapped: ${command}`);
    throw error;
  }
}
