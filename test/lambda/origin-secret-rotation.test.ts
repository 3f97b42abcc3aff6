import { randomUUID } from 'node:crypto';
import {
  CloudFrontClient,
  type DistributionConfig,
  GetDistributionCommand,
  InvalidArgument,
  PreconditionFailed,
  UpdateDistributionCommand,
} from '@aws-sdk/client-cloudfront';
import { CreateSecretCommand, GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { mockClient } from 'aws-sdk-client-mock';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { HANDLERS } from '../../lambda/handlers.ts';
import { originHeader } from '../../lambda/origin-secret-rotation/cloudfront.ts';
import { originSecretRotation } from '../../lambda/origin-secret-rotation/origin-secret.ts';
import { secretVersions } from '../../lambda/origin-secret-rotation/secrets-manager.ts';
import { rotationEvent } from '../../lambda/rotation-event.ts';
import { ORIGIN_SECRET_HEADER } from '../../token-api/http/viewer.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { type AwsEndpoint, permissionsFor, type SentCommand, startAwsEndpoint } from '../harness/sdk-commands.ts';

const STEPS = ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const;
const FIRST = 'the origin secret before, made by a template';
const NAME = 'portcullis/origin-secret';
/** After this many looks CloudFront has deployed a change. */
const LOOKS = 3;

/** A distribution behind a real client, at the shapes of the SDK's types: If-Match required, deployed after some looks. */
class Distribution {
  readonly client = new CloudFrontClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
  });
  readonly sent: SentCommand[] = [];
  config: DistributionConfig;
  /** Runs before a change is made. */
  before: () => void = () => undefined;
  updates = 0;
  #version = 1;
  #looks = LOOKS;

  constructor(secret: string) {
    const header = { HeaderName: 'X-Origin-Secret', HeaderValue: secret };
    const other = { HeaderName: 'X-Other', HeaderValue: 'stays' };
    this.config = {
      ...{ CallerReference: 'r', Comment: 'Portcullis', Enabled: true, DefaultCacheBehavior: undefined },
      Origins: {
        Quantity: 2,
        Items: [
          { Id: 'media', DomainName: 'media.example.com', CustomHeaders: { Quantity: 0 } },
          { Id: 'api', DomainName: 'api.example.com', CustomHeaders: { Quantity: 2, Items: [other, header] } },
        ],
      },
    };
    const mock = mockClient(this.client);
    mock.on(GetDistributionCommand).callsFake(() => {
      this.#record('GetDistribution');
      const Status = this.#looks++ >= LOOKS ? 'Deployed' : 'InProgress';
      return { ETag: this.#etag, Distribution: { Status, DistributionConfig: structuredClone(this.config) } };
    });
    mock.on(UpdateDistributionCommand).callsFake(({ IfMatch, DistributionConfig }) => {
      this.#record('UpdateDistribution');
      this.before();
      if (IfMatch !== this.#etag) throw new PreconditionFailed({ message: 'no', $metadata: {} });
      this.change(DistributionConfig);
      this.updates++;
      return {};
    });
  }

  /** What somebody else deploys. */
  change(config: DistributionConfig): void {
    this.config = config;
    this.#version++;
    this.#looks = 0;
  }

  get headers() {
    return this.config.Origins?.Items?.[1]?.CustomHeaders?.Items;
  }

  get #etag(): string {
    return `E${this.#version}`;
  }

  #record(operation: string): void {
    this.sent.push({ action: `cloudfront:${operation}`, resource: 'distribution' });
  }
}

