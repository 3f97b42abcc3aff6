import type { KeyObject } from 'node:crypto';
import { replaceFile } from './atomic-output.ts';
import type { MasterManifest } from './manifest.ts';
import { MasterError } from './master-error.ts';
import { openKey, readOwnManifest } from './opened.ts';
import { type KmsRecipient, type OpeningKeys, wrapForKms, wrapForPublicKey } from './recipients.ts';
import { manifestPath } from './signed-manifest.ts';
import { openSource } from './source-file.ts';

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
  /** Ed25519: only a manifest signed with its private key is changed. */
  verifyKey?: KeyObject | undefined;
}

/**
 * Changes who can open a master: only its manifest, whose signatures do not cover the recipients. The manifest is held to the length
 * of the master and to `verifyKey`; nobody is let in before it was checked under its data key, and the header of a `framed` master with
 * it. The rest of the master is not read: whether it is what was made says `verifyMaster`. Rejects with `MasterError` or `KmsError`; then
 * the manifest is what it was.
 */
export async function rewrapMaster(request: RewrapRequest): Promise<MasterManifest> {
  const { master, kms, add = [], remove = [], open = {}, verifyKey } = request;
  const source = await openSource(master);
  let dataKey: Uint8Array | undefined;
  try {
    const isLetIn = kms !== undefined || add.length > 0;
    const keys = { ...open, dataKeys: open.dataKeys ?? kms?.dataKeys };
    const opened = isLetIn ? await openKey(master, source, { ...keys, verifyKey }) : undefined;
    dataKey = opened?.job.dataKey;
    const manifest = opened?.manifest ?? (await readOwnManifest(master, source.identity.bytes, verifyKey));
    let recipients = manifest.recipients;
    for (const id of remove) {
      if (!recipients.some(({ keyId }) => keyId === id)) {
        throw new MasterError('ERR_MASTER_RECIPIENT', `${id} is no recipient of this master`);
      }
      recipients = recipients.filter(({ keyId }) => keyId !== id);
    }
    if (dataKey) {
      // Whoever can change the manifest could otherwise have the key of another master wrapped. So the key that the manifest is signed
      // under is wrapped, and not what stands in it moved by ReEncrypt.
      if (kms) recipients = [await wrapForKms(dataKey, kms), ...recipients.filter(({ type }) => type !== 'kms')];
      for (const key of add) {
        const added = await wrapForPublicKey(dataKey, key);
        recipients = [...recipients.filter(({ keyId }) => keyId !== added.keyId), added];
      }
    }
    if (recipients.length === 0) {
      throw new MasterError('ERR_MASTER_RECIPIENT', 'nobody could open this master any more: keep or add a recipient');
    }
    const rewrapped = { ...manifest, recipients };
    await replaceFile(manifestPath(master), `${JSON.stringify(rewrapped, null, 2)}\n`);
    return rewrapped;
  } finally {
    dataKey?.fill(0);
    await source.handle.close();
  }
}
