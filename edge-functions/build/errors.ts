export type EdgeBuildErrorCode =
  | 'ERR_EDGE_DIALECT'
  | 'ERR_EDGE_CONTENT'
  | 'ERR_EDGE_BUDGET'
  | 'ERR_EDGE_HEADERS'
  | 'ERR_EDGE_SOURCE';

/** Why a function cannot be built. */
export class EdgeBuildError extends Error {
  readonly code: EdgeBuildErrorCode;
  constructor(code: EdgeBuildErrorCode, message: string) {
    super(message);
    this.name = 'EdgeBuildError';
    this.code = code;
  }
}
