import { HTTPException } from 'hono/http-exception';

/** The problem codes of the revocation side: the HTTP status of each, and what it means to a caller. */
export const REVOCATION_PROBLEMS = {
  ERR_BODY_INVALID: { status: 400, meaning: 'The body is not JSON, or a field is wrong; `detail` names the first.' },
  ERR_QUERY_INVALID: { status: 400, meaning: 'A parameter of the query is wrong; `detail` names it.' },
  ERR_CURSOR_INVALID: { status: 400, meaning: 'The cursor is not one of this list; begin again without.' },
  ERR_SESSION_ID_INVALID: { status: 400, meaning: 'A session id is 12–64 letters and digits.' },
  ERR_NOT_REVOKED: { status: 404, meaning: 'It is not revoked.' },
  ERR_REVOCATION_CONTENDED: {
    status: 503,
    meaning: 'Others are changing the same revocation just now; nothing was changed, try again.',
  },
  ERR_SUBJECT_INVALID: { status: 400, meaning: 'A subject has 1–128 characters.' },
  ERR_ASSET_ID_INVALID: { status: 400, meaning: 'An asset id has 1–128 characters.' },
  ERR_REVOCATION_KIND: { status: 400, meaning: 'There is no such kind of revocation; `detail` names those there are.' },
  ERR_CUTOFF_FUTURE: {
    status: 422,
    meaning: 'The cut-off lies in the future; by the clock of the API it may be now at most.',
  },
  ERR_NOT_BLOCKED: { status: 404, meaning: 'The asset has no blocks.' },
  ERR_STORE_COMMAND: {
    status: 422,
    meaning: 'The prefix does not begin and end with a slash, and would match nothing.',
  },
  ERR_STORE_LIMIT: { status: 422, meaning: 'More modes or blocks than the edge store can hold.' },
  ERR_STORE_THROTTLED: { status: 503, meaning: 'The edge store takes no more calls just now; try again.' },
  ERR_STORE_UNAVAILABLE: { status: 503, meaning: 'The edge store does not answer; try again.' },
  ERR_DATABASE_THROTTLED: { status: 503, meaning: 'The database takes no more calls just now; try again.' },
  ERR_DETECTION_NONE: { status: 404, meaning: 'Detection has not run yet.' },
  ERR_DETECTION_OFF: { status: 409, meaning: 'Detection is switched off: `revocation.detection.mode`.' },
  ERR_DETECTION_RUNNING: { status: 409, meaning: 'Detection is running; ask for the latest run in a moment.' },
  ERR_DETECTION_LOGS: { status: 503, meaning: 'No log object could be read; `detail` says why.' },
  ERR_DETECTION_QUERY: { status: 503, meaning: 'The query over the logs failed; nothing was recorded or revoked.' },
  ERR_DETECTION_ACCESS: { status: 503, meaning: 'The logs may not be read; `detail` says what is missing.' },
  ERR_DETECTION_SETUP: { status: 503, meaning: 'Something that detection needs is not installed or configured.' },
} as const;

type ProblemCode = keyof typeof REVOCATION_PROBLEMS;

/** Whether a code is one of a problem of the caller; an error under any other is ours. */
export function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(REVOCATION_PROBLEMS, code);
}

/** A problem under the status of its row; whoever composes the API makes problem details of it (RFC 9457). */
export function problem(code: ProblemCode, message: string): HTTPException {
  return new HTTPException(REVOCATION_PROBLEMS[code].status, { message, cause: { code } });
}
