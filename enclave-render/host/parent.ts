import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeFolder, syncFolder } from '../durable-folder.ts';
import type { AttestedDataKeys } from '../kms/data-keys.ts';
import { EVENT_CODES, type RenderEvent } from '../render/event-codes.ts';
import type { EnclaveLauncher } from './enclave-launcher.ts';
import { connect, type Handlers } from './frames.ts';
import { HostError } from './host-error.ts';
import { TO_ENCLAVE, TO_PARENT } from './messages.ts';

/** Most bytes of a receipt: as many as a reader of one takes. */
const RECEIPT_BYTES = 64 << 20;
/** Most files that an enclave may begin at once, and leave at all. */
const MOST_OPEN = 4;
const MOST_FILES = 1 << 16;

/** Where the files of a job are. */
export interface JobFiles {
  /** Masters by the name that the manifest has for them. */
  inputs: ReadonlyMap<string, string>;
  /** Folder of what comes out, ciphertext nobody has looked at yet; what earlier launches of the job left there stays. */
  quarantine: string;
  /** Folder of sealed checkpoints. */
  checkpoints: string;
  /** File of the receipt. */
  receipt: string;
}

export interface ParentOptions {
  launcher: EnclaveLauncher;
  /** The signed manifest. */
  manifest: string;
  files: JobFiles;
  /** KMS, of which the enclave's requests are relayed. */
  kms: AttestedDataKeys;
  onEvent: (event: RenderEvent) => void;
  /** Told once the enclave runs. */
  onStart?: () => Promise<unknown>;
  /** Told once it was ended, with what the job failed with; or that it could not be. Not told of one that was never started. */
  onEnd?: (ending: Ending) => Promise<unknown>;
  signal?: AbortSignal | undefined;
}

/** How an enclave ended. */
export interface Ending {
  /** What the job failed with; undefined when it did not. */
  job: unknown;
  /** What it could not be ended for; undefined when it was. */
  failure: unknown;
}

/** A job that is done: its enclave waits, with its keys in memory, until it is told to end. */
export interface RenderedJob {
  /** JSON, verified by nobody yet. */
  receipt: string;
  /** Ends the enclave, once the receipt is verified or refused. Rejects with `ERR_HOST_ENDING`. */
  end(): Promise<void>;
}

/**
 * Runs a job in an enclave, as its parent: relays ciphertext and codes, and holds nothing that could open them. Resolves with the
 * receipt. Rejects with `ERR_HOST_REFUSED` and the code of the enclave when the job failed, with `ERR_HOST_CLOSED` when the enclave is
 * gone, with `ERR_HOST_STORAGE` when the disk is full; then the enclave has ended, and the same job may be run again.
 */
export async function runJob(options: ParentOptions): Promise<RenderedJob> {
  const { launcher, manifest, files, signal } = options;
  const storage = await jobStorage(files);
  const enclave = await launcher.launch(signal).catch((error) => {
    throw signal?.aborted ? interrupted() : error;
  });
  const failure: { first?: unknown } = {};
  const parent = connect(enclave.channel, TO_ENCLAVE, TO_PARENT, handlers(options, storage, failure));
  const end = async (job?: unknown) => {
    parent.close();
    const failure = await enclave.end().then(
      () => undefined,
      (error) => error,
    );
    await storage.close();
    await options.onEnd?.({ job, failure });
    return failure;
  };
  const interrupt = () => parent.close();
  signal?.addEventListener('abort', interrupt);
  try {
    await options.onStart?.();
    await Promise.race([
      parent.ask('render', { manifest }),
      // One that ends without closing its stream, or before it has opened it.
      enclave.ended.then(() => Promise.reject(new HostError('ERR_HOST_CLOSED', 'the enclave has ended'))),
    ]);
    const receipt = await storage.receipt();
    return {
      receipt,
      async end() {
        const notEnded = await end();
        if (notEnded !== undefined) throw notEnded;
      },
    };
  } catch (error) {
    // What failed here first made the enclave give up: that is the reason.
    const reason = signal?.aborted ? interrupted() : (failure.first ?? error);
    // Whatever becomes of the ending, and of telling it.
    await end(reason).catch(() => undefined);
    throw reason;
  } finally {
    signal?.removeEventListener('abort', interrupt);
  }
}

function handlers(
  { kms, onEvent }: ParentOptions,
  storage: JobStorage,
  failure: { first?: unknown },
): Handlers<typeof TO_PARENT> {
  const noting =
    <Request, Answer>(handle: (request: Request) => Promise<Answer>) =>
    async (request: Request) => {
      try {
        return await handle(request);
      } catch (error) {
        failure.first ??= error;
        throw error;
      }
    };
  return {
    readInput: noting(({ name, offset, length }) => storage.readInput(name, offset, length)),
    decryptKey: noting(async ({ encryptedKey, context, keyId, attestation }) => {
      const { ciphertextForRecipient } = await kms.decryptForRecipient(encryptedKey, context, attestation, keyId);
      return { ciphertextForRecipient };
    }),
    writeOutput: noting(({ path, ...piece }) => storage.write('quarantine', path, piece)),
    writeCheckpoint: noting(({ name, ...piece }) => storage.write('checkpoints', name, piece)),
    writeReceipt: noting((piece) => storage.writeReceipt(piece)),
    listCheckpoints: noting(() => storage.listCheckpoints()),
    readCheckpoint: noting(({ name, offset, length }) => storage.readCheckpoint(name, offset, length)),
    async event(event) {
      if (Object.hasOwn(EVENT_CODES, event.code)) onEvent(event);
      return {};
    },
  };
}

