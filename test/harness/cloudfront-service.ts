import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { openPort } from '../../local/listen.ts';

const NAMESPACE = 'xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"';
const ACCOUNT = '123456789012';

/** Something with a configuration, which is kept as the XML that came. */
interface Stored {
  id: string;
  xml: string;
  version: string;
}

interface StoredFunction {
  name: string;
  code: string;
  config: string;
  version: string;
  isLive: boolean;
}

/** When a call fails: before it took effect, or after, with its reply lost. */
export type Fault = 'before' | 'after' | undefined;

/** The content of the first element of a name. */
export function element(xml: string, name: string): string {
  return new RegExp(`<${name}(?: [^>]*)?>([\\s\\S]*?)</${name}>`).exec(xml)?.[1] ?? '';
}

class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string) {
    super(code);
    this.status = status;
    this.code = code;
  }
}

const POLICIES = {
  'origin-request-policy': 'OriginRequestPolicy',
  'cache-policy': 'CachePolicy',
  'response-headers-policy': 'ResponseHeadersPolicy',
  'continuous-deployment-policy': 'ContinuousDeploymentPolicy',
} as const;
type PolicyPath = keyof typeof POLICIES;
const isPolicyPath = (path: string): path is PolicyPath => Object.hasOwn(POLICIES, path);

/**
 * CloudFront's REST API on loopback (API version 2020-05-31), as far as attaching goes: distributions with ETag and IfMatch, staging
 * copies, policies of one name each, functions with two stages. Configurations are kept as the XML that was sent. A policy or
 * function that a distribution names cannot be deleted.
 */
export class CloudFrontService {
  readonly distributions = new Map<string, Stored & { domain: string; polls: number }>();
  readonly policies = new Map<string, Stored & { path: PolicyPath }>();
  readonly functions = new Map<string, StoredFunction>();
  /** The calls that came, like `PUT distribution`. */
  readonly calls: string[] = [];
  /** Runs before each call, numbered from 1, and may make it fail. */
  before: (call: string, nth: number) => Fault = () => undefined;
  /** What is wrong with a function on a test event; nothing. */
  testError = '';
  /** How often a distribution is looked at before it is deployed. */
  pollsPerDeployment = 0;
  url = '';
  #versions = 0;
  #close = async () => {};

  async start(): Promise<void> {
    const port = await openPort(0);
    this.url = port.url;
    this.#close = port.close;
    port.serve(async (request, response) => {
      const body = await text(request);
      const { pathname } = new URL(request.url ?? '/', port.url);
      const call = `${request.method} ${pathname.replace('/2020-05-31/', '').replace(/\/(?:E|P|portcullis-|their)[^/]*/, '')}`;
      const fault = this.before(call, this.calls.push(call));
      if (fault === 'before') return void response.destroy();
      let answer: { status?: number; etag?: string; body: string | Buffer };
      try {
        answer = this.#answer(request, body, new URL(request.url ?? '/', port.url));
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        const inner = `<Type>Sender</Type><Code>${error.code}</Code><Message>No.</Message>`;
        const xml = `<ErrorResponse ${NAMESPACE}><Error>${inner}</Error><RequestId>r-1</RequestId></ErrorResponse>`;
        answer = { status: error.status, body: xml };
      }
      if (fault === 'after') return void response.destroy();
      const headers = { 'content-type': 'text/xml', ...(answer.etag && { etag: answer.etag }) };
      response.writeHead(answer.status ?? 200, headers).end(answer.body);
    });
  }

  close(): Promise<void> {
    return this.#close();
  }

  addDistribution(id: string, config: string): void {
    this.distributions.set(id, {
      id,
      xml: config,
      version: this.#version(),
      domain: `${id.toLowerCase()}.cloudfront.net`,
      polls: 0,
    });
  }

