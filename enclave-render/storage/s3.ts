import type { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  HeadObjectCommand,
  paginateListObjectsV2,
  S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { HTTPS_ONLY, httpsOnly } from '../plain-http.ts';
import { countedSource } from './counted-source.ts';
import { CUSTOMER_KEY_BYTES } from './customer-key.ts';
import {
  checkKey,
  checkRange,
  type ObjectEncryption,
  type ObjectInfo,
  type ObjectStore,
  StorageError,
  type StorageErrorCode,
} from './object-store.ts';
import { translatedBody } from './translated-body.ts';

const MIB = 1 << 20;
/** Parts of a multipart upload: their least size here, and how many S3 takes at most ("Amazon S3 multipart upload limits"). */
const PART_BYTES = 16 * MIB;
const MAX_PARTS = 10_000;
/** What parts under way may hold in memory together. */
const PARTS_UNDER_WAY_BYTES = 32 * MIB;

/** `x-amz-server-side-encryption` of each encryption that has one; SSE-C has headers of its own. */
const SSE_HEADER = { 'SSE-S3': 'AES256', 'SSE-KMS': 'aws:kms', 'DSSE-KMS': 'aws:kms:dsse' } as const;

/**
 * A client of the account and region of the environment; a bucket elsewhere is followed to its region. An endpoint that is set
 * (`AWS_ENDPOINT_URL`) is a stand-in and has no host name for each bucket.
 */
export function s3Client(endpointIsSet: boolean): S3Client {
  const client = new S3Client({
    followRegionRedirects: true,
    forcePathStyle: endpointIsSet,
    // The SDK waits for ever by default.
    requestHandler: { connectionTimeout: 10_000, socketTimeout: 60_000 },
  });
  refusePlainHttp(client);
  return client;
}

/**
 * A bucket of Amazon S3. A source of more than 16 MiB goes up in parts, two at a time and 32 MiB of them at most, or one part of
 * `bytes` / 10,000 where that is more. S3 checks what arrives against a checksum of the whole object: SHA-256 where `bytes` says
 * that it fits one part, else CRC64NVME, the strongest that S3 has of a whole object in parts ("Checking object integrity"). Whole
 * objects are checked against it when they are read.
 */
export function s3ObjectStore(client: S3Client, bucket: string): ObjectStore {
  const named = (key: string) => `s3://${bucket}/${key}`;
  // A client that was made elsewhere too.
  refusePlainHttp(client);

  return {
    async put(key, source, options = {}) {
      const counted = countedSource(source, options);
      let upload: Upload | undefined;
      try {
        checkKey(key);
        const { client: watched, applied } = watch(client, options.signal);
        const partSize = partSizeOf(options.bytes);
        upload = new Upload({
          client: watched,
          params: {
            Bucket: bucket,
            Key: key,
            Body: counted.body,
            ContentType: options.contentType,
            // Told at the end of the parts, so that S3 refuses when they are not as long together.
            ...(options.bytes !== undefined && { MpuObjectSize: options.bytes }),
            ...(options.ifAbsent && { IfNoneMatch: '*' }),
            ...checksumHeaders(options.bytes !== undefined && options.bytes <= partSize),
            ...encryptionHeaders(options.encryption),
          },
          partSize,
          queueSize: Math.max(1, Math.floor(PARTS_UNDER_WAY_BYTES / partSize)),
          // It keeps the parts when their completion fails, and does not wait for its own tidying when it is told to stop.
          leavePartsOnError: true,
        });
        const { ETag: etag = '', ChecksumSHA256: sha256, VersionId } = await upload.done();
        upload = undefined;
        const encryption = applied();
        if (!isAsAsked(options.encryption, encryption)) {
          await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key, VersionId }));
          const message = `${named(key)} was not encrypted as ${options.encryption?.type} asks, and deleted again: is this Amazon S3?`;
          throw new StorageError('ERR_STORAGE_INVALID', message);
        }
        return { key, bytes: counted.bytes(), etag, contentType: options.contentType, encryption, sha256 };
      } catch (error) {
        const failure = options.signal?.aborted
          ? options.signal.reason
          : (counted.failure() ?? asStorageError(error, named(key), 's3:PutObject'));
        throw upload?.uploadId ? await abandon(client, bucket, key, upload.uploadId, failure) : failure;
      } finally {
        source.destroy();
      }
    },

    async get(key, { sseKey, range } = {}) {
      try {
        checkKey(key);
        if (range) checkRange(range);
        const request: GetObjectCommandInput = { Bucket: bucket, Key: key, ...customerKeyHeaders(sseKey) };
        // S3 has no checksum of a part of an object.
        if (range) request.Range = `bytes=${range[0]}-${range[1]}`;
        else request.ChecksumMode = 'ENABLED';
        const output = await client.send(new GetObjectCommand(request));
        const [, total] = /\/(\d+)$/.exec(output.ContentRange ?? '') ?? [];
        const info = infoOf(key, output, total === undefined ? undefined : Number(total));
        return {
          info,
          body: translatedBody(output.Body as Readable, (error) => asStorageError(error, named(key), '')),
        };
      } catch (error) {
        throw asStorageError(error, named(key), 's3:GetObject');
      }
    },

    async head(key, { sseKey } = {}) {
      try {
        checkKey(key);
        const request = { Bucket: bucket, Key: key, ChecksumMode: 'ENABLED' as const, ...customerKeyHeaders(sseKey) };
        return infoOf(key, await client.send(new HeadObjectCommand(request)));
      } catch (error) {
        throw asStorageError(error, named(key), 's3:GetObject');
      }
    },

    async *list(prefix) {
      try {
        for await (const { Contents = [] } of paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: prefix })) {
          for (const { Key = '', Size = 0, ETag = '' } of Contents) yield { key: Key, bytes: Size, etag: ETag };
        }
      } catch (error) {
        throw asStorageError(error, named(prefix), 's3:ListBucket');
      }
    },

    async delete(key) {
      try {
        checkKey(key);
        await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
      } catch (error) {
        throw asStorageError(error, named(key), 's3:DeleteObject');
      }
    },
  };
}

