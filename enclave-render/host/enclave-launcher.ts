import type { Duplex } from 'node:stream';
import type { Pcrs } from '../attestation/attestation-document.ts';

/** An enclave that runs, as its parent sees it. */
export interface RunningEnclave {
  /** The stream of `messages.ts`: a Unix socket, on AWS through socat from vsock. */
  channel: Duplex;
  /** Settles when it has ended, by itself or not: with its exit code, null when it was killed. */
  ended: Promise<number | null>;
  /** Ends it, and all that it holds in memory. Rejects with `ERR_HOST_ENDING` when it may run still. */
  end(): Promise<void>;
}

/**
 * Starts enclaves of one image: AWS Nitro by `nitro-cli` on an EC2 parent (`nitro.ts`), or a process in a sandbox with a simulated
 * security module (`simulated.ts`).
 */
export interface EnclaveLauncher {
  /** PCR0 to PCR2 of the image that is started. */
  readonly pcrs: Pcrs;
  /** SHA-256 fingerprint of the root that its documents come from. */
  readonly root: string;
  launch(signal?: AbortSignal): Promise<RunningEnclave>;
}
