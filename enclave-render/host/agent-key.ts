import { isCommitted } from '../kms/commitment.ts';
import { KmsError } from '../kms/data-keys.ts';
import { openForRecipient, type RecipientKeyPair } from '../kms/recipient.ts';
import { userDataOf } from '../receipt/attested-statement.ts';
import type { OpenedManifest } from '../render/manifest-signature.ts';
import { RenderError } from '../render/render-manifest.ts';
import type { SecurityModule } from '../security-module/security-module.ts';
import type { Connection } from './frames.ts';
import type { TO_PARENT } from './messages.ts';

/** The attestation that a launch asks for the job key with: of its public key, bound to the manifest and its nonce. */
export function attestKey(
  { manifest, payloadSha384 }: OpenedManifest,
  keys: RecipientKeyPair,
  module: SecurityModule,
): Promise<Uint8Array> {
  return module.attest({
    publicKey: keys.publicKey,
    nonce: Buffer.from(manifest.nonce, 'hex'),
    userData: userDataOf('key', payloadSha384),
  });
}

/**
 * The job key, by way of the parent: KMS encrypts it to the public key of the attestation, and what comes back is used only if the
 * owner's manifest is committed to it. The caller overwrites it. Rejects with `ERR_RENDER_KEY`, and with `ERR_HOST_REFUSED` when the
 * parent, or KMS behind it, refuses.
 */
export async function releaseJobKey(
  { manifest: { jobKey } }: OpenedManifest,
  keys: RecipientKeyPair,
  attestation: Uint8Array,
  parent: Connection<typeof TO_PARENT>,
): Promise<Uint8Array> {
  const { keyId, context } = jobKey;
  const encryptedKey = Buffer.from(jobKey.encryptedKey, 'base64');
  const { ciphertextForRecipient } = await parent.ask('decryptKey', { encryptedKey, context, keyId, attestation });
  const key = opened(ciphertextForRecipient, keys);
  if (key.length === 32 && isCommitted(key, jobKey.commitment)) return key;
  key.fill(0);
  throw new RenderError(
    'ERR_RENDER_KEY',
    'this is not the key that the owner is committed to: somebody has planted it',
  );
}

function opened(ciphertextForRecipient: Uint8Array, keys: RecipientKeyPair): Uint8Array {
  try {
    return openForRecipient(ciphertextForRecipient, keys);
  } catch (error) {
    if (!(error instanceof KmsError)) throw error;
    throw new RenderError('ERR_RENDER_KEY', 'what came back for the job key is not for this enclave');
  }
}
