import type { AttestedStatement, Receipt } from './statement.ts';

/** What a receipt is put together of, in the enclave. */
export interface ReceiptParts {
  /** The manifest's JWS, as it came. */
  manifest: string;
  /** The document of each launch that did a task, or that ends the job, in any order. */
  keyAttestations: readonly Uint8Array[];
  /** In the order of the template. */
  tasks: readonly AttestedStatement[];
  job: AttestedStatement;
}

/** The receipt that goes to the owner: JSON of it is what `verifyReceipt` takes. */
export function buildReceipt({ manifest, keyAttestations, tasks, job }: ReceiptParts): Receipt {
  const documents = keyAttestations.map((document) => Buffer.from(document).toString('base64'));
  return {
    format: 'portcullis-receipt/1',
    manifest,
    // A launch that went on with several tasks is one launch.
    keyAttestations: [...new Set(documents)],
    tasks: [...tasks],
    job,
  };
}
