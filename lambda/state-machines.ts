import type { ResourceName } from './handlers.ts';

/** A state machine, as `infra/` makes it: what stands in its definition as `${Name}` is replaced when it is deployed. */
export interface StateMachineDescription {
  /** What it is for, in a few words. */
  purpose: string;
  /** Amazon States Language (states-language.net), with JSONPath. */
  definition: Record<string, unknown>;
  /** `${Name}` for the ARN of each handler that it runs, by name of the handler. */
  handlers: Record<string, string>;
  /** `${Name}` for names and ARNs of other resources. */
  names: Record<string, 'workgroup name' | 'database name' | 'alarm topic ARN' | 'parent group name'>;
  /** What its role permits beside `lambda:InvokeFunction` on the handlers, by resource: IAM actions. */
  permissions: Partial<Record<ResourceName, string[]>>;
}

/** How long a run of detection may take, in seconds: its queries included, of which Athena ends each after 30 minutes. */
export const DETECTION_SECONDS = 3600;

/** How long a handler may take: as long as a Lambda function can (AWS, "Lambda quotas"). */
const HANDLER_SECONDS = 900;

/** Errors that another attempt cannot change. */
const FINAL = ['ERR_DETECTION_RUNNING', 'ERR_DETECTION_OFF', 'ERR_DETECTION_SETUP', 'ERR_DETECTION_ACCESS'];
/** Errors of Athena's API that may pass. One of a query that ran is none of them: the next run asks again. */
const PASSING = [
  'Athena.TooManyRequestsException',
  'Athena.AmazonAthenaException',
  'Athena.AthenaException',
  'Athena.InternalServerException',
  'Athena.SdkClientException',
];
const RETRY_PASSING = {
  IntervalSeconds: 2,
  BackoffRate: 2,
  MaxAttempts: 6,
  MaxDelaySeconds: 60,
  JitterStrategy: 'FULL',
};
/** Handlers may be repeated after any error: each of their steps may. */
const RETRY_HANDLER = [
  { ErrorEquals: FINAL, MaxAttempts: 0 },
  { ErrorEquals: ['States.ALL'], IntervalSeconds: 2, BackoffRate: 3, MaxAttempts: 3, JitterStrategy: 'FULL' },
];
const TO_FAILED = [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'Failed' }];

/** What is wrong with a job stays wrong. */
const RETRY_RENDER = [
  { ErrorEquals: ['ERR_RENDER_MANIFEST', 'ERR_RENDER_EXPIRED', 'ERR_RENDER_TEMPLATE'], MaxAttempts: 0 },
  { ErrorEquals: ['States.ALL'], IntervalSeconds: 2, BackoffRate: 3, MaxAttempts: 5, JitterStrategy: 'FULL' },
];

/** Windows that are asked about at the same time: with other queries of the account they share its quota of active ones. */
const WINDOWS_AT_ONCE = 4;

/** What is replaced when it is deployed. */
const placeholder = (name: string) => `\${${name}}`;

/** Asks Athena a list of queries one after the other, and leaves their ids in its place. `name`: of the state that asks. */
function askInTurn(name: string, path: string, next: { Next: string } | { End: true }) {
  const ask = {
    Type: 'Task',
    Resource: 'arn:aws:states:::athena:startQueryExecution.sync',
    Parameters: {
      'QueryString.$': '$.sql',
      'ClientRequestToken.$': '$.token',
      WorkGroup: placeholder('Workgroup'),
      QueryExecutionContext: { Database: placeholder('Database') },
    },
    // Not the text of the query, which comes back too.
    ResultSelector: { 'id.$': '$.QueryExecution.QueryExecutionId' },
    OutputPath: '$.id',
    TimeoutSeconds: 1800,
    Retry: [{ ErrorEquals: PASSING, ...RETRY_PASSING }],
    End: true,
  };
  return {
    Type: 'Map',
    ItemsPath: path,
    MaxConcurrency: 1,
    ItemProcessor: { StartAt: name, States: { [name]: ask } },
    ...(path !== '$' && { ResultPath: path }),
    ...next,
  };
}

/** Runs a handler. */
function handle(name: string, more: Record<string, unknown>) {
  return { Type: 'Task', Resource: placeholder(name), TimeoutSeconds: HANDLER_SECONDS, Retry: RETRY_HANDLER, ...more };
}

/** What `alarm` needs: the topic is encrypted (SNS Developer Guide, "Configure AWS KMS permissions"). */
const PUBLISH_ALARMS = {
  alarmTopic: ['sns:Publish'],
  alarmTopicKey: ['kms:Decrypt', 'kms:GenerateDataKey'],
} satisfies StateMachineDescription['permissions'];

/** Tells the operator `$.message`. `next` follows whether or not that went out. */
function alarm(subject: string, next: string) {
  return {
    Type: 'Task',
    Resource: 'arn:aws:states:::sns:publish',
    Parameters: { TopicArn: placeholder('AlarmTopic'), Subject: subject, 'Message.$': '$.message' },
    Retry: [{ ErrorEquals: ['States.ALL'], ...RETRY_PASSING }],
    Catch: [{ ErrorEquals: ['States.ALL'], Next: next }],
    Next: next,
  };
}

