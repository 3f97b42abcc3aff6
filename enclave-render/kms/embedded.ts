import { randomFillSync } from 'node:crypto';
import { type AttestationCondition, requireAttested } from './attestation-condition.ts';
import { type AppendRecord, type AuditRecord, auditTrail } from './audit-trail.ts';
import { keyVersionOf, open, seal } from './ciphertext.ts';
import {
  type AttestedDataKeys,
  type DataKeyBits,
  type DataKeys,
  type EncryptionContext,
  KmsError,
} from './data-keys.ts';
import { checkContext } from './encryption-context.ts';
import {
  addKey,
  cancelDeletion,
  dueKeys,
  findKey,
  isKeyIdentifier,
  type KeyState,
  type Keystore,
  type KeystoreKey,
  keyArn,
  putAlias,
  removeAlias,
  removeKeys,
  requireEnabled,
  rotate,
  scheduleDeletion,
  setEnabled,
} from './keystore.ts';
import { type KeystoreFile, keystoreFile } from './keystore-file.ts';

/** What is known of a key, without its material. Times in seconds since the epoch. */
export interface KeyMetadata {
  keyId: string;
  arn: string;
  description: string;
  state: KeyState;
  createdAt: number;
  /** When it is deleted, if it is pending deletion. */
  deletesAt: number | null;
  /** Version of the key material that new ciphertexts are under; older ones go on decrypting. */
  version: number;
  /** When that version was made. */
  rotatedAt: number;
  aliases: string[];
  /** Enclaves that it decrypts for, and for nobody else; null for a key that decrypts for whoever has the keystore. */
  attestation: AttestationCondition | null;
}

/** What a key is to be; all of it optional. */
export interface NewKey {
  /** `alias/name` that stands for it. */
  alias?: string | undefined;
  description?: string | undefined;
  /** Enclaves that it decrypts for, and for nobody else then. It cannot be changed later. */
  attestation?: AttestationCondition | undefined;
}

/** Where an embedded KMS keeps its keys. */
export interface EmbeddedKmsOptions {
  /** The keystore, a file of mode 0600. The audit trail lies beside it, `<keystore>.audit.jsonl`. */
  keystore: string;
  /** File of mode 0600 whose first line protects the keystore. */
  passphraseFile?: string | undefined;
  /** SHA-256 fingerprints of the roots that attestation documents may come from, hexadecimal; without any, none is taken. */
  attestationRoots?: readonly string[];
  /** Milliseconds since the epoch; the system clock by default. */
  now?: () => number;
}

/** Most bytes that Encrypt takes (AWS KMS API, Encrypt). */
const MAX_PLAINTEXT_BYTES = 4096;
/** Most bytes that Decrypt takes (AWS KMS API, Decrypt). */
const MAX_CIPHERTEXT_BYTES = 6144;
/** Days that a deletion waits unless told otherwise (AWS KMS API, ScheduleKeyDeletion). */
const DEFAULT_DELETION_DAYS = 30;

/**
 * Keys of this machine with the semantics of AWS KMS: whoever may read the keystore has the keys, and its passphrase if it has one.
 * Each use and each change of a key is in the audit trail before it is answered; what cannot be recorded is not done. A keystore that
 * cannot be read has nothing to use, and leaves no line. All reject with `KmsError`.
 */
export class EmbeddedKms implements DataKeys, AttestedDataKeys {
  readonly #file: KeystoreFile;
  readonly #append: AppendRecord;
  readonly #now: () => number;
  readonly #nowMs: () => number;
  readonly #attestationRoots: readonly string[];

  constructor({ keystore, passphraseFile, attestationRoots = [], now = Date.now }: EmbeddedKmsOptions) {
    this.#file = keystoreFile(keystore, passphraseFile);
    this.#append = auditTrail(`${keystore}.audit.jsonl`, now);
    this.#now = () => Math.floor(now() / 1000);
    this.#nowMs = now;
    this.#attestationRoots = attestationRoots;
  }

  /** Whether there is a keystore. */
  exists(): Promise<boolean> {
    return this.#file.exists();
  }

