import { createRequire } from 'node:module';
import type { StateMachineDescription } from '../../lambda/state-machines.ts';

// aws-local-stepfunctions needs what came with Node 22.
(Promise as { withResolvers?: () => object }).withResolvers ??= () => {
  const deferred: Record<string, unknown> = {};
  deferred.promise = new Promise((resolve, reject) => Object.assign(deferred, { resolve, reject }));
  return deferred;
};
export const { StateMachine } = await import('aws-local-stepfunctions');

/** Whether a definition is Amazon States Language, and what in it is not. The package has no types. */
export const aslValidator: (definition: object) => { isValid: boolean; errors: object[] } = createRequire(
  import.meta.url,
)('asl-validator');

/** The definition of a state machine as it is deployed. `names`: what it calls the resources that are no handlers by. */
export function deployedDefinition({ definition, handlers }: StateMachineDescription, names: Record<string, string>) {
  const arns = Object.entries(handlers).map(([name, handler]): [string, string] => [
    name,
    `arn:aws:lambda:us-east-1:123456789012:function:${handler}`,
  ]);
  const values = new Map([...arns, ...Object.entries(names)]);
  const text = JSON.stringify(definition).replaceAll(/\$\{(\w+)\}/g, (_, name) => {
    const value = values.get(name);
    if (value === undefined) throw new Error(`nothing is known of ${name}`);
    return value;
  });
  return JSON.parse(text);
}