/** Bytes of a part so that 10,000 of them hold an object; all but the last have as many. */
function partSizeOf(bytes: number | undefined): number {
  return Math.max(PART_BYTES, Math.ceil((bytes ?? 0) / MAX_PARTS));
}

/** S3 has SHA-256 of a whole object only when it comes in one part; of parts it would be the hash of their hashes. */
function checksumHeaders(isOnePart: boolean) {
  if (isOnePart) return { ChecksumAlgorithm: 'SHA256' as const };
  return { ChecksumAlgorithm: 'CRC64NVME' as const, ChecksumType: 'FULL_OBJECT' as const };
}

/** The request fields of an encryption; none leaves it to the bucket. Throws `ERR_STORAGE_INVALID`. */
function encryptionHeaders(encryption: ObjectEncryption | undefined) {
  if (!encryption) return {};
  if (encryption.type === 'SSE-C') return customerKeyHeaders(encryption.key);
  if (encryption.type === 'SSE-S3') return { ServerSideEncryption: SSE_HEADER[encryption.type] };
  const { keyId, context } = encryption;
  if (context && 'aws:s3:arn' in context) {
    const message = 'the encryption context aws:s3:arn is set by S3 itself, to the ARN of the object: leave it out';
    throw new StorageError('ERR_STORAGE_INVALID', message);
  }
  return {
    ServerSideEncryption: SSE_HEADER[encryption.type],
    ...(keyId && { SSEKMSKeyId: keyId }),
    ...(context && { SSEKMSEncryptionContext: Buffer.from(JSON.stringify(context)).toString('base64') }),
  };
}

