import type { HTTPException } from 'hono/http-exception';
import { statusOf, TokenError } from '../../token/index.ts';
import { ConcurrencyError } from '../concurrency/concurrency.ts';
import { KeyRingError } from '../key-ring/key-ring.ts';
import { RotationError } from '../key-ring/rotation.ts';
import { MintingError } from '../minting/policy.ts';
import { RenewalError } from '../minting/renewal.ts';
import { CursorError } from '../pages/page.ts';
import { VendingError } from '../vending/vending.ts';
import { isProblemCode, problem } from './problem-docs.ts';

/**
 * Runs `run` and turns what keeps a caller from what it asks for into a problem: with `reason` when the edge would say so
 * too, or something is revoked. An error whose code has no row in `PROBLEMS` is one that no caller can help: it stays what
 * it is, and is answered and reported as ours.
 */
export async function refuseAsProblem<Result>(run: () => Result | Promise<Result>): Promise<Result> {
  try {
    return await run();
  } catch (error) {
    throw asProblem(error) ?? error;
  }
}

function asProblem(error: unknown): HTTPException | undefined {
  if (error instanceof RenewalError || error instanceof VendingError) {
    const { code, message, reason } = error;
    // The edge denies some reasons with 401 and others with 403.
    const status = code === 'ERR_TOKEN_REFUSED' ? statusOf(error.reason ?? 'token-malformed') : undefined;
    return problem(code, message, { status, reason });
  }
  if (error instanceof TokenError || error instanceof CursorError || error instanceof ConcurrencyError)
    return problem(error.code, error.message);
  if (error instanceof MintingError || error instanceof KeyRingError || error instanceof RotationError)
    return isProblemCode(error.code) ? problem(error.code, error.message) : undefined;
  return undefined;
}
