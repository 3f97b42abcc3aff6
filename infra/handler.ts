import { Aws, Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Configuration } from '../config/schema.ts';
import type { HandlerDescription, ResourceName } from '../lambda/handlers.ts';
import type { SETTINGS_VARIABLE } from '../lambda/settings.ts';
import type { Artefacts } from './artefacts.ts';
import { functionName, namedArns, type ResourceArns, tableArn } from './names.ts';

/** What a handler is deployed with. */
export interface HandlerProps {
  configuration: Configuration;
  artefacts: Artefacts;
  /** ARNs of what its row of `HANDLERS` names, where AWS gives the id; those by name are known. */
  arns: ResourceArns;
  /** What it reads with `readSettings`: names and settings, never a secret. */
  settings: object;
  /** What its permissions cannot name; none unless given. */
  wildcards?: Wildcard[];
  /** For one that must not run more often at a time; taken from what the account may run in all. */
  reservedConcurrency?: number;
}

/** Compiles only while it is the name that handlers read. */
const VARIABLE: typeof SETTINGS_VARIABLE = 'PORTCULLIS_SETTINGS';

/**
 * A Lambda function of `dist/lambda/<name>`, byte for byte, with a role of its own: the actions of its row in `HANDLERS` on
 * the ARNs of what the row names, and its own log. Throws when it was not built, or an ARN is not known.
 */
export class Handler extends Construct {
  readonly function: lambda.Function;
  readonly role: iam.Role;

