import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { HEADER_BYTES, openFramedHeader } from '../mastering/framed.ts';
import { MasterError } from '../mastering/master-error.ts';
import { segmentCipher, segmentLayout } from '../mastering/segment-cipher.ts';
import { RenderError, type RenderManifest } from '../render/render-manifest.ts';
import { CHUNK_BYTES } from './messages.ts';
import { nameless, writeFully } from './nameless-file.ts';

type Input = RenderManifest['inputs'][number];

/** Reads so many bytes of something that the parent keeps, from an offset. */
export type ReadPiece = (offset: number, length: number) => Promise<Uint8Array>;

/**
 * Decrypts an input into a file of `scratch` that has no name any more, open for reading only. The ciphertext has to be the one of the
 * manifest to its last byte, else all of it is gone again. The caller closes the file. Rejects with `ERR_RENDER_INPUT`.
 */
export async function openInput(
  input: Input,
  dataKey: Uint8Array,
  readPiece: ReadPiece,
  scratch: string,
): Promise<FileHandle> {
  const { writable, readable } = await nameless(join(scratch, `input-${input.name}`));
  try {
    await decrypt(input, dataKey, readPiece, writable);
    return readable;
  } catch (error) {
    await readable.close();
    if (!(error instanceof MasterError)) throw error;
    throw refused(`input ${input.name} does not open: ${error.code}`);
  } finally {
    await writable.close();
  }
}

async function decrypt(input: Input, dataKey: Uint8Array, readPiece: ReadPiece, file: FileHandle): Promise<void> {
  const { bytes: inputBytes, sha256 } = input;
  const layout = segmentLayout({ mode: 'framed', direction: 'decrypt', inputBytes });
  const hash = createHash('sha256');
  let cipher: ReturnType<typeof segmentCipher> | undefined;
  for (let index = 0; index < layout.count; index++) {
    const { offset, length } = layout.range(index);
    const sealed = await read(readPiece, offset, length);
    hash.update(sealed);
    if (!cipher) {
      const header = sealed.subarray(0, HEADER_BYTES);
      openFramedHeader(dataKey, header);
      const iv = header.subarray(12, 44);
      cipher = segmentCipher({ mode: 'framed', direction: 'decrypt', dataKey, iv, inputBytes });
    }
    for (const piece of cipher.transform(index, sealed)) {
      await writeFully(file, piece);
      piece.fill(0);
    }
  }
  if (hash.digest('hex') !== sha256) throw refused(`input ${input.name} is not the one of the manifest`);
}

/** What the parent answers may be shorter or longer than what was asked for: then it is not the input. */
async function read(readPiece: ReadPiece, offset: number, length: number): Promise<Buffer> {
  const sealed = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const wanted = Math.min(CHUNK_BYTES, length - done);
    const piece = await readPiece(offset + done, wanted);
    if (piece.length !== wanted) throw refused('an input is shorter than the manifest says');
    sealed.set(piece, done);
    done += wanted;
  }
  return sealed;
}

function refused(why: string): RenderError {
  return new RenderError('ERR_RENDER_INPUT', why);
}
