import { createHash, type KeyObject, randomBytes } from 'node:crypto';
import { read } from 'node:fs';
import { promisify } from 'node:util';
import { SALT_BYTES } from '../mastering/framed.ts';
import type { MasterManifest, Recipient } from '../mastering/manifest.ts';
import { wrapForPublicKey } from '../mastering/recipients.ts';
import { SLOT_BYTES, segmentCipher, segmentLayout } from '../mastering/segment-cipher.ts';
import { manifestPath, signManifest } from '../mastering/signed-manifest.ts';
import { outputPath, type SealedOutput } from '../receipt/make-statement.ts';
import { saltedPlaintext } from '../receipt/salted-plaintext.ts';
import { RenderError, type RenderManifest } from '../render/render-manifest.ts';
import type { SandboxOutput } from '../render/sandbox.ts';
import { CHUNK_BYTES } from './messages.ts';

const readFd = promisify(read);

/** Hands a piece of a file to the parent: in order, from offset 0; `done` with the last. */
export type WritePiece = (path: string, offset: number, bytes: Uint8Array, done: boolean) => Promise<unknown>;

/** Who can open the outputs of a job. */
export interface OutputRecipients {
  ownerKey: KeyObject;
  /** The mastering key as the manifest has it, and the content key that it encrypts. */
  mastering?: { recipient: NonNullable<RenderManifest['output']['mastering']>; contentKey: Uint8Array };
}

/**
 * Seals an output of a task as a `framed` master, and hands it over with its manifest; nothing of it is kept. Each has a content key
 * of its own, unless mastering has given one, under which each has a salt of its own. `createdAt` in seconds since the epoch. Rejects
 * with `ERR_RENDER_OUTPUT` when it cannot be read, and with `HostError`.
 */
export async function sealOutput(
  taskId: string,
  output: SandboxOutput,
  { ownerKey, mastering }: OutputRecipients,
  createdAt: number,
  writePiece: WritePiece,
): Promise<SealedOutput> {
  const path = outputPath(taskId, output.name);
  const dataKey = mastering ? Uint8Array.from(mastering.contentKey) : randomBytes(32);
  try {
    const recipients: Recipient[] = [await wrapForPublicKey(dataKey, ownerKey)];
    if (mastering) {
      const { keyId, context, encryptedKey } = mastering.recipient;
      recipients.push({ type: 'kms', keyId, context, encryptedKey });
    }
    const { hmacSha256, ...sealed } = await seal(output, dataKey, (offset, bytes, done) =>
      writePiece(path, offset, bytes, done),
    );
    const manifest: Omit<MasterManifest, 'signatures'> = {
      format: 'portcullis-master/1',
      mode: 'framed',
      keyBits: 256,
      ...sealed,
      createdAt,
      recipients,
    };
    const text = Buffer.from(`${JSON.stringify(signManifest(manifest, dataKey), null, 2)}\n`);
    await writePiece(manifestPath(path), 0, text, true);
    return { name: output.name, sha256: sealed.ciphertextSha256, hmacSha256 };
  } finally {
    dataKey.fill(0);
  }
}

type Digests = Pick<MasterManifest, 'plaintextBytes' | 'ciphertextBytes' | 'ciphertextSha256'>;

async function seal(
  { fd, bytes: inputBytes }: SandboxOutput,
  dataKey: Uint8Array,
  write: (offset: number, bytes: Uint8Array, done: boolean) => Promise<unknown>,
): Promise<Digests & { hmacSha256: string }> {
  const layout = segmentLayout({ mode: 'framed', direction: 'encrypt', inputBytes });
  const iv = randomBytes(SALT_BYTES);
  const cipher = segmentCipher({ mode: 'framed', direction: 'encrypt', dataKey, iv, inputBytes });
  const [ciphertextHash, salted] = [createHash('sha256'), saltedPlaintext(dataKey)];
  const input = Buffer.alloc(SLOT_BYTES);
  let written = 0;
  try {
    for (let index = 0; index < layout.count; index++) {
      const { offset, length } = layout.range(index);
      const plaintext = input.subarray(0, length);
      await fill(fd, plaintext, offset);
      const sealed = Buffer.concat(cipher.transform(index, plaintext));
      salted.update(plaintext);
      ciphertextHash.update(sealed);
      for (let at = 0; at < sealed.length; at += CHUNK_BYTES) {
        const piece = sealed.subarray(at, at + CHUNK_BYTES);
        const isLast = index === layout.count - 1 && at + CHUNK_BYTES >= sealed.length;
        await write(written, piece, isLast);
        written += piece.length;
      }
    }
  } finally {
    input.fill(0);
  }
  return {
    plaintextBytes: inputBytes,
    ciphertextBytes: written,
    ciphertextSha256: ciphertextHash.digest('hex'),
    hmacSha256: salted.digest('hex'),
  };
}

async function fill(fd: number, target: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await readFd(fd, target, done, target.length - done, offset + done);
    if (bytesRead === 0) throw new RenderError('ERR_RENDER_OUTPUT', 'an output became shorter while it was sealed');
    done += bytesRead;
  }
}
