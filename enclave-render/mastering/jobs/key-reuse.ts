import { MasterJobError } from './job-error.ts';
import type { ServiceMode } from './service-keys.ts';

/** What a file is encrypted with. */
export interface KeyUse {
  /** `Outputs[0]` */
  file: string;
  /** Whatever tells keys apart: the key as KMS encrypted it, or a digest of the key. */
  key: string;
  mode: ServiceMode;
  /** 16 bytes. */
  iv: Uint8Array;
}

const COUNTERS = 1n << 128n;
/** Blocks that no file has: 2^64 of them are 256 EiB. */
const MORE_THAN_ANY_FILE = 1n << 64n;

/**
 * Refuses an output, which is yet to be encrypted, that has key and IV of another file, or in mode `ctr` an IV from which the counter
 * comes to that of the other: two ciphertexts under one key stream give away the difference of their plaintexts (NIST SP 800-38A
 * appendix B), and under one key and IV in `gcm` the key of the tag. Inputs are not held to each other: they may be parts of one
 * encryption. Throws `ERR_MASTER_JOB_IV_REUSED`.
 */
export function refuseKeyReuse(inputs: KeyUse[], outputs: KeyUse[]): void {
  const used = [...inputs];
  for (const output of outputs) {
    const other = used.find((file) => file.key === output.key && meet(file, output));
    if (other) {
      throw new MasterJobError(
        'ERR_MASTER_JOB_IV_REUSED',
        `${output.file} has the key and IV of ${other.file}, or in mode ctr an IV too near to it: give every file a random IV of ` +
          'its own, or leave out Key, KeyMd5 and InitializationVector to have a key made',
      );
    }
    used.push(output);
  }
}

function meet(one: KeyUse, other: KeyUse): boolean {
  const distance = counterOf(one) - counterOf(other);
  if (one.mode !== 'ctr' || other.mode !== 'ctr') return distance === 0n;
  // The counter begins anew after its last value.
  const ahead = (distance + COUNTERS) % COUNTERS;
  return ahead < MORE_THAN_ANY_FILE || COUNTERS - ahead < MORE_THAN_ANY_FILE;
}

function counterOf({ iv }: KeyUse): bigint {
  return BigInt(`0x${Buffer.from(iv).toString('hex')}`);
}
