import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { STATE_MACHINES } from '../../lambda/state-machines.ts';
import { TABLES } from '../../lambda/tables.ts';
import { createTableSql } from '../../revocation/detect/athena-table.ts';
import { ACCESS_LOGS } from '../../revocation/detect/log-delivery.ts';
import { columnOf } from '../../revocation/detect/log-fields.ts';
import { LOG_COLUMNS } from '../../revocation/detect/sql.ts';
import { REASON_DOCS } from '../../token/reason-docs.ts';
import { builtArtefacts } from '../harness/artefacts.ts';
import { isOnPath, LONG } from '../harness/programs.ts';
import { type Resource, synthesise } from '../harness/templates.ts';

const artefacts = builtArtefacts();
const modules = ['base', 'api', 'revocation'];
/** In two regions, with a distribution of its own and a rule group. */
const whole = synthesise(
  {
    revocation: { waf: { publish: true }, detection: { mode: 'enforce' } },
    aws: { region: 'eu-central-1', modules, logRetentionDays: 90, delivery: { origin: 'media.example.com' } },
  },
  artefacts,
);
/** In one region, for a distribution that is there, with addresses in its logs and detection switched off. */
const attached = synthesise(
  {
    revocation: {
      detection: { mode: 'off' },
      athena: {
        ...{ database: 'd', table: 't', location: 's3://elsewhere/', workgroup: 'w' },
        ...{ distributionId: 'E3ELSEWHERE', bytesScannedLimit: 1024 ** 3 },
      },
    },
    aws: { modules, accessLogs: { includeUri: true }, delivery: { distributionId: 'E2ATTACHED' } },
  },
  artefacts,
);
/** Without any distribution that is known. */
const alone = synthesise({ aws: { modules } }, artefacts);
const text = (value: unknown) => JSON.stringify(value);
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);
const named = (templates: typeof whole, type: string, id: string) => templates.one(type, id).Properties;

describe('access logs', () => {
  test('are delivered with what detection reads and without the address, which holds the token', () => {
    const { RecordFields, S3SuffixPath, S3EnableHiveCompatiblePath } = named(
      whole,
      'AWS::Logs::Delivery',
      'LogDeliveryOfRequests',
    );
    expect(RecordFields).toEqual(ACCESS_LOGS.fields);
    expect(RecordFields.filter((field: string) => /uri|cookie|query/i.test(field))).toEqual([]);
    const columns = RecordFields.map(columnOf);
    expect(LOG_COLUMNS.filter((column) => !columns.includes(column))).toEqual(['cs_uri_stem']);
    expect(S3SuffixPath).toBe('{DistributionId}/{yyyy}/{MM}/{dd}/{HH}');
    expect(S3EnableHiveCompatiblePath).toBe(false);
  });

  test('have the address only where that is asked for', () => {
    const { RecordFields } = named(attached, 'AWS::Logs::Delivery', 'LogDeliveryOfRequests');
    expect(RecordFields).toEqual([...ACCESS_LOGS.fields, 'cs-uri-stem']);
    const { RecordFields: counted } = named(attached, 'AWS::Logs::Delivery', 'LogDeliveryOfDecisions');
    expect(counted).toEqual(['viewer-request-log-data']);
  });

  test('are delivered from us-east-1 as Parquet to the bucket in the region of the rest, once it is there', () => {
    const destination = whole.one('AWS::Logs::DeliveryDestination', 'LogDeliveryToBucket');
    expect(destination.stack).toBe('portcullis-delivery');
    expect(destination.Properties.OutputFormat).toBe('parquet');
    expect(text(destination.Properties.DestinationResourceArn)).toMatch(/portcullis-logs-.*-eu-central-1\/cloudfront/);
    expect(whole.one('AWS::S3::Bucket', 'LogsBucket').stack).toBe('portcullis-base');
    const { dependencies, environment } = whole.assembly.getStackByName('portcullis-delivery');
    expect(environment.region).toBe('us-east-1');
    expect(dependencies.map(({ id }) => id)).toContain('portcullis-base');
  });

  test('of a distribution that was there before are delivered too', () => {
    expect(text(named(attached, 'AWS::Logs::DeliverySource', '').ResourceArn)).toContain(':distribution/E2ATTACHED');
    expect(attached.of('AWS::CloudFront::Distribution')).toEqual([]);
    for (const type of ['AWS::Logs::DeliverySource', 'AWS::StepFunctions::StateMachine', 'AWS::Glue::Table']) {
      expect(alone.of(type)).toEqual([]);
    }
  });

  test('are written by log deliveries of this account alone, and go when their time is over', () => {
    const statements = whole.of('AWS::S3::BucketPolicy').find(({ id }) => id.startsWith('LogsBucket'))?.Properties
      .PolicyDocument.Statement;
    const [writes, ...others] = statements.filter(({ Effect }: { Effect: string }) => Effect === 'Allow');
    expect(others).toEqual([]);
    expect(writes).toMatchObject({
      Action: 's3:PutObject',
      Principal: { Service: 'delivery.logs.amazonaws.com' },
      Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
    });
    expect(text(writes.Resource)).toContain('/cloudfront/*');
    const denied = statements.find(({ Effect }: { Effect: string }) => Effect === 'Deny');
    expect(denied.Condition).toEqual({ Bool: { 'aws:SecureTransport': 'false' } });
    const bucket = whole.one('AWS::S3::Bucket', 'LogsBucket');
    expect(bucket.DeletionPolicy).toBe('Retain');
    expect(bucket.Properties.LifecycleConfiguration.Rules).toMatchObject([{ ExpirationInDays: 90, Status: 'Enabled' }]);
  });

  test('count denials by every reason there is, from what the function logs of its decision', () => {
    const filters = whole.of('AWS::Logs::MetricFilter').map(({ Properties }) => Properties);
    const names = filters.map(({ MetricTransformations }) => MetricTransformations[0].MetricName);
    expect(names).toEqual(['decisions', ...Object.keys(REASON_DOCS)]);
    for (const { FilterPattern, MetricTransformations } of filters) {
      const [{ MetricName, MetricNamespace, MetricValue }] = MetricTransformations;
      expect([MetricNamespace, MetricValue]).toEqual(['Portcullis/Edge', '1']);
      const reason = MetricName === 'decisions' ? '*' : MetricName;
      expect(FilterPattern).toBe(`{ $.viewer-request-log-data = "*,${reason},*" }`);
    }
  });
});

