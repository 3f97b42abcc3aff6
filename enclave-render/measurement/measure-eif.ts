import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { Pcrs } from '../attestation/attestation-document.ts';
import { EifError } from './eif-error.ts';
import {
  type Architecture,
  CRC_OFFSET,
  type EifHeader,
  HEADER_BYTES,
  parseHeader,
  parseSectionHeader,
  SECTION_HEADER_BYTES,
  type SectionType,
} from './eif-format.ts';
import { MAX_SIGNATURE_BYTES, verifyPcr0 } from './eif-signature.ts';
import { extendedPcr } from './pcr.ts';

const CHUNK_BYTES = 1 << 20;

/** What an enclave image is. Lengths in bytes. */
export interface EifMeasurement {
  /**
   * PCR0 (kernel, command line, ramdisks), PCR1 (kernel, command line, first ramdisk), PCR2 (other ramdisks); PCR8 if
   * it is signed.
   */
  pcrs: Pcrs;
  /** None of these three is measured: whoever has the file may change them. */
  architecture: Architecture;
  defaultMemoryBytes: number;
  defaultCpus: number;
  sections: { type: SectionType; bytes: number }[];
  /** Of the signature, which was verified; its dates are looked at by the hypervisor when the enclave starts. */
  signedBy?: { subject: string; sha256: string; notBefore: string; notAfter: string };
}

/**
 * Reads an enclave image and measures it as the Nitro hypervisor does: streaming, and refusing whatever header and
 * sections do not agree on. Rejects with `EifError`.
 */
export async function measureEif(path: string): Promise<EifMeasurement> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new EifError('ERR_EIF_FILE', `cannot open ${path}: ${error.code}`);
  });
  try {
    const image = await readEif(file);
    if (image.header.crc32 !== image.crc) {
      throw new EifError('ERR_EIF_CRC', 'the image is damaged: its checksum is another');
    }
    return measurementOf(image);
  } finally {
    await file.close();
  }
}

/** An image that was read. */
export interface ReadEif {
  header: EifHeader;
  /** The CRC-32 that its header should have. */
  crc: number;
  pcrs: Pcrs;
  sections: { type: SectionType; bytes: number }[];
  /** Content of the signature section. */
  signature?: Buffer;
}

/**
 * Reads an open image from its first byte to its last, and checks neither checksum nor signature. Rejects with
 * `EifError`.
 */
export async function readEif(file: FileHandle): Promise<ReadEif> {
  const { size } = await file.stat();
  const headerBytes = await exactly(file, 0, HEADER_BYTES);
  const header = parseHeader(headerBytes);
  checkPlaces(header, size);

  let crc = crc32(headerBytes.subarray(0, CRC_OFFSET));
  const image = createHash('sha384');
  const boot = createHash('sha384');
  const application = createHash('sha384');
  const sections: { type: SectionType; bytes: number }[] = [];
  let signature: Buffer | undefined;

  for (const entry of header.sections) {
    const sectionHeader = await exactly(file, entry.offset, SECTION_HEADER_BYTES);
    const section = parseSectionHeader(sectionHeader);
    crc = crc32(sectionHeader, crc);
    if (section.bytes !== entry.bytes) {
      throw new EifError('ERR_EIF_SECTION', `the ${section.type} section and the header disagree on its length`);
    }
    const isFirst = !sections.some(({ type }) => type === section.type);
    checkOrder(section.type, sections);
    sections.push(section);

    const measuredBy: Record<SectionType, Hash[]> = {
      kernel: [image, boot],
      cmdline: [image, boot],
      ramdisk: [image, isFirst ? boot : application],
      signature: [],
      metadata: [],
    };
    if (section.type === 'signature' && section.bytes > MAX_SIGNATURE_BYTES) {
      throw new EifError('ERR_EIF_SIGNATURE', `the signature section is longer than ${MAX_SIGNATURE_BYTES} bytes`);
    }
    const kept: Buffer[] = [];
    for await (const chunk of chunks(file, entry.offset + SECTION_HEADER_BYTES, section.bytes)) {
      crc = crc32(chunk, crc);
      for (const hash of measuredBy[section.type]) hash.update(chunk);
      if (section.type === 'signature') kept.push(chunk);
    }
    if (section.type === 'signature') signature = Buffer.concat(kept);
  }
  for (const type of ['kernel', 'cmdline', 'ramdisk'] as const) {
    if (!sections.some((section) => section.type === type)) {
      throw new EifError('ERR_EIF_SECTION', `the image has no ${type} section`);
    }
  }

  const pcrs = { 0: image.digest(), 1: boot.digest(), 2: application.digest() };
  return {
    header,
    crc,
    pcrs: Object.fromEntries(Object.entries(pcrs).map(([index, digest]) => [index, extendedPcr(digest)])),
    sections,
    ...(signature && { signature }),
  };
}

