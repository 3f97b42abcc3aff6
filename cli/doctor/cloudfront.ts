import { CloudFrontClient, ListFunctionsCommand } from '@aws-sdk/client-cloudfront';
import { CLIENT } from './client.ts';
import { type Finding, failed, ok } from './finding.ts';

/** Functions that an account may have, unless AWS raised it (CloudFront quotas). */
const FUNCTIONS = 100;
/** Most that a deployment makes. */
const OURS = 4;
const OUR_NAME = /^portcullis-/;

/** Whether there is room for our functions. Those that are there already are replaced. */
export async function functionQuota(region: string): Promise<Finding> {
  const client = new CloudFrontClient({ ...CLIENT, region });
  const names = new Set<string>();
  let Marker: string | undefined;
  do {
    const { FunctionList } = await client.send(new ListFunctionsCommand({ Stage: 'DEVELOPMENT', Marker }));
    for (const { Name } of FunctionList?.Items ?? []) if (Name) names.add(Name);
    Marker = FunctionList?.NextMarker;
  } while (Marker);
  const ours = [...names].filter((name) => OUR_NAME.test(name));
  const room = FUNCTIONS - names.size;
  if (room + ours.length < OURS) {
    return failed(`${names.size} of ${FUNCTIONS} functions: delete ${OURS - ours.length - room}, or ask AWS for more`);
  }
  return ok(`${names.size} of ${FUNCTIONS} functions${ours.length > 0 ? `, ours: ${ours.join(', ')}` : ''}`);
}
