import { CreateKeyCommand, EncryptCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contentKeyContext } from '../../enclave-render/packaging/content-keys.ts';
import { HANDLERS } from '../../lambda/handlers.ts';
import { type RunningLambda, startLambda } from '../harness/lambda.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { type AwsEndpoint, permissionsFor, startAwsEndpoint } from '../harness/sdk-commands.ts';

const BUCKET = 'portcullis-packages';

/** An event of a function URL (Lambda Developer Guide, "Invoking Lambda function URLs"), as origin access control signs it. */
function urlEvent(path: string, method = 'GET'): object {
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: '',
    headers: { host: 'abc.lambda-url.eu-central-1.on.aws', via: '2.0 cf (CloudFront)', 'x-amz-source-account': '1' },
    requestContext: {
      accountId: 'anonymous',
      domainName: 'abc.lambda-url.eu-central-1.on.aws',
      http: { method, path, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'Amazon CloudFront' },
      requestId: 'e1506fd5',
      stage: '$default',
    },
    isBase64Encoded: false,
  };
}

describe.skipIf(!HAS_MOTO)(
  `handler key-server${HAS_MOTO ? '' : ' (needs moto_server, which is not installed)'}`,
  () => {
    const moto = useMoto();
    const key = Buffer.from('sixteen bytes of');
    let aws: AwsEndpoint;
    let lambda: RunningLambda;
    let s3: S3Client;
    let masteringKey: string;

    beforeAll(async () => {
      const access = await moto();
      const kms = new KMSClient(access);
      masteringKey = (await kms.send(new CreateKeyCommand({}))).KeyMetadata?.Arn ?? '';
      const wrapped = async (name: string, context: Record<string, string> = contentKeyContext(name)) => {
        const request = { KeyId: masteringKey, Plaintext: key, EncryptionContext: context };
        const { CiphertextBlob = new Uint8Array() } = await kms.send(new EncryptCommand(request));
        return { name, encryptedKey: Buffer.from(CiphertextBlob).toString('base64'), keyId: masteringKey, context };
      };
      s3 = new S3Client({ ...access, forcePathStyle: true });
      await s3.send(new CreateBucketCommand({ Bucket: BUCKET }));
      const keys = [
        await wrapped('k1'),
        await wrapped('k2'),
        await wrapped('of-a-master', { purpose: 'master' }),
        { ...(await wrapped('k3')), encryptedKey: Buffer.from('damaged').toString('base64') },
      ];
      await put('aurora/keys.json', JSON.stringify({ format: 'portcullis-content-keys/1', keys }));
      await put('series/one/keys.json', JSON.stringify({ format: 'portcullis-content-keys/1', keys: [keys[0]] }));
      await put('damaged/keys.json', '{"format":');
      aws = await startAwsEndpoint({ moto: access.endpoint });
      lambda = startLambda('key-server', { region: 'us-east-1', packagesBucket: BUCKET }, aws.url);
    });
    afterAll(() => {
      lambda?.stop();
      aws?.stop();
    });

    const put = (Key: string, Body: string) => s3.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body }));
    const decryptions = () => aws.sent.filter(({ action }) => action === 'kms:Decrypt').length;

    test('serves a key, with one call of KMS for each in a warm function', async () => {
      for (let i = 0; i < 3; i++) {
        const { statusCode, headers, body, isBase64Encoded } = await lambda.invoke(urlEvent('/aurora/keys/k1.key'));
        expect([statusCode, isBase64Encoded, Buffer.from(body, 'base64')]).toEqual([200, true, key]);
        expect(headers).toMatchObject({ 'cache-control': 'no-store', 'content-type': 'application/octet-stream' });
      }
      expect(decryptions()).toBe(1);
      await Promise.all(Array.from({ length: 5 }, () => lambda.invoke(urlEvent('/aurora/keys/k2.key'))));
      expect(decryptions()).toBe(2);
      expect((await lambda.invoke(urlEvent('/series/one/keys/k1.key'))).statusCode).toBe(200);
    });

    test('refuses what is no key, and says which of both is damaged, storing nothing', async () => {
      const expected: [path: string, status: number, code: string, method?: string][] = [
        ['/aurora/keys/k9.key', 404, 'ERR_KEY_NOT_FOUND'],
        ['/nothing/keys/k1.key', 404, 'ERR_KEY_NOT_FOUND'],
        ['/aurora/keys.json', 404, 'ERR_KEY_NOT_FOUND'],
        ['/aurora/../aurora/keys/k1.key/..', 404, 'ERR_KEY_NOT_FOUND'],
        ['/aurora/%2e%2e/keys/k1.key', 404, 'ERR_KEY_NOT_FOUND'],
        ['/aurora/keys/k1%2ekey', 404, 'ERR_KEY_NOT_FOUND'],
        ['/', 404, 'ERR_KEY_NOT_FOUND'],
        ['/aurora/keys/k3.key', 500, 'ERR_KEY_DAMAGED'],
        ['/aurora/keys/of-a-master.key', 500, 'ERR_KEY_DAMAGED'],
        ['/damaged/keys/k1.key', 500, 'ERR_KEY_DAMAGED'],
        ['/aurora/keys/k1.key', 405, 'ERR_KEY_METHOD', 'POST'],
      ];
      for (const [path, status, code, method] of expected) {
        const { statusCode, headers, body } = await lambda.invoke(urlEvent(path, method));
        expect([path, statusCode, JSON.parse(body).code]).toEqual([path, status, code]);
        expect([path, headers['cache-control']]).toEqual([path, 'no-store']);
      }
    });

    test('says when to come back while S3 or KMS cannot be had', async () => {
      const alone = await startAwsEndpoint({});
      const cut = startLambda('key-server', { region: 'us-east-1', packagesBucket: BUCKET }, alone.url);
      const { statusCode, headers, body } = await cut.invoke(urlEvent('/aurora/keys/k1.key'));
      expect([statusCode, headers['retry-after'], JSON.parse(body).code]).toEqual([503, '2', 'ERR_KEY_UNAVAILABLE']);
      cut.stop();
      alone.stop();
    });

    test('has the permissions of the commands that it sent, and no others; and logs no key', () => {
      const names: Record<string, string> = { [BUCKET]: 'packagesBucket', [masteringKey]: 'masteringKey' };
      expect(permissionsFor(aws.sent, (resource) => names[resource] ?? resource)).toEqual(
        HANDLERS['key-server'].permissions,
      );
      expect(lambda.log()).toContain('ERR_');
      for (const form of ['utf8', 'base64', 'hex'] as const) expect(lambda.log()).not.toContain(key.toString(form));
    });
  },
);
