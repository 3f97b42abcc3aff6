import { Aws, RemovalPolicy, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as stepfunctions from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import type { Configuration } from '../config/schema.ts';
import type { StateMachineDescription } from '../lambda/state-machines.ts';
import type { Artefacts } from './artefacts.ts';
import { acknowledgeWildcards, permitted, type Wildcard } from './handler.ts';
import { functionArn, type ResourceArns } from './names.ts';

/** What a state machine is deployed with. */
export interface StateMachineProps {
  configuration: Configuration;
  artefacts: Artefacts;
  /** Its name on AWS. */
  stateMachineName: string;
  arns: ResourceArns;
  /** What its permissions cannot name, beside deliveries of its log; none unless given. */
  wildcards?: Wildcard[];
  /** What its definition calls names and ARNs by (`names` in `lambda/state-machines.ts`). */
  names: Partial<Record<StateMachineDescription['names'][string], string>>;
}

const LOG_DELIVERIES: Wildcard = { resource: /^\*$/, reason: 'AWS knows no resource of deliveries of logs' };

/** A state machine of `lambda/state-machines.ts`, as it was tested, with a role of its own. Its handlers are there before it. */
export class StateMachine extends Construct {
  readonly arn: string;

  constructor(scope: Construct, name: string, props: StateMachineProps) {
    super(scope, `${name}-machine`);
    const described = props.artefacts.stateMachines[name];
    if (!described) throw new Error(`the state machine '${name}' was not built: npm run build`);
    const { configuration, stateMachineName, names, wildcards = [] } = props;
    const { region } = configuration.aws;
    const nameOf = (what: StateMachineDescription['names'][string]) => {
      const value = names[what];
      if (value === undefined)
        throw new Error(`the state machine '${name}' names the ${what}, which its stack does not give`);
      return value;
    };
    const handlers = Object.entries(described.handlers).map(
      ([placeholder, handler]) => [placeholder, functionArn(handler, region)] as const,
    );

    const log = new logs.LogGroup(this, 'Log', {
      logGroupName: `/aws/vendedlogs/states/${stateMachineName}`,
      retention: configuration.aws.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new iam.Role(this, 'Role', {
      description: described.purpose,
      assumedBy: new iam.ServicePrincipal('states.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': Aws.ACCOUNT_ID } },
      }),
    });
    const policy = new iam.Policy(this, 'Policy', {
      roles: [role],
      statements: [
        new iam.PolicyStatement({
          actions: ['lambda:InvokeFunction'],
          resources: handlers.map(([, handlerArn]) => handlerArn),
        }),
        ...permitted(described.permissions, name, props),
        // Step Functions Developer Guide, "Logging to CloudWatch Logs": these know no resource.
        new iam.PolicyStatement({
          actions: [
            'logs:CreateLogDelivery',
            'logs:DeleteLogDelivery',
            'logs:DescribeLogGroups',
            'logs:DescribeResourcePolicies',
            'logs:GetLogDelivery',
            'logs:ListLogDeliveries',
            'logs:PutResourcePolicy',
            'logs:UpdateLogDelivery',
          ],
          resources: ['*'],
        }),
      ],
    });
    acknowledgeWildcards(policy, [LOG_DELIVERIES, ...wildcards]);

    const machine = new stepfunctions.CfnStateMachine(this, 'Machine', {
      stateMachineName,
      stateMachineType: 'STANDARD',
      roleArn: role.roleArn,
      definitionString: JSON.stringify(described.definition),
      definitionSubstitutions: {
        ...Object.fromEntries(handlers),
        ...Object.fromEntries(Object.entries(described.names).map(([placeholder, of]) => [placeholder, nameOf(of)])),
      },
      loggingConfiguration: {
        level: 'ALL',
        // Texts of queries, and what Athena quotes of log lines, stay in the execution.
        includeExecutionData: false,
        destinations: [{ cloudWatchLogsLogGroup: { logGroupArn: log.logGroupArn } }],
      },
    });
    machine.node.addDependency(policy);
    Validations.of(machine).acknowledge({
      id: 'AwsSolutions-SF2',
      reason: 'Its history says what each state took; a trace would add the names of queries to another service',
    });
    this.arn = machine.attrArn;
  }
}