  generate(keyId: string, bits: DataKeyBits, context: EncryptionContext) {
    return this.#use('GenerateDataKey', keyId, context, (keystore, record) => {
      if (![128, 192, 256].includes(bits)) throw invalid('a data key has 128, 192 or 256 bits');
      const plaintext = randomFillSync(new Uint8Array(bits / 8));
      return { plaintext, ...encryptUnder(enabledKey(keystore, keyId, record), plaintext, context) };
    });
  }

  encrypt(keyId: string, plaintext: Uint8Array, context: EncryptionContext) {
    return this.#use('Encrypt', keyId, context, (keystore, record) => {
      if (plaintext.length < 1 || plaintext.length > MAX_PLAINTEXT_BYTES) {
        const instead = 'encrypt larger data with a data key';
        throw invalid(`KMS encrypts 1 to ${MAX_PLAINTEXT_BYTES} bytes, not ${plaintext.length}: ${instead}`);
      }
      return encryptUnder(enabledKey(keystore, keyId, record), plaintext, context);
    });
  }

  decrypt(encrypted: Uint8Array, context: EncryptionContext, keyId?: string) {
    return this.#use('Decrypt', keyId, context, (keystore, record) => {
      const { key, plaintext } = decryptWith(keystore, encrypted, context, keyId, (key) => {
        record.keyId = keyArn(key);
        refuseUnattested(key);
      });
      return { plaintext, keyId: keyArn(key) };
    });
  }

  /** A key without a condition decrypts for no enclave: AWS KMS would do it for any. */
  async decryptForRecipient(encrypted: Uint8Array, context: EncryptionContext, document: Uint8Array, keyId?: string) {
    // Only here: it takes as long to load as all the rest, and few need it.
    const { sealForRecipient } = await import('./seal-for-recipient.ts');
    return this.#use('Decrypt', keyId, context, (keystore, record) => {
      let publicKey = new Uint8Array();
      const { key, plaintext } = decryptWith(keystore, encrypted, context, keyId, (key) => {
        record.keyId = keyArn(key);
        if (!key.attestation) {
          const instead = 'make one with portcullis kms create --attestation FILE';
          throw new KmsError('ERR_KMS_ACCESS', `key ${keyArn(key)} names no enclave that it decrypts for: ${instead}`);
        }
        const attestation = requireAttested(document, key.attestation, this.#attestationRoots, this.#nowMs());
        record.recipient = { moduleId: attestation.moduleId, pcr0: attestation.pcrs['0'] ?? '' };
        publicKey = Uint8Array.from(attestation.publicKey ?? []);
      });
      try {
        return { ciphertextForRecipient: sealForRecipient(plaintext, publicKey), keyId: keyArn(key) };
      } finally {
        plaintext.fill(0);
      }
    });
  }

  reEncrypt(encrypted: Uint8Array, from: EncryptionContext, keyId: string, to: EncryptionContext) {
    return this.#use('ReEncrypt', keyId, to, (keystore, record) => {
      checkContext(from);
      Object.assign(record, { sourceKeyId: null, sourceContext: from });
      const destination = enabledKey(keystore, keyId, record);
      const { plaintext } = decryptWith(keystore, encrypted, from, undefined, (key) => {
        record.sourceKeyId = keyArn(key);
        refuseUnattested(key);
      });
      try {
        return encryptUnder(destination, plaintext, to);
      } finally {
        plaintext.fill(0);
      }
    });
  }

  /**
   * Makes a key, with an alias if one is given, and a keystore when there is none (CreateKey, CreateAlias). Throws
   * `ERR_KMS_ALREADY_EXISTS` when the alias is there.
   */
  createKey({ alias, description = '', attestation }: NewKey = {}) {
    const names = alias === undefined ? {} : { alias };
    return this.#change('CreateKey', undefined, names, true, (keystore) => {
      const key = addKey(keystore, description, this.#now(), attestation);
      if (alias !== undefined) putAlias(keystore, alias, key, true);
      return key;
    });
  }

  /** All keys, in the order in which they were made (ListKeys). */
  async listKeys(): Promise<KeyMetadata[]> {
    const keystore = await this.#current();
    return keystore.keys.map((key) => metadata(keystore, key));
  }

  /** One key (DescribeKey). */
  async describeKey(keyId: string): Promise<KeyMetadata> {
    const keystore = await this.#current();
    return metadata(keystore, findKey(keystore, keyId));
  }

  /** DisableKey: nothing is encrypted or decrypted with it until it is enabled again. */
  disableKey(keyId: string) {
    return this.#changeKey('DisableKey', keyId, (key) => setEnabled(key, false));
  }

  /** EnableKey. */
  enableKey(keyId: string) {
    return this.#changeKey('EnableKey', keyId, (key) => setEnabled(key, true));
  }

  /** RotateKeyOnDemand: new key material for what is encrypted from now on; older ciphertexts go on decrypting. */
  rotateKey(keyId: string) {
    return this.#changeKey('RotateKeyOnDemand', keyId, (key) => rotate(key, this.#now()));
  }

  /** ScheduleKeyDeletion: unusable at once, deleted after 7 to 30 days. Nothing under it can ever be decrypted then. */
  scheduleKeyDeletion(keyId: string, days: number = DEFAULT_DELETION_DAYS) {
    return this.#changeKey('ScheduleKeyDeletion', keyId, (key) => scheduleDeletion(key, days, this.#now()));
  }

  /** CancelKeyDeletion: the key is disabled then. */
  cancelKeyDeletion(keyId: string) {
    return this.#changeKey('CancelKeyDeletion', keyId, cancelDeletion);
  }

  /** CreateAlias. */
  createAlias(alias: string, keyId: string) {
    return this.#changeKey('CreateAlias', keyId, (key, keystore) => putAlias(keystore, alias, key, true), { alias });
  }

  /** UpdateAlias: an alias that is there stands for another key from now on. */
  updateAlias(alias: string, keyId: string) {
    return this.#changeKey('UpdateAlias', keyId, (key, keystore) => putAlias(keystore, alias, key, false), { alias });
  }

  /** DeleteAlias; the key stays. */
  deleteAlias(alias: string) {
    return this.#change('DeleteAlias', undefined, { alias }, false, (keystore) => removeAlias(keystore, alias));
  }

  /** Uses keys, and records it. What `use` finds out it writes into the record. */
  async #use<Answer extends { keyId: string; plaintext?: Uint8Array }>(
    operation: string,
    requested: string | undefined,
    context: EncryptionContext,
    use: (keystore: Keystore, record: AuditRecord) => Answer,
  ): Promise<Answer> {
    const keystore = await this.#current();
    const record: AuditRecord = { operation, keyId: null, ...named(requested), outcome: 'ok' };
    let answer: Answer;
    try {
      checkContext(context);
      record.context = context;
      answer = use(keystore, record);
    } catch (error) {
      await this.#append({ ...record, outcome: codeOf(error) });
      throw error;
    }
    await this.#append(record).catch((error) => {
      answer.plaintext?.fill(0);
      throw error;
    });
    return answer;
  }

  #changeKey(
    operation: string,
    keyId: string,
    change: (key: KeystoreKey, keystore: Keystore) => void,
    names: { alias?: string } = {},
  ) {
    return this.#change(operation, keyId, names, false, (keystore) => {
      const key = findKey(keystore, keyId);
      change(key, keystore);
      return key;
    });
  }

  /** Changes the keystore, and records it before it is written: a change that fails after that is recorded once more. */
  async #change(
    operation: string,
    requested: string | undefined,
    { alias }: { alias?: string },
    create: boolean,
    change: (keystore: Keystore) => KeystoreKey,
  ): Promise<KeyMetadata> {
    const names = { ...named(requested), ...(alias !== undefined && isKeyIdentifier(alias) ? { alias } : {}) };
    const record: AuditRecord = { operation, keyId: null, ...names, outcome: 'ok' };
    let isOpen = false;
    try {
      return await this.#file.change(async (keystore) => {
        isOpen = true;
        await this.#removeDue(keystore);
        const key = change(keystore);
        record.keyId = keyArn(key);
        await this.#append(record);
        return metadata(keystore, key);
      }, create);
    } catch (error) {
      // The first error is the one to tell, also when it is that the trail cannot be written.
      if (isOpen) await this.#append({ ...record, outcome: codeOf(error) }).catch(() => {});
      throw error;
    }
  }

  /** The keystore as it is now: keys whose waiting period is over are deleted from the file first. */
  async #current(): Promise<Keystore> {
    const keystore = await this.#file.read();
    if (dueKeys(keystore, this.#now()).length === 0) return keystore;
    await this.#file.change((current) => this.#removeDue(current));
    return this.#file.read();
  }

  async #removeDue(keystore: Keystore): Promise<void> {
    const due = dueKeys(keystore, this.#now());
    for (const key of due) await this.#append({ operation: 'DeleteKey', keyId: keyArn(key), outcome: 'ok' });
    removeKeys(keystore, due);
  }
}

