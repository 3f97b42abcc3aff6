import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { EifError } from './eif-error.ts';
import {
  type Architecture,
  CRC_OFFSET,
  type EifHeader,
  encodeHeader,
  encodeSectionHeader,
  HEADER_BYTES,
  MAX_SECTIONS,
  SECTION_HEADER_BYTES,
  type SectionType,
} from './eif-format.ts';
import { type EifSigner, signPcr0 } from './eif-signature.ts';
import { type EifMeasurement, measurementOf, readEif } from './measure-eif.ts';

/** What an enclave gets when its parent does not say: as nitro-cli writes it. */
const DEFAULT_MEMORY_BYTES = 1n << 30n;
const DEFAULT_CPUS = 2n;

/** What an image is built of: paths of files, and the kernel's command line. */
export interface EifParts {
  kernel: string;
  cmdline: string;
  /** At least one: the first has the init program and is in PCR1, the others are in PCR2. */
  ramdisks: string[];
  architecture: Architecture;
  /** Said in the metadata section, which is not measured. */
  name: string;
  version: string;
  signer?: EifSigner;
}

/**
 * Builds an enclave image at `path`, replacing what was there in one step, and measures what was written. The same
 * parts make the same bytes, but for the signature. Rejects with `EifError`, and leaves nothing behind then.
 */
export async function buildEif(path: string, parts: EifParts): Promise<EifMeasurement> {
  if (parts.ramdisks.length === 0) throw new EifError('ERR_EIF_INPUT', 'an image needs at least one ramdisk');
  if (parts.cmdline === '' || parts.cmdline.includes('\0')) {
    throw new EifError('ERR_EIF_INPUT', 'the command line of the kernel is empty, or has a NUL in it');
  }
  const sections: Sections = [
    ['kernel', { file: parts.kernel }],
    ['cmdline', Buffer.from(parts.cmdline)],
    ['metadata', metadata(parts)],
    ...parts.ramdisks.map((file): [SectionType, { file: string }] => ['ramdisk', { file }]),
  ];
  if (sections.length + (parts.signer ? 1 : 0) > MAX_SECTIONS) {
    throw new EifError('ERR_EIF_INPUT', `an image has at most ${MAX_SECTIONS} sections: join some of the ramdisks`);
  }

  const partial = `${path}.${process.pid}.partial`;
  const file = await open(partial, 'wx+').catch((error) => failed(`cannot write ${partial}`, error));
  try {
    const measurement = await write(file, parts, sections).finally(() => file.close());
    await rename(partial, path);
    return measurement;
  } catch (error) {
    await rm(partial, { force: true });
    throw error instanceof EifError ? error : failed(`cannot write ${path}`, error);
  }
}

type Sections = [SectionType, { file: string } | Uint8Array][];

/** Writes a whole image: what is signed is what was read back, and not what the parts were when they were read. */
async function write(file: FileHandle, parts: EifParts, sections: Sections): Promise<EifMeasurement> {
  const header: EifHeader = {
    architecture: parts.architecture,
    defaultMemoryBytes: DEFAULT_MEMORY_BYTES,
    defaultCpus: DEFAULT_CPUS,
    sections: [],
    crc32: 0,
  };
  for (const [type, content] of sections) await append(file, header, type, content);
  let measurement = await readBack(file, header);
  if (parts.signer) {
    await append(file, header, 'signature', signPcr0(measurement.pcrs[0] as string, parts.signer));
    measurement = await readBack(file, header);
  }
  await file.sync();
  return measurement;
}

/** Writes a section behind the others, and lists it in the header. */
async function append(file: FileHandle, header: EifHeader, type: SectionType, content: { file: string } | Uint8Array) {
  const last = header.sections.at(-1);
  const offset = last ? last.offset + SECTION_HEADER_BYTES + last.bytes : HEADER_BYTES;
  let end = offset + SECTION_HEADER_BYTES;
  for await (const chunk of 'file' in content ? contentOf(content.file) : [content]) {
    await writeAt(file, chunk, end);
    end += chunk.length;
  }
  const bytes = end - offset - SECTION_HEADER_BYTES;
  if (bytes === 0) throw new EifError('ERR_EIF_INPUT', `the ${type} is empty`);
  await writeAt(file, encodeSectionHeader(type, bytes), offset);
  header.sections.push({ offset, bytes });
}

/** Writes the header, reads all of it as any reader does, and puts the checksum in its place. */
async function readBack(file: FileHandle, header: EifHeader): Promise<EifMeasurement> {
  await writeAt(file, encodeHeader(header), 0);
  const image = await readEif(file);
  const field = Buffer.alloc(4);
  field.writeUInt32BE(image.crc);
  await writeAt(file, field, CRC_OFFSET);
  return measurementOf(image);
}

/** All of it: a nearly full disk takes a part, and says so at the next write. */
async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

async function* contentOf(path: string): AsyncGenerator<Uint8Array> {
  const input = await open(path, 'r').catch((error) => failed(`cannot read ${path}`, error, 'ERR_EIF_INPUT'));
  try {
    yield* input.createReadStream({ autoClose: false }) as AsyncIterable<Buffer>;
  } catch (error) {
    failed(`cannot read ${path}`, error, 'ERR_EIF_INPUT');
  } finally {
    await input.close();
  }
}

/**
 * The fields that nitro-cli asks for. The time is always the same, so that an image can be built again and compared.
 */
function metadata({ name, version }: EifParts): Uint8Array {
  const BuildMetadata = {
    BuildTime: '1970-01-01T00:00:00Z',
    BuildTool: 'portcullis',
    BuildToolVersion: '1',
    OperatingSystem: 'Linux',
    KernelVersion: 'unknown',
  };
  const content = { ImageName: name, ImageVersion: version, BuildMetadata, DockerInfo: {}, CustomMetadata: {} };
  return Buffer.from(JSON.stringify(content));
}

/** Says what the operating system refused; any other error is not of the surroundings and stays what it is. */
function failed(what: string, error: unknown, code: 'ERR_EIF_INPUT' | 'ERR_EIF_FILE' = 'ERR_EIF_FILE'): never {
  const { code: errno, syscall } = error as NodeJS.ErrnoException;
  if (errno === undefined || syscall === undefined) throw error;
  throw new EifError(code, `${what}: ${errno}`);
}
