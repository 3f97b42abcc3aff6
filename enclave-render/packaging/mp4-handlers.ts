import type { MasterReader } from '../mastering/master-reader.ts';

/** Boxes that hold the others on the way to a handler (ISO/IEC 14496-12 §8.2, §8.3, §8.4). */
const ON_THE_WAY = new Set(['moov', 'trak', 'mdia']);
/** `moov` of a film of hours is a few megabytes; what claims to be more is not one. */
const LARGEST_MOOV = 1 << 28;

/**
 * Handler types of all tracks of an MP4 or MOV file in order, `vide`, `soun`, `text`, `tmcd` …, also of those that a demuxer
 * leaves out without a word. Empty for anything else.
 */
export async function handlerTypes(reader: MasterReader): Promise<string[]> {
  for (let offset = 0; offset + 8 <= reader.size; ) {
    const header = Buffer.from(await reader.read(offset, 16));
    const box = boxAt(header, 0, reader.size - offset);
    if (!box) return [];
    if (box.type === 'moov') {
      if (box.size > LARGEST_MOOV) return [];
      return [...handlers(Buffer.from(await reader.read(offset, box.size)), 0, box.size)];
    }
    offset += box.size;
  }
  return [];
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
