/**
 * What handlers act on, by name; `infra/` knows the ARN of each. `table:<name>` is a table by its `TableName`, with its indexes.
 */
export type ResourceName =
  | 'keyRing'
  | 'keyRingKey'
  | 'originSecret'
  | 'distribution'
  | 'edgeStore'
  | 'edgeFunction'
  | 'ruleGroup'
  | 'publications'
  | 'detectionMachine'
  | 'renderMachine'
  | 'renderJobs'
  | 'workgroup'
  | 'logsCatalog'
  | 'logsBucket'
  | 'resultsBucket'
  | 'packagesBucket'
  | 'masteringKey'
  | 'auditBucket'
  | `table:${string}`;

/** A Lambda function: its code is `dist/lambda/<name>/index.mjs`, built from `lambda/<name>/index.ts`. */
export interface HandlerDescription {
  /** What it is for, in a few words; AWS shows it. */
  purpose: string;
  memoryMiB: number;
  timeoutSeconds: number;
  /**
   * What its role permits, by resource: IAM actions (Service Authorization Reference). A test holds them equal to the
   * commands that the handler sends.
   */
  permissions: Partial<Record<ResourceName, string[]>>;
}

/** Every handler by name, which is the folder of its entry point. */
export const HANDLERS = {
  api: {
    purpose: 'HTTP API: vends tokens, revokes, rotates keys',
    memoryMiB: 1024,
    timeoutSeconds: 29,
    permissions: {
      keyRing: [
        'secretsmanager:DescribeSecret',
        'secretsmanager:GetSecretValue',
        'secretsmanager:PutSecretValue',
        'secretsmanager:UpdateSecretVersionStage',
      ],
      keyRingKey: ['kms:Decrypt', 'kms:GenerateDataKey'],
      originSecret: ['secretsmanager:GetSecretValue'],
      edgeStore: [
        'cloudfront-keyvaluestore:DescribeKeyValueStore',
        'cloudfront-keyvaluestore:GetKey',
        'cloudfront-keyvaluestore:ListKeys',
        'cloudfront-keyvaluestore:UpdateKeys',
      ],
      publications: ['sqs:SendMessage'],
      detectionMachine: ['states:StartExecution'],
      'table:portcullis-answers': ['dynamodb:DeleteItem', 'dynamodb:GetItem', 'dynamodb:PutItem'],
      'table:portcullis-assets': [
        'dynamodb:DeleteItem',
        'dynamodb:GetItem',
        'dynamodb:PutItem',
        'dynamodb:Query',
        'dynamodb:Scan',
      ],
      'table:portcullis-detections': ['dynamodb:GetItem'],
      'table:portcullis-policies': ['dynamodb:DeleteItem', 'dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:Scan'],
      'table:portcullis-request-counts': ['dynamodb:UpdateItem'],
      'table:portcullis-revocation-history': ['dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:Query'],
      'table:portcullis-revocations': [
        'dynamodb:BatchGetItem',
        'dynamodb:GetItem',
        'dynamodb:PutItem',
        'dynamodb:Scan',
      ],
      'table:portcullis-sessions': ['dynamodb:GetItem', 'dynamodb:Query', 'dynamodb:Scan', 'dynamodb:UpdateItem'],
      'table:portcullis-subjects': ['dynamodb:GetItem', 'dynamodb:PutItem'],
      'table:portcullis-suspicious-sessions': ['dynamodb:Query'],
    },
  },
  'key-server': {
    purpose: 'Keys of packaged titles, for players behind the edge',
    memoryMiB: 512,
    timeoutSeconds: 10,
    permissions: {
      // To list the bucket is what makes S3 answer 404, not 403, for a title that is not there.
      packagesBucket: ['s3:GetObject', 's3:ListBucket'],
      masteringKey: ['kms:Decrypt'],
    },
  },
} as const satisfies Record<string, HandlerDescription>;
