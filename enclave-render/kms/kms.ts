import {
  DecryptCommand,
  EncryptCommand,
  GenerateDataKeyCommand,
  KMSClient,
  ReEncryptCommand,
} from '@aws-sdk/client-kms';
import { HTTPS_ONLY, httpsOnly } from '../plain-http.ts';
import { type AttestedDataKeys, type DataKeys, KmsError, type KmsErrorCode } from './data-keys.ts';
import { checkContext } from './encryption-context.ts';
import { isKeyIdentifier } from './keystore.ts';
import { KEY_ENCRYPTION_ALGORITHM } from './recipient.ts';

/** What an error of KMS, or of the SDK before it gets there, means here, by its name, and what to do about it. */
const FAILURES: [name: RegExp, code: KmsErrorCode, advice: string][] = [
  [/^NotFoundException$/, 'ERR_KMS_NOT_FOUND', 'there is no such key or alias in this account and region'],
  [/^DisabledException$/, 'ERR_KMS_DISABLED', 'the key is disabled: enable it (aws kms enable-key)'],
  [
    /^KMSInvalidStateException$/,
    'ERR_KMS_INVALID_STATE',
    'the key is pending deletion or import: cancel its deletion (aws kms cancel-key-deletion), or use another key',
  ],
  [
    /^InvalidKeyUsageException$/,
    'ERR_KMS_INVALID_STATE',
    'the key cannot do this: it has to be symmetric, with usage ENCRYPT_DECRYPT',
  ],
  [
    /^InvalidCiphertextException$/,
    'ERR_KMS_INVALID_CIPHERTEXT',
    'the encryption context is not the one of the encryption, or the ciphertext is damaged or not of AWS KMS',
  ],
  [
    /^IncorrectKeyException$/,
    'ERR_KMS_INCORRECT_KEY',
    'the ciphertext is under another key than the one that was named',
  ],
  [
    /^AccessDenied(?:Exception)?$/,
    'ERR_KMS_ACCESS',
    'access denied: these credentials need the permission for it on the key, in its policy or in IAM; or the key of the ciphertext is not there',
  ],
  [
    /^(?:Credentials|Token)ProviderError$/,
    'ERR_KMS_ACCESS',
    'no AWS credentials to be had: log in (aws sso login), or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
  ],
  [
    /^(?:InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch|InvalidSignatureException|IncompleteSignature|MissingAuthenticationToken(?:Exception)?|ExpiredToken(?:Exception)?|RequestExpired)$/,
    'ERR_KMS_ACCESS',
    'AWS does not accept these credentials: renew them (aws sso login) and check the clock of this machine',
  ],
  [
    /Throttl|^TooManyRequests|^LimitExceededException$/,
    'ERR_KMS_UNAVAILABLE',
    'too many calls: wait a minute and try again',
  ],
  [
    /^(?:KeyUnavailableException|DependencyTimeoutException|KMSInternalException)$/,
    'ERR_KMS_UNAVAILABLE',
    'KMS failed for now: try again',
  ],
];

/** A client for the account of the environment. */
export function kmsClient(region: string): KMSClient {
  // The SDK waits for ever by default.
  return new KMSClient({ region, requestHandler: { connectionTimeout: 10_000, socketTimeout: 60_000 } });
}

/**
 * AWS KMS with symmetric keys. Needs `kms:GenerateDataKey`, `kms:Encrypt`, `kms:Decrypt`, `kms:ReEncryptFrom` and
 * `kms:ReEncryptTo`, as far as they are used. The SDK repeats calls that fail for a moment. What it rejects with names the key and
 * the request, under which CloudTrail has the call, and nothing that the service wrote. Requests go over TLS only.
 */
