export type ReceiptErrorCode =
  /** Not a receipt: not JSON, a field too many or too few, a statement that is not canonical. */
  | 'ERR_RECEIPT_FORMAT'
  /** What stands for the manifest is none, or its signature does not hold. */
  | 'ERR_RECEIPT_MANIFEST'
  /** The manifest is not signed with one of the caller's keys. */
  | 'ERR_RECEIPT_OWNER'
  /** The manifest is the owner's, but not that of the job in question. */
  | 'ERR_RECEIPT_JOB'
  /** The nonce of the manifest was used: this receipt was accepted before, or another one of the same manifest. */
  | 'ERR_RECEIPT_NONCE'
  /** An attestation is later than the manifest allows, by the clock of the security module. */
  | 'ERR_RECEIPT_EXPIRED'
  /** A statement says that the security module is a real one, and the root says otherwise, or the other way round. */
  | 'ERR_RECEIPT_SIMULATED'
  /**
   * A statement is of another launch than its attestation, of one that is not listed, or a launch is listed for
   * nothing.
   */
  | 'ERR_RECEIPT_LAUNCH'
  /** A statement is of another job or manifest. */
  | 'ERR_RECEIPT_STATEMENT'
  /** A task of the template is left out. */
  | 'ERR_RECEIPT_TASK_MISSING'
  /** A task is there twice. */
  | 'ERR_RECEIPT_TASK_TWICE'
  /** A task that the template does not have. */
  | 'ERR_RECEIPT_TASK_UNKNOWN'
  /** Tasks are not in the order of the template. */
  | 'ERR_RECEIPT_TASK_ORDER'
  /** A task is not the run that the final statement lists: an earlier one, or that of another receipt. */
  | 'ERR_RECEIPT_TASK_REPLACED'
  /** A task was not what the template says: step, parameters, renderer or arguments. */
  | 'ERR_RECEIPT_TASK_OTHER'
  /** A task is said to have failed. */
  | 'ERR_RECEIPT_TASK_FAILED'
  /** Times that contradict each other. */
  | 'ERR_RECEIPT_TIME'
  /** A renderer ran without a sandbox, which the caller does not allow. */
  | 'ERR_RECEIPT_ISOLATION'
  /** A task read something else than the manifest and the tasks before it say. */
  | 'ERR_RECEIPT_INPUT'
  /** The final statement delivers something else than the tasks do, or a task that has to deliver delivers nothing. */
  | 'ERR_RECEIPT_OUTPUTS'
  /** An output is not there. */
  | 'ERR_RECEIPT_OUTPUT_MISSING'
  /** There is a file that the receipt does not name, or something that is no regular file. */
  | 'ERR_RECEIPT_OUTPUT_UNKNOWN'
  /** The ciphertext of an output is not the one of the statement. */
  | 'ERR_RECEIPT_OUTPUT_ALTERED'
  /** An output is for others than the manifest says. */
  | 'ERR_RECEIPT_OUTPUT_RECIPIENTS'
  /** An output cannot be opened with the owner's key: its manifest or its frames were changed. */
  | 'ERR_RECEIPT_OUTPUT_KEY'
  /** An output opens, to something else than what was rendered. */
  | 'ERR_RECEIPT_OUTPUT_PLAINTEXT'
  /** Something is in the place already where the outputs are to go, or they cannot get there. */
  | 'ERR_RECEIPT_ACCEPTED_FOLDER'
  /** The outputs of a job are asked for that were never accepted. */
  | 'ERR_RECEIPT_NOT_ACCEPTED'
  /** The register of nonces cannot be used. */
  | 'ERR_RECEIPT_REGISTER';

/** Why a receipt is not believed, or its outputs are not accepted. The message quotes nothing of the receipt. */
export class ReceiptError extends Error {
  readonly code: ReceiptErrorCode;
  constructor(code: ReceiptErrorCode, message: string) {
    super(message);
    this.name = 'ReceiptError';
    this.code = code;
  }
}
