import type { KeyObject } from 'node:crypto';
import { replaceFile } from './atomic-output.ts';
import type { MasterManifest, Recipient } from './manifest.ts';
import { MasterError } from './master-error.ts';
import { readManifest } from './opened.ts';
import { type KmsRecipient, type OpeningKeys, unwrapDataKey, wrapForKms, wrapForPublicKey } from './recipients.ts';
import { checkManifestMac, manifestPath } from './signed-manifest.ts';

export interface RewrapRequest {
  master: string;
  /** Puts the data key under this KMS key in this context, instead of what it was under; the plaintext stays in KMS. */
  kms?: KmsRecipient | undefined;
  /** Owners of private keys who can open the master from now on: the data key is needed here for that, so give `open`. */
  add?: KeyObject[] | undefined;
  /** Key ids of recipients who are taken off; what they have seen they keep. */
  remove?: string[] | undefined;
  open?: OpeningKeys | undefined;
}

/**
 * Changes who can open a master: only its manifest, whose signatures do not cover the recipients. Rejects with `MasterError` or
 * `KmsError`; then the manifest is what it was.
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
  if (kms && recipients.some(({ type }) => type === 'kms')) recipients = await reEncrypted(recipients, kms);
  else if (kms) recipients = [...recipients, await withDataKey(manifest, open, (dataKey) => wrapForKms(dataKey, kms))];
  for (const key of add) {
    const added = await withDataKey(manifest, open, (dataKey) => wrapForPublicKey(dataKey, key));
    recipients = [...recipients.filter(({ keyId }) => keyId !== added.keyId), added];
  }
  if (recipients.length === 0) {
    throw new MasterError('ERR_MASTER_RECIPIENT', 'nobody could open this master any more: keep or add a recipient');
  }
  const rewrapped = { ...manifest, recipients };
  await replaceFile(manifestPath(master), `${JSON.stringify(rewrapped, null, 2)}\n`);
  return rewrapped;
}

/** The recipients with what is under KMS under another key and context; once, if it was there several times. */
async function reEncrypted(recipients: Recipient[], { dataKeys, keyId, context }: KmsRecipient): Promise<Recipient[]> {
  const [from] = recipients.filter((recipient) => recipient.type === 'kms');
  if (!from) return recipients;
  const encryptedKey = Buffer.from(from.encryptedKey, 'base64');
  const moved = await dataKeys.reEncrypt(encryptedKey, from.context, keyId, context);
  const to: Recipient = {
    type: 'kms',
    keyId: moved.keyId,
    context,
    encryptedKey: Buffer.from(moved.encrypted).toString('base64'),
  };
  return [to, ...recipients.filter(({ type }) => type !== 'kms')];
}

async function withDataKey(
  manifest: MasterManifest,
  keys: OpeningKeys,
  wrap: (dataKey: Uint8Array) => Promise<Recipient>,
): Promise<Recipient> {
  const dataKey = await unwrapDataKey(manifest, keys);
  try {
    // Whoever can change the manifest could otherwise have another key wrapped.
    checkManifestMac(manifest, dataKey);
    return await wrap(dataKey);
  } finally {
    dataKey.fill(0);
  }
}
