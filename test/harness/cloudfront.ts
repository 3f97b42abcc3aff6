import { openPort } from '../../local/listen.ts';

const NAMESPACE = 'xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"';

/** A call that the stand-in received. */
export interface Call {
  operation: string;
  name: string;
  stage: string;
  ifMatch?: string;
  event?: unknown;
}

export interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body: string;
}

function escaped(text: string): string {
  return text.replace(/[<>&"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

/** The answer to DescribeFunction: the version is in the header. */
export function described(etag: string): Answer {
  const body = `<FunctionSummary ${NAMESPACE}><Name>f</Name><Status>UNASSOCIATED</Status></FunctionSummary>`;
  return { headers: { etag }, body };
}

/** The answer to TestFunction: on success CloudFront's error message is empty. */
export function tested(utilisation: string, output: unknown, error = '', logs: string[] = []): Answer {
  const members = logs.map((line) => `<member>${escaped(line)}</member>`).join('');
  const text = typeof output === 'string' ? output : JSON.stringify(output);
  return {
    body: `<?xml version="1.0"?><TestResult ${NAMESPACE}>
<FunctionSummary><Name>f</Name></FunctionSummary><ComputeUtilization>${utilisation}</ComputeUtilization>
<FunctionExecutionLogs>${members}</FunctionExecutionLogs><FunctionErrorMessage>${escaped(error)}</FunctionErrorMessage>
<FunctionOutput>${escaped(text)}</FunctionOutput></TestResult>`,
  };
}

/** An error as CloudFront's REST API words one. */
export function refused(status: number, code: string, message = 'No.'): Answer {
  const error = `<Error><Type>Sender</Type><Code>${code}</Code><Message>${escaped(message)}</Message></Error>`;
  return { status, body: `<ErrorResponse ${NAMESPACE}>${error}<RequestId>r</RequestId></ErrorResponse>` };
}

/**
 * A stand-in for CloudFront's REST API on loopback (API version 2020-05-31), as far as DescribeFunction and TestFunction go.
 * It answers what `answer` says, and 501 to every other operation.
 */
export async function startCloudFront(answer: (call: Call, nth: number) => Answer | Promise<Answer>) {
  const port = await openPort(0);
  const calls: Call[] = [];
  port.serve(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { pathname, searchParams } = new URL(request.url ?? '/', port.url);
    const [, name = '', operation = ''] = /^\/2020-05-31\/function\/([^/]+)\/(\w+)$/.exec(pathname) ?? [];
    const [, event] = /<EventObject>([\w+/=]+)</.exec(body) ?? [];
    const [, stage = searchParams.get('Stage') ?? ''] = /<Stage>(\w+)</.exec(body) ?? [];
    const ifMatch = request.headers['if-match'];
    calls.push({
      ...{ operation: `${request.method} ${operation}`, name: decodeURIComponent(name), stage },
      ...(ifMatch && { ifMatch }),
      ...(event && { event: JSON.parse(Buffer.from(event, 'base64').toString()) }),
    });
    const call = calls.at(-1) as Call;
    const isKnown = ['GET describe', 'POST test'].includes(call.operation);
    const given = isKnown ? await answer(call, calls.length) : { status: 501, body: '' };
    response.writeHead(given.status ?? 200, { 'content-type': 'text/xml', ...given.headers }).end(given.body);
  });
  return { url: port.url, calls, close: port.close };
}