/** The fields of SSE-C; the SDK adds the MD5 of the key. Throws `ERR_STORAGE_INVALID`. */
function customerKeyHeaders(key: Uint8Array | undefined) {
  if (!key) return {};
  if (key.byteLength !== CUSTOMER_KEY_BYTES) {
    const message = `an SSE-C key has ${CUSTOMER_KEY_BYTES} bytes, not ${key.byteLength}: make one with openssl rand`;
    throw new StorageError('ERR_STORAGE_INVALID', message);
  }
  return { SSECustomerAlgorithm: 'AES256', SSECustomerKey: Buffer.from(key).toString('base64') };
}

/** Media and SSE-C keys go over TLS only. */
function refusePlainHttp(client: S3Client): void {
  client.middlewareStack.add(
    httpsOnly((message) => new StorageError('ERR_STORAGE_INVALID', message)),
    HTTPS_ONLY,
  );
}

interface EncryptionFields {
  ServerSideEncryption?: string | undefined;
  SSEKMSKeyId?: string | undefined;
  SSECustomerAlgorithm?: string | undefined;
}

/** What S3 says of the encryption of an object, in the words of the port. */
function encryptionOf(fields: EncryptionFields): ObjectInfo['encryption'] {
  if (fields.SSECustomerAlgorithm) return { type: 'SSE-C' };
  for (const type of ['SSE-S3', 'SSE-KMS', 'DSSE-KMS'] as const) {
    if (SSE_HEADER[type] === fields.ServerSideEncryption) return { type, keyId: fields.SSEKMSKeyId };
  }
  return undefined;
}

/** A key that is not named by its ARN cannot be compared: S3 answers with the ARN. */
function isAsAsked(asked: ObjectEncryption | undefined, applied: ObjectInfo['encryption']): boolean {
  if (!asked) return true;
  if (asked.type !== applied?.type) return false;
  if (!('keyId' in asked) || !asked.keyId?.includes(':key/')) return true;
  return asked.keyId === applied.keyId;
}

/** A client whose calls end with the signal, and which keeps in mind what encryption the replies tell of. */
function watch(client: S3Client, signal: AbortSignal | undefined) {
  let applied: ObjectInfo['encryption'];
  const send = async (...[command, options]: Parameters<S3Client['send']>) => {
    const output = await client.send(command, { ...(options as object), ...(signal && { abortSignal: signal }) });
    applied ??= encryptionOf(output as EncryptionFields);
    return output;
  };
  return { client: Object.assign(Object.create(client) as S3Client, { send }), applied: () => applied };
}

/** Has S3 delete the parts of an upload that failed: they are charged for, and no listing shows them. Returns what to throw. */
async function abandon(client: S3Client, bucket: string, key: string, uploadId: string, failure: unknown) {
  try {
    await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }));
    return failure;
  } catch (error) {
    const told = (failure as Error).message;
    const left =
      (error as Error).name === 'NoSuchUpload'
        ? 'S3 knows the upload no more, so that the object may be there: look before you try again'
        : `parts may be left behind: aws s3api abort-multipart-upload --bucket ${bucket} --key ${key} --upload-id ${uploadId}`;
    return new StorageError('ERR_STORAGE_UNAVAILABLE', `${told}; ${left}`);
  }
}

interface ObjectFields extends EncryptionFields {
  ContentLength?: number | undefined;
  ETag?: string | undefined;
  ContentType?: string | undefined;
  ChecksumSHA256?: string | undefined;
  ChecksumType?: string | undefined;
}

function infoOf(key: string, fields: ObjectFields, bytes = fields.ContentLength ?? 0): ObjectInfo {
  return {
    key,
    bytes,
    etag: fields.ETag ?? '',
    contentType: fields.ContentType,
    encryption: encryptionOf(fields),
    sha256: fields.ChecksumType === 'COMPOSITE' ? undefined : fields.ChecksumSHA256,
  };
}

