import { EifError } from './eif-error.ts';

// The Enclave Image Format, version 4, as github.com/aws/aws-nitro-enclaves-image-format writes it. All numbers are
// big-endian.
// header   ".eif" · version u16 · flags u16 · memory u64 · cpus u64 · reserved u16 · sections u16 · 32 offsets u64
//          · 32 sizes u64 · unused u32 · CRC-32 u32 of the whole file without these last four bytes
// section  type u16 · flags u16 · size u64 · content

export const HEADER_BYTES = 548;
export const SECTION_HEADER_BYTES = 12;
export const MAX_SECTIONS = 32;
/** Where the CRC-32 is, the last field of the header. */
export const CRC_OFFSET = HEADER_BYTES - 4;

const MAGIC = '.eif';
const VERSION = 4;
const OFFSETS_OFFSET = 28;
const SIZES_OFFSET = OFFSETS_OFFSET + 8 * MAX_SECTIONS;
const UNUSED_OFFSET = SIZES_OFFSET + 8 * MAX_SECTIONS;

/** Section types by their number; 0 is invalid. */
const SECTION_TYPES = [undefined, 'kernel', 'cmdline', 'ramdisk', 'signature', 'metadata'] as const;
export type SectionType = Exclude<(typeof SECTION_TYPES)[number], undefined>;

/** Architectures by the header's flags; no other flag is defined. */
export const ARCHITECTURES = ['x86_64', 'arm64'] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** A section as the header lists it: where its own header begins, and how long its content is, in bytes. */
export interface SectionEntry {
  offset: number;
  bytes: number;
}

export interface EifHeader {
  architecture: Architecture;
  /** What the enclave gets when its parent does not say: bytes, and processors. */
  defaultMemoryBytes: bigint;
  defaultCpus: bigint;
  sections: SectionEntry[];
  crc32: number;
}

/** Reads the 548 bytes of a header. Throws `ERR_EIF_HEADER`. */
export function parseHeader(bytes: Buffer): EifHeader {
  if (bytes.toString('latin1', 0, 4) !== MAGIC) throw refused('the file does not begin with .eif');
  const version = bytes.readUInt16BE(4);
  if (version !== VERSION)
    throw refused(`version ${version} is not ${VERSION}: build it again with a present nitro-cli`);
  const architecture = ARCHITECTURES[bytes.readUInt16BE(6)];
  if (architecture === undefined) throw refused('it has unknown flags');
  const count = bytes.readUInt16BE(26);
  if (count < 1 || count > MAX_SECTIONS) throw refused(`${count} sections, where 1 to ${MAX_SECTIONS} are possible`);
  if (bytes.readUInt16BE(24) !== 0 || bytes.readUInt32BE(UNUSED_OFFSET) !== 0)
    throw refused('a reserved field is not zero');
  const entries = Array.from({ length: MAX_SECTIONS }, (_, i) => ({
    offset: fileOffset(bytes.readBigUInt64BE(OFFSETS_OFFSET + 8 * i)),
    bytes: fileOffset(bytes.readBigUInt64BE(SIZES_OFFSET + 8 * i)),
  }));
  if (entries.slice(count).some(({ offset, bytes }) => offset !== 0 || bytes !== 0)) {
    throw refused('it lists more sections than it counts');
  }
  return {
    architecture,
    defaultMemoryBytes: bytes.readBigUInt64BE(8),
    defaultCpus: bytes.readBigUInt64BE(16),
    sections: entries.slice(0, count),
    crc32: bytes.readUInt32BE(CRC_OFFSET),
  };
}

/** The 548 bytes of a header. */
export function encodeHeader(header: EifHeader): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.write(MAGIC, 0, 'latin1');
  bytes.writeUInt16BE(VERSION, 4);
  bytes.writeUInt16BE(ARCHITECTURES.indexOf(header.architecture), 6);
  bytes.writeBigUInt64BE(header.defaultMemoryBytes, 8);
  bytes.writeBigUInt64BE(header.defaultCpus, 16);
  bytes.writeUInt16BE(header.sections.length, 26);
  for (const [i, section] of header.sections.entries()) {
    bytes.writeBigUInt64BE(BigInt(section.offset), OFFSETS_OFFSET + 8 * i);
    bytes.writeBigUInt64BE(BigInt(section.bytes), SIZES_OFFSET + 8 * i);
  }
  bytes.writeUInt32BE(header.crc32, CRC_OFFSET);
  return bytes;
}

/** Reads the 12 bytes before a section's content. Throws `ERR_EIF_SECTION`. */
export function parseSectionHeader(bytes: Buffer): { type: SectionType; bytes: number } {
  const type = SECTION_TYPES[bytes.readUInt16BE(0)];
  if (type === undefined)
    throw new EifError('ERR_EIF_SECTION', `a section has the unknown type ${bytes.readUInt16BE(0)}`);
  if (bytes.readUInt16BE(2) !== 0) throw new EifError('ERR_EIF_SECTION', `the ${type} section has unknown flags`);
  const size = Number(bytes.readBigUInt64BE(4));
  return { type, bytes: size };
}

/** The 12 bytes before a section's content. */
export function encodeSectionHeader(type: SectionType, size: number): Buffer {
  const bytes = Buffer.alloc(SECTION_HEADER_BYTES);
  bytes.writeUInt16BE(SECTION_TYPES.indexOf(type), 0);
  bytes.writeBigUInt64BE(BigInt(size), 4);
  return bytes;
}

/** A position as a number: none is larger than a file can be. */
function fileOffset(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw refused('a section lies beyond any file');
  return Number(value);
}

function refused(why: string): EifError {
  return new EifError('ERR_EIF_HEADER', `this is not an enclave image: ${why}`);
}
