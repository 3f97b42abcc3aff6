import { type KeyObject, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { type DataKeyBits, type EncryptionContext, KmsError } from '../kms/data-keys.ts';
import { beginOutput, partialPath, statePath } from './atomic-output.ts';
import { SALT_BYTES } from './framed.ts';
import { checkDataKey } from './key-files.ts';
import type { MasterManifest, MasterMode, Recipient } from './manifest.ts';
import { fileError, MasterError } from './master-error.ts';
import { checkIv, checkPlaintextLength, cipherName, MODES } from './modes.ts';
import { type OnProgress, transfer } from './pipeline.ts';
import { thumbprint } from './public-key.ts';
import { generateDataKey, type KmsRecipient, unwrapDataKey, wrapForKms, wrapForPublicKey } from './recipients.ts';
import { isStateOf, type ResumeState, readState, writeState } from './resume-state.ts';
import { checkManifestMac, ciphertextMac, manifestPath, parseManifest, signManifest } from './signed-manifest.ts';
import { openSource, type SourceFile, sameFile } from './source-file.ts';

export interface EncryptRequest {
  source: string;
  output: string;
  mode: MasterMode;
  /** Length of a key that is made (default 256). */
  keyBits?: DataKeyBits | undefined;
  /** The caller's own key, 16, 24 or 32 bytes; else one is made, by KMS when there is one. */
  dataKey?: Uint8Array | undefined;
  /** The caller's own initialization vector; else a random one. Only with `dataKey`. */
  iv?: Uint8Array | undefined;
  /** Who can open the master; nobody but the holder of `dataKey` when there are none. */
  kms?: KmsRecipient | undefined;
  publicKeys?: KeyObject[] | undefined;
  /** Ed25519, to sign the manifest with. */
  signKey?: KeyObject | undefined;
  /** Replaces an output that is there. */
  force?: boolean | undefined;
  /** Goes on with an interrupted run of the same source for the same recipients, in `ctr` and `cbc`. */
  resume?: boolean | undefined;
  /** Seconds since the epoch, for the manifest. */
  now: number;
  onProgress?: OnProgress | undefined;
  signal?: AbortSignal | undefined;
}

/** The secret half of a run, and what becomes public of it. */
interface RunKey {
  dataKey: Uint8Array;
  /** Or the salt of `framed`. */
  iv: Uint8Array;
  recipients: Recipient[];
}

/**
 * Encrypts a file into a master with its manifest beside it. Both appear whole or not at all; what was begun is removed when it
 * fails, but kept for `resume` when it is interrupted in `ctr` or `cbc`. Rejects with `MasterError` or `KmsError`.
 */
export async function encryptMaster(request: EncryptRequest): Promise<MasterManifest> {
  const { mode, source: path } = request;
  checkRequest(request);
  const source = await openSource(path);
  try {
    checkPlaintextLength(mode, source.identity.bytes);
    const state = request.resume ? await resumable(request, source) : undefined;
    const key = state ? await resumedKey(request, state) : await newKey(request);
    try {
      if (!state) await refuseReuse(request, key);
      return await encryptWith(request, source, key, state !== undefined);
    } finally {
      key.dataKey.fill(0);
    }
  } finally {
    await source.handle.close();
  }
}

function checkRequest({
  mode,
  dataKey,
  iv,
  keyBits = 256,
  kms,
  publicKeys = [],
  resume,
  output,
}: EncryptRequest): void {
  if (dataKey) checkDataKey(dataKey);
  cipherName(mode, dataKey ? dataKey.length * 8 : keyBits);
  if (iv) {
    if (!dataKey)
      throw new MasterError('ERR_MASTER_IV_LENGTH', 'an initialization vector goes with a data key: give both');
    checkIv(mode, iv);
  }
  if (!dataKey && !kms && publicKeys.length === 0) {
    throw new MasterError(
      'ERR_MASTER_RECIPIENT',
      'nobody could open this master: give a KMS key, a public key or a data key',
    );
  }
  if (resume && !MODES[mode].resumable) {
    throw new MasterError(
      'ERR_MASTER_RESUME',
      `mode ${mode} cannot go on: remove ${partialPath(output)} or use --force`,
    );
  }
}

async function newKey(request: EncryptRequest): Promise<RunKey> {
  const { mode, keyBits = 256, kms, publicKeys = [] } = request;
  const iv = request.iv ?? randomBytes(mode === 'framed' ? SALT_BYTES : MODES[mode].ivBytes);
  const recipients: Recipient[] = [];
  let dataKey: Uint8Array;
  if (kms && !request.dataKey) {
    const made = await generateDataKey(kms, keyBits);
    dataKey = made.dataKey;
    recipients.push(made.recipient);
  } else {
    dataKey = Uint8Array.from(request.dataKey ?? randomBytes(keyBits / 8));
    if (kms) recipients.push(await wrapForKms(dataKey, kms));
  }
  for (const key of publicKeys) recipients.push(await wrapForPublicKey(dataKey, key));
  return { dataKey, iv, recipients };
}

/** The state of the interrupted run; undefined when there is nothing to resume. Throws `ERR_MASTER_RESUME`. */
async function resumable({ mode, output, source: path, iv }: EncryptRequest, source: SourceFile) {
  const state = await readState(output);
  if (!state || !existsSync(partialPath(output))) return undefined;
  const refuse = (why: string): never => {
    throw new MasterError('ERR_MASTER_RESUME', `${why}: use --force to start anew, with a new key`);
  };
  if (state.mode !== mode) refuse(`the interrupted run was in mode ${state.mode}`);
  if (!sameFile(state.source, source.identity)) refuse(`${path} is not what the interrupted run was reading`);
  if (iv && !Buffer.from(state.iv, 'base64').equals(iv))
    refuse('the interrupted run had another initialization vector');
  return state;
}

/**
 * The key of the interrupted run, once it is sure that the master will open for those who are asked for now, and for nobody else.
 * Throws `ERR_MASTER_RESUME`.
 */
async function resumedKey({ kms, dataKey: own, publicKeys = [] }: EncryptRequest, state: ResumeState): Promise<RunKey> {
  const refuse = (why: string): never => {
    throw new MasterError('ERR_MASTER_RESUME', `${why}: use --force to start anew, with a new key`);
  };
  if (!kms && !own)
    refuse('an interrupted run for public keys alone cannot go on, because nothing here has its data key');
  const names = (recipients: { type: string; keyId: string; context?: EncryptionContext }[]) =>
    recipients.map(({ type, keyId, context }) => (type === 'kms' ? `kms ${sortedJson(context)}` : keyId)).sort();
  const asked = publicKeys.map((key) => ({ type: 'public-key', keyId: thumbprint(key) }));
  const wanted = names([...(kms ? [{ type: 'kms', keyId: kms.keyId, context: kms.context }] : []), ...asked]);
  const isFor = 'the interrupted run was for other recipients; give those again';
  if (names(state.recipients).join('\n') !== wanted.join('\n')) refuse(isFor);
  // Which key an alias is, KMS says: it refuses what is under another one.
  const recipients = state.recipients.map((recipient) =>
    recipient.type === 'kms' && kms ? { ...recipient, keyId: kms.keyId } : recipient,
  );
  const opening = kms ? { dataKeys: kms.dataKeys } : { dataKey: own };
  const dataKey = await unwrapDataKey({ ...state, recipients }, opening).catch((error) => {
    if (error instanceof KmsError && error.code === 'ERR_KMS_INCORRECT_KEY') refuse(isFor);
    throw error;
  });
  if (isStateOf(state, dataKey) && isStateOf(state, own ?? dataKey)) {
    return { dataKey, iv: Buffer.from(state.iv, 'base64'), recipients: state.recipients };
  }
  dataKey.fill(0);
  throw new MasterError('ERR_MASTER_RESUME', 'the state of the interrupted run was changed, or is of another key');
}

function sortedJson(context: EncryptionContext = {}): string {
  return JSON.stringify(Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Refuses the caller's key and IV when a master or an interrupted run of that name has them: two ciphertexts under the same pair
 * show what differs (CTR, GCM), and the same GCM pair lets others forge. Throws `ERR_MASTER_IV_REUSE`.
 */
async function refuseReuse({ output, iv }: EncryptRequest, { dataKey }: RunKey): Promise<void> {
  if (!iv) return;
  const earlier = await readFile(manifestPath(output), 'utf8')
    .then(parseManifest)
    .catch(() => undefined);
  const begun = await readState(output).catch(() => undefined);
  const isSame = (text: string | undefined) => text !== undefined && Buffer.from(text, 'base64').equals(iv);
  const isUsed =
    (isSame(earlier?.iv) && earlier && isManifestOf(earlier, dataKey)) ||
    (isSame(begun?.iv) && begun && isStateOf(begun, dataKey));
  if (!isUsed) return;
  throw new MasterError(
    'ERR_MASTER_IV_REUSE',
    `${output} was made with this key and initialization vector: choose another initialization vector, never the same twice`,
  );
}

function isManifestOf(manifest: MasterManifest, dataKey: Uint8Array): boolean {
  try {
    checkManifestMac(manifest, dataKey);
    return true;
  } catch {
    return false;
  }
}

async function encryptWith(
  request: EncryptRequest,
  source: SourceFile,
  key: RunKey,
  resume: boolean,
): Promise<MasterManifest> {
  const { mode, output, force, onProgress, signal, signKey, now } = request;
  const { dataKey, iv, recipients } = key;
  const keyBits = (dataKey.length * 8) as DataKeyBits;
  const beside = manifestPath(output);
  // A run that died just before its end has left its manifest, without the master.
  const replaces = force || (resume && !existsSync(output));
  const file = await beginOutput(output, { force: replaces, resume, source: request.source, beside });
  let keep = false;
  try {
    if (!resume && mode !== 'framed') {
      const state = { mode, keyBits, iv: Buffer.from(iv).toString('base64'), source: source.identity, recipients };
      await writeState(output, { format: 'portcullis-resume/1', ...state }, dataKey);
    }
    const present = resume ? (await file.handle.stat()).size : 0;
    const job = { mode, direction: 'encrypt' as const, dataKey, iv, inputBytes: source.identity.bytes };
    const { inputSha256, outputSha256, outputBytes } = await transfer({
      job,
      inputFd: source.handle.fd,
      outputFd: file.handle.fd,
      present,
      onProgress,
      signal,
    });
    await source.checkUnchanged();
    if (present > outputBytes)
      throw new MasterError('ERR_MASTER_RESUME', 'the interrupted run has written more than this');
    const manifest = signManifest(
      {
        format: 'portcullis-master/1',
        mode,
        keyBits,
        ...(mode === 'framed' ? {} : { iv: Buffer.from(iv).toString('base64') }),
        plaintextBytes: source.identity.bytes,
        ciphertextBytes: outputBytes,
        plaintextSha256: inputSha256,
        ciphertextSha256: outputSha256,
        ...(MODES[mode].authenticatedBy === 'mac' ? { mac: ciphertextMac(dataKey, iv, outputSha256) } : {}),
        createdAt: now,
        recipients,
      },
      dataKey,
      signKey,
    );
    await file.commit({ path: beside, content: `${JSON.stringify(manifest, null, 2)}\n` });
    await file.close();
    await rm(statePath(output), { force: true });
    return manifest;
  } catch (error) {
    // Without KMS or a key of the caller nobody here could open the data key again.
    keep = signal?.aborted === true && MODES[mode].resumable && Boolean(request.kms ?? request.dataKey);
    if (keep) await file.close();
    else {
      await file.discard();
      await rm(statePath(output), { force: true });
    }
    if (signal?.aborted) {
      throw new MasterError('ERR_MASTER_INTERRUPTED', `interrupted${keep ? ': --resume goes on with it' : ''}`);
    }
    throw fileError(output, error);
  }
}