/** What S3 and the SDK name errors that mean something to the caller (Amazon S3 API, "Error responses"). */
const ERRORS: [names: RegExp, code: StorageErrorCode, advice: string][] = [
  [/^(?:NoSuchKey|NotFound)$/, 'ERR_STORAGE_NOT_FOUND', 'there is no such object'],
  [/^NoSuchBucket$/, 'ERR_STORAGE_NOT_FOUND', 'there is no such bucket: check its name and the region'],
  [/^(?:PreconditionFailed|ConditionalRequestConflict)$/, 'ERR_STORAGE_EXISTS', 'there is one already'],
  [
    /^(?:Credentials|Token)ProviderError$/,
    'ERR_STORAGE_ACCESS',
    'no AWS credentials to be had: log in, or set AWS_PROFILE',
  ],
  [
    /^(?:InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|RequestTimeTooSkewed)$/,
    'ERR_STORAGE_ACCESS',
    'AWS does not accept these credentials: renew them, and check the clock of this machine',
  ],
  [/^(?:AccessDenied|AllAccessDisabled|KMS\.(?:Disabled|NotFound)Exception)$/, 'ERR_STORAGE_ACCESS', ''],
  [/^(?:BadDigest|InvalidDigest|XAmzContentSHA256Mismatch|XAmzContentChecksumMismatch)$/, 'ERR_STORAGE_CHECKSUM', ''],
  [/^InvalidRange$/, 'ERR_STORAGE_INVALID', 'the range begins behind its end'],
  [/^EntityTooLarge$/, 'ERR_STORAGE_INVALID', 'it is larger than S3 takes'],
  [/^KMS\./, 'ERR_STORAGE_INVALID', 'the KMS key cannot be used: check its id, its region and its state'],
  [
    /^(?:Invalid(?:Request|Argument|EncryptionAlgorithmError|BucketName)|BadRequest|400)$/,
    'ERR_STORAGE_INVALID',
    'S3 does not take this request: an object under SSE-C needs its key, others take none',
  ],
];

/** The error of the port that an error of the SDK means; what is no error of it is returned as it is. */
export function asStorageError(error: unknown, object: string, permission: string): unknown {
  if (error instanceof StorageError || !(error instanceof Error)) return error;
  const { name, message } = error;
  // A HEAD has no body that would name the error.
  const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
  const byStatus: Record<string, string> = { 403: 'AccessDenied', 404: 'NotFound' };
  const known = /^Unknown(?:Error)?$/.test(name) ? (byStatus[`${status}`] ?? `${status}`) : name;
  const refusal = ERRORS.find(([names]) => names.test(known));
  if (/^Checksum mismatch/.test(message) || refusal?.[1] === 'ERR_STORAGE_CHECKSUM') {
    const told = 'what arrived is not what was sent (checksum): use nothing of it, and try again';
    return new StorageError('ERR_STORAGE_CHECKSUM', `${object}: ${told}`);
  }
  if (refusal) {
    const [, code, advice] = refusal;
    const needs = `access denied: these credentials need ${permission} on it and perhaps its KMS key, or the bucket policy refuses`;
    return new StorageError(code, `${object}: ${advice || needs} (${known})`);
  }
  if (/^Exceeded \d+ parts/.test(message)) {
    const told = `longer than ${MAX_PARTS} parts of ${PART_BYTES / MIB} MiB: say its length (bytes) beforehand`;
    return new StorageError('ERR_STORAGE_INVALID', `${object}: ${told}`);
  }
  const { code, $fault } = error as Error & { code?: unknown; $fault?: unknown };
  if (
    status === undefined &&
    typeof code !== 'string' &&
    !$fault &&
    !/Timeout|aborted|Connection lost/.test(`${name} ${message}`)
  )
    return error;
  return new StorageError(
    'ERR_STORAGE_UNAVAILABLE',
    `${object}: S3 failed or cannot be reached (${typeof code === 'string' ? code : name}): try again`,
  );
}