interface Piece {
  offset: number;
  bytes: Uint8Array;
  done: boolean;
}

type JobStorage = Awaited<ReturnType<typeof jobStorage>>;

/** The files of a job on this disk. A file that comes out has its name only when it is whole. */
async function jobStorage(files: JobFiles) {
  const folders = { quarantine: files.quarantine, checkpoints: files.checkpoints };
  /** Beside the folders, so that nothing in them is half a file. */
  const partials = { quarantine: `${files.quarantine}.partial`, checkpoints: `${files.checkpoints}.partial` };
  const begun = new Map<string, { file: FileHandle; partial: string; written: number }>();
  let count = 0;
  for (const folder of Object.values(folders)) await makeFolder(folder).catch(failed);
  for (const folder of Object.values(partials)) {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 }).catch(failed);
  }

  const write = async (kind: keyof typeof folders, path: string, { offset, bytes, done }: Piece) => {
    const key = `${kind}/${path}`;
    const entry = begun.get(key) ?? (await begin(key, kind));
    if (offset !== entry.written) throw outOfOrder('a piece of a file is not the next one');
    try {
      await entry.file.appendFile(bytes);
      entry.written += bytes.length;
      if (!done) return {};
      await entry.file.sync();
      await entry.file.close();
      const place = join(folders[kind], path);
      await makeFolder(dirname(place));
      await rename(entry.partial, place);
      await syncFolder(dirname(place));
      begun.delete(key);
      return {};
    } catch (error) {
      begun.delete(key);
      await entry.file.close().catch(() => undefined);
      await rm(entry.partial, { force: true });
      return failed(error);
    }
  };

  const begin = async (key: string, kind: keyof typeof folders) => {
    if (begun.size >= MOST_OPEN || ++count > MOST_FILES) throw outOfOrder('there are too many files');
    const partial = join(partials[kind], String(count));
    const entry = { file: await open(partial, 'wx', 0o600).catch(failed), partial, written: 0 };
    begun.set(key, entry);
    return entry;
  };

  let receipt: Buffer[] | undefined;
  let isReceiptWhole = false;

  return {
    write,
    readInput(name: string, offset: number, length: number) {
      const path = files.inputs.get(name);
      if (path === undefined) throw outOfOrder('there is no such input');
      return readPiece(path, offset, length);
    },
    readCheckpoint: (name: string, offset: number, length: number) =>
      readPiece(join(files.checkpoints, name), offset, length),
    async listCheckpoints() {
      const names = await readdir(files.checkpoints).catch(failed);
      const checkpoints = [];
      for (const name of names.sort()) {
        const found = await stat(join(files.checkpoints, name)).catch(failed);
        if (found.isFile()) checkpoints.push({ name, bytes: found.size });
      }
      return { checkpoints };
    },
    async writeReceipt({ offset, bytes, done }: Piece) {
      receipt ??= [];
      const length = receipt.reduce((sum, piece) => sum + piece.length, 0);
      if (isReceiptWhole || offset !== length || length + bytes.length > RECEIPT_BYTES) {
        throw outOfOrder('a piece of the receipt is not the next one');
      }
      receipt.push(Buffer.from(bytes));
      if (!done) return {};
      isReceiptWhole = true;
      const partial = join(partials.quarantine, 'receipt');
      await using file = await open(partial, 'w', 0o600).catch(failed);
      await file.writeFile(Buffer.concat(receipt)).catch(failed);
      await file.sync().catch(failed);
      await rename(partial, files.receipt).catch(failed);
      await syncFolder(dirname(files.receipt)).catch(failed);
      return {};
    },
    async receipt() {
      if (!isReceiptWhole) throw outOfOrder('the enclave says that it is done, and gave no receipt');
      return readFile(files.receipt, 'utf8').catch(failed);
    },
    /** Removes what was begun and is not whole. */
    async close() {
      for (const { file } of begun.values()) await file.close().catch(() => undefined);
      begun.clear();
      for (const folder of Object.values(partials)) await rm(folder, { recursive: true, force: true });
    },
  };
}

async function readPiece(path: string, offset: number, length: number): Promise<{ bytes: Uint8Array }> {
  try {
    await using file = await open(path, 'r');
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await file.read(bytes, 0, length, offset);
    return { bytes: bytes.subarray(0, bytesRead) };
  } catch (error) {
    return failed(error);
  }
}

function failed(error: unknown): never {
  const { code } = error as NodeJS.ErrnoException;
  const why = code === 'ENOSPC' ? 'the disk is full: make room, and resume the job' : `${code}`;
  throw new HostError('ERR_HOST_STORAGE', `a file of the job cannot be read or written: ${why}`);
}

function outOfOrder(why: string): HostError {
  return new HostError('ERR_HOST_REQUEST', `the enclave asks for what it cannot have: ${why}`);
}

function interrupted(): HostError {
  return new HostError('ERR_HOST_INTERRUPTED', 'interrupted: the job can be resumed');
}
