import type { EncryptionContext } from '../kms/data-keys.ts';
import type { MasterMode } from './manifest.ts';

/** The services of AWS that decrypt masters, and the encryption context that each of them sends to KMS. */
export const SERVICE_CONTEXTS = {
  mediaconvert: { service: 'mediaconvert.amazonaws.com' },
  elastictranscoder: { service: 'elastictranscoder.amazonaws.com' },
} as const satisfies Record<string, EncryptionContext>;

/** What the data key of a new master is encrypted in, unless told otherwise: that of its reader, or for the archive one of ours. */
export const MASTER_CONTEXTS: Readonly<Record<MasterMode, EncryptionContext>> = {
  gcm: SERVICE_CONTEXTS.mediaconvert,
  ctr: SERVICE_CONTEXTS.mediaconvert,
  cbc: SERVICE_CONTEXTS.mediaconvert,
  framed: { service: 'portcullis', purpose: 'master' },
};