/**
 * A run of detection (docs/detection-runs.md). It waits for Athena, so that nobody pays for a function that does; what is large
 * goes through S3, and keys of it are handed on.
 */
const detection: StateMachineDescription = {
  purpose: 'A run of detection: asks Athena about new access logs, revokes sessions that leak',
  definition: {
    StartAt: 'Plan',
    TimeoutSeconds: DETECTION_SECONDS,
    States: {
      Plan: handle('DetectionPlan', {
        Parameters: { 'run.$': '$$.Execution.Name' },
        Catch: [
          { ErrorEquals: ['ERR_DETECTION_RUNNING'], ResultPath: '$.error', Next: 'AnotherIsRunning' },
          ...TO_FAILED,
        ],
        Next: 'Windows',
      }),
      AnotherIsRunning: { Type: 'Succeed' },
      Windows: {
        Type: 'Map',
        ItemsPath: '$.windows',
        MaxConcurrency: WINDOWS_AT_ONCE,
        ItemProcessor: {
          StartAt: 'Features',
          States: {
            Features: handle('DetectionFeatures', { ResultPath: '$.features', Next: 'AskFeatures' }),
            AskFeatures: askInTurn('AskFeature', '$.features', { Next: 'Timelines' }),
            Timelines: handle('DetectionTimelines', { ResultPath: '$.timelines', Next: 'AskTimelines' }),
            AskTimelines: {
              Type: 'Map',
              ItemsPath: '$.timelines',
              MaxConcurrency: 1,
              ItemProcessor: {
                StartAt: 'AskInTurn',
                States: { AskInTurn: askInTurn('AskTimeline', '$', { End: true }) },
              },
              ResultPath: '$.timelines',
              End: true,
            },
          },
        },
        ResultPath: '$.asked',
        Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'DropTables' }],
        Next: 'DropTables',
      },
      // The answers are in files of their own: the tables are needed no more, whatever becomes of the run.
      DropTables: {
        Type: 'Map',
        ItemsPath: '$.windows',
        MaxConcurrency: WINDOWS_AT_ONCE,
        ItemProcessor: {
          StartAt: 'DropTablesOfWindow',
          States: {
            DropTablesOfWindow: {
              Type: 'Task',
              Resource: 'arn:aws:states:::aws-sdk:glue:batchDeleteTable',
              Parameters: { DatabaseName: placeholder('Database'), 'TablesToDelete.$': '$.tables' },
              ResultPath: null,
              OutputPath: '$.from',
              Retry: [{ ErrorEquals: ['States.ALL'], ...RETRY_PASSING, MaxAttempts: 3 }],
              End: true,
            },
          },
        },
        ResultPath: null,
        Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.leftBehind', Next: 'AllAsked' }],
        Next: 'AllAsked',
      },
      AllAsked: {
        Type: 'Choice',
        Choices: [{ Variable: '$.error', IsPresent: true, Next: 'Failed' }],
        Default: 'Evaluate',
      },
      Evaluate: handle('DetectionEvaluate', {
        Parameters: { 'run.$': '$.run', 'ranAt.$': '$.ranAt', 'plan.$': '$.plan', 'windows.$': '$.asked' },
        Catch: TO_FAILED,
        Next: 'Revoke',
      }),
      Revoke: handle('DetectionRevoke', { Catch: TO_FAILED, Next: 'Commit' }),
      Commit: handle('DetectionCommit', { Catch: TO_FAILED, End: true }),
      Failed: {
        ...handle('DetectionFailed', { Parameters: { 'run.$': '$$.Execution.Name', 'error.$': '$.error' } }),
        Catch: [{ ErrorEquals: ['States.ALL'], Next: 'RunFailed' }],
        Next: 'Alarm',
      },
      Alarm: alarm('Portcullis: a run of detection failed', 'RunFailed'),
      RunFailed: {
        Type: 'Fail',
        Error: 'ERR_DETECTION_FAILED',
        Cause: 'The log of the handler detection-failed says why.',
      },
    },
  },
  handlers: {
    DetectionPlan: 'detection-plan',
    DetectionFeatures: 'detection-features',
    DetectionTimelines: 'detection-timelines',
    DetectionEvaluate: 'detection-evaluate',
    DetectionRevoke: 'detection-revoke',
    DetectionCommit: 'detection-commit',
    DetectionFailed: 'detection-failed',
  },
  names: { Workgroup: 'workgroup name', Database: 'database name', AlarmTopic: 'alarm topic ARN' },
  permissions: {
    // Athena reads and writes with the rights of whoever asks (Athena User Guide, "Identity and access management").
    workgroup: ['athena:StartQueryExecution', 'athena:GetQueryExecution', 'athena:StopQueryExecution'],
    logsCatalog: [
      'glue:GetDatabase',
      'glue:GetTable',
      'glue:GetPartitions',
      'glue:CreateTable',
      'glue:DeleteTable',
      'glue:BatchDeleteTable',
    ],
    logsBucket: ['s3:GetObject', 's3:ListBucket', 's3:GetBucketLocation'],
    resultsBucket: [
      's3:GetObject',
      's3:PutObject',
      's3:ListBucket',
      's3:GetBucketLocation',
      's3:AbortMultipartUpload',
      's3:ListMultipartUploadParts',
    ],
    ...PUBLISH_ALARMS,
  },
};

