import type http from 'node:http';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { type Answer, refused, tested } from './cloudfront.ts';

interface Uploaded {
  code: string;
  etag: string;
}

interface StoredFunction {
  development: Uploaded;
  live: Uploaded | null;
  /** ETag of the development version that is LIVE. */
  published: string;
  isUsed: boolean;
}

/**
 * The functions of CloudFront behind its REST API (API version 2020-05-31): an ETag a stage, If-Match required, PublishFunction
 * copies DEVELOPMENT to LIVE and refuses a version that is LIVE already. TestFunction runs the uploaded code in node:vm, with
 * `entries` for its KeyValueStore.
 */
export class CloudFrontFunctions {
  readonly #functions = new Map<string, StoredFunction>();
  readonly #entries: () => Promise<ReadonlyMap<string, string>>;
  #versions = 0;

  constructor(entries: () => Promise<ReadonlyMap<string, string>>) {
    this.#entries = entries;
  }

  /** What is LIVE. */
  live(name: string): string {
    return this.#functions.get(name)?.live?.code ?? '';
  }

  has(name: string): boolean {
    return this.#functions.has(name);
  }

  /** What somebody else uploads, and publishes. */
  upload(name: string, code: string): void {
    const development = this.#uploaded(code);
    this.#functions.set(name, { development, live: this.#uploaded(code), published: development.etag, isUsed: false });
  }

  /** What somebody else uploads, without publishing it. */
  draft(name: string, code: string): void {
    const stored = this.#functions.get(name);
    if (stored) stored.development = this.#uploaded(code);
  }

  /** A distribution uses it from now on, or no longer. */
  associate(name: string, isUsed: boolean): void {
    const stored = this.#functions.get(name);
    if (stored) stored.isUsed = isUsed;
  }

  async answer(request: http.IncomingMessage, body: string): Promise<Answer> {
    const { operation, name, stage } = cloudFrontCall(request, body);
    if (operation === 'CreateFunction') return this.#create(name, codeIn(body));
    const stored = this.#functions.get(name);
    const uploaded = stage === 'LIVE' ? stored?.live : stored?.development;
    if (!stored || !uploaded) return refused(404, 'NoSuchFunctionExists');
    if (operation === 'DescribeFunction') return { headers: { etag: uploaded.etag }, body: summary(name) };
    if (operation === 'GetFunction') return { headers: { etag: uploaded.etag }, body: uploaded.code };
    const { 'if-match': ifMatch } = request.headers;
    if (ifMatch === undefined) return refused(400, 'InvalidIfMatchVersion');
    if (ifMatch !== uploaded.etag) return refused(412, 'PreconditionFailed');
    switch (operation) {
      case 'TestFunction':
        return this.#test(uploaded.code, body);
      case 'UpdateFunction':
        stored.development = this.#uploaded(codeIn(body));
        // The name of this header in CloudFront's own model.
        return { headers: { ettag: stored.development.etag }, body: summary(name) };
      case 'PublishFunction':
        if (stored.published === uploaded.etag) return refused(412, 'PreconditionFailed');
        stored.live = this.#uploaded(uploaded.code);
        stored.published = uploaded.etag;
        return { body: summary(name) };
      case 'DeleteFunction':
        if (stored.isUsed) return refused(409, 'FunctionInUse');
        this.#functions.delete(name);
        return { status: 204, body: '' };
      default:
        return { status: 501, body: '' };
    }
  }

  #create(name: string, code: string): Answer {
    if (this.#functions.has(name)) return refused(409, 'FunctionAlreadyExists');
    const development = this.#uploaded(code);
    this.#functions.set(name, { development, live: null, published: '', isUsed: false });
    return { status: 201, headers: { etag: development.etag }, body: summary(name) };
  }

  #uploaded(code: string): Uploaded {
    return { code, etag: `E${++this.#versions}` };
  }

  async #test(code: string, body: string): Promise<Answer> {
    const [, event = ''] = /<EventObject>([\w+/=]+)</.exec(body) ?? [];
    const store = new Map(await this.#entries());
    const now = Math.floor(Date.now() / 1000);
    const parsed = JSON.parse(Buffer.from(event, 'base64').toString());
    const results = await runInVm(code, [parsed], { now, store }).catch(() => undefined);
    if (!results) return refused(500, 'TestFunctionFailed');
    const [result] = results;
    if (!result || 'error' in result) return tested('20', '', 'an error of the function');
    const isResponse = 'statusCode' in (result.value as object);
    return tested('20', isResponse ? { response: result.value } : { request: result.value });
  }
}

/** Operation, function and stage of a request to CloudFront. */
export function cloudFrontCall(
  { method, url = '/' }: http.IncomingMessage,
  body: string,
): { operation: string; name: string; stage: string } {
  const { pathname, searchParams } = new URL(url, 'http://localhost');
  const [, given = '', verb = ''] = /^\/2020-05-31\/function(?:\/([^/]+)(?:\/(\w+))?)?$/.exec(pathname) ?? [];
  const [, named = ''] = /<Name>([\w-]+)</.exec(body) ?? [];
  const [, stage = searchParams.get('Stage') ?? ''] = /<Stage>(\w+)</.exec(body) ?? [];
  const operations: Record<string, string> = {
    'POST ': given === '' ? 'CreateFunction' : '',
    'GET ': 'GetFunction',
    'GET describe': 'DescribeFunction',
    'PUT ': 'UpdateFunction',
    'POST test': 'TestFunction',
    'POST publish': 'PublishFunction',
    'DELETE ': 'DeleteFunction',
  };
  return { operation: operations[`${method} ${verb}`] ?? '', name: decodeURIComponent(given) || named, stage };
}

function codeIn(body: string): string {
  const [, code = ''] = /<FunctionCode>([\w+/=]+)</.exec(body) ?? [];
  return Buffer.from(code, 'base64').toString();
}

function summary(name: string): string {
  const metadata = `<FunctionMetadata><FunctionARN>arn:aws:cloudfront::123456789012:function/${name}</FunctionARN>
<LastModifiedTime>2026-11-22T06:00:00Z</LastModifiedTime></FunctionMetadata>`;
  const config = '<FunctionConfig><Comment>c</Comment><Runtime>cloudfront-js-2.0</Runtime></FunctionConfig>';
  return `<FunctionSummary xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Name>${name}</Name>
<Status>UNASSOCIATED</Status>${config}${metadata}</FunctionSummary>`;
}
