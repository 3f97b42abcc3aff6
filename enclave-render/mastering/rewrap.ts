import type { KeyObject } from 'node:crypto';
import { replaceFile } from './atomic-output.ts';
import type { MasterManifest } from './manifest.ts';
import { MasterError } from './master-error.ts';
import { readManifest } from './opened.ts';
import { type KmsRecipient, type OpeningKeys, unwrapDataKey, wrapForKms, wrapForPublicKey } from './recipients.ts';
import { checkManifestMac, manifestPath } from './signed-manifest.ts';

export interface RewrapRequest {
  master: string;
  /** Puts the data key under this KMS key in this context, instead of what it was under in KMS. */
  kms?: KmsRecipient | undefined;
  /** Owners of private keys who can open the master from now on. */
  add?: KeyObject[] | undefined;
  /** Key ids of recipients who are taken off; what they have seen they keep. */
  remove?: string[] | undefined;
  /** What opens the master now: `kms` and `add` need its data key. By default the KMS of `kms`. */
  open?: OpeningKeys | undefined;
}

/**
 * Changes who can open a master: only its manifest, whose signatures do not cover the recipients. Nobody is let in before the manifest
 * was checked under its data key. Rejects with `MasterError` or `KmsError`; then the manifest is what it was.
 */
export async function rewrapMaster({
  master,
  kms,
  add = [],
  remove = [],
  open = {},
}: RewrapRequest): Promise<MasterManifest> {
  const manifest = await readManifest(master);
  let recipients = manifest.recipients;
  for (const id of remove) {
    if (!recipients.some(({ keyId }) => keyId === id)) {
      throw new MasterError('ERR_MASTER_RECIPIENT', `${id} is no recipient of this master`);
    }
    recipients = recipients.filter(({ keyId }) => keyId !== id);
  }
  if (kms || add.length > 0) {
    const dataKey = await unwrapDataKey(manifest, { ...open, dataKeys: open.dataKeys ?? kms?.dataKeys });
    try {
      // Whoever can change the manifest could otherwise have the key of another master wrapped. So this one is wrapped, once it was
      // checked, and not what stands in the manifest moved by ReEncrypt.
      checkManifestMac(manifest, dataKey);
      if (kms) recipients = [await wrapForKms(dataKey, kms), ...recipients.filter(({ type }) => type !== 'kms')];
      for (const key of add) {
        const added = await wrapForPublicKey(dataKey, key);
        recipients = [...recipients.filter(({ keyId }) => keyId !== added.keyId), added];
      }
    } finally {
      dataKey.fill(0);
    }
  }
  if (recipients.length === 0) {
    throw new MasterError('ERR_MASTER_RECIPIENT', 'nobody could open this master any more: keep or add a recipient');
  }
  const rewrapped = { ...manifest, recipients };
  await replaceFile(manifestPath(master), `${JSON.stringify(rewrapped, null, 2)}\n`);
  return rewrapped;
}
