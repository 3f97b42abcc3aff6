import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { KMSClient } from '@aws-sdk/client-kms';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { awsDataKeys, kmsClient } from '../../../enclave-render/kms/kms.ts';
import { packagePath } from '../../../local/package-root.ts';
import { freePort } from '../../harness/stack.ts';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const SECRET = 'what the service quotes';
const ARN = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';

/** What KMS answers next, over its protocol (AWS JSON 1.1), and what it was asked. */
let answer: { status: number; body: unknown } = { status: 200, body: {} };
const asked: { target: string | undefined; body: Record<string, unknown> }[] = [];
const server = http.createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray()).toString();
  asked.push({ target: request.headers['x-amz-target']?.toString(), body: JSON.parse(body) });
  response.writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': 'request-1' });
  response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
afterAll(() => server.close());
const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const kms = awsDataKeys(new KMSClient({ endpoint, region: 'eu-central-1', credentials, maxAttempts: 1 }));

describe('AWS KMS', () => {
  test('is asked for an enclave with its attestation document, and what it answers in clear is not handed on', async () => {
    const CiphertextForRecipient = Buffer.from('an envelope').toString('base64');
    answer = { status: 200, body: { KeyId: ARN, CiphertextForRecipient, Plaintext: 'AAAA' } };
    const got = await kms.decryptForRecipient(Uint8Array.of(1), { job: '1' }, Uint8Array.of(2), ARN);
    expect(got).toEqual({ ciphertextForRecipient: new Uint8Array(Buffer.from('an envelope')), keyId: ARN });
    expect(asked.at(-1)?.body).toMatchObject({
      EncryptionContext: { job: '1' },
      Recipient: { AttestationDocument: 'Ag==', KeyEncryptionAlgorithm: 'RSAES_OAEP_SHA_256' },
    });
    // A service that knows no recipients answers with the plaintext alone: that is no answer.
    answer = { status: 200, body: { KeyId: ARN, Plaintext: 'AAAA' } };
    const refused = expect.objectContaining({ code: 'ERR_KMS_UNAVAILABLE' });
    await expect(kms.decryptForRecipient(Uint8Array.of(1), {}, Uint8Array.of(2))).rejects.toThrow(refused);
  });

  test.each([
    ['NotFoundException', 'ERR_KMS_NOT_FOUND'],
    ['DisabledException', 'ERR_KMS_DISABLED'],
    ['KMSInvalidStateException', 'ERR_KMS_INVALID_STATE'],
    ['InvalidKeyUsageException', 'ERR_KMS_INVALID_STATE'],
    ['InvalidCiphertextException', 'ERR_KMS_INVALID_CIPHERTEXT'],
    ['IncorrectKeyException', 'ERR_KMS_INCORRECT_KEY'],
    ['ValidationException', 'ERR_KMS_VALIDATION'],
    ['InvalidArnException', 'ERR_KMS_VALIDATION'],
    ['InvalidGrantTokenException', 'ERR_KMS_VALIDATION'],
    ['AccessDeniedException', 'ERR_KMS_ACCESS'],
    ['ExpiredTokenException', 'ERR_KMS_ACCESS'],
    ['UnrecognizedClientException', 'ERR_KMS_ACCESS'],
    ['ThrottlingException', 'ERR_KMS_UNAVAILABLE'],
    ['LimitExceededException', 'ERR_KMS_UNAVAILABLE'],
    ['KeyUnavailableException', 'ERR_KMS_UNAVAILABLE'],
    ['DependencyTimeoutException', 'ERR_KMS_UNAVAILABLE'],
    ['KMSInternalException', 'ERR_KMS_UNAVAILABLE'],
    ['SomethingNewException', 'ERR_KMS_VALIDATION'],
  ])('%s is %s, whichever the call, and nothing that it wrote is told', async (name, code) => {
    answer = { status: name === 'KMSInternalException' ? 500 : 400, body: { __type: name, message: SECRET } };
    const bytes = Uint8Array.of(1);
    const calls = [
      kms.generate('alias/a', 256, {}),
      kms.encrypt('alias/a', bytes, {}),
      kms.decrypt(bytes, {}, 'alias/a'),
      kms.reEncrypt(bytes, {}, 'alias/a', {}),
      kms.decryptForRecipient(bytes, {}, bytes, 'alias/a'),
    ];
    for (const call of calls) {
      const error = await call.catch((thrown) => thrown);
      expect(error).toMatchObject({ name: 'KmsError', code });
      expect(error.message).toMatch(/with alias\/a: .*request request-1/);
      expect(error.message).not.toContain(SECRET);
    }
  });

  test('an answer that is none of KMS, and none at all, say so', async () => {
    for (const body of ['<html>', '', {}, { CiphertextBlob: 'AQ==' }]) {
      answer = { status: 200, body };
      await expect(kms.generate('alias/a', 256, {})).rejects.toMatchObject({ code: 'ERR_KMS_UNAVAILABLE' });
    }
    answer = { status: 502, body: '<html>' };
    await expect(kms.generate('alias/a', 256, {})).rejects.toMatchObject({ code: 'ERR_KMS_UNAVAILABLE' });
    const nobody = `http://127.0.0.1:${await freePort()}`;
    const client = new KMSClient({ endpoint: nobody, region: 'eu-central-1', credentials, maxAttempts: 1 });
    await expect(awsDataKeys(client).generate('alias/a', 256, {})).rejects.toMatchObject({
      code: 'ERR_KMS_UNAVAILABLE',
      message: expect.stringContaining('cannot be reached'),
    });
  });

  test('missing credentials are an error of access', async () => {
    const without = async () => {
      throw Object.assign(new Error(SECRET), { name: 'CredentialsProviderError' });
    };
    const client = new KMSClient({ endpoint, region: 'eu-central-1', credentials: without });
    await expect(awsDataKeys(client).decrypt(Uint8Array.of(1), {})).rejects.toMatchObject({
      code: 'ERR_KMS_ACCESS',
      message: expect.stringMatching(/^Decrypt: no AWS credentials to be had/),
    });
  });

  test('over plain HTTP is refused before anything is sent', async () => {
    // A server of this machine, under an address that is none of loopback.
    let connections = 0;
    const other = createServer(() => connections++).listen(0, '0.0.0.0');
    await once(other, 'listening');
    vi.stubEnv('AWS_ENDPOINT_URL', `http://0.0.0.0:${(other.address() as AddressInfo).port}`);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    const keys = awsDataKeys(kmsClient('eu-central-1'));
    const bytes = Uint8Array.of(1);
    try {
      const calls = [
        keys.generate('alias/a', 256, {}),
        keys.encrypt('alias/a', bytes, {}),
        keys.decrypt(bytes, {}),
        keys.reEncrypt(bytes, {}, 'alias/a', {}),
      ];
      for (const call of calls) {
        const refused = { code: 'ERR_KMS_VALIDATION', message: expect.stringContaining('use https://') };
        await expect(call).rejects.toMatchObject(refused);
      }
      expect(connections).toBe(0);
    } finally {
      vi.unstubAllEnvs();
      other.close();
    }
  });

  test('that says nothing is not waited for for ever', async () => {
    const client = kmsClient('eu-central-1');
    vi.stubEnv('AWS_ENDPOINT_URL', endpoint);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    answer = { status: 200, body: { CiphertextBlob: 'AQID', KeyId: ARN } };
    await awsDataKeys(client)
      .encrypt('alias/a', Uint8Array.of(1), {})
      .finally(() => vi.unstubAllEnvs());
    const handler = client.config.requestHandler as unknown as { httpHandlerConfigs(): object };
    expect(handler.httpHandlerConfigs()).toMatchObject({ connectionTimeout: 10_000, socketTimeout: 60_000 });
  });

  test('that answers a key of another length than it was asked for is none', async () => {
    for (const bytes of [0, 16, 31, 33]) {
      const Plaintext = Buffer.alloc(bytes, 7).toString('base64');
      answer = { status: 200, body: { Plaintext, CiphertextBlob: 'AQID', KeyId: ARN } };
      await expect(kms.generate('alias/a', 256, {})).rejects.toMatchObject({ code: 'ERR_KMS_UNAVAILABLE' });
    }
  });

  test('that refuses what was given for a key, which may be a secret, does not have it told', async () => {
    const secret = Buffer.alloc(32, 200).toString('base64');
    answer = { status: 400, body: { __type: 'NotFoundException', message: SECRET } };
    const error = await kms.generate(secret, 256, {}).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_KMS_NOT_FOUND', message: expect.stringMatching(/^GenerateDataKey: /) });
    expect(error.message).not.toContain(secret);
    const china = 'arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab';
    await expect(kms.generate(china, 256, {})).rejects.toThrow(china);
  });

  test('is asked for keys as the API Reference says, each length in its own way', async () => {
    const answerKey = (bytes: number) => {
      const Plaintext = Buffer.alloc(bytes, 7).toString('base64');
      answer = { status: 200, body: { Plaintext, CiphertextBlob: 'AQID', KeyId: ARN } };
    };
    asked.length = 0;
    answerKey(24);
    await kms.generate('alias/a', 192, {});
    answerKey(32);
    await kms.generate('alias/a', 256, {});
    answerKey(16);
    const key = await kms.generate('alias/a', 128, { a: 'b' });
    await kms.decrypt(key.encrypted, { a: 'b' });
    expect(key).toEqual({ plaintext: new Uint8Array(16).fill(7), encrypted: Uint8Array.of(1, 2, 3), keyId: ARN });
    // Memory of its own: overwriting it leaves nothing behind.
    expect(key.plaintext.buffer.byteLength).toBe(16);
    expect(asked).toEqual([
      { target: 'TrentService.GenerateDataKey', body: expectedOf({ NumberOfBytes: 24, EncryptionContext: {} }) },
      { target: 'TrentService.GenerateDataKey', body: expectedOf({ KeySpec: 'AES_256', EncryptionContext: {} }) },
      {
        target: 'TrentService.GenerateDataKey',
        body: expectedOf({ KeySpec: 'AES_128', EncryptionContext: { a: 'b' } }),
      },
      { target: 'TrentService.Decrypt', body: { CiphertextBlob: 'AQID', EncryptionContext: { a: 'b' } } },
    ]);
  });

  test('the client is for the region that it is given', async () => {
    expect(await kmsClient('eu-central-1').config.region()).toBe('eu-central-1');
  });
});

test('docs/kms.md has every code in its table of errors', () => {
  const code = readFileSync(packagePath('enclave-render', 'kms', 'data-keys.ts'), 'utf8');
  const codes = [...code.matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map(([, name]) => name);
  const rows = readFileSync(packagePath('docs', 'kms.md'), 'utf8').matchAll(/^\| `(ERR_\w+)` \|/gm);
  expect(codes.length).toBeGreaterThan(9);
  expect([...rows].map(([, name]) => name).sort()).toEqual(codes.sort());
});

function expectedOf(body: Record<string, unknown>) {
  return { KeyId: 'alias/a', ...body };
}