  addPolicy(path: PolicyPath, id: string, config: string): void {
    this.policies.set(id, { path, id, xml: config, version: this.#version() });
  }

  addFunction(name: string, code: string, stores: string[] = []): string {
    const items = stores
      .map((arn) => `<KeyValueStoreAssociation><KeyValueStoreARN>${arn}</KeyValueStoreARN></KeyValueStoreAssociation>`)
      .join('');
    const associations = `<KeyValueStoreAssociations><Quantity>${stores.length}</Quantity><Items>${items}</Items></KeyValueStoreAssociations>`;
    const config = `<Comment>c</Comment><Runtime>cloudfront-js-2.0</Runtime>${associations}`;
    this.functions.set(name, { name, code, config, version: this.#version(), isLive: true });
    return this.arn(name);
  }

  arn(name: string): string {
    return `arn:aws:cloudfront::${ACCOUNT}:function/${name}`;
  }

  /** Changes a distribution as somebody else would. */
  edit(id: string, change: (xml: string) => string): void {
    const there = this.#distribution(id);
    Object.assign(there, { xml: change(there.xml), version: this.#version() });
  }

  #version(): string {
    return `V${++this.#versions}`;
  }

  #distribution(id: string) {
    const there = this.distributions.get(id);
    if (!there) throw new Refusal(404, 'NoSuchDistribution');
    return there;
  }

  #match(request: IncomingMessage, version: string): void {
    if (request.headers['if-match'] !== version) throw new Refusal(412, 'PreconditionFailed');
  }

  #answer(request: IncomingMessage, body: string, { pathname, searchParams }: URL) {
    const [resource = '', id = '', action = ''] = pathname
      .replace('/2020-05-31/', '')
      .split('/')
      .map(decodeURIComponent);
    const method = request.method ?? '';
    if (resource === 'distribution') return this.#onDistribution(request, method, id, action, body);
    if (resource === 'function')
      return this.#onFunction(request, method, id, action, body, searchParams.get('Stage') ?? '');
    if (isPolicyPath(resource)) return this.#onPolicy(request, method, resource, id, body);
    throw new Refusal(501, 'NotImplemented');
  }

  #onDistribution(request: IncomingMessage, method: string, id: string, action: string, body: string) {
    if (id === '') {
      const items = [...this.distributions.values()].map(
        ({ id, xml }) =>
          `<DistributionSummary><Id>${id}</Id><Staging>${element(xml, 'Staging')}</Staging></DistributionSummary>`,
      );
      return { body: `<DistributionList ${NAMESPACE}><Items>${items.join('')}</Items></DistributionList>` };
    }
    const there = this.#distribution(id);
    const shown = (stored: typeof there) => {
      const status = stored.polls++ < this.pollsPerDeployment ? 'InProgress' : 'Deployed';
      const about = `<Id>${stored.id}</Id><Status>${status}</Status><DomainName>${stored.domain}</DomainName>`;
      return `<Distribution ${NAMESPACE}>${about}<DistributionConfig>${stored.xml}</DistributionConfig></Distribution>`;
    };
    if (method === 'GET' && action === 'config') {
      return { etag: there.version, body: `<DistributionConfig ${NAMESPACE}>${there.xml}</DistributionConfig>` };
    }
    if (method === 'GET') return { etag: there.version, body: shown(there) };
    this.#match(request, there.version);
    if (method === 'PUT') {
      this.#checkReferences(body);
      Object.assign(there, { xml: element(body, 'DistributionConfig'), version: this.#version(), polls: 0 });
      return { etag: there.version, body: shown(there) };
    }
    if (method === 'DELETE') {
      if (element(there.xml, 'Enabled') === 'true') throw new Refusal(409, 'DistributionNotDisabled');
      this.distributions.delete(id);
      return { status: 204, body: '' };
    }
    const reference = element(body, 'CallerReference');
    if ([...this.distributions.values()].some(({ xml }) => element(xml, 'CallerReference') === reference)) {
      throw new Refusal(409, 'DistributionAlreadyExists');
    }
    const copy = `${id}STAGING`;
    const xml = there.xml
      .replace(/<CallerReference>.*?<\/CallerReference>/, `<CallerReference>${reference}</CallerReference>`)
      .replace(/<Staging>false</, '<Staging>true<');
    this.addDistribution(copy, xml);
    return { status: 201, etag: this.#distribution(copy).version, body: shown(this.#distribution(copy)) };
  }

  /** What a behaviour names has to be there, and a function has to be published. */
  #checkReferences(xml: string): void {
    for (const [, id = ''] of xml.matchAll(
      /<(?:CachePolicyId|OriginRequestPolicyId|ResponseHeadersPolicyId)>([^<]+)</g,
    )) {
      if (!this.policies.has(id)) throw new Refusal(404, 'NoSuchCachePolicy');
    }
    for (const [, name = ''] of xml.matchAll(/function\/([^<]+)<\/FunctionARN>/g)) {
      if (!this.functions.get(name)?.isLive) throw new Refusal(400, 'InvalidFunctionAssociation');
    }
  }

  #isUsed(reference: string): boolean {
    return [...this.distributions.values()].some(({ xml }) => xml.includes(`>${reference}<`));
  }

  #onPolicy(request: IncomingMessage, method: string, path: PolicyPath, id: string, body: string) {
    const name = POLICIES[path];
    const shown = ({ id, xml }: Stored) =>
      `<${name} ${NAMESPACE}><Id>${id}</Id><${name}Config>${xml}</${name}Config></${name}>`;
    const all = [...this.policies.values()].filter((policy) => policy.path === path);
    if (method === 'POST') {
      const xml = element(body, `${name}Config`);
      const key = path === 'continuous-deployment-policy' ? element(xml, 'DnsName') : element(xml, 'Name');
      const isTaken = all.some((policy) => policy.xml.includes(`>${key}<`));
      if (isTaken) throw new Refusal(409, `${name}AlreadyExists`);
      const made = `P${createHash('sha256')
        .update(path + xml)
        .digest('hex')
        .slice(0, 8)}`;
      this.addPolicy(path, made, xml);
      const stored = this.#policy(made, name);
      return { status: 201, etag: stored.version, body: shown(stored) };
    }
    if (method === 'GET' && id === '') {
      const items = all.map((policy) => `<${name}Summary><Type>custom</Type>${shown(policy)}</${name}Summary>`);
      return { body: `<${name}List ${NAMESPACE}><Items>${items.join('')}</Items></${name}List>` };
    }
    const there = this.#policy(id, name);
    if (method === 'GET') return { etag: there.version, body: shown(there) };
    this.#match(request, there.version);
    if (this.#isUsed(id)) throw new Refusal(409, `${name}InUse`);
    this.policies.delete(id);
    return { status: 204, body: '' };
  }

  #policy(id: string, name: string) {
    const there = this.policies.get(id);
    if (!there) throw new Refusal(404, `NoSuch${name}`);
    return there;
  }

  #onFunction(request: IncomingMessage, method: string, id: string, action: string, body: string, stage: string) {
    if (id === '') {
      const name = element(body, 'Name');
      if (this.functions.has(name)) throw new Refusal(409, 'FunctionAlreadyExists');
      const code = Buffer.from(element(body, 'FunctionCode'), 'base64').toString();
      this.functions.set(name, {
        name,
        code,
        config: element(body, 'FunctionConfig'),
        version: this.#version(),
        isLive: false,
      });
      return { status: 201, etag: 'V', body: this.#summary(name) };
    }
    const there = this.functions.get(id);
    if (!there || (stage === 'LIVE' && !there.isLive)) throw new Refusal(404, 'NoSuchFunctionExists');
    if (method === 'GET' && action === 'describe') return { etag: there.version, body: this.#summary(id) };
    if (method === 'GET') return { etag: there.version, body: Buffer.from(there.code) };
    this.#match(request, there.version);
    if (method === 'DELETE') {
      if (this.#isUsed(this.arn(id))) throw new Refusal(409, 'FunctionInUse');
      this.functions.delete(id);
      return { status: 204, body: '' };
    }
    if (action === 'publish') {
      there.isLive = true;
      return { body: this.#summary(id) };
    }
    const error = `<FunctionErrorMessage>${this.testError}</FunctionErrorMessage>`;
    return { body: `<TestResult ${NAMESPACE}><ComputeUtilization>20</ComputeUtilization>${error}</TestResult>` };
  }

  #summary(name: string): string {
    const { config = '' } = this.functions.get(name) ?? {};
    const metadata = `<FunctionMetadata><FunctionARN>${this.arn(name)}</FunctionARN></FunctionMetadata>`;
    return `<FunctionSummary ${NAMESPACE}><Name>${name}</Name><FunctionConfig>${config}</FunctionConfig>${metadata}</FunctionSummary>`;
  }
}
