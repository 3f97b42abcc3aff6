export type StackErrorCode =
  | 'ERR_STACK_LOCKED'
  | 'ERR_STACK_PORT'
  | 'ERR_STACK_DATA'
  | 'ERR_STACK_NOT_BUILT'
  | 'ERR_RULE_GROUP';

/** Why the local stack cannot run. Each message says what to do next. */
export class StackError extends Error {
  readonly code: StackErrorCode;
  constructor(code: StackErrorCode, message: string) {
    super(message);
    this.name = 'StackError';
    this.code = code;
  }
}