export function awsDataKeys(client: KMSClient): DataKeys & AttestedDataKeys {
  client.middlewareStack.add(
    httpsOnly((message) => new KmsError('ERR_KMS_VALIDATION', message)),
    HTTPS_ONLY,
  );
  return {
    async generate(keyId, bits, context) {
      checkContext(context);
      const size = bits === 192 ? { NumberOfBytes: 24 } : ({ KeySpec: bits === 128 ? 'AES_128' : 'AES_256' } as const);
      const answer = await client
        .send(new GenerateDataKeyCommand({ KeyId: keyId, EncryptionContext: context, ...size }))
        .catch(refusing('GenerateDataKey', keyId));
      const plaintext = taken(present(answer.Plaintext));
      if (plaintext.length !== bits / 8) throw notKms();
      return {
        plaintext,
        encrypted: present(answer.CiphertextBlob),
        keyId: present(answer.KeyId),
      };
    },

    async encrypt(keyId, plaintext, context) {
      checkContext(context);
      const answer = await client
        .send(new EncryptCommand({ KeyId: keyId, Plaintext: plaintext, EncryptionContext: context }))
        .catch(refusing('Encrypt', keyId));
      return { encrypted: present(answer.CiphertextBlob), keyId: present(answer.KeyId) };
    },

    async decrypt(encrypted, context, keyId) {
      checkContext(context);
      const named = keyId === undefined ? {} : { KeyId: keyId };
      const answer = await client
        .send(new DecryptCommand({ CiphertextBlob: encrypted, EncryptionContext: context, ...named }))
        .catch(refusing('Decrypt', keyId));
      return { plaintext: taken(present(answer.Plaintext)), keyId: present(answer.KeyId) };
    },

    async decryptForRecipient(encrypted, context, attestationDocument, keyId) {
      checkContext(context);
      const named = keyId === undefined ? {} : { KeyId: keyId };
      const Recipient = {
        AttestationDocument: attestationDocument,
        KeyEncryptionAlgorithm: KEY_ENCRYPTION_ALGORITHM,
      } as const;
      const answer = await client
        .send(new DecryptCommand({ CiphertextBlob: encrypted, EncryptionContext: context, Recipient, ...named }))
        .catch(refusing('Decrypt', keyId));
      // What answers with the plaintext knows no recipients, and the caller may see none.
      answer.Plaintext?.fill(0);
      return { ciphertextForRecipient: present(answer.CiphertextForRecipient), keyId: present(answer.KeyId) };
    },

    async reEncrypt(encrypted, from, keyId, to) {
      checkContext(from);
      checkContext(to);
      const answer = await client
        .send(
          new ReEncryptCommand({
            CiphertextBlob: encrypted,
            SourceEncryptionContext: from,
            DestinationKeyId: keyId,
            DestinationEncryptionContext: to,
          }),
        )
        .catch(refusing('ReEncrypt', keyId));
      return { encrypted: present(answer.CiphertextBlob), keyId: present(answer.KeyId) };
    },
  };
}

function refusing(operation: string, keyId: string | undefined): (error: unknown) => never {
  return (error) => {
    // Somebody may have given a secret for a key.
    const named = keyId !== undefined && isKeyIdentifier(keyId) ? ` with ${keyId}` : '';
    throw translated(error, operation + named);
  };
}

/** An error of the AWS SDK for JavaScript v3 as `KmsError`; what is none of its errors comes back as it is. */
function translated(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || error instanceof KmsError) return error;
  const { name, code, $fault, $metadata } = error as Error & {
    code?: unknown;
    $fault?: 'client' | 'server';
    $metadata?: { requestId?: string; httpStatusCode?: number };
  };
  const detail = $metadata?.requestId ? `${name}, request ${$metadata.requestId}` : name;
  const failure = (to: KmsErrorCode, advice: string) => new KmsError(to, `${what}: ${advice} (${detail})`);
  const [, known, advice] = FAILURES.find(([names]) => names.test(name)) ?? [];
  if (known && advice) return failure(known, advice);
  if ($metadata?.httpStatusCode === 429 || $fault === 'server') {
    return failure('ERR_KMS_UNAVAILABLE', 'KMS failed for now: try again, and see health.aws.amazon.com');
  }
  if ($fault === 'client') {
    const limits = 'check the key id, and that there are 1 to 4,096 bytes to encrypt';
    return failure('ERR_KMS_VALIDATION', `KMS does not take an argument: ${limits}`);
  }
  if (typeof code === 'string' || name === 'TimeoutError') {
    return failure('ERR_KMS_UNAVAILABLE', 'KMS cannot be reached: check the region, the network and AWS_ENDPOINT_URL');
  }
  return $metadata ? failure('ERR_KMS_UNAVAILABLE', 'what answered is not KMS: check AWS_ENDPOINT_URL') : error;
}

/** A field that KMS always answers with. */
function present<Value>(value: Value | undefined): Value {
  if (value === undefined) throw notKms();
  return value;
}

function notKms(): KmsError {
  return new KmsError('ERR_KMS_UNAVAILABLE', 'what answered is not KMS: check AWS_ENDPOINT_URL');
}

/** Key material in memory of its own, so that it can be overwritten: the SDK's may share a buffer. */
function taken(bytes: Uint8Array): Uint8Array {
  const own = Uint8Array.from(bytes);
  bytes.fill(0);
  return own;
}