describe.skipIf(!HAS_MOTO)(`rotating the origin secret${HAS_MOTO ? '' : ' (needs moto_server)'}`, () => {
  const moto = useMoto();
  let aws: AwsEndpoint;
  let secrets: SecretsManagerClient;
  let distribution: Distribution;
  let secretId: string;
  let clock: number;
  let status: number;
  const sent: SentCommand[] = [];
  const rotation = () =>
    originSecretRotation({
      versions: secretVersions(secrets, secretId),
      header: originHeader(distribution.client, 'E1', ORIGIN_SECRET_HEADER),
      ask: async () => status,
      now: () => clock,
      sleep: async (milliseconds) => {
        clock += milliseconds / 1000;
      },
    });
  const labelled = async (VersionStage: string) => {
    const { SecretString } = await secrets.send(new GetSecretValueCommand({ SecretId: secretId, VersionStage }));
    return SecretString;
  };
  const sentValue = () => distribution.headers?.[1]?.HeaderValue;

  beforeAll(async () => {
    const { endpoint, ...access } = await moto();
    aws = await startAwsEndpoint({ moto: endpoint });
    secrets = new SecretsManagerClient({ ...access, endpoint: aws.url });
  });
  beforeEach(async () => {
    sent.push(...(distribution?.sent ?? []));
    distribution = new Distribution(FIRST);
    secretId = `${NAME}-${randomUUID()}`;
    clock = Date.now() / 1000;
    status = 200;
    await secrets.send(new CreateSecretCommand({ Name: secretId, SecretString: FIRST }));
  });
  afterAll(() => aws?.stop());

  async function begun(): Promise<string> {
    const run = randomUUID();
    await rotation()({ Step: 'createSecret', ClientRequestToken: run });
    return run;
  }

  test('brings another secret to distribution and API, of which the API knows first', async () => {
    const run = await begun();
    const began = clock;
    const next = await labelled('AWSPENDING');
    const rotate = rotation();
    let setAt = 0;
    distribution.before = () => {
      setAt = clock;
    };
    for (const Step of STEPS) {
      expect(await labelled('AWSCURRENT')).toBe(FIRST);
      await rotate({ Step, ClientRequestToken: run });
    }
    // The API reads its secrets every minute.
    expect(setAt - began).toBeGreaterThan(60);
    expect([await labelled('AWSCURRENT'), await labelled('AWSPREVIOUS'), sentValue()]).toEqual([next, FIRST, next]);
    expect(next?.length).toBeGreaterThanOrEqual(48);
    // Nothing else of the distribution is another.
    expect(distribution.headers?.[0]).toEqual({ HeaderName: 'X-Other', HeaderValue: 'stays' });
    expect(distribution.config).toMatchObject({ Comment: 'Portcullis', Origins: { Quantity: 2 } });
    expect(distribution.config.Origins?.Items?.[0]?.CustomHeaders).toEqual({ Quantity: 0 });
  });

  test('each step may come twice, and a version makes one secret', async () => {
    const run = await begun();
    const next = await labelled('AWSPENDING');
    for (const Step of STEPS) {
      await rotation()({ Step, ClientRequestToken: run });
      await rotation()({ Step, ClientRequestToken: run });
    }
    expect(await labelled('AWSCURRENT')).toBe(next);
    expect(distribution.updates).toBe(1);
    // When it is done, nothing of it does anything.
    distribution.change({ ...distribution.config, Comment: 'deployed again' });
    for (const Step of STEPS) await rotation()({ Step, ClientRequestToken: run });
    expect(distribution.updates).toBe(1);
  });

  test('goes on where others change the distribution meanwhile, and keeps what they changed', async () => {
    const run = await begun();
    let changes = 0;
    distribution.before = () => {
      if (changes++ < 2) distribution.change({ ...distribution.config, Comment: `deployed ${changes}` });
    };
    await rotation()({ Step: 'setSecret', ClientRequestToken: run });
    expect(distribution.config.Comment).toBe('deployed 2');
    expect(sentValue()).toBe(await labelled('AWSPENDING'));
    distribution.before = () => distribution.change({ ...distribution.config });
    distribution.change({ ...distribution.config, Origins: new Distribution(FIRST).config.Origins });
    await expect(rotation()({ Step: 'setSecret', ClientRequestToken: run })).rejects.toMatchObject({
      code: 'ERR_ORIGIN_SECRET_CONFLICT',
    });
  });

  test('a deployment that puts the secret before back ends the rotation, not the viewers', async () => {
    const run = await begun();
    await rotation()({ Step: 'setSecret', ClientRequestToken: run });
    distribution.change({ ...distribution.config, Origins: new Distribution(FIRST).config.Origins });
    for (const Step of ['testSecret', 'finishSecret'] as const) {
      await expect(rotation()({ Step, ClientRequestToken: run })).rejects.toMatchObject({
        code: 'ERR_ORIGIN_SECRET_DEPLOYING',
      });
    }
    expect(await labelled('AWSCURRENT')).toBe(FIRST);
    // Tried again, it goes through.
    for (const Step of STEPS) await rotation()({ Step, ClientRequestToken: run });
    expect(await labelled('AWSCURRENT')).toBe(sentValue());
  });

  test('an API that does not answer through the distribution keeps the secret before', async () => {
    const run = await begun();
    await rotation()({ Step: 'setSecret', ClientRequestToken: run });
    status = 502;
    await expect(rotation()({ Step: 'testSecret', ClientRequestToken: run })).rejects.toMatchObject({
      code: 'ERR_ORIGIN_SECRET_PROBE',
    });
    expect(await labelled('AWSCURRENT')).toBe(FIRST);
  });

  test('a distribution that sends no secret gets none', async () => {
    const run = await begun();
    const { Origins } = distribution.config;
    distribution.change({
      ...distribution.config,
      Origins: { Quantity: 1, Items: (Origins?.Items ?? []).slice(0, 1) },
    });
    await expect(rotation()({ Step: 'setSecret', ClientRequestToken: run })).rejects.toMatchObject({
      code: 'ERR_ORIGIN_SECRET_UNUSED',
    });
  });

  test('what AWS refuses is said without what it wrote, which may quote the secret', async () => {
    const run = await begun();
    const next = (await labelled('AWSPENDING')) ?? '';
    distribution.before = () => {
      throw new InvalidArgument({ message: `The header ${next} is too long`, $metadata: { requestId: 'r-1' } });
    };
    const failure: unknown = await rotation()({ Step: 'setSecret', ClientRequestToken: run }).catch((error) => error);
    expect(failure).toMatchObject({
      code: 'ERR_ORIGIN_SECRET_AWS',
      message: expect.stringContaining('InvalidArgument'),
    });
    expect(String((failure as Error).stack)).not.toContain(next);
  });

  test('the try of Secrets Manager, when a schedule is made, asks no API that may not be there yet', async () => {
    status = 0;
    const run = randomUUID();
    await secretVersions(secrets, secretId).create(run, FIRST);
    await rotation()({ Step: 'testSecret', ClientRequestToken: run });
    expect([distribution.updates, sentValue(), await labelled('AWSCURRENT')]).toEqual([0, FIRST, FIRST]);
  });

  test('no step of a rotation that is not under way is done', async () => {
    const run = await begun();
    for (const [Step, token] of [
      ['setSecret', randomUUID()],
      ['constructor', run],
      ['', run],
    ]) {
      const event = { Step, ClientRequestToken: token } as Parameters<ReturnType<typeof rotation>>[0];
      await expect(rotation()(event)).rejects.toMatchObject({ code: 'ERR_ORIGIN_SECRET_STEP' });
    }
    expect(distribution.updates).toBe(0);
    expect(() => rotationEvent({ Step: 'setSecret', SecretId: 'other', ClientRequestToken: run }, secretId)).toThrow(
      expect.objectContaining({ code: 'ERR_ROTATION_EVENT' }),
    );
  });

  test('has the permissions of the commands that it sent here, and no others', () => {
    const own = aws.sent.filter(({ action }) => action !== 'secretsmanager:CreateSecret');
    const nameOf = (resource: string) => (resource.startsWith(NAME) ? 'originSecret' : resource);
    const { webAcl, ...direct } = HANDLERS['origin-secret-rotation'].permissions;
    expect(permissionsFor([...own, ...sent], nameOf)).toEqual(direct);
    // CloudFront asks WAF in the name of the caller, when the distribution has a web ACL.
    expect(webAcl).toEqual(['wafv2:GetWebACL']);
  });
});
