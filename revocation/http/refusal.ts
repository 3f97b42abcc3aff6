import { StoreError } from '../../edge-functions/store/key-value-store.ts';
import { BatchError } from '../batches.ts';
import { DetectionError } from '../detect/detection-engine.ts';
import { RevocationListError } from '../list/revocation-list.ts';
import { CursorError } from '../pages/cursor.ts';
import { isProblemCode, problem } from './problem-docs.ts';

/**
 * Turns what keeps a caller from what it asks for into a problem. An error whose code has no row in `REVOCATION_PROBLEMS` is
 * one that no caller can help: it stays what it is, and is answered and reported as ours.
 */
export async function refuseAsProblem<Result>(result: Promise<Result>): Promise<Result> {
  return result.catch((error: unknown) => {
    const isKnown =
      error instanceof StoreError ||
      error instanceof CursorError ||
      error instanceof RevocationListError ||
      error instanceof DetectionError ||
      error instanceof BatchError;
    throw isKnown && isProblemCode(error.code) ? problem(error.code, error.message) : error;
  });
}
