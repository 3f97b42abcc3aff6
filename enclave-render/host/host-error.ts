export type HostErrorCode =
  /** A frame that is empty, longer than may be, or cut off. */
  | 'ERR_HOST_FRAME'
  /** A message that is no strict CBOR, or none that may be sent here. */
  | 'ERR_HOST_MESSAGE'
  /** More requests at once than may be, or answers that the other side does not read. */
  | 'ERR_HOST_FLOOD'
  /** The connection has ended: the other side is gone. */
  | 'ERR_HOST_CLOSED'
  /** The other side refused: `peerCode` says why. */
  | 'ERR_HOST_REFUSED'
  /** This enclave has a job already, or another process runs this one. */
  | 'ERR_HOST_BUSY'
  /** The parent has no such input, output or checkpoint, or was asked for it out of order. */
  | 'ERR_HOST_REQUEST'
  /** The parent cannot read or write a file of the job. */
  | 'ERR_HOST_STORAGE'
  /** An enclave could not be started. */
  | 'ERR_HOST_LAUNCH'
  /** An enclave could not be ended, and may run still. */
  | 'ERR_HOST_ENDING'
  /** The job was interrupted by its caller. */
  | 'ERR_HOST_INTERRUPTED'
  /** Settings of a parent that are none. */
  | 'ERR_HOST_SETTINGS'
  /** A job elsewhere that is not done yet. */
  | 'ERR_HOST_PENDING';

/** Why enclave and parent could not go on. The message says nothing of what was sent. */
export class HostError extends Error {
  readonly code: HostErrorCode;
  /** Of `ERR_HOST_REFUSED`: the code that the other side gave. */
  readonly peerCode: string | undefined;
  constructor(code: HostErrorCode, message: string, peerCode?: string) {
    super(message);
    this.name = 'HostError';
    this.code = code;
    this.peerCode = peerCode;
  }
}
