import { createHash, timingSafeEqual } from 'node:crypto';
import { framedKey, HEADER_BYTES, openSegment, SEGMENT_BYTES } from './framed.ts';
import type { MasterMode } from './manifest.ts';
import { fileError } from './master-error.ts';
import type { MasterReader } from './master-reader.ts';
import { MODES } from './modes.ts';
import { type Opened, type OpenRequest, openKey } from './opened.ts';
import { segmentLayout } from './segment-cipher.ts';
import { changed, decryptingSegments, type SegmentReader, segmentedReader } from './segments.ts';
import { ciphertextMac } from './signed-manifest.ts';
import { openSource, type SourceFile } from './source-file.ts';

/**
 * Opens a master for random access. `framed` proves its end now and each segment as it is read. Of the other modes all is read and
 * authenticated now; what is read later is held to the SHA-256 of its segment from that pass, 32 bytes a mebibyte, so that a file
 * that is changed after it was opened gives no byte. Rejects with `MasterError` or `KmsError`.
 */
export async function openMaster(path: string, request: Omit<OpenRequest, 'withoutManifest'>): Promise<MasterReader> {
  const source = await openSource(path);
  let opened: Opened | undefined;
  try {
    opened = await openKey(path, source, request);
    const size = opened.manifest?.plaintextBytes ?? 0;
    const { mode, dataKey } = opened.job;
    const segment = mode === 'framed' ? await framedReader(source, opened) : await rawReader(source, opened, mode);
    return segmentedReader(size, segment, async () => {
      dataKey.fill(0);
      await source.handle.close();
    });
  } catch (error) {
    opened?.job.dataKey.fill(0);
    await source.handle.close();
    throw fileError(path, error);
  }
}

async function readRange({ handle }: SourceFile, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) throw changed();
    done += bytesRead;
  }
  return bytes;
}

async function framedReader(source: SourceFile, { job }: Opened): Promise<SegmentReader> {
  const key = framedKey(job.dataKey, job.iv);
  const layout = segmentLayout(job);
  const read: SegmentReader = async (index) => {
    const { offset, length } = layout.range(index);
    const bytes = await readRange(source, offset, length);
    const sealed = index === 0 ? bytes.subarray(HEADER_BYTES) : bytes;
    return Buffer.concat(openSegment(key, index, index === layout.count - 1, sealed));
  };
  // Only the last segment shows that nothing was cut off.
  await read(layout.count - 1);
  return read;
}

/** `gcm`, `ctr` and `cbc`: one pass over all of it, then by position. */
async function rawReader(
  source: SourceFile,
  { job, manifest }: Opened,
  mode: Exclude<MasterMode, 'framed'>,
): Promise<SegmentReader> {
  const { dataKey, iv, inputBytes } = job;
  const { tagBytes } = MODES[mode];
  const end = inputBytes - tagBytes;
  const count = Math.ceil(inputBytes / SEGMENT_BYTES);
  const digests = Buffer.alloc(32 * count);
  const whole = createHash('sha256');
  const length = (index: number) => Math.min(SEGMENT_BYTES, inputBytes - index * SEGMENT_BYTES);
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest();
  for (let index = 0; index < count; index++) {
    const bytes = await readRange(source, index * SEGMENT_BYTES, length(index));
    whole.update(bytes);
    digest(bytes).copy(digests, 32 * index);
  }
  // The manifest is signed under the data key: a ciphertext with its digest is what was made. So the tag of GCM is implied.
  const sha256 = whole.digest('hex');
  const isMac = manifest?.mac === undefined || manifest.mac === ciphertextMac(dataKey, iv, sha256);
  if (!isMac || sha256 !== manifest?.ciphertextSha256) throw changed();
  await source.checkUnchanged();

  const ciphertext = async (index: number) => {
    const bytes = await readRange(source, index * SEGMENT_BYTES, length(index));
    if (!timingSafeEqual(digest(bytes), digests.subarray(32 * index, 32 * index + 32))) throw changed();
    return bytes.subarray(0, Math.max(0, end - index * SEGMENT_BYTES));
  };
  return decryptingSegments(mode, dataKey, iv, count, ciphertext);
}
