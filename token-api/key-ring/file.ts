import { createHash } from 'node:crypto';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { lock } from 'proper-lockfile';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import { isPlaceholder, type KeyRing, KeyRingError, parseKeyRing, secondsOf } from './key-ring.ts';
import type { KeyRingStore } from './key-ring-store.ts';

/**
 * The JSON in a file of keys. Throws `ERR_RING_PERMISSIONS` when anyone but its owner may read it, `ERR_RING_FILE` when it
 * cannot be read, `ERR_RING_INVALID` when it is not JSON.
 */
export async function readKeyFile(path: string): Promise<unknown> {
  let text: string;
  let file: FileHandle | undefined;
  try {
    // Looked at and read by one handle: the file that is read is the one that was looked at.
    file = await open(path);
    const status = await file.stat();
    const { mode } = status;
    if (status.isFile() && mode & 0o077) {
      const message = `${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`;
      throw new KeyRingError('ERR_RING_PERMISSIONS', message);
    }
    text = await file.readFile('utf8');
  } catch (error) {
    if (error instanceof KeyRingError) throw error;
    throw new KeyRingError('ERR_RING_FILE', `cannot read key ring ${path}: ${(error as NodeJS.ErrnoException).code}`);
  } finally {
    await file?.close();
  }
  try {
    return JSON.parse(text);
  } catch {
    // The parser's message quotes the text around the error, which may be a secret.
    throw new KeyRingError('ERR_RING_INVALID', `key ring ${path} is not JSON`);
  }
}

/** Whether this is a secret of the AWS solution v1, `{"<kid>":"<secret>"}`. */
export function isSecretFile(content: unknown): content is Record<string, string> {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return false;
  const secrets = Object.values(content);
  return secrets.length > 0 && secrets.every((secret) => typeof secret === 'string');
}

/** Reads a key ring file. Throws what `readKeyFile` throws, and `ERR_RING_INVALID` when it holds no key ring. */
export async function readKeyRing(path: string): Promise<KeyRing> {
  return ringIn(path, await readKeyFile(path));
}

function ringIn(path: string, content: unknown): KeyRing {
  if (isSecretFile(content)) {
    throw new KeyRingError(
      'ERR_RING_INVALID',
      `${path} is a secret of the AWS solution v1: use it with --dialect compat`,
    );
  }
  return parseKeyRing(content);
}

/** Writes a key ring file (mode 0600), replaced atomically. */
export async function writeKeyRing(path: string, ring: KeyRing): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(parseKeyRing(ring), null, 2)}\n`, { mode: 0o600 });
}

const PendingFile = v.object({ run: v.string(), ring: v.unknown() });

/**
 * The key ring in a file of mode 0600; what a rotation prepares lies beside it in `<path>.pending`. Processes that change
 * it take turns by a lock, `<path>.lock`. Its version is the SHA-256 of the file.
 */
export function fileKeyRing(path: string): KeyRingStore {
  const pendingPath = `${path}.pending`;
  const current = async () => {
    const content = await readKeyFile(path);
    const ring = isPlaceholder(content) ? null : ringIn(path, content);
    return { ring, version: versionOf(ring) };
  };
  const pending = async () => {
    const present = await stat(pendingPath).catch(() => undefined);
    if (!present) return undefined;
    const content = v.safeParse(PendingFile, await readKeyFile(pendingPath));
    if (!content.success)
      throw new KeyRingError('ERR_RING_INVALID', `${pendingPath} is no prepared key ring; delete it`);
    const ring = parseKeyRing(content.output.ring);
    return { run: content.output.run, ring, since: secondsOf(ring.preparedAt ?? 0) };
  };
  /** Runs with the file locked against other processes. */
  const inTurn = async (change: () => Promise<void>) => {
    const release = await lock(path, { retries: { retries: 20, minTimeout: 20, maxTimeout: 200 } }).catch((error) => {
      const why = error.code === 'ELOCKED' ? `another process is changing it (${path}.lock)` : error.code;
      throw new KeyRingError('ERR_RING_FILE', `cannot change key ring ${path}: ${why}`);
    });
    await change().finally(release);
  };
  const write = async (ring: KeyRing, basedOn: string) => {
    if ((await current()).version !== basedOn) {
      throw new KeyRingError('ERR_RING_CONFLICT', `the key ring ${path} was changed by somebody else: run it again`);
    }
    await writeKeyRing(path, ring);
  };
  return {
    current,
    pending,
    prepare: (run, ring) =>
      inTurn(async () => {
        await writeFileAtomic(pendingPath, `${JSON.stringify({ run, ring }, null, 2)}\n`, { mode: 0o600 });
      }),
    promote: (run, basedOn) =>
      inTurn(async () => {
        const prepared = await pending();
        if (prepared?.run !== run) throw new KeyRingError('ERR_RING_CONFLICT', `rotation ${run} is not under way`);
        await write(prepared.ring, basedOn);
        await rm(pendingPath);
      }),
    abandon: (run) =>
      inTurn(async () => {
        if ((await pending())?.run === run) await rm(pendingPath);
      }),
    replace: (ring, basedOn) => inTurn(() => write(ring, basedOn)),
  };
}

function versionOf(ring: KeyRing | null): string {
  return createHash('sha256').update(JSON.stringify(ring)).digest('base64url');
}