  constructor(scope: Construct, name: string, props: HandlerProps) {
    super(scope, name);
    const built = props.artefacts.handlers[name];
    if (!built) throw new Error(`the handler '${name}' was not built: npm run build`);
    const { purpose, folder, memoryMiB, timeoutSeconds, permissions } = built;

    const log = new logs.LogGroup(this, 'Log', {
      logGroupName: `/aws/lambda/${functionName(name)}`,
      retention: props.configuration.aws.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.role = new iam.Role(this, 'Role', {
      description: purpose,
      assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com'),
    });
    const policy = new iam.Policy(this, 'Policy', {
      roles: [this.role],
      statements: [
        allow(['logs:CreateLogStream', 'logs:PutLogEvents'], [log.logGroupArn]),
        ...permitted(permissions, name, props),
      ],
    });
    acknowledgeWildcards(policy, props.wildcards ?? []);
    this.function = new lambda.Function(this, 'Function', {
      functionName: functionName(name),
      description: purpose,
      runtime: lambda.Runtime.NODEJS_22_X,
      architecture: lambda.Architecture.ARM_64,
      handler: 'index.handler',
      code: lambda.Code.fromAsset(folder),
      memorySize: memoryMiB,
      timeout: Duration.seconds(timeoutSeconds),
      role: this.role,
      logGroup: log,
      environment: { [VARIABLE]: Stack.of(this).toJsonString(props.settings) },
      ...(props.reservedConcurrency !== undefined && { reservedConcurrentExecutions: props.reservedConcurrency }),
    });
    // Its first request may come before the policy otherwise: a custom resource's does.
    this.function.node.addDependency(policy);
    Validations.of(this.function).acknowledge({
      id: 'AwsSolutions-L1',
      reason: 'Node 22 is the runtime that the handlers are built and tested for; AWS supports it until 2027-04',
    });
  }

  /** Lets a service invoke it, for what is in this account only (Lambda Developer Guide, "Confused deputy"). */
  allowInvocation(id: string, service: string, sourceArn?: string): void {
    this.function.addPermission(id, {
      principal: new iam.ServicePrincipal(service),
      sourceAccount: Aws.ACCOUNT_ID,
      ...(sourceArn !== undefined && { sourceArn }),
    });
  }
}

/** A resource that a policy names by a wildcard, as cdk-nag has it (`<JobsBucket264FE5C6.Arn>/jobs/*`), and why. */
export interface Wildcard {
  resource: RegExp;
  reason: string;
}

/** Objects of a bucket of ours, all or below a prefix. */
export const OBJECTS: Wildcard = {
  resource: /^(?:<(?:\w+Bucket|Results)\w*\.Arn>|arn:<AWS::Partition>:s3:::portcullis-[\w<>:-]+)\/(?:[a-z]+\/)?\*$/,
  reason: 'Objects of a bucket have no name yet when this is deployed',
};

/** Rule groups of WAF, their parameters, and the list of them all. */
export const RULE_GROUPS: Wildcard[] = [
  { resource: /:global\/rulegroup\/[\w-]+(?:-\*)?\/\*$/, reason: 'WAF gives the id of a rule group' },
  { resource: /:parameter\/portcullis\/rule-group\/[\w-]+-\*$/, reason: 'The capacity before is in the name' },
  { resource: /^\*$/, reason: 'WAF knows no resource of the list of rule groups' },
];

/** Acknowledges the wildcards that are expected. All others are left to cdk-nag, which fails the synthesis. */
export function acknowledgeWildcards(policy: iam.Policy, expected: Wildcard[]): void {
  const { Statement } = Stack.of(policy).resolve(policy.document);
  for (const resource of (Statement as { Resource: unknown }[]).flatMap((statement) => statement.Resource)) {
    const name = findingName(resource);
    const wildcard = name.includes('*') ? expected.find((one) => one.resource.test(name)) : undefined;
    if (!wildcard) continue;
    Validations.of(policy).acknowledge({ id: `AwsSolutions-IAM5[Resource::${name}]`, reason: wildcard.reason });
  }
}

/** A resolved ARN as cdk-nag names it in a finding: `<Bucket.Arn>/*`. */
function findingName(resource: unknown): string {
  if (typeof resource === 'string') return resource;
  const { Ref, 'Fn::GetAtt': attribute, 'Fn::Join': joined } = resource as Record<string, unknown>;
  if (typeof Ref === 'string') return `<${Ref}>`;
  if (Array.isArray(attribute)) return `<${attribute.join('.')}>`;
  return Array.isArray(joined) ? (joined[1] as unknown[]).map(findingName).join(joined[0]) : '';
}

/** A statement that allows. */
export function allow(actions: string[], resources: string[]): iam.PolicyStatement {
  return new iam.PolicyStatement({ actions, resources });
}

/** Statements for the actions of a row, on the ARNs of what it names; `owner` is who is told of one that is not known. */
export function permitted(
  permissions: HandlerDescription['permissions'],
  owner: string,
  known: Pick<HandlerProps, 'configuration' | 'artefacts' | 'arns'>,
): iam.PolicyStatement[] {
  return Object.entries(permissions).flatMap(([resource, actions = []]) => {
    const resources = arnsOf(resource as ResourceName, owner, known);
    return resources.length > 0 ? [allow(actions, resources)] : [];
  });
}

/** ARNs of a resource; none when it belongs to a module that is left out. */
export function arnsOf(
  resource: ResourceName,
  owner: string,
  { configuration, artefacts, arns }: Pick<HandlerProps, 'configuration' | 'artefacts' | 'arns'>,
): string[] {
  if (resource.startsWith('table:')) return tableArns(resource.slice('table:'.length), artefacts, configuration);
  const known = { ...namedArns(configuration), ...arns }[resource as keyof ResourceArns];
  if (!known) throw new Error(`'${owner}' acts on '${resource}', whose ARN its stack does not give`);
  return known;
}

/** A table and its indexes, each by its name. */
function tableArns(name: string, { tables }: Artefacts, { aws }: Configuration): string[] {
  const modules = Object.keys(tables) as (keyof Artefacts['tables'])[];
  for (const module of modules) {
    const table = tables[module].find(({ TableName }) => TableName === name);
    if (!table) continue;
    const ofTable = tableArn(name, aws.region);
    const indexes = (table.GlobalSecondaryIndexes ?? []).map(({ IndexName }) => `${ofTable}/index/${IndexName}`);
    return aws.modules.includes(module) ? [ofTable, ...indexes] : [];
  }
  throw new Error(`there is no table '${name}' in lambda/tables.ts`);
}
