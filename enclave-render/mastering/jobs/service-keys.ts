import { sameContext } from '../../kms/encryption-context.ts';
import { SERVICE_CONTEXTS } from '../contexts.ts';
import type { MasterManifest, MasterMode } from '../manifest.ts';
import { MasterJobError } from './job-error.ts';

/** Modes that a service on AWS reads: raw ciphertext under one key and initialization vector. */
export type ServiceMode = Exclude<MasterMode, 'framed'>;

/** A service of AWS that decrypts masters. */
export type MasterService = keyof typeof SERVICE_CONTEXTS;

/** What a service needs to know to decrypt an input; binary values are base64. */
export interface ServiceKey {
  mode: ServiceMode;
  /** `CiphertextBlob` of KMS. */
  encryptedKey: string;
  /** The KMS key it is under. */
  keyId: string;
  iv: string;
}

const SERVICE_MODES: readonly string[] = ['gcm', 'ctr', 'cbc'] satisfies ServiceMode[];
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

// A ciphertext of KMS has its key id, nonce and tag beside the data key. Whatever is as short as a key, or as the base64 or
// hexadecimal text of one (at most 64 characters), is a key that somebody forgot to encrypt.
const LONGEST_PLAIN_KEY = 64;

/**
 * Decodes an encrypted data key, of at most 512 characters of base64. Throws `ERR_MASTER_JOB_KEY` also when it is the data key itself: a job
 * with a key in clear must never be written. `where` names the field for the message.
 */
export function decodeEncryptedKey(text: unknown, where: string): Buffer {
  const bytes = typeof text === 'string' && BASE64.test(text) ? Buffer.from(text, 'base64') : undefined;
  if (bytes === undefined || (text as string).length > 512) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_KEY',
      `${where} must be base64 of at most 512 characters: the CiphertextBlob of GenerateDataKey or Encrypt`,
    );
  }
  if (bytes.length <= LONGEST_PLAIN_KEY) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_KEY',
      `${where} is too short for a key that KMS encrypted: if it is the data key itself, take it out of the file, have KMS ` +
        'encrypt it (aws kms encrypt) and count the key as seen by whoever read the file',
    );
  }
  return bytes;
}

/** Decodes an initialization vector of one of `lengths` bytes. Throws `ERR_MASTER_JOB_IV`. */
export function decodeIv(text: unknown, lengths: readonly number[], where: string): Buffer {
  const iv = typeof text === 'string' && BASE64.test(text) ? Buffer.from(text, 'base64') : undefined;
  if (iv !== undefined && lengths.includes(iv.length)) return iv;
  throw new MasterJobError(
    'ERR_MASTER_JOB_IV',
    `${where} must be base64 of ${lengths.join(' or ')} bytes: ${iv ? `it has ${iv.length}` : 'it is missing or something else'}`,
  );
}

/**
 * What a service has to be told about a master: mode, IV, and the data key as KMS encrypted it for this service.
 * `ivBytes` are the lengths of IV that the service takes in a mode. Throws `MasterJobError`:
 * `ERR_MASTER_JOB_INVALID`, `_MODE` (framed), `_CONTEXT`, `_KEY`, `_IV`; `ERR_KMS_VALIDATION` for a context that is none.
 */
export function serviceKeyOf(
  manifest: MasterManifest,
  service: MasterService,
  ivBytes: Record<ServiceMode, readonly number[]>,
): ServiceKey {
  if (manifest?.format !== 'portcullis-master/1' || !Array.isArray(manifest.recipients)) {
    throw new MasterJobError('ERR_MASTER_JOB_INVALID', 'this is not the manifest of a master (<master>.manifest.json)');
  }
  const { mode } = manifest;
  if (!isServiceMode(mode)) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_MODE',
      `a service of AWS cannot read a master in mode ${mode}: decrypt it, and encrypt it again in mode gcm, ctr or cbc with ` +
        'portcullis master encrypt --mode gcm',
    );
  }
  const expected = SERVICE_CONTEXTS[service];
  const encrypted = manifest.recipients.filter((recipient) => recipient.type === 'kms');
  const recipient = encrypted.find(({ context }) => sameContext(context, expected));
  if (recipient === undefined) {
    const found = encrypted.map(({ context }) => JSON.stringify(context)).join(', ');
    throw new MasterJobError(
      'ERR_MASTER_JOB_CONTEXT',
      `the data key must be encrypted in the context ${JSON.stringify(expected)}; this master has ` +
        `${found === '' ? 'no KMS key' : found}: put it into that context with portcullis master rewrap`,
    );
  }
  const { keyId, encryptedKey } = recipient;
  decodeEncryptedKey(encryptedKey, 'the encrypted key in the manifest');
  const iv = decodeIv(manifest.iv, ivBytes[mode], `the IV of a master in mode ${mode} for ${expected.service}`);
  return { mode, encryptedKey, keyId, iv: iv.toString('base64') };
}

function isServiceMode(mode: string): mode is ServiceMode {
  return SERVICE_MODES.includes(mode);
}
