import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { PackagingError } from './errors.ts';

const name = v.pipe(v.string(), v.regex(/^[\w-]+(?:\.\w+)*$/));
const seconds = v.pipe(v.number(), v.minValue(0), v.finite());
const count = v.pipe(v.number(), v.integer(), v.minValue(0));

/** How a segment is encrypted: the name of its key, and its initialization vector in hexadecimal. */
const EncryptionSchema = v.strictObject({ key: name, iv: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/)) });

const PartSchema = v.strictObject({ file: name, seconds, isIndependent: v.boolean() });

const SegmentSchema = v.strictObject({
  file: name,
  start: seconds,
  seconds,
  bytes: count,
  encryption: v.optional(EncryptionSchema),
  /** Its pieces for low latency, each encrypted by itself with the key and the initialization vector of the segment. */
  parts: v.optional(v.array(PartSchema)),
});

const RenditionSchema = v.strictObject({
  /** Its folder in that of the title. */
  name,
  type: v.picklist(['video', 'audio']),
  codecs: v.array(v.string()),
  /** Bits a second: of the largest segment, and of all. */
  bandwidth: count,
  averageBandwidth: count,
  width: v.optional(count),
  height: v.optional(count),
  frameRate: v.optional(seconds),
  language: v.optional(v.string()),
  channels: v.optional(count),
  sampleRate: v.optional(count),
  /** The initialization segment, always in clear; MPEG-TS has none. */
  init: v.optional(name),
  isIndependent: v.boolean(),
  segments: v.pipe(v.array(SegmentSchema), v.minLength(1)),
});

/** File `packaging.json` of a packaged title: what is in its folder. It holds no key, and nothing a playlist does not say. */
export const PackagedTitleSchema = v.strictObject({
  format: v.literal('portcullis-packaging/1'),
  container: v.picklist(['cmaf', 'ts']),
  /** `none`: whoever has a token gets it in clear. */
  encryption: v.picklist(['aes-128', 'none']),
  iv: v.optional(v.picklist(['sequence', 'random'])),
  /** Whole seconds. */
  targetDuration: count,
  /** Seconds, as long as the longest part of all renditions; only with parts. */
  partTarget: v.optional(seconds),
  duration: seconds,
  renditions: v.pipe(v.array(RenditionSchema), v.minLength(1)),
  /** Codes and sentences about what else was there and was left out. */
  notes: v.array(v.string()),
});

export type PackagedTitle = v.InferOutput<typeof PackagedTitleSchema>;
export type Rendition = PackagedTitle['renditions'][number];
export type PackagedSegment = Rendition['segments'][number];

export const TITLE_FILE = 'packaging.json';

/** What `packaging.json` of a folder says. Rejects with `ERR_PACKAGE_TITLE`. */
export async function readTitle(folder: string): Promise<PackagedTitle> {
  const path = join(folder, TITLE_FILE);
  const refuse = (why: string) => {
    throw new PackagingError('ERR_PACKAGE_TITLE', `${path} ${why}: give the folder that portcullis package hls wrote`);
  };
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
    refuse(`cannot be read (${error.code})`),
  );
  try {
    return v.parse(PackagedTitleSchema, JSON.parse(text as string));
  } catch {
    return refuse('is not what it should be');
  }
}
