import { createCipheriv, randomBytes } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { MasterReader } from '../mastering/master-reader.ts';

/**
 * A nameless file in the temporary folder that only this process can read, under a key that is nowhere else: AES-256-CTR from
 * counter 0 (NIST SP 800-38A §6.5). Filled once, then read by position.
 */
export class SealedFile implements MasterReader {
  size = 0;
  readonly #file: FileHandle;
  readonly #key = randomBytes(32);

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** The file has no name any more: it is gone when the process is, however it ends. */
  static async create(): Promise<SealedFile> {
    const path = join(tmpdir(), `portcullis-transcoded-${randomBytes(8).toString('hex')}`);
    const file = await open(path, 'wx+', 0o600);
    await rm(path);
    return new SealedFile(file);
  }

  /** Keeps all of a stream. Called once: a second stream would be under the same key and counter. */
  async fill(stream: Readable): Promise<void> {
    const cipher = this.#cipherAt(0);
    for await (const chunk of stream) {
      await this.#append(cipher.update(chunk as Buffer));
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const from = offset - (offset % 16);
    const bytes = Buffer.alloc(Math.max(0, Math.min(offset + length, this.size) - from));
    const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, from);
    return this.#cipherAt(from)
      .update(bytes.subarray(0, bytesRead))
      .subarray(offset - from);
  }

  async close(): Promise<void> {
    this.#key.fill(0);
    await this.#file.close();
  }

  /** A full disk may take a part of it and say so only the next time. */
  async #append(sealed: Buffer): Promise<void> {
    for (let done = 0; done < sealed.length; ) {
      const { bytesWritten } = await this.#file.write(sealed, done, sealed.length - done, this.size);
      done += bytesWritten;
      this.size += bytesWritten;
    }
  }

  #cipherAt(offset: number) {
    const counter = Buffer.alloc(16);
    counter.writeBigUInt64BE(BigInt(offset / 16), 8);
    return createCipheriv('aes-256-ctr', this.#key, counter);
  }
}
