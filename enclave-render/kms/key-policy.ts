import type { AttestationCondition } from './attestation-condition.ts';
import type { EncryptionContext } from './data-keys.ts';

/** Who does what with a key of render jobs: ARNs of IAM roles. */
export interface KeyPolicyRoles {
  /** Administers the key and encrypts with it: the owner of the titles. */
  ownerRole: string;
  /** Of the EC2 instance that enclaves run on; it gets nothing but what is encrypted for them. */
  parentRole: string;
}

/** A key policy of AWS KMS, in the policy language of IAM. */
export interface KeyPolicy {
  Version: '2012-10-17';
  Statement: {
    Sid: string;
    Effect: 'Allow';
    Principal: { AWS: string };
    Action: string[];
    Resource: '*';
    Condition?: Record<string, Record<string, string>>;
  }[];
}

/** What every request with a key of render jobs has in its encryption context; the job comes to it. */
export const RENDER_CONTEXT = { purpose: 'render' } as const;

/** What an owner needs to look after a key, and to put data keys under it; not Decrypt. */
const OWNER_ACTIONS = [
  'kms:CancelKeyDeletion',
  'kms:CreateAlias',
  'kms:DeleteAlias',
  'kms:DescribeKey',
  'kms:DisableKey',
  'kms:EnableKey',
  'kms:EnableKeyRotation',
  'kms:Encrypt',
  'kms:GenerateDataKey',
  'kms:GetKeyPolicy',
  'kms:GetKeyRotationStatus',
  'kms:ListResourceTags',
  'kms:PutKeyPolicy',
  'kms:ScheduleKeyDeletion',
  'kms:TagResource',
  'kms:UntagResource',
  'kms:UpdateAlias',
];

/**
 * The policy of a key that decrypts for enclaves of these registers only (AWS KMS, "Condition keys for AWS Nitro Enclaves"), as the
 * embedded KMS does it with the same condition. `context` are pairs that each request has to have. `Resource` is `*` in every key
 * policy: it stands for the key.
 */
export function renderKeyPolicy(
  { ownerRole, parentRole }: KeyPolicyRoles,
  { pcrs }: AttestationCondition,
  context: EncryptionContext,
): KeyPolicy {
  const registers = Object.entries(pcrs).map(([index, value]) => [`kms:RecipientAttestation:PCR${index}`, value]);
  const pairs = Object.entries(context).map(([name, value]) => [`kms:EncryptionContext:${name}`, value]);
  return {
    Version: '2012-10-17',
    Statement: [
      {
        Sid: 'OwnerAdministersAndEncrypts',
        Effect: 'Allow',
        Principal: { AWS: ownerRole },
        Action: OWNER_ACTIONS,
        Resource: '*',
      },
      {
        Sid: 'EnclavesDecrypt',
        Effect: 'Allow',
        Principal: { AWS: parentRole },
        Action: ['kms:Decrypt'],
        Resource: '*',
        Condition: {
          StringEqualsIgnoreCase: Object.fromEntries(registers),
          ...(pairs.length > 0 ? { StringEquals: Object.fromEntries(pairs) } : {}),
        },
      },
    ],
  };
}
