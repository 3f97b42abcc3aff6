import type { Pcrs } from '../attestation/attestation-document.ts';

/** What is put into an attestation document, each optional. */
export interface AttestationRequest {
  /** At most 512 bytes. */
  userData?: Uint8Array;
  /** At most 512 bytes. */
  nonce?: Uint8Array;
  /** At most 1,024 bytes: DER (SPKI) of the key that KMS encrypts to. */
  publicKey?: Uint8Array;
}

/**
 * The Nitro security module as the enclave sees it: the device `/dev/nsm` (`nsm.ts`), or a simulated one
 * (`simulator.ts`) whose documents are signed under a root of its own. All reject with `SecurityModuleError`.
 */
export interface SecurityModule {
  /** Its registers as they are now. */
  describe(): Promise<{ moduleId: string; pcrs: Pcrs; lockedPcrs: number[] }>;
  /** A signed document with these contents: about 4.5 KB of COSE_Sign1. */
  attest(request: AttestationRequest): Promise<Uint8Array>;
  /** Random bytes of the module, at most 256. */
  random(): Promise<Uint8Array>;
}

export type SecurityModuleErrorCode =
  /** There is no module: not an enclave, or the device cannot be opened. */
  | 'ERR_MODULE_ABSENT'
  /** The module refuses what it was asked. */
  | 'ERR_MODULE_REFUSED'
  /** An answer that is none, or none in time. */
  | 'ERR_MODULE_PROTOCOL'
  /** The certification authority of the simulator cannot be used: damaged, or others may read its key. */
  | 'ERR_MODULE_SIMULATOR'
  /** What is to be measured cannot be read, or is no program that can be. */
  | 'ERR_MODULE_IMAGE';

/** Why the security module did not do it. */
export class SecurityModuleError extends Error {
  readonly code: SecurityModuleErrorCode;
  constructor(code: SecurityModuleErrorCode, message: string) {
    super(message);
    this.name = 'SecurityModuleError';
    this.code = code;
  }
}
