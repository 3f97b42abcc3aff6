import { EDGE_REGION } from '../../config/deployment.ts';
import type { Configuration } from '../../config/schema.ts';
import { REGION_OUTPUT, stacksOf } from '../../config/stacks.ts';
import { type Finding, failed, ok, warning } from './finding.ts';

/** A stack as CloudFormation describes it. */
export interface DeployedStack {
  name: string;
  region: string;
  /** `StackStatus` (AWS CloudFormation API Reference, "Stack"). */
  status: string;
  outputs: Record<string, string>;
}

/** States in which CloudFormation takes no update, only a deletion (AWS CloudFormation User Guide, "Stack status codes"). */
const TO_BE_DELETED = ['ROLLBACK_COMPLETE', 'ROLLBACK_FAILED', 'DELETE_FAILED'];
/**
 * States after `cdk deploy --no-rollback` broke off, and the command that gives it up; the CDK goes on where it is told so again
 * (AWS CloudFormation User Guide, "Stack failure options").
 */
const GIVEN_UP_BY: Record<string, string> = { CREATE_FAILED: 'delete-stack', UPDATE_FAILED: 'rollback-stack' };
/** What blocks the next deployment after a deletion. */
const KEPT = 'docs/deployment.md, "Deleting it", has what it keeps';
/** A change set that was never executed: as good as no stack. */
const NOT_MADE = 'REVIEW_IN_PROGRESS';

/** Whether what is deployed is what a configuration can be deployed over: in its region, its modules, in a state to be updated. */
export function stacksFinding(configuration: Configuration, deployed: DeployedStack[]): Finding {
  const stacks = deployed.filter(({ status }) => status !== NOT_MADE);
  const { region } = configuration.aws;
  const before = stacks.find(({ name }) => name === 'portcullis-edge')?.outputs[REGION_OUTPUT];
  if (before !== undefined && before !== region) {
    return failed(
      `deployed with aws.region ${before}, where portcullis-base is: set that; there is one deployment in an account`,
    );
  }
  const expected = stacksOf(configuration);
  const problems = stacks.flatMap((stack) => problemOf(stack, expected.get(stack.name)) ?? []);
  if (problems.length > 0) return failed(problems.join('; '));
  const changing = stacks.filter(({ status }) => status.endsWith('_IN_PROGRESS'));
  if (changing.length > 0) {
    return warning(`${changing.map(({ name, status }) => `${name} is ${status}`).join(', ')}: wait until that is over`);
  }
  const brokenOff = stacks.flatMap((stack) => {
    const command = GIVEN_UP_BY[stack.status];
    if (command === undefined) return [];
    const kept = command === 'delete-stack' ? `; ${KEPT}` : '';
    return [`${stack.name} is ${stack.status}: deploy again with --no-rollback, or ${aws(command, stack)}${kept}`];
  });
  if (brokenOff.length > 0) return warning(brokenOff.join('; '));
  if (stacks.length === 0) return ok(`none is there yet in ${[...new Set([region, EDGE_REGION])].join(' and ')}`);
  return ok(`${stacks.map(({ name }) => name).join(', ')} can be updated`);
}

/** What stands in the way of a deployment, and what to do; `expected` is the region that the stack should be in, if any. */
function problemOf(stack: DeployedStack, expected: string | undefined): string | undefined {
  const { name, region, status } = stack;
  if (TO_BE_DELETED.includes(status)) {
    return `${name} is ${status}, and takes no update: ${aws('delete-stack', stack)}; ${KEPT}`;
  }
  if (status === 'UPDATE_ROLLBACK_FAILED') {
    return `${name} is ${status}, and takes no update: ${aws('continue-update-rollback', stack)}`;
  }
  if (expected === undefined) {
    const advice = 'destroy it before the others are deployed (docs/deployment.md, "Leaving something out")';
    return `${name} is in ${region}, and the configuration leaves it out: ${advice}`;
  }
  if (expected === region) return undefined;
  return `${name} is in ${region}, and would be made in ${expected} too: set aws.region to where it is, or destroy it`;
}

function aws(command: string, { name, region }: DeployedStack): string {
  return `aws cloudformation ${command} --stack-name ${name} --region ${region}`;
}
