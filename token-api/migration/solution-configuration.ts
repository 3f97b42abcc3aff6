import * as v from 'valibot';
import { MigrationError } from './migration-error.ts';

/** What is kept of a configuration of the AWS solution "Secure Media Delivery at the Edge" v1. */
export interface SolutionConfiguration {
  /** Its names begin with this: `<stack>_PrimarySecret`, `<stack>_checkJWTToken`. */
  stackName: string;
  /** How often its keys rotate, in days; null when somebody does it by hand. */
  rotationDays: number | null;
  /** Capacity of its rule group. */
  capacityWcu: number;
  /** Whether it looks for suspicious sessions by itself. */
  hasDetection: boolean;
}

const DEFAULT_WCU = 100;
/** Values of `rotate_secrets_frequency`. */
const ROTATION_DAYS: Record<string, number | null> = { m: null, '24h': 1, '1w': 7, '1m': 30 };

const name = v.pipe(v.string(), v.regex(/^[A-Za-z][A-Za-z0-9-]{0,127}$/, 'must be the name of a stack'));
const whole = v.pipe(
  v.union([v.string(), v.number()]),
  v.transform(Number),
  v.integer(),
  v.minValue(2),
  v.maxValue(5000),
);

/** `solution.context.json`, as its wizard writes it. */
const Context = v.object({
  main: v.object({
    stack_name: name,
    rotate_secrets_frequency: v.picklist(['m', '24h', '1w', '1m']),
    wcu: whole,
  }),
  sessionRevocation: v.optional(v.unknown()),
});

/** `aws cloudformation describe-stacks --stack-name <stack>`. */
const Stacks = v.object({
  Stacks: v.tuple([
    v.object({
      StackName: name,
      Parameters: v.optional(
        v.array(v.object({ ParameterKey: v.string(), ParameterValue: v.optional(v.string(), '') })),
        [],
      ),
    }),
  ]),
});

/**
 * Reads `solution.context.json`, or what `aws cloudformation describe-stacks` prints of the stack: parameters have the end of their
 * names in common only (CDK puts a path before it). Throws `ERR_MIGRATION_CONFIGURATION`.
 */
export function readSolutionConfiguration(content: unknown): SolutionConfiguration {
  const stacks = v.safeParse(Stacks, content);
  if (stacks.success) return ofStack(stacks.output);
  const result = v.safeParse(Context, content);
  if (!result.success) {
    const [issue] = result.issues;
    const where = v.getDotPath(issue) ?? 'it';
    const wanted = "solution.context.json, or the output of 'aws cloudformation describe-stacks' of one stack";
    throw new MigrationError('ERR_MIGRATION_CONFIGURATION', `this is not ${wanted}: ${where}: ${issue.message}`);
  }
  const { main, sessionRevocation } = result.output;
  return {
    stackName: main.stack_name,
    rotationDays: ROTATION_DAYS[main.rotate_secrets_frequency] ?? null,
    capacityWcu: main.wcu,
    hasDetection: sessionRevocation !== undefined,
  };
}

/** What is known of a stack by its name alone. */
export function solutionOfName(stackName: string): SolutionConfiguration {
  return { stackName, rotationDays: 30, capacityWcu: DEFAULT_WCU, hasDetection: false };
}

function ofStack({ Stacks: [stack] }: v.InferOutput<typeof Stacks>): SolutionConfiguration {
  const wcu = stack.Parameters.find(({ ParameterKey }) => /Wcu[0-9A-F]{0,8}$/.test(ParameterKey))?.ParameterValue;
  const capacityWcu = v.safeParse(whole, wcu ?? DEFAULT_WCU);
  return {
    ...solutionOfName(stack.StackName),
    capacityWcu: capacityWcu.success ? capacityWcu.output : DEFAULT_WCU,
  };
}
