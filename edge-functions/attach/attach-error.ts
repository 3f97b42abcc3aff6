export type AttachErrorCode =
  /** There is no such distribution, behaviour or function. */
  | 'ERR_ATTACH_MISSING'
  /** The distribution is set up in a way that cannot work with the function; nothing was changed. */
  | 'ERR_ATTACH_IMPOSSIBLE'
  /** Somebody changed since what is to be undone; nothing was changed. */
  | 'ERR_ATTACH_CHANGED'
  /** The file of what was there is damaged, about another distribution, or names something that attaching did not make. */
  | 'ERR_ATTACH_SAVED'
  /** Others change the distribution all the time; nothing of this attempt is there. */
  | 'ERR_ATTACH_CONFLICT'
  /** No AWS credentials, or none that AWS accepts. */
  | 'ERR_ATTACH_CREDENTIALS'
  /** The credentials do not permit it. */
  | 'ERR_ATTACH_DENIED'
  | 'ERR_ATTACH_THROTTLED'
  /** No connection, no reply in time, or a fault of CloudFront: the call may have taken effect. Run it again. */
  | 'ERR_ATTACH_UNAVAILABLE'
  /** CloudFront refused for another reason, or answered something that its API reference does not provide for. */
  | 'ERR_ATTACH_AWS';

/** Why nothing was attached or undone; the message says what to do next. */
export class AttachError extends Error {
  readonly code: AttachErrorCode;
  constructor(code: AttachErrorCode, message: string) {
    super(message);
    this.name = 'AttachError';
    this.code = code;
  }
}
