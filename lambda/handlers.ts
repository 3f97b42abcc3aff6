/**
 * What handlers act on, by name; `infra/` knows the ARN of each. `table:<name>` is a table by its `TableName`, with its indexes.
 */
export type ResourceName =
  | 'keyRing'
  | 'keyRingKey'
  | 'originSecret'
  | 'distribution'
  | 'edgeStore'
  /** The function that carries its keys, when they are embedded. */
  | 'edgeFunction'
  /** The function that a distribution runs, whichever of the two it is. */
  | 'viewerRequest'
  /** The web ACL of the distribution, when there is one. */
  | 'webAcl'
  | 'ruleGroup'
  /** Where the ARN of the rule group is written for CloudFormation. */
  | 'ruleGroupParameter'
  | 'publications'
  | 'detectionMachine'
  | 'renderMachine'
  | 'renderJobs'
  | 'renderParents'
  | 'workgroup'
  | 'logsCatalog'
  | 'logsBucket'
  | 'resultsBucket'
  | 'packagesBucket'
  | 'masteringKey'
  | 'auditBucket'
  | 'alarmTopic'
  /** For actions that AWS knows no resource of. */
  | '*'
  | 'alarmTopicKey'
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

/** What steps of detection need to read what others left. */
const READ_RESULTS = { resultsBucket: ['s3:GetObject', 's3:ListBucket'] } satisfies HandlerDescription['permissions'];

/** What publishes keys acts on. */
const PUBLISH_KEYS = {
  keyRing: [
    'secretsmanager:DescribeSecret',
    'secretsmanager:GetSecretValue',
    'secretsmanager:PutSecretValue',
    'secretsmanager:UpdateSecretVersionStage',
  ],
  keyRingKey: ['kms:Decrypt', 'kms:GenerateDataKey'],
  edgeStore: [
    'cloudfront-keyvaluestore:DescribeKeyValueStore',
    'cloudfront-keyvaluestore:ListKeys',
    'cloudfront-keyvaluestore:UpdateKeys',
  ],
} satisfies HandlerDescription['permissions'];