/** Between two looks at a job that renders. */
const LOOK_SECONDS = 120;
/** How long a job may take, in seconds: a look takes 14 events, and an execution has 25,000 (AWS, "Step Functions quotas"). */
export const RENDER_SECONDS = 48 * 3600;

/** Sets how many parents run. There is one at most, and none when nobody waits for it. */
function setParents(desired: 0 | 1, next: string) {
  return {
    Type: 'Task',
    Resource: 'arn:aws:states:::aws-sdk:autoscaling:setDesiredCapacity',
    Parameters: { AutoScalingGroupName: placeholder('ParentGroup'), DesiredCapacity: desired },
    ResultPath: null,
    TimeoutSeconds: 60,
    Retry: [{ ErrorEquals: ['States.ALL'], ...RETRY_PASSING, MaxAttempts: 3 }],
    // An activity under way: the next look sets it again, and a parent too many costs money and nothing else.
    Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: null, Next: next }],
    Next: next,
  };
}

/**
 * A render job (docs/render-jobs.md): from the owner's signed manifest to a receipt that is verified and kept. Nothing in it can open
 * anything: the enclave gets its key by attestation alone.
 */
const render: StateMachineDescription = {
  purpose: 'A render job: starts a parent of enclaves, waits for the receipt, verifies it',
  definition: {
    StartAt: 'Register',
    TimeoutSeconds: RENDER_SECONDS,
    States: {
      Register: handle('RenderRegister', {
        Parameters: { 'name.$': '$.name' },
        Retry: RETRY_RENDER,
        Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'Failed' }],
        Next: 'StartParent',
      }),
      StartParent: setParents(1, 'Wait'),
      Wait: { Type: 'Wait', Seconds: LOOK_SECONDS, Next: 'Look' },
      Look: handle('RenderLook', {
        Retry: RETRY_RENDER,
        ResultPath: '$.look',
        Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'Failed' }],
        Next: 'Progress',
      }),
      Progress: {
        Type: 'Choice',
        Choices: [
          { Variable: '$.look.state', StringEquals: 'waiting', Next: 'StartParent' },
          { Variable: '$.look.isIdle', BooleanEquals: true, Next: 'StopParent' },
        ],
        Default: 'Ended',
      },
      StopParent: setParents(0, 'Ended'),
      Ended: {
        Type: 'Choice',
        Choices: [{ Variable: '$.look.state', StringEquals: 'done', Next: 'Verify' }],
        Default: 'NotRendered',
      },
      NotRendered: {
        Type: 'Pass',
        Parameters: { 'Error.$': '$.look.code', Cause: 'The parent did not render it.' },
        ResultPath: '$.error',
        Next: 'Failed',
      },
      Verify: handle('RenderVerify', {
        Retry: RETRY_RENDER,
        Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'Failed' }],
        ResultPath: '$.outcome',
        Next: 'Verdict',
      }),
      Verdict: {
        Type: 'Choice',
        Choices: [{ Variable: '$.outcome.accepted', BooleanEquals: true, Next: 'Done' }],
        Default: 'Refused',
      },
      Done: { Type: 'Pass', OutputPath: '$.outcome', End: true },
      Refused: {
        Type: 'Pass',
        Parameters: { 'Error.$': '$.outcome.code', Cause: 'The receipt is not to be believed.' },
        ResultPath: '$.error',
        Next: 'Failed',
      },
      // Codes alone: causes are in the logs of the handlers.
      Failed: {
        Type: 'Pass',
        Parameters: {
          'message.$': "States.Format('The render {} failed: {}', $$.Execution.Name, $.error.Error)",
        },
        Next: 'Alarm',
      },
      Alarm: alarm('Portcullis: a render failed', 'RenderFailed'),
      RenderFailed: {
        Type: 'Fail',
        Error: 'ERR_RENDER_FAILED',
        Cause: 'The alarm, and the state before it, say why.',
      },
    },
  },
  handlers: { RenderRegister: 'render-register', RenderLook: 'render-look', RenderVerify: 'render-verify' },
  names: { ParentGroup: 'parent group name', AlarmTopic: 'alarm topic ARN' },
  permissions: {
    renderParents: ['autoscaling:SetDesiredCapacity'],
    ...PUBLISH_ALARMS,
  },
};

/** Every state machine by name. */
export const STATE_MACHINES = { detection, render } as const satisfies Record<string, StateMachineDescription>;