/** What an image is, when its signature, if it has one, is one of it. Throws `ERR_EIF_SIGNATURE`. */
export function measurementOf({ header, pcrs, sections, signature }: ReadEif): EifMeasurement {
  const measurement: EifMeasurement = {
    pcrs,
    architecture: header.architecture,
    defaultMemoryBytes: Number(header.defaultMemoryBytes),
    defaultCpus: Number(header.defaultCpus),
    sections,
  };
  if (!signature) return measurement;
  const certificate = verifyPcr0(signature, pcrs[0] as string);
  const [notBefore, notAfter] = [new Date(certificate.validFrom), new Date(certificate.validTo)];
  if (Number.isNaN(notBefore.getTime()) || Number.isNaN(notAfter.getTime())) {
    throw new EifError('ERR_EIF_SIGNATURE', 'the dates of the signing certificate are none');
  }
  return {
    ...measurement,
    pcrs: { ...pcrs, 8: extendedPcr(createHash('sha384').update(certificate.raw).digest()) },
    signedBy: {
      // Node gives none for an empty name.
      subject: (certificate.subject ?? '').replaceAll('\n', ', '),
      sha256: createHash('sha256').update(certificate.raw).digest('hex'),
      notBefore: notBefore.toISOString(),
      notAfter: notAfter.toISOString(),
    },
  };
}

/**
 * Sections follow one another from the header to the end of the file: nothing before, between or behind them, and
 * none in another.
 */
function checkPlaces({ sections }: EifHeader, size: number): void {
  let end = HEADER_BYTES;
  for (const { offset, bytes } of sections) {
    if (offset !== end) {
      throw new EifError(
        'ERR_EIF_SECTION',
        `a section begins at byte ${offset}, where the one before it ends at ${end}`,
      );
    }
    end = offset + SECTION_HEADER_BYTES + bytes;
    if (end > size)
      throw new EifError('ERR_EIF_LENGTH', `the image is truncated: a section ends at byte ${end} of ${size}`);
  }
  if (end !== size) throw new EifError('ERR_EIF_LENGTH', `${size - end} bytes follow the last section`);
}

/**
 * What is measured has one order, so that the same registers never stand for two: kernel, command line, ramdisks.
 * Metadata and signature may be anywhere, once.
 */
function checkOrder(type: SectionType, before: { type: SectionType }[]): void {
  const has = (other: SectionType) => before.some((section) => section.type === other);
  if (type !== 'ramdisk' && has(type)) throw new EifError('ERR_EIF_SECTION', `the image has two ${type} sections`);
  if (type === 'cmdline' && !has('kernel'))
    throw new EifError('ERR_EIF_SECTION', 'the command line is before the kernel');
  if (type === 'ramdisk' && !has('cmdline')) {
    throw new EifError('ERR_EIF_SECTION', 'a ramdisk is before the command line');
  }
  if (type === 'kernel' && before.some((section) => section.type === 'cmdline' || section.type === 'ramdisk')) {
    throw new EifError('ERR_EIF_SECTION', 'the kernel is not before the command line and the ramdisks');
  }
}

async function exactly(file: FileHandle, offset: number, bytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, offset).catch((error: NodeJS.ErrnoException) => {
    throw new EifError('ERR_EIF_FILE', `cannot read the image: ${error.code}`);
  });
  if (bytesRead < bytes) throw new EifError('ERR_EIF_LENGTH', `the image is truncated at byte ${offset + bytesRead}`);
  return buffer;
}

async function* chunks(file: FileHandle, offset: number, bytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes; at += CHUNK_BYTES)
    yield await exactly(file, offset + at, Math.min(CHUNK_BYTES, bytes - at));
}
