import {
  GetBucketEncryptionCommand,
  type GetBucketEncryptionCommandOutput,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetBucketVersioningCommand,
  GetPublicAccessBlockCommand,
  HeadBucketCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { type ObjectEncryption, StorageError } from '../object-store.ts';
import { asStorageError } from '../s3.ts';
import type { BucketSettings } from './check.ts';
import { type PolicyDocument, parsePolicy } from './policy-document.ts';

/** `SSEAlgorithm` of PutBucketEncryption. */
const ALGORITHMS: Record<string, ObjectEncryption['type']> = {
  AES256: 'SSE-S3',
  'aws:kms': 'SSE-KMS',
  'aws:kms:dsse': 'DSSE-KMS',
};

/**
 * Policy and settings of a bucket. What these credentials may not read is `unreadable`. Needs `s3:GetBucketPolicy`,
 * `s3:GetEncryptionConfiguration`, `s3:GetBucketPublicAccessBlock`, `s3:GetBucketOwnershipControls`, `s3:GetBucketVersioning` and
 * `s3:ListBucket`. Rejects with `StorageError`.
 */
export async function readBucket(
  client: S3Client,
  bucket: string,
): Promise<{ policy: PolicyDocument | 'unreadable'; settings: BucketSettings }> {
  const Bucket = bucket;
  // A bucket that is not there has no policy, which would look like one that lets everything through.
  await readable(bucket, () => client.send(new HeadBucketCommand({ Bucket })));
  const [policy, encryption, block, ownership, versioning] = await Promise.all([
    readable(bucket, () => client.send(new GetBucketPolicyCommand({ Bucket })), 'NoSuchBucketPolicy'),
    readable(
      bucket,
      () => client.send(new GetBucketEncryptionCommand({ Bucket })),
      'ServerSideEncryptionConfigurationNotFoundError',
    ),
    readable(
      bucket,
      () => client.send(new GetPublicAccessBlockCommand({ Bucket })),
      'NoSuchPublicAccessBlockConfiguration',
    ),
    readable(
      bucket,
      () => client.send(new GetBucketOwnershipControlsCommand({ Bucket })),
      'OwnershipControlsNotFoundError',
    ),
    readable(bucket, () => client.send(new GetBucketVersioningCommand({ Bucket }))),
  ]);

  const publicAccess = block === 'unreadable' ? 'unreadable' : (block?.PublicAccessBlockConfiguration ?? {});
  const [owner] = ownership === 'unreadable' ? [] : (ownership?.OwnershipControls?.Rules ?? []);
  const ignoresAcls =
    (publicAccess !== 'unreadable' && publicAccess.IgnorePublicAcls === true) ||
    owner?.ObjectOwnership === 'BucketOwnerEnforced' ||
    (publicAccess === 'unreadable' || ownership === 'unreadable' ? 'unreadable' : false);
  return {
    policy: policy === 'unreadable' ? policy : policyIn(policy?.Policy),
    settings: {
      ...encryptionIn(encryption),
      restrictsPublicPolicy: publicAccess === 'unreadable' ? publicAccess : publicAccess.RestrictPublicBuckets === true,
      ignoresAcls,
      versioning: versioning === 'unreadable' ? versioning : versioning?.Status === 'Enabled',
    },
  };
}

/** The reply; undefined when there is no such setting, `unreadable` when it may not be read. */
async function readable<Output>(
  bucket: string,
  ask: () => Promise<Output>,
  absent?: string,
): Promise<Output | undefined | 'unreadable'> {
  try {
    return await ask();
  } catch (error) {
    if ((error as Error).name === absent) return undefined;
    const failure = asStorageError(error, `s3://${bucket}`, 's3:ListBucket');
    const isRefused = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode === 403;
    if (isRefused && failure instanceof StorageError && failure.code === 'ERR_STORAGE_ACCESS') return 'unreadable';
    throw failure;
  }
}

function policyIn(text: string | undefined): PolicyDocument {
  return text === undefined ? { Statement: [] } : parsePolicy(JSON.parse(text));
}

function encryptionIn(
  output: GetBucketEncryptionCommandOutput | undefined | 'unreadable',
): Pick<BucketSettings, 'defaultEncryption' | 'blockedEncryption'> {
  if (output === 'unreadable') return { defaultEncryption: 'unreadable', blockedEncryption: 'unreadable' };
  const rules = output?.ServerSideEncryptionConfiguration?.Rules ?? [];
  const preset = rules.find((rule) => rule.ApplyServerSideEncryptionByDefault)?.ApplyServerSideEncryptionByDefault;
  const blocked = rules.flatMap((rule) => rule.BlockedEncryptionTypes?.EncryptionType ?? []);
  return {
    // S3 encrypts every object since January 2023, with SSE-S3 where nothing is said.
    defaultEncryption: { type: ALGORITHMS[preset?.SSEAlgorithm ?? ''] ?? 'SSE-S3', keyId: preset?.KMSMasterKeyID },
    blockedEncryption: blocked.includes('SSE-C') ? ['SSE-C'] : [],
  };
}