/** The key that is named, if it may be used; the record says which it is even if not. */
function enabledKey(keystore: Keystore, keyId: string, record: AuditRecord): KeystoreKey {
  const key = findKey(keystore, keyId);
  record.keyId = keyArn(key);
  requireEnabled(key);
  return key;
}

function encryptUnder(key: KeystoreKey, plaintext: Uint8Array, context: EncryptionContext) {
  const { version } = newest(key);
  const encrypted = withMaterial(key, version, (material) =>
    seal({ keyId: key.id, version }, material, plaintext, context),
  );
  return { encrypted, keyId: keyArn(key) };
}

function decryptWith(
  keystore: Keystore,
  encrypted: Uint8Array,
  context: EncryptionContext,
  keyId: string | undefined,
  /** Told which key it is before that is used; may throw. */
  onKey: (key: KeystoreKey) => void,
) {
  const named = keyId === undefined ? undefined : findKey(keystore, keyId);
  if (encrypted.length > MAX_CIPHERTEXT_BYTES) {
    throw invalid(`a ciphertext of KMS has ${MAX_CIPHERTEXT_BYTES} bytes at most, not ${encrypted.length}`);
  }
  const under = keyVersionOf(encrypted);
  const key = keystore.keys.find(({ id }) => id === under.keyId);
  if (named && named !== key) {
    const message = `the ciphertext is not under ${keyArn(named)}, but says ${keyArn({ id: under.keyId })}`;
    throw new KmsError('ERR_KMS_INCORRECT_KEY', message);
  }
  if (!key) {
    const message = `the ciphertext is under key ${keyArn({ id: under.keyId })}, which is not in this keystore`;
    throw new KmsError('ERR_KMS_ACCESS', message);
  }
  onKey(key);
  requireEnabled(key);
  const plaintext = withMaterial(key, under.version, (material) => open(material, encrypted, context));
  return { key, plaintext };
}

