import { CloudWatchLogsClient, paginateDescribeDeliverySources } from '@aws-sdk/client-cloudwatch-logs';
import { EDGE_REGION } from '../../config/deployment.ts';
import { CLIENT } from './client.ts';
import { type Finding, ok } from './finding.ts';

/** Which distributions deliver access logs (standard logs v2), of which each has one source (CloudWatch Logs API, PutDeliverySource). */
export async function logDelivery(): Promise<Finding> {
  const client = new CloudWatchLogsClient({ ...CLIENT, region: EDGE_REGION });
  const distributions: string[] = [];
  for await (const { deliverySources = [] } of paginateDescribeDeliverySources({ client }, {})) {
    for (const { logType, resourceArns = [] } of deliverySources) {
      if (logType === 'ACCESS_LOGS') distributions.push(...resourceArns.map((arn) => arn.split('/').at(-1) ?? arn));
    }
  }
  if (distributions.length === 0) return ok('no distribution delivers access logs yet');
  return ok(`access logs of ${distributions.join(', ')} are delivered`);
}
