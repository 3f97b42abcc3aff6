/** What an enclave tells its parent, and all that it tells: fixed codes, never the words of a renderer. */
export const EVENT_CODES = {
  MANIFEST_ACCEPTED: 'the manifest is of the owner, and its time is not over',
  KEY_RELEASED: 'KMS released the job key to this enclave',
  INPUT_VERIFIED: 'an input is the one of the manifest',
  TASK_RESUMED: 'a task was done by an earlier launch, and its checkpoint is genuine',
  TASK_STARTED: 'a task has begun',
  TASK_PROGRESS: 'a task is so many percent done',
  TASK_FINISHED: 'a task is done, and what it left is sealed',
  TASK_FAILED: 'a task has failed; its code says why',
  OUTPUT_SEALED: 'an output was handed over, encrypted',
  RECEIPT_ISSUED: 'the receipt is complete',
  JOB_FAILED: 'the job has failed; its code says why',
} as const;

export type EventCode = keyof typeof EVENT_CODES;

export interface RenderEvent {
  code: EventCode;
  /** Id of the task that it is about. */
  task?: string;
  percent?: number;
  /** Of the failure. */
  error?: string;
}
