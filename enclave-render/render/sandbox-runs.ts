import { createHash } from 'node:crypto';
import type { Isolation, SandboxLimits, SandboxResult, SandboxRun } from './sandbox.ts';

/** Runs of a sandbox one after the other, each once the one before it has settled, however it did. */
export function oneAtATime(
  run: (run: SandboxRun) => Promise<SandboxResult>,
): (run: SandboxRun) => Promise<SandboxResult> {
  let last: Promise<unknown> = Promise.resolve();
  return (next) => {
    const result = last.then(() => run(next));
    last = result.catch(() => undefined);
    return result;
  };
}

/** SHA-384, hexadecimal, of what a sandbox is, with the limits in an order that does not depend on who gives them. */
export function sandboxSha384(what: { isolation: Isolation; [part: string]: unknown }, limits: SandboxLimits): string {
  const { memoryBytes, cpuSeconds, wallSeconds, outputBytes } = limits;
  const sandbox = { ...what, limits: { memoryBytes, cpuSeconds, wallSeconds, outputBytes } };
  return createHash('sha384').update(JSON.stringify(sandbox)).digest('hex');
}