describe('the table of access logs', () => {
  const table = named(whole, 'AWS::Glue::Table', '').TableInput;
  const sql = createTableSql(
    {
      ...{ database: 'portcullis', table: 'access_logs', format: 'parquet' },
      ...{ location: 's3://logs/cloudfront/', distributionId: 'E1A2B3' },
    },
    0,
  );

  test('has the columns of the statement that makes one by hand', () => {
    const columns = [...sql.matchAll(/^ {2}`(\w+)` string/gm)].map(([, name]) => name);
    expect(table.StorageDescriptor.Columns).toEqual(columns.map((Name) => ({ Name, Type: 'string' })));
    const [, partition] = /PARTITIONED BY \(`(\w+)` string\)/.exec(sql) ?? [];
    expect(table.PartitionKeys).toEqual([{ Name: partition, Type: 'string' }]);
  });

  test('has its properties, where the logs are', () => {
    const properties = Object.fromEntries(
      [...sql.matchAll(/'([\w.]+)' = '([^']*)'/g)].map(([, name, value]) => [name, value]),
    );
    const { 'storage.location.template': template, 'projection.hour.range': range, ...others } = table.Parameters;
    const { 'storage.location.template': _, 'projection.hour.range': __, ...expected } = properties;
    expect(others).toEqual(expected);
    expect(range).toBe('NOW-90DAYS,NOW');
    expect(text(template)).toMatch(/s3:\/\/portcullis-logs-.*\/cloudfront\/.*\/\$\{hour\}\//);
    expect(text(template)).not.toMatch(/\$\{(?:Objects|Range)\}/);
  });
});

test('no query scans more than it may, and results are encrypted and go after a day', () => {
  const { WorkGroupConfiguration: of } = named(whole, 'AWS::Athena::WorkGroup', '');
  expect(of).toMatchObject({
    EnforceWorkGroupConfiguration: true,
    BytesScannedCutoffPerQuery: 100 * 1024 ** 3,
    ResultConfiguration: { EncryptionConfiguration: { EncryptionOption: 'SSE_S3' } },
  });
  const ofAttached = named(attached, 'AWS::Athena::WorkGroup', '').WorkGroupConfiguration;
  expect(ofAttached.BytesScannedCutoffPerQuery).toBe(1024 ** 3);
  const results = named(whole, 'AWS::S3::Bucket', 'Results');
  expect(results.LifecycleConfiguration.Rules).toMatchObject([{ ExpirationInDays: 1 }]);
});

describe('the state machine of detection', () => {
  const machine = named(whole, 'AWS::StepFunctions::StateMachine', '');

  test('is the one that was tested, with every placeholder filled in', () => {
    expect(JSON.parse(machine.DefinitionString)).toEqual(STATE_MACHINES.detection.definition);
    const placeholders = [...machine.DefinitionString.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name);
    expect(new Set(placeholders)).toEqual(new Set(Object.keys(machine.DefinitionSubstitutions)));
    expect(machine.LoggingConfiguration).toMatchObject({ Level: 'ALL', IncludeExecutionData: false });
  });

  test('may do what its row says and run its handlers, and tell those who get the alarm', () => {
    const { Statement } = named(whole, 'AWS::IAM::Policy', 'detectionmachinePolicy').PolicyDocument;
    const actions = Statement.flatMap(({ Action }: { Action: unknown }) => list(Action));
    const rows = Object.values(STATE_MACHINES.detection.permissions).flat();
    const others = actions.filter((action: string) => !rows.includes(action as never) && !action.startsWith('logs:'));
    expect(rows.filter((action) => !actions.includes(action))).toEqual([]);
    expect(others).toEqual(['lambda:InvokeFunction']);
    const wild = Statement.filter(({ Resource }: { Resource: unknown }) => list(Resource).includes('*'));
    expect(
      wild.flatMap(({ Action }: { Action: string[] }) => Action).every((action: string) => action.startsWith('logs:')),
    ).toBe(true);
  });

  test('is started by a schedule, unless detection is off', () => {
    const schedule = (templates: typeof whole) => named(templates, 'AWS::Scheduler::Schedule', 'Detect');
    expect(schedule(whole)).toMatchObject({ ScheduleExpression: 'rate(15 minutes)', State: 'ENABLED' });
    expect(schedule(attached).State).toBe('DISABLED');
  });

  test('has handlers that may do what their rows say, and nothing else', () => {
    for (const name of [...Object.values(STATE_MACHINES.detection.handlers), 'reconciler']) {
      const policy = named(whole, 'AWS::IAM::Policy', `${name.replaceAll('-', '')}Policy`);
      const actions = policy.PolicyDocument.Statement.flatMap(({ Action }: { Action: unknown }) => list(Action));
      const rows = Object.values(artefacts.handlers[name]?.permissions ?? {}).flat();
      expect(new Set(actions), name).toEqual(new Set(['logs:CreateLogStream', 'logs:PutLogEvents', ...rows]));
    }
  });
});

describe('the queue of publications', () => {
  const queues = whole.of('AWS::SQS::Queue').map(({ Properties }) => Properties);
  const [queue, dead] = ['portcullis-publications.fifo', 'portcullis-publications-dead.fifo'].map((name) =>
    queues.find(({ QueueName }) => QueueName === name),
  );

  test('is in order, encrypted, and gives up to one that is kept for two weeks', () => {
    expect(queue).toMatchObject({ FifoQueue: true, ContentBasedDeduplication: true, SqsManagedSseEnabled: true });
    expect(dead).toMatchObject({ FifoQueue: true, SqsManagedSseEnabled: true, MessageRetentionPeriod: 1_209_600 });
    expect(text(queue.RedrivePolicy)).toContain('DeadPublications');
    expect(whole.of('AWS::SQS::QueuePolicy')).toHaveLength(2);
    // Lambda takes no queue whose messages come again before the function has to be done.
    expect(queue.VisibilityTimeout).toBeGreaterThanOrEqual(artefacts.handlers.reconciler?.timeoutSeconds ?? Infinity);
  });

  test('is told every minute to look at the whole list, with another message each time', () => {
    const { ScheduleExpression, Target } = named(whole, 'AWS::Scheduler::Schedule', 'Reconcile');
    expect(ScheduleExpression).toBe('rate(1 minute)');
    expect(Target.Input).toBe('{"reconcile":"<aws.scheduler.scheduled-time>"}');
    expect(Target.SqsParameters.MessageGroupId).toBe('revocations');
    expect(named(whole, 'AWS::Lambda::EventSourceMapping', '').FunctionResponseTypes).toEqual([
      'ReportBatchItemFailures',
    ]);
  });

  test('is not without anyone to publish to', () => {
    const embedded = { keys: { at: 'embedded' }, modules };
    expect(() => synthesise({ aws: embedded }, artefacts)).toThrow(/^revocation\.waf\.publish: /);
    const settings = text(
      named(
        synthesise({ aws: embedded, revocation: { waf: { publish: true } } }, artefacts),
        'AWS::Lambda::Function',
        'reconciler',
      ).Environment,
    );
    expect(settings).toContain('ruleGroup');
    expect(settings).not.toMatch(/edgeStore/);
  });
});

test('tables are those of the code', () => {
  const tables = whole.of('AWS::DynamoDB::Table').filter(({ stack }) => stack === 'portcullis-revocation');
  expect(tables.map(({ Properties }) => Properties.TableName)).toEqual(
    TABLES.revocation.map(({ TableName }) => TableName),
  );
});

test('the list is published anew by every deployment, once its tables are there', () => {
  const reconciled = whole.one('Custom::PortcullisReconcile');
  expect(reconciled.Properties.Revision).toMatch(/^[0-9a-f]{64}$/);
  const tables = whole.of('AWS::DynamoDB::Table').filter(({ stack }) => stack === 'portcullis-revocation');
  for (const { id } of tables) expect(reconciled.DependsOn).toContain(id);
});

test('services act for this account alone', () => {
  const trusts = whole
    .of('AWS::IAM::Role')
    .filter(({ stack }) => stack === 'portcullis-revocation')
    .flatMap(({ Properties }) => Properties.AssumeRolePolicyDocument.Statement)
    .filter(({ Principal }) => /states|scheduler/.test(Principal.Service));
  expect(trusts).toHaveLength(2);
  for (const { Condition } of trusts) {
    expect(Condition.StringEquals).toEqual({ 'aws:SourceAccount': { Ref: 'AWS::AccountId' } });
  }
});

test('no action is a wildcard, and no resource that has a name', () => {
  const ours = whole.resources.filter(
    ({ stack, Type }) => stack === 'portcullis-revocation' && Type === 'AWS::IAM::Policy',
  );
  const statements = ours.flatMap(({ Properties }) => Properties.PolicyDocument.Statement);
  expect(statements.flatMap(({ Action }) => list(Action)).filter((action) => text(action).includes('*'))).toEqual([]);
  const resources = statements.flatMap(({ Resource: named }) => list(named).map(text));
  // Objects of a bucket, tables that a run makes for itself, the id of the rule group; and deliveries of logs, which have no ARN.
  const known = /^"\*"$|\/\*"|:table\/portcullis\/portcullis_\*|rulegroup\/portcullis-revoked-sessions-\d+\/\*/;
  expect(resources.filter((resource) => resource.includes('*') && !known.test(resource))).toEqual([]);
});

test('buckets are closed to the public, encrypted and speak TLS alone', () => {
  const buckets = whole.of('AWS::S3::Bucket');
  expect(buckets).toHaveLength(2);
  for (const { id, Properties } of buckets) {
    expect(Object.values(Properties.PublicAccessBlockConfiguration)).toEqual([true, true, true, true]);
    expect(Properties.BucketEncryption).toBeDefined();
    const policy = whole.of('AWS::S3::BucketPolicy').find((other) => text(other.Properties.Bucket).includes(id));
    expect(text(policy?.Properties.PolicyDocument)).toContain('aws:SecureTransport');
  }
});

/** A property as CloudFormation would write it. */
function written(value: unknown): string {
  if (typeof value === 'string') return value;
  const { 'Fn::Join': joined, Ref = '', ...rest } = value as { 'Fn::Join'?: [string, unknown[]]; Ref?: string };
  if (joined) return joined[1].map(written).join(joined[0]);
  const known: Record<string, string> = { 'AWS::URLSuffix': 'amazonaws.com', 'AWS::AccountId': '123456789012' };
  if (/portcullis-logs/.test(Ref) || /Results/.test(Ref)) return 'bucket-of-logs';
  return (
    known[Ref] ?? (/istribution/.test(text([Ref, rest])) ? 'E1A2B3' : 'arn:aws:service:eu-central-1:123456789012:name')
  );
}

test('every handler starts with the settings that its stack gives it', () => {
  const ours = (templates: typeof whole): Resource[] =>
    templates.of('AWS::Lambda::Function').filter(({ stack }) => stack === 'portcullis-revocation');
  // The handlers of detection read the same: two stand for all.
  for (const { Properties: p } of ours(whole)) {
    const name = /^portcullis-(.+)$/.exec(p.FunctionName ?? '')?.[1] ?? '';
    if (!['detection-plan', 'detection-features', 'reconciler'].includes(name)) continue;
    const start = spawnSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        'const { handler } = await import(process.argv[1]); process.stdout.write(typeof handler);',
        `${artefacts.handlers[name]?.folder}/index.mjs`,
      ],
      {
        encoding: 'utf8',
        env: {
          ...process.env,
          PORTCULLIS_SETTINGS: written(p.Environment.Variables.PORTCULLIS_SETTINGS),
          AWS_REGION: 'eu-central-1',
        },
      },
    );
    expect(`${name}: ${start.stdout || start.stderr}`).toBe(`${name}: function`);
  }
});

const CFN_LINT = LONG && isOnPath('cfn-lint');
test.skipIf(!CFN_LINT)(`templates pass cfn-lint${CFN_LINT ? '' : ' (long tests, with cfn-lint)'}`, () => {
  // With all of it in one region: the same resources as in two.
  const stacks = ['portcullis-revocation', 'portcullis-delivery', 'portcullis-monitoring'];
  const templates = stacks.map((name) => attached.assembly.getStackByName(name).templateFullPath);
  // W3005: CDK names dependencies that CloudFormation would find by itself.
  const { stdout } = spawnSync('cfn-lint', ['--ignore-checks', 'W3005', '--', ...templates], { encoding: 'utf8' });
  expect(stdout).toBe('');
});