/** What a policy of AWS KMS denies that allows decryption to attested enclaves only. */
function refuseUnattested(key: KeystoreKey): void {
  if (!key.attestation) return;
  const message = `key ${keyArn(key)} decrypts for attested enclaves only: ask from within one, with its document`;
  throw new KmsError('ERR_KMS_ACCESS', message);
}

function withMaterial<Result>(key: KeystoreKey, wanted: number, use: (material: Uint8Array) => Result): Result {
  const found = key.versions.find(({ version }) => version === wanted);
  if (!found) {
    const why = 'it was altered, or this is an older copy of the keystore';
    const message = `the ciphertext is under version ${wanted} of ${keyArn(key)}, which has ${key.versions.length}: ${why}`;
    throw new KmsError('ERR_KMS_INVALID_CIPHERTEXT', message);
  }
  const material = Buffer.from(found.material, 'base64');
  try {
    return use(material);
  } finally {
    material.fill(0);
  }
}

function newest({ versions }: KeystoreKey) {
  const last = versions.at(-1);
  if (!last) throw new KmsError('ERR_KMS_KEYSTORE', 'a key of the keystore has no material');
  return last;
}

function metadata(keystore: Keystore, key: KeystoreKey): KeyMetadata {
  const { version, createdAt: rotatedAt } = newest(key);
  return {
    keyId: key.id,
    arn: keyArn(key),
    description: key.description,
    state: key.state,
    createdAt: key.createdAt,
    deletesAt: key.deletesAt ?? null,
    version,
    rotatedAt,
    aliases: keystore.aliases.filter(({ keyId }) => keyId === key.id).map(({ name }) => name),
    attestation: key.attestation ?? null,
  };
}

/** What a caller named a key, if it may stand in a log: somebody may have given a secret for it. */
function named(requested: string | undefined): { requested?: string } {
  return requested !== undefined && isKeyIdentifier(requested) ? { requested } : {};
}

function codeOf(error: unknown): string {
  return error instanceof KmsError ? error.code : 'ERR_INTERNAL';
}

function invalid(message: string): KmsError {
  return new KmsError('ERR_KMS_VALIDATION', message);
}
