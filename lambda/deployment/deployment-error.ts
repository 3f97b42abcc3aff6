export type DeploymentErrorCode =
  /** No resource type of ours, or properties that are not those of its type. */
  | 'ERR_DEPLOYMENT_PROPERTIES'
  /** DEVELOPMENT of the function has changes that are neither LIVE nor of a deployment. */
  | 'ERR_DEPLOYMENT_DRAFT'
  /** The new code did not do with the live keys what it must. It was not published. */
  | 'ERR_DEPLOYMENT_FUNCTION'
  /** Others changed it each time it was tried. */
  | 'ERR_DEPLOYMENT_CONFLICT'
  /** It would not have ended before Lambda ends the function. */
  | 'ERR_DEPLOYMENT_TIMEOUT';

/** Why a deployment does not go on; the message, which CloudFormation shows, says what to do next. */
export class DeploymentError extends Error {
  readonly code: DeploymentErrorCode;
  constructor(code: DeploymentErrorCode, message: string) {
    super(message);
    this.name = 'DeploymentError';
    this.code = code;
  }
}
