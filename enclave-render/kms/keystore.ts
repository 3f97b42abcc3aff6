import { randomBytes, randomUUID } from 'node:crypto';
import * as v from 'valibot';
import { type AttestationCondition, AttestationConditionSchema } from './attestation-condition.ts';
import { KmsError } from './data-keys.ts';

const uuid = v.pipe(v.string(), v.regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/));
const time = v.pipe(v.number(), v.integer(), v.minValue(0));

/** What a key of KMS can be in (AWS KMS Developer Guide, "Key states of AWS KMS keys"). */
export type KeyState = 'Enabled' | 'Disabled' | 'PendingDeletion';

const KeySchema = v.strictObject({
  id: uuid,
  description: v.string(),
  state: v.picklist(['Enabled', 'Disabled', 'PendingDeletion']),
  createdAt: time,
  /** When a key that is pending deletion is deleted, seconds since the epoch. */
  deletesAt: v.optional(time),
  /** Enclaves that it decrypts for, and for nobody else then. */
  attestation: v.optional(AttestationConditionSchema),
  /** The key material of each rotation, the newest last: new ciphertexts are under that one. */
  versions: v.pipe(
    v.array(
      v.strictObject({
        version: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 32 - 1)),
        createdAt: time,
        /** Base64 of 32 bytes. */
        material: v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{43}=$/)),
      }),
    ),
    v.minLength(1),
    v.check((versions) => versions.every(({ version }, i) => version === i + 1)),
  ),
});

export type KeystoreKey = v.InferOutput<typeof KeySchema>;

/** Keys and the aliases that stand for them. Times are seconds since the epoch. */
export const KeystoreSchema = v.pipe(
  v.strictObject({
    keys: v.array(KeySchema),
    aliases: v.array(v.strictObject({ name: v.string(), keyId: uuid })),
  }),
  v.check(({ keys, aliases }) => {
    const ids = new Set(keys.map(({ id }) => id));
    const names = new Set(aliases.map(({ name }) => name));
    const leads = aliases.every(({ keyId }) => ids.has(keyId));
    return ids.size === keys.length && names.size === aliases.length && leads;
  }),
);

export type Keystore = v.InferOutput<typeof KeystoreSchema>;

/** Keys here are of no region and of no account. */
const ARN = 'arn:aws:kms:local:000000000000:';
/** Names of aliases (AWS KMS API, CreateAlias); alias/aws/ is reserved. */
const ALIAS = /^alias\/(?!aws\/)[A-Za-z0-9/_-]{1,250}$/;
/** Id of a multi-Region key (AWS KMS Developer Guide, "Multi-Region keys"); none here is one. */
const MULTI_REGION_KEY = /^mrk-[0-9a-f]{32}$/;
/** Keys in a keystore, which is read as a whole each time. */
const MAX_KEYS = 1000;
/** Rotations of a key. */
const MAX_VERSIONS = 1000;
/** Waiting period of a deletion in days (AWS KMS API, ScheduleKeyDeletion). */
export const DELETION_DAYS = { least: 7, most: 30 } as const;
const DAY_SECONDS = 86_400;

/** `arn:aws:kms:local:000000000000:key/<id>` */
export function keyArn({ id }: Pick<KeystoreKey, 'id'>): string {
  return `${ARN}key/${id}`;
}

/** Whether this has the form of a key id, an ARN or an alias, so that it may stand in a log. */
export function isKeyIdentifier(text: string): boolean {
  const local = text.replace(/^arn:aws(?:-cn|-us-gov)?:kms:[a-z0-9-]{1,30}:\d{12}:(?:key\/(?=[^/]+$))?/, '');
  return ALIAS.test(local) || v.is(uuid, local) || MULTI_REGION_KEY.test(local);
}

/** The key by id, ARN, `alias/name` or ARN of an alias. Throws `ERR_KMS_NOT_FOUND`. */
export function findKey(keystore: Keystore, identifier: string): KeystoreKey {
  const alias = keystore.aliases.find(({ name }) => name === identifier || ARN + name === identifier);
  const key = keystore.keys.find((one) => one.id === (alias?.keyId ?? identifier) || keyArn(one) === identifier);
  if (key) return key;
  const named = isKeyIdentifier(identifier) ? `no key ${identifier}` : 'no key of this id, ARN or alias';
  throw new KmsError('ERR_KMS_NOT_FOUND', `${named} in the keystore: portcullis kms list shows those that there are`);
}

/** Throws `ERR_KMS_DISABLED` or `ERR_KMS_INVALID_STATE` unless a key may be used. */
export function requireEnabled(key: KeystoreKey): void {
  requireNotPending(key);
  if (key.state === 'Disabled') {
    const message = `key ${keyArn(key)} is disabled: portcullis kms enable ${key.id}`;
    throw new KmsError('ERR_KMS_DISABLED', message);
  }
}

function requireNotPending(key: KeystoreKey): void {
  if (key.state !== 'PendingDeletion') return;
  const message = `key ${keyArn(key)} is pending deletion: portcullis kms cancel-deletion ${key.id}`;
  throw new KmsError('ERR_KMS_INVALID_STATE', message);
}

