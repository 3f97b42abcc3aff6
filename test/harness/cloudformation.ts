import { openPort } from '../../local/listen.ts';
import type { RunningLambda } from './lambda.ts';

/** What CloudFormation is answered. */
export interface CustomResourceAnswer {
  Status: 'SUCCESS' | 'FAILED';
  PhysicalResourceId: string;
  Reason?: string;
  Data?: Record<string, string>;
}

/** What a template says of a custom resource. */
export interface CustomResource {
  type: string;
  properties: Record<string, unknown>;
}

/** Calls custom resources as CloudFormation does, and takes their answers at a signed URL. */
export interface CloudFormation {
  create(lambda: RunningLambda, resource: CustomResource): Promise<CustomResourceAnswer>;
  update(
    lambda: RunningLambda,
    physicalId: string,
    resource: CustomResource,
    before: CustomResource,
  ): Promise<CustomResourceAnswer>;
  remove(lambda: RunningLambda, physicalId: string, resource: CustomResource): Promise<CustomResourceAnswer>;
  /** The secret part of the URL that answers are put to. */
  signature: string;
  close(): void;
}

/** Listens on loopback. An answer with a content type is refused, as by the signature of the real URL. */
export async function startCloudFormation(): Promise<CloudFormation> {
  const signature = 'signature-that-nobody-may-log';
  const port = await openPort(0);
  const answers = new Map<string, CustomResourceAnswer>();
  port.serve(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const isSigned = request.method === 'PUT' && !request.headers['content-type'] && request.url?.includes(signature);
    if (isSigned) answers.set(JSON.parse(body).RequestId, JSON.parse(body));
    response.writeHead(isSigned ? 200 : 403).end();
  });
  let requests = 0;
  const call = async (lambda: RunningLambda, { type, properties }: CustomResource, more: object) => {
    const RequestId = `request-${++requests}`;
    await lambda.invoke({
      ...{ RequestId, StackId: 'arn:aws:cloudformation:us-east-1:123456789012:stack/portcullis-base/1' },
      ...{ ResponseURL: `${port.url}/?X-Amz-Signature=${signature}`, LogicalResourceId: 'Live' },
      ...{ ResourceType: type, ResourceProperties: { ServiceToken: 'arn', ...properties }, ...more },
    });
    const answer = answers.get(RequestId);
    if (!answer) throw new Error('CloudFormation was not answered');
    return answer;
  };
  return {
    create: (lambda, resource) => call(lambda, resource, { RequestType: 'Create' }),
    update: (lambda, PhysicalResourceId, resource, { properties: OldResourceProperties }) =>
      call(lambda, resource, { RequestType: 'Update', PhysicalResourceId, OldResourceProperties }),
    remove: (lambda, PhysicalResourceId, resource) =>
      call(lambda, resource, { RequestType: 'Delete', PhysicalResourceId }),
    signature,
    close: () => void port.close(),
  };
}
