import {
  CloudFrontClient,
  DescribeFunctionCommand,
  type DescribeFunctionRequest,
  type FunctionConfig,
  FunctionSizeLimitExceeded,
  type FunctionStage,
  GetFunctionCommand,
  type GetFunctionRequest,
  InvalidIfMatchVersion,
  NoSuchFunctionExists,
  PreconditionFailed,
  PublishFunctionCommand,
  type PublishFunctionRequest,
  TestFunctionCommand,
  TestFunctionFailed,
  type TestFunctionRequest,
  UpdateFunctionCommand,
  type UpdateFunctionRequest,
} from '@aws-sdk/client-cloudfront';
import { mockClient } from 'aws-sdk-client-mock';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { NOW } from './minting.ts';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

export const FUNCTION_NAME = 'portcullis-viewer-request';

export const FUNCTION_CONFIG: FunctionConfig = {
  Comment: 'checks tokens',
  Runtime: 'cloudfront-js-2.0',
  KeyValueStoreAssociations: {
    Quantity: 1,
    Items: [{ KeyValueStoreARN: 'arn:aws:cloudfront::123456789012:key-value-store/54947df8' }],
  },
};

interface Uploaded {
  code: string;
  config: FunctionConfig;
  etag: string;
}

/** When a call fails: before it took effect, or after, with its reply lost. */
export type Fault = 'before' | 'after';

const told = (message: string) => ({ message, $metadata: { requestId: 'r-1' } });

/**
 * The functions of CloudFront in memory behind a real client, at the shapes of the SDK's types: an ETag a stage, IfMatch
 * required, PublishFunction copies DEVELOPMENT to LIVE and refuses a version that is LIVE already (seen by users of
 * Terraform: hashicorp/terraform-provider-aws#49572). TestFunction runs the uploaded code in node:vm.
 */
export class FunctionService {
  readonly client = new CloudFrontClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
  });
  /** The names of the calls that came. */
  readonly calls: string[] = [];
  development: Uploaded;
  live: Uploaded | null;
  /** Runs before each call, numbered from 1, which it may make fail; what it throws is the answer. */
  before: (call: string, nth: number) => Fault | undefined | Promise<Fault | undefined> = () => undefined;
  /** Runs after each call, whatever became of it. */
  after: () => unknown = () => undefined;
  /** What becomes of code on its way into DEVELOPMENT. */
  upload: (code: string) => string = (code) => code;
  #versions = 0;
  #published = '';

  /** A function whose code is `code` at both stages. */
  constructor(code: string) {
    this.development = this.#uploaded(code);
    this.live = this.#uploaded(code);
    this.#published = this.development.etag;
    const mock = mockClient(this.client);
    mock.on(DescribeFunctionCommand).callsFake((input) => this.#answer('Describe', input, () => this.#describe(input)));
    mock.on(GetFunctionCommand).callsFake((input) => this.#answer('Get', input, () => this.#get(input)));
    mock.on(UpdateFunctionCommand).callsFake((input) => this.#answer('Update', input, () => this.#update(input)));
    mock.on(TestFunctionCommand).callsFake((input) => this.#answer('Test', input, () => this.#test(input)));
    mock.on(PublishFunctionCommand).callsFake((input) => this.#answer('Publish', input, () => this.#publish(input)));
  }

  /** What somebody else uploads, without publishing it. */
  draft(code: string, config: FunctionConfig = FUNCTION_CONFIG): void {
    this.development = this.#uploaded(code, config);
  }

  #uploaded(code: string, config: FunctionConfig = FUNCTION_CONFIG): Uploaded {
    return { code, config: structuredClone(config), etag: `E${++this.#versions}` };
  }

  async #answer<Answer>(call: string, { Name }: { Name?: string }, answer: () => Answer): Promise<Answer> {
    const nth = this.calls.push(call);
    const lost = Object.assign(new Error('socket hang up'), { name: 'TimeoutError' });
    try {
      const fault = await this.before(call, nth);
      if (fault === 'before') throw lost;
      if (Name !== FUNCTION_NAME) throw new NoSuchFunctionExists(told('The function does not exist.'));
      const result = await answer();
      if (fault === 'after') throw lost;
      return result;
    } finally {
      await this.after();
    }
  }

  #at(stage: FunctionStage = 'DEVELOPMENT'): Uploaded {
    const uploaded = stage === 'LIVE' ? this.live : this.development;
    if (!uploaded) throw new NoSuchFunctionExists(told('The function does not exist.'));
    return uploaded;
  }

  #match(version: string | undefined): void {
    if (!version) throw new InvalidIfMatchVersion(told('The If-Match version is missing.'));
    if (version !== this.development.etag) throw new PreconditionFailed(told('The precondition failed.'));
  }

  #describe({ Stage }: DescribeFunctionRequest) {
    const { config, etag } = this.#at(Stage);
    const metadata = { FunctionARN: `arn:aws:cloudfront::123456789012:function/${FUNCTION_NAME}`, Stage };
    return {
      ETag: etag,
      FunctionSummary: {
        Name: FUNCTION_NAME,
        FunctionConfig: structuredClone(config),
        FunctionMetadata: { ...metadata, LastModifiedTime: new Date(0) },
      },
    };
  }

  #get({ Stage }: GetFunctionRequest) {
    const { code, etag } = this.#at(Stage);
    return { ETag: etag, FunctionCode: new TextEncoder().encode(code), ContentType: 'application/octet-stream' };
  }

  #update({ IfMatch, FunctionConfig, FunctionCode }: UpdateFunctionRequest) {
    this.#match(IfMatch);
    const code = Buffer.from(FunctionCode ?? []).toString();
    if (Buffer.byteLength(code) > 10240) throw new FunctionSizeLimitExceeded(told('The function is too large.'));
    if (!FunctionConfig) throw new Error('FunctionConfig is required');
    // What the configuration leaves out is gone, as on CloudFront.
    this.development = this.#uploaded(this.upload(code), FunctionConfig);
    return { ETag: this.development.etag };
  }

  async #test({ IfMatch, Stage, EventObject }: TestFunctionRequest) {
    this.#match(IfMatch);
    const event: unknown = JSON.parse(Buffer.from(EventObject ?? []).toString());
    const { code } = this.#at(Stage);
    const results = await runInVm(code, [event], { now: NOW, store: new Map() }).catch((error: Error) => {
      throw new TestFunctionFailed(told(`${error.message} in ${code}`));
    });
    const [result] = results;
    if (!result || 'error' in result) return { TestResult: { FunctionErrorMessage: `${result?.error} in ${code}` } };
    const isResponse = 'statusCode' in (result.value as object);
    const FunctionOutput = JSON.stringify(isResponse ? { response: result.value } : { request: result.value });
    // On success the message is there, and empty.
    return { TestResult: { ComputeUtilization: '20', FunctionErrorMessage: '', FunctionOutput } };
  }

  #publish({ IfMatch }: PublishFunctionRequest) {
    this.#match(IfMatch);
    if (this.development.etag === this.#published) throw new PreconditionFailed(told('The precondition failed.'));
    const { code, config, etag } = this.development;
    this.live = this.#uploaded(code, config);
    this.#published = etag;
    return {};
  }
}