/** Every handler by name, which is the folder of its entry point. */
export const HANDLERS = {
  api: {
    purpose: 'HTTP API: vends tokens, revokes, rotates keys',
    memoryMiB: 1024,
    timeoutSeconds: 29,
    permissions: {
      keyRing: PUBLISH_KEYS.keyRing,
      keyRingKey: PUBLISH_KEYS.keyRingKey,
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
  'detection-plan': {
    purpose: 'Begins a run of detection: which access logs are new, and what Athena is to be asked about',
    memoryMiB: 1024,
    timeoutSeconds: 300,
    permissions: {
      'table:portcullis-detections': ['dynamodb:PutItem'],
      'table:portcullis-log-objects': ['dynamodb:BatchGetItem'],
      logsBucket: ['s3:ListBucket'],
      resultsBucket: ['s3:PutObject'],
      workgroup: ['athena:GetWorkGroup'],
    },
  },
  'detection-features': {
    purpose: 'Writes the queries that work out the features of sessions',
    memoryMiB: 512,
    timeoutSeconds: 30,
    permissions: {},
  },
  'detection-timelines': {
    purpose: 'Writes the queries that work out who fetched when, for the worst sessions',
    memoryMiB: 1024,
    timeoutSeconds: 300,
    permissions: {
      workgroup: ['athena:GetQueryExecution', 'athena:GetQueryResults'],
      ...READ_RESULTS,
    },
  },
  'detection-evaluate': {
    purpose: 'Evaluates what Athena answered, records suspicious sessions, decides what to revoke',
    memoryMiB: 2048,
    timeoutSeconds: 900,
    permissions: {
      workgroup: ['athena:GetQueryExecution', 'athena:GetQueryResults'],
      resultsBucket: ['s3:GetObject', 's3:ListBucket', 's3:PutObject'],
      'table:portcullis-revocations': ['dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:Scan'],
      'table:portcullis-revocation-history': ['dynamodb:Query'],
      'table:portcullis-suspicious-sessions': ['dynamodb:PutItem'],
    },
  },
  'detection-revoke': {
    purpose: 'Revokes what detection decided, and has it published',
    memoryMiB: 1024,
    timeoutSeconds: 300,
    permissions: {
      ...READ_RESULTS,
      'table:portcullis-revocations': ['dynamodb:GetItem', 'dynamodb:PutItem'],
      'table:portcullis-revocation-history': ['dynamodb:GetItem', 'dynamodb:PutItem'],
      publications: ['sqs:SendMessage'],
    },
  },
  'detection-commit': {
    purpose: 'Ends a run of detection: which logs were dealt with, and what was done',
    memoryMiB: 1024,
    timeoutSeconds: 300,
    permissions: {
      ...READ_RESULTS,
      'table:portcullis-log-objects': ['dynamodb:BatchWriteItem'],
      'table:portcullis-detections': [
        'dynamodb:DeleteItem',
        'dynamodb:GetItem',
        'dynamodb:PutItem',
        'dynamodb:UpdateItem',
      ],
    },
  },
  'detection-failed': {
    purpose: 'Ends a run of detection that failed, and says why',
    memoryMiB: 512,
    timeoutSeconds: 60,
    permissions: { 'table:portcullis-detections': ['dynamodb:DeleteItem'] },
  },
  'render-register': {
    purpose: 'Checks the signed manifest of a job, and gives it to the parent of enclaves',
    memoryMiB: 512,
    timeoutSeconds: 30,
    permissions: { renderJobs: ['s3:DeleteObject', 's3:GetObject', 's3:ListBucket', 's3:PutObject'] },
  },
  'render-look': {
    purpose: 'How far a render job is, and whether the parent has others to do',
    memoryMiB: 512,
    timeoutSeconds: 30,
    permissions: { renderJobs: ['s3:DeleteObject', 's3:GetObject', 's3:ListBucket'] },
  },
  'render-verify': {
    purpose: 'Verifies the receipt of a render job, and records the outcome where nobody can delete it',
    memoryMiB: 1024,
    timeoutSeconds: 120,
    permissions: {
      renderJobs: ['s3:GetObject', 's3:ListBucket'],
      auditBucket: ['s3:GetObject', 's3:ListBucket', 's3:PutObject'],
    },
  },
  reconciler: {
    purpose: 'Makes the edge store and the WAF rule group what the revocation list says',
    memoryMiB: 1024,
    timeoutSeconds: 300,
    permissions: {
      'table:portcullis-revocations': ['dynamodb:BatchGetItem', 'dynamodb:Scan'],
      // Lambda reads the queue with the rights of the function (Developer Guide, "Using Lambda with Amazon SQS").
      publications: [
        'sqs:ChangeMessageVisibility',
        'sqs:DeleteMessage',
        'sqs:GetQueueAttributes',
        'sqs:ReceiveMessage',
      ],
      edgeStore: [
        'cloudfront-keyvaluestore:DescribeKeyValueStore',
        'cloudfront-keyvaluestore:ListKeys',
        'cloudfront-keyvaluestore:UpdateKeys',
      ],
      ruleGroup: ['wafv2:GetRuleGroup', 'wafv2:UpdateRuleGroup'],
      '*': ['wafv2:ListRuleGroups'],
    },
  },
  'key-rotation': {
    purpose: 'Rotates the key ring: the four steps of Secrets Manager, and what is due between rotations',
    memoryMiB: 512,
    timeoutSeconds: 900,
    permissions: {
      ...PUBLISH_KEYS,
      edgeFunction: [
        'cloudfront:DescribeFunction',
        'cloudfront:GetFunction',
        'cloudfront:PublishFunction',
        'cloudfront:TestFunction',
        'cloudfront:UpdateFunction',
      ],
      viewerRequest: ['cloudfront:DescribeFunction', 'cloudfront:TestFunction'],
    },
  },
  'origin-secret-rotation': {
    purpose: 'Rotates the secret by which the distribution proves itself to the API',
    memoryMiB: 256,
    timeoutSeconds: 900,
    permissions: {
      originSecret: [
        'secretsmanager:DescribeSecret',
        'secretsmanager:GetSecretValue',
        'secretsmanager:PutSecretValue',
        'secretsmanager:UpdateSecretVersionStage',
      ],
      distribution: ['cloudfront:GetDistribution', 'cloudfront:UpdateDistribution'],
      // UpdateDistribution of one with a web ACL needs it (Service Authorization Reference, "Amazon CloudFront").
      webAcl: ['wafv2:GetWebACL'],
    },
  },
  deployment: {
    purpose: 'Makes what has a live state: first keys, rule group, function with keys; publishes them again',
    memoryMiB: 512,
    timeoutSeconds: 900,
    permissions: {
      ...PUBLISH_KEYS,
      edgeFunction: [
        'cloudfront:CreateFunction',
        'cloudfront:DeleteFunction',
        'cloudfront:DescribeFunction',
        'cloudfront:GetFunction',
        'cloudfront:PublishFunction',
        'cloudfront:TestFunction',
        'cloudfront:UpdateFunction',
      ],
      ruleGroup: ['wafv2:CreateRuleGroup', 'wafv2:DeleteRuleGroup', 'wafv2:GetRuleGroup', 'wafv2:UpdateRuleGroup'],
      ruleGroupParameter: ['ssm:DeleteParameter', 'ssm:PutParameter'],
      '*': ['wafv2:ListRuleGroups'],
      'table:portcullis-revocations': ['dynamodb:Scan'],
    },
  },
} as const satisfies Record<string, HandlerDescription>;
