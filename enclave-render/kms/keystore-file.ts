import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import { syncFolder } from '../durable-folder.ts';
import { takeLock } from '../process-lock.ts';
import { KmsError } from './data-keys.ts';
import { type Keystore, KeystoreSchema } from './keystore.ts';
import { decryptText, encryptText, type Kdf, KdfSchema, keyOf, newKey, readPassphrase } from './passphrase.ts';
import { readPrivateFile } from './private-file.ts';

const FORMAT = 'portcullis-keystore/1';
/** About twenty seconds. */
const LOCK_TRIES = 100;

/** The file: its content in clear with a checksum, or encrypted under a passphrase. */
const FileSchema = v.union([
  v.strictObject({ format: v.literal(FORMAT), sha256: v.string(), content: v.unknown() }),
  v.strictObject({ format: v.literal(FORMAT), kdf: KdfSchema, encrypted: v.string() }),
]);

/** A keystore in a file of mode 0600. All reject with `ERR_KMS_KEYSTORE` when it cannot be used. */
export interface KeystoreFile {
  /** Whether there is one. */
  exists(): Promise<boolean>;
  /** What is in it now; it has to be there. */
  read(): Promise<Keystore>;
  /**
   * Changes it, as the only one who does: `change` alters what it is given, and nothing is written when it rejects. Made when it is
   * not there if `create` says so.
   */
  change<Result>(change: (keystore: Keystore) => Promise<Result>, create?: boolean): Promise<Result>;
}

/** The key of a passphrase, and how it was made of it. */
interface Protection {
  kdf: Kdf;
  key: Uint8Array;
}

/**
 * The keystore at `path`. It is read anew each time, so that what another process did to a key counts at once, replaced
 * atomically, and locked by `<path>.lock` while it changes. A passphrase file goes with a keystore that is encrypted, and only
 * with one: a keystore in clear that somebody put in its place is refused.
 */
export function keystoreFile(path: string, passphraseFile?: string): KeystoreFile {
  const place = resolve(path);
  const refused = (why: string) => new KmsError('ERR_KMS_KEYSTORE', `cannot use keystore ${path}: ${why}`);
  const damaged = (what: string) => refused(`${what}; put the copy in its place that you have kept`);
  /** scrypt takes half a second: its key is kept as long as the file goes on with the same salt. */
  let known: Protection | undefined;

  const protectionOf = async (kdf: Kdf): Promise<Protection> => {
    if (passphraseFile === undefined) throw refused('it is under a passphrase: give --passphrase-file FILE');
    if (known?.kdf.salt === kdf.salt && known.kdf.check === kdf.check && known.kdf.n === kdf.n) return known;
    const key = await keyOf(await readPassphrase(passphraseFile), kdf);
    if (!key) throw refused(`the passphrase in ${passphraseFile} is not the one of this keystore`);
    known = { kdf, key };
    return known;
  };

  const contentOf = async (text: string): Promise<{ content: unknown; protection?: Protection }> => {
    const file = v.safeParse(FileSchema, parsed(text));
    if (!file.success) throw damaged('it is incomplete, damaged or no keystore');
    if ('kdf' in file.output) {
      const protection = await protectionOf(file.output.kdf);
      const decrypted = decryptText(protection.key, file.output.encrypted);
      if (decrypted === undefined) throw damaged('it was altered or is damaged (the passphrase is right)');
      return { content: parsed(decrypted), protection };
    }
    if (passphraseFile !== undefined) {
      throw refused('it is not under a passphrase, though a passphrase file is given: somebody may have replaced it');
    }
    const { content, sha256 } = file.output;
    if (sha256 !== checksum(JSON.stringify(content))) throw damaged('it was altered or is damaged');
    return { content };
  };

  const load = async (): Promise<{ keystore: Keystore; protection?: Protection } | undefined> => {
    const text = await readPrivateFile(path);
    if (text === undefined) return undefined;
    const { content, ...protection } = await contentOf(text);
    const keystore = v.safeParse(KeystoreSchema, content);
    if (!keystore.success) throw damaged('its content is no set of keys');
    return { keystore: keystore.output, ...protection };
  };

  const write = async (keystore: Keystore, protection: Protection | undefined) => {
    const content = JSON.stringify(keystore);
    const file = protection
      ? { format: FORMAT, kdf: protection.kdf, encrypted: encryptText(protection.key, content) }
      : { format: FORMAT, sha256: checksum(content), content: keystore };
    await writeFileAtomic(place, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 });
    // The rename is in the folder: until that is on the disk, a loss of power brings the old keystore back.
    await syncFolder(dirname(place));
  };

  const missing = () =>
    refused('there is none: make one with portcullis kms create --alias alias/portcullis-mastering');

  const newKeystore = async (): Promise<{ keystore: Keystore; protection?: Protection }> => {
    const keystore: Keystore = { keys: [], aliases: [] };
    if (passphraseFile === undefined) return { keystore };
    known = await newKey(await readPassphrase(passphraseFile));
    return { keystore, protection: known };
  };

  return {
    exists: async () => (await readPrivateFile(path)) !== undefined,
    async read() {
      const loaded = await load();
      if (!loaded) throw missing();
      return loaded.keystore;
    },
    async change(change, create = false) {
      if (create) {
        await mkdir(dirname(place), { recursive: true, mode: 0o700 }).catch((error) => {
          throw refused(`its folder cannot be made: ${error.code}`);
        });
      } else if ((await readPrivateFile(path)) === undefined) {
        throw missing();
      }
      const release = await takeLock(`${place}.lock`, LOCK_TRIES).catch((error) => {
        throw refused(error.code);
      });
      if (!release) throw refused(`another process is changing it (${path}.lock)`);
      try {
        const loaded = (await load()) ?? (create ? await newKeystore() : undefined);
        if (!loaded) throw missing();
        const result = await change(loaded.keystore);
        await write(loaded.keystore, loaded.protection).catch((error) => {
          throw refused(`it cannot be written: ${error.code}`);
        });
        return result;
      } finally {
        await release();
      }
    },
  };
}

/** The value of a JSON text; undefined when it is none. The parser's message would quote the text around the error. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function checksum(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}
