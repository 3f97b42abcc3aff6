import { join } from 'node:path';
import { loadAws } from '../config/aws.ts';
import { type DataKeys, KmsError } from '../enclave-render/kms/data-keys.ts';
import { EmbeddedKms } from '../enclave-render/kms/embedded.ts';
import type { MasteringSettings } from '../enclave-render/settings.ts';

/** The keystore in the data directory of a stack, unless the configuration names another. */
export function keystorePath(dataDirectory: string): string {
  return join(dataDirectory, 'kms', 'keystore.json');
}

/**
 * The KMS of a configuration: AWS, or the keystore that it names, else that in the data directory of a stack. With `create` a
 * keystore is made when there is none, with a key of the alias in `keyId`; that of a data directory may have keys of render jobs only,
 * and gets one then. Rejects with `KmsError`, and with `MissingPackageError` when the
 * package for AWS KMS is not installed.
 */
export async function openDataKeys(
  { kms, keyId }: MasteringSettings,
  dataDirectory: string,
  { create = false }: { create?: boolean } = {},
): Promise<DataKeys> {
  if (kms.provider === 'aws') {
    const { awsDataKeys, kmsClient } = await loadAws(() => import('../enclave-render/kms/kms.ts'));
    return awsDataKeys(kmsClient(kms.region));
  }
  const { keystore = keystorePath(dataDirectory), passphraseFile } = kms;
  const embedded = new EmbeddedKms({ keystore, passphraseFile });
  const isMissing =
    create && (!(await embedded.exists()) || (kms.keystore === undefined && (await lacks(embedded, keyId))));
  if (isMissing) {
    await embedded.createKey({ alias: keyId }).catch((error) => {
      // Another process made it meanwhile.
      if (!(error instanceof KmsError && error.code === 'ERR_KMS_ALREADY_EXISTS')) throw error;
    });
  }
  return embedded;
}

async function lacks(kms: EmbeddedKms, keyId: string): Promise<boolean> {
  if (!keyId.startsWith('alias/')) return false;
  return kms.describeKey(keyId).then(
    () => false,
    (error) => error instanceof KmsError && error.code === 'ERR_KMS_NOT_FOUND',
  );
}
