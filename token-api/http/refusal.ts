import { HTTPException } from 'hono/http-exception';
import { statusOf, TokenError } from '../../token/index.ts';
import { ConcurrencyError } from '../concurrency/concurrency.ts';
import { KeyRingError } from '../key-ring/key-ring.ts';
import { MintingError, type MintingErrorCode } from '../minting/policy.ts';
import { RenewalError, type RenewalErrorCode } from '../minting/renewal.ts';
import { CursorError } from '../pages/page.ts';
import { VendingError, type VendingErrorCode } from '../vending/vending.ts';

/**
 * The HTTP status of each refusal; that of `ERR_TOKEN_REFUSED` is the edge's. A subject with too many sessions gets 403 and
 * not 429: clients repeat what was answered 429 by themselves, and no waiting helps as long as the other sessions play.
 */
const STATUS: Record<VendingErrorCode | Exclude<RenewalErrorCode, 'ERR_TOKEN_REFUSED'>, 403 | 404 | 409 | 422 | 451> = {
  ERR_ASSET_UNKNOWN: 404,
  ERR_POLICY_UNKNOWN: 422,
  ERR_TOKEN_SUBJECT: 403,
  ERR_SESSION_REVOKED: 403,
  ERR_SUBJECT_REVOKED: 403,
  ERR_ASSET_WITHDRAWN: 451,
  ERR_SESSION_LIMIT: 403,
  ERR_SESSION_ENDED: 403,
  ERR_RENEWAL_NOT_LATER: 409,
};

/** What no caller can help: it is reported as an error of ours. */
const OURS: ReadonlySet<MintingErrorCode> = new Set(['ERR_CLOCK', 'ERR_KEY_INVALID', 'ERR_TOKEN_PREFIX']);

/**
 * Runs `run` and turns what keeps this viewer from a token into a problem: with `reason` when the edge would say so too, or
 * something is revoked. What the minter refuses is 422: the request was understood, but this viewer cannot have this token.
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
    const status = code === 'ERR_TOKEN_REFUSED' ? statusOf(error.reason ?? 'token-malformed') : STATUS[code];
    return new HTTPException(status, { message, cause: { code, reason } });
  }
  if (error instanceof TokenError || (error instanceof MintingError && !OURS.has(error.code)))
    return problem(422, error);
  if (error instanceof CursorError) return problem(400, error);
  if (error instanceof ConcurrencyError || error instanceof KeyRingError) return problem(503, error);
  return undefined;
}

function problem(status: 400 | 422 | 503, { code, message }: { code: string; message: string }): HTTPException {
  return new HTTPException(status, { message, cause: { code } });
}
