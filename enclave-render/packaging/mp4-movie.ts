import type { MasterReader } from '../mastering/master-reader.ts';

type Reader = Pick<MasterReader, 'size' | 'read'>;

/** Boxes that hold the others on the way to a handler (ISO/IEC 14496-12 §8.2, §8.3, §8.4). */
const ON_THE_WAY = new Set(['moov', 'trak', 'mdia']);
/** `moov` of a film of hours is a few megabytes; what claims to be more is not one. */
const LARGEST_MOOV = 1 << 28;
/** Boxes that are looked at before it: a file of empty ones would keep us busy for ever. */
const MOST_BOXES = 1 << 16;

/**
 * Handler types of all tracks of an MP4 or MOV file in order, `vide`, `soun`, `text`, `tmcd` …, also of those that a demuxer
 * leaves out without a word. Empty for anything else.
 */
export async function handlerTypes(reader: Reader): Promise<string[]> {
  const moov = await readMoov(reader);
  return moov ? [...handlers(moov, 0, moov.length)] : [];
}

/**
 * Length of an MP4 or MOV file in seconds, as it says itself (`mvhd`, ISO/IEC 14496-12 §8.2.2). Undefined for anything else, and where
 * it does not say, as in fragments.
 */
export async function movieSeconds(reader: Reader): Promise<number | undefined> {
  const moov = await readMoov(reader);
  const header = moov && boxAt(moov, 0, moov.length);
  if (!moov || !header) return undefined;
  for (let offset = header.header; offset + 8 <= moov.length; ) {
    const box = boxAt(moov, offset, moov.length - offset);
    if (!box) return undefined;
    if (box.type === 'mvhd') return secondsOf(moov.subarray(offset + box.header, offset + box.size));
    offset += box.size;
  }
  return undefined;
}

/** Of the content of `mvhd`: times are of 64 bits in version 1, else of 32. */
function secondsOf(mvhd: Buffer): number | undefined {
  const isLong = mvhd[0] === 1;
  if (mvhd.length < (isLong ? 32 : 20)) return undefined;
  const scale = mvhd.readUInt32BE(isLong ? 20 : 12);
  const duration = isLong ? Number(mvhd.readBigUInt64BE(24)) : mvhd.readUInt32BE(16);
  const isUnknown = duration === 0 || duration === (isLong ? Number(0xffff_ffff_ffff_ffffn) : 0xffff_ffff);
  return scale === 0 || isUnknown ? undefined : duration / scale;
}

async function readMoov(reader: Reader): Promise<Buffer | undefined> {
  for (let offset = 0, boxes = 0; offset + 8 <= reader.size && boxes < MOST_BOXES; boxes++) {
    const box = boxAt(Buffer.from(await reader.read(offset, 16)), 0, reader.size - offset);
    if (!box) return undefined;
    if (box.type === 'moov') {
      return box.size > LARGEST_MOOV ? undefined : Buffer.from(await reader.read(offset, box.size));
    }
    offset += box.size;
  }
  return undefined;
}

function* handlers(bytes: Buffer, from: number, to: number): Generator<string> {
  for (let offset = from; offset + 8 <= to; ) {
    const box = boxAt(bytes, offset, to - offset);
    if (!box) return;
    // Version and flags, a field that is not used, then the type. QuickTime has a second handler deeper down, in `minf`.
    if (box.type === 'hdlr') yield bytes.toString('latin1', offset + box.header + 8, offset + box.header + 12);
    if (ON_THE_WAY.has(box.type)) yield* handlers(bytes, offset + box.header, offset + box.size);
    offset += box.size;
  }
}

/** A box of at most `room` bytes; undefined when there cannot be one. */
function boxAt(bytes: Buffer, offset: number, room: number) {
  if (offset + 8 > bytes.length) return undefined;
  const short = bytes.readUInt32BE(offset);
  const type = bytes.toString('latin1', offset + 4, offset + 8);
  if (short === 1 && offset + 16 > bytes.length) return undefined;
  const header = short === 1 ? 16 : 8;
  const size = short === 1 ? Number(bytes.readBigUInt64BE(offset + 8)) : short === 0 ? room : short;
  return size >= header && size <= room ? { type, header, size } : undefined;
}
