import { AthenaClient, GetWorkGroupCommand, InvalidRequestException } from '@aws-sdk/client-athena';
import { CLIENT } from './client.ts';
import { type Finding, failed, ok } from './finding.ts';

/** Whether the workgroup of detection stops a query that scans too much, and lets no client say otherwise. */
export async function workgroupLimit(workgroup: string, limitBytes: number, region: string): Promise<Finding> {
  const client = new AthenaClient({ ...CLIENT, region });
  try {
    const { WorkGroup } = await client.send(new GetWorkGroupCommand({ WorkGroup: workgroup }));
    if (!WorkGroup) return ok(`${workgroup} is not there yet`);
    const { BytesScannedCutoffPerQuery: bytes, EnforceWorkGroupConfiguration } = WorkGroup.Configuration ?? {};
    const command = `aws athena update-work-group --work-group ${workgroup} --configuration-updates BytesScannedCutoffPerQuery=${limitBytes},EnforceWorkGroupConfiguration=true`;
    if (bytes === undefined) return failed(`${workgroup} has no limit on what a query may scan: ${command}`);
    if (bytes > limitBytes) return failed(`${workgroup} lets a query scan ${bytes} bytes, over the limit: ${command}`);
    if (!EnforceWorkGroupConfiguration) return failed(`${workgroup} lets clients overrule its limit: ${command}`);
    return ok(`${workgroup} stops queries at ${bytes} bytes`);
  } catch (error) {
    if (error instanceof InvalidRequestException) return ok(`${workgroup} is not there yet`);
    throw error;
  }
}
