import { createPublicKey } from 'node:crypto';
import { AWS_NITRO_ROOT } from '../enclave-render/attestation/attestation-document.ts';
import { readVerifyKeyFile } from '../enclave-render/mastering/key-files.ts';
import type { ReceiptPolicy } from '../enclave-render/receipt/verify-receipt.ts';
import type { Isolation } from '../enclave-render/render/sandbox.ts';
import { tasksOf } from '../local/render-jobs.ts';
import type { RenderOwner } from '../local/render-owner.ts';

/** What a receipt that somebody kept is held to: owners and roots as they are named, any manifest of the owner, at any time. */
export async function receiptPolicy(
  { root = [], ownerKey, isolation }: { root?: string[]; ownerKey?: string[]; isolation: Isolation },
  owner: RenderOwner | undefined,
): Promise<Omit<ReceiptPolicy, 'outputs'>> {
  const own = owner ? [createPublicKey(owner.signing)] : [];
  return {
    ownerKeys: ownerKey ? await Promise.all(ownerKey.map(readVerifyKeyFile)) : own,
    manifestSha384: 'any',
    roots: [AWS_NITRO_ROOT, ...root],
    isolation: isolation === 'none' ? ['bubblewrap', 'none'] : ['bubblewrap'],
    nonceUsedFor: 'not-checked',
    tasksOf,
  };
}