/**
 * Adds a key, enabled (CreateKey). Throws `ERR_KMS_VALIDATION` for a keystore that is full, a description over 8192 characters, or a
 * condition without PCR0.
 */
export function addKey(
  keystore: Keystore,
  description: string,
  now: number,
  attestation?: AttestationCondition,
): KeystoreKey {
  if (keystore.keys.length >= MAX_KEYS) throw invalid(`a keystore has ${MAX_KEYS} keys at most`);
  if (description.length > 8192) throw invalid('a description has 8192 characters at most');
  const versions = [{ version: 1, createdAt: now, material: newMaterial() }];
  if (attestation !== undefined && !v.is(AttestationConditionSchema, attestation)) {
    throw invalid('a condition names registers of 48 bytes in lower-case hexadecimal, PCR0 among them');
  }
  const condition = attestation === undefined ? {} : { attestation };
  const key = { id: randomUUID(), description, state: 'Enabled' as const, createdAt: now, versions, ...condition };
  keystore.keys.push(key);
  return key;
}

/** Gives a key new material; what is under the old goes on decrypting (RotateKeyOnDemand). Throws as `requireEnabled`. */
export function rotate(key: KeystoreKey, now: number): void {
  requireEnabled(key);
  const version = key.versions.length + 1;
  if (version > MAX_VERSIONS) throw invalid(`a key is rotated ${MAX_VERSIONS - 1} times at most: make a new one`);
  key.versions.push({ version, createdAt: now, material: newMaterial() });
}

/** EnableKey, DisableKey. Throws `ERR_KMS_INVALID_STATE` for a key pending deletion. */
export function setEnabled(key: KeystoreKey, enabled: boolean): void {
  requireNotPending(key);
  key.state = enabled ? 'Enabled' : 'Disabled';
}

/** ScheduleKeyDeletion: unusable from now, deleted after `days`. Throws `ERR_KMS_VALIDATION`, `ERR_KMS_INVALID_STATE`. */
export function scheduleDeletion(key: KeystoreKey, days: number, now: number): void {
  const { least, most } = DELETION_DAYS;
  if (!Number.isInteger(days) || days < least || days > most) {
    throw invalid(`the waiting period of a deletion is ${least} to ${most} days`);
  }
  requireNotPending(key);
  key.state = 'PendingDeletion';
  key.deletesAt = now + days * DAY_SECONDS;
}

/** CancelKeyDeletion: the key is disabled then. Throws `ERR_KMS_INVALID_STATE` unless it is pending deletion. */
export function cancelDeletion(key: KeystoreKey): void {
  if (key.state !== 'PendingDeletion') {
    throw new KmsError('ERR_KMS_INVALID_STATE', `key ${keyArn(key)} is not pending deletion`);
  }
  key.state = 'Disabled';
  delete key.deletesAt;
}

/** The keys whose waiting period is over. */
export function dueKeys({ keys }: Keystore, now: number): KeystoreKey[] {
  return keys.filter(({ deletesAt }) => deletesAt !== undefined && deletesAt <= now);
}

/** Takes keys out, with the aliases that lead to them. */
export function removeKeys(keystore: Keystore, removed: KeystoreKey[]): void {
  const ids = new Set(removed.map(({ id }) => id));
  keystore.keys = keystore.keys.filter(({ id }) => !ids.has(id));
  keystore.aliases = keystore.aliases.filter(({ keyId }) => !ids.has(keyId));
}

/**
 * Lets an alias stand for a key: a new one (CreateAlias), or one that is there (UpdateAlias). Throws `ERR_KMS_VALIDATION`,
 * `ERR_KMS_ALREADY_EXISTS`, `ERR_KMS_NOT_FOUND`, `ERR_KMS_INVALID_STATE`.
 */
export function putAlias(keystore: Keystore, name: string, key: KeystoreKey, isNew: boolean): void {
  if (!ALIAS.test(name)) {
    throw invalid('an alias is alias/ and then letters, digits, /, _ or -, at most 256 characters, not alias/aws/…');
  }
  requireNotPending(key);
  const alias = keystore.aliases.find((other) => other.name === name);
  if (isNew && alias) throw new KmsError('ERR_KMS_ALREADY_EXISTS', `${name} is there already, for key ${alias.keyId}`);
  if (!isNew && !alias) throw noAlias();
  if (alias) alias.keyId = key.id;
  else keystore.aliases.push({ name, keyId: key.id });
}

/** DeleteAlias; the key stays. Throws `ERR_KMS_NOT_FOUND`. */
export function removeAlias(keystore: Keystore, name: string): KeystoreKey {
  const alias = keystore.aliases.find((other) => other.name === name);
  if (!alias) throw noAlias();
  keystore.aliases = keystore.aliases.filter((other) => other !== alias);
  return findKey(keystore, alias.keyId);
}

function noAlias(): KmsError {
  return new KmsError('ERR_KMS_NOT_FOUND', 'there is no such alias: portcullis kms list shows those that there are');
}

function invalid(message: string): KmsError {
  return new KmsError('ERR_KMS_VALIDATION', message);
}

function newMaterial(): string {
  return randomBytes(32).toString('base64');
}
