import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DataKeys } from '../enclave-render/kms/data-keys.ts';
import { MASTER_CONTEXTS } from '../enclave-render/mastering/contexts.ts';
import { encryptMaster } from '../enclave-render/mastering/encrypt.ts';
import { openMaster } from '../enclave-render/mastering/open-master.ts';
import { readManifest } from '../enclave-render/mastering/opened.ts';
import { manifestPath, parseManifest } from '../enclave-render/mastering/signed-manifest.ts';
import { contentKeysFrom } from '../enclave-render/packaging/content-keys.ts';
import { PackagingError } from '../enclave-render/packaging/errors.ts';
import { readKeyTable } from '../enclave-render/packaging/key-table-file.ts';
import { packageTitle, type TitleSource } from '../enclave-render/packaging/package-title.ts';
import { readTitle } from '../enclave-render/packaging/title.ts';
import { StackError } from './errors.ts';
import type { ChainLink, EncodingChain, TitleChain } from './title-chain.ts';

/** What is mastered, where to, and with which KMS key. */
export interface MasteredTitleOptions {
  /** Id of the title, and name of its folder. */
  title: string;
  /** Folder of the title as it was committed: a folder an encoding, each with `init.mp4` and segments. */
  committed: string;
  /** Folder of the masters, and of the packaged titles. */
  masters: string;
  titles: string;
  dataKeys: DataKeys;
  keyId: string;
  /** Seconds since the epoch. */
  now: () => number;
  report: (line: string) => void;
}

/** As those of the committed title. */
const SEGMENT_SECONDS = 2;
const ROTATE_EVERY = 5;

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

/**
 * Brings a title from its mezzanines to what the edge serves, as post-production does it with the commands: `master encrypt`, then
 * `package hls` from the masters, so that segments in clear are written nowhere. What an earlier start made is used as long as it is
 * of the same mezzanines and its keys still open. Never rejects: what went wrong is in the chain.
 */
export async function masterTitle(options: MasteredTitleOptions): Promise<TitleChain> {
  const { title, report } = options;
  const chain: TitleChain = { title, encodings: [] };
  let link: ChainLink = 'mezzanine';
  try {
    const mezzanines = await joinMezzanines(options.committed);
    for (const { name, bytes } of mezzanines) {
      chain.encodings.push({ name, mezzanine: { bytes: bytes.length, sha256: sha256(bytes) } });
    }
    const isMade = await isCurrent(options, chain.encodings);
    if (!isMade) report(`mastering and packaging ${title}`);
    link = 'master';
    if (!isMade) await makeMasters(options, mezzanines);
    await describeMasters(options, chain.encodings);
    link = 'package';
    if (!isMade) await packageMasters(options, chain.encodings);
    chain.package = await describePackage(join(options.titles, title));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    chain.failure = { link, why: code && !message.includes(code) ? `${code}: ${message}` : message };
    report(`${title} is served as it was committed, in clear; the chain broke at the ${link}: ${chain.failure.why}`);
  }
  return chain;
}

interface Mezzanine {
  name: string;
  bytes: Buffer;
}

/** A committed encoding as one file: an initialization segment and its segments are a fragmented MP4 (ISO/IEC 14496-12 §8.8). */
async function joinMezzanines(committed: string): Promise<Mezzanine[]> {
  const folders = (await readdir(committed, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  if (folders.length === 0) throw new StackError('ERR_STACK_NOT_BUILT', `${committed} is empty; run: npm run build`);
  // Players begin with the first rendition that they can afford: the tallest comes first.
  const names = folders.map(({ name }) => name).sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10));
  return Promise.all(
    names.map(async (name) => {
      const files = (await readdir(join(committed, name)))
        .filter((file) => /^(?:init\.mp4|.*\.m4s)$/.test(file))
        .sort();
      return {
        name,
        bytes: Buffer.concat(await Promise.all(files.map((file) => readFile(join(committed, name, file))))),
      };
    }),
  );
}

const masterPath = ({ masters, title }: MasteredTitleOptions, encoding: string) =>
  join(masters, `${title}-${encoding}.master`);

async function makeMasters(options: MasteredTitleOptions, mezzanines: Mezzanine[]): Promise<void> {
  const { masters, dataKeys, keyId, now } = options;
  const kms = { dataKeys, keyId, context: MASTER_CONTEXTS.framed };
  await mkdir(masters, { recursive: true, mode: 0o700 });
  for (const { name, bytes } of mezzanines) {
    const output = masterPath(options, name);
    const source = `${output}.mezzanine.mp4`;
    try {
      await writeFile(source, bytes, { mode: 0o600 });
      await encryptMaster({ source, output, mode: 'framed', kms, now: now(), force: true });
    } finally {
      await rm(source, { force: true });
    }
  }
}

async function packageMasters(options: MasteredTitleOptions, encodings: EncodingChain[]): Promise<void> {
  const { titles, title, dataKeys, keyId } = options;
  await mkdir(titles, { recursive: true });
  const sources: TitleSource[] = [];
  try {
    for (const { name } of encodings) {
      sources.push({ name, reader: await openMaster(masterPath(options, name), { dataKeys }) });
    }
    // What is there may be half a title, which packaging takes for somebody else's folder.
    await rm(join(titles, title), { recursive: true, force: true });
    await packageTitle(join(titles, title), sources, {
      container: 'cmaf',
      segmentSeconds: SEGMENT_SECONDS,
      encryption: {
        newContentKey: contentKeysFrom(dataKeys, keyId),
        rotateEvery: ROTATE_EVERY,
        perRendition: false,
        iv: 'sequence',
      },
    });
  } finally {
    for (const { reader } of sources) await reader.close();
  }
}

/** Whether masters and package are there, made of these mezzanines, and KMS still opens the keys of the package. */
async function isCurrent(options: MasteredTitleOptions, encodings: EncodingChain[]): Promise<boolean> {
  try {
    for (const { name, mezzanine } of encodings) {
      const manifest = await readManifest(masterPath(options, name));
      if (manifest.plaintextSha256 !== mezzanine?.sha256) return false;
    }
    const folder = join(options.titles, options.title);
    await readTitle(folder);
    const [key] = (await readKeyTable(join(folder, 'keys.json')))?.keys ?? [];
    if (!key) return false;
    const { plaintext } = await options.dataKeys.decrypt(
      Buffer.from(key.encryptedKey, 'base64'),
      key.context,
      key.keyId,
    );
    plaintext.fill(0);
    return true;
  } catch {
    return false;
  }
}

async function describeMasters(options: MasteredTitleOptions, encodings: EncodingChain[]): Promise<void> {
  for (const encoding of encodings) {
    const json = await readFile(manifestPath(masterPath(options, encoding.name)), 'utf8');
    const { mode, keyBits, ciphertextBytes, ciphertextSha256, recipients } = parseManifest(json);
    const [recipient] = recipients;
    encoding.master = {
      mode,
      keyBits,
      bytes: ciphertextBytes,
      sha256: ciphertextSha256,
      manifestSha256: sha256(json),
      kmsKeyId: recipient?.keyId ?? '',
      encryptedKeySha256: sha256(Buffer.from(recipient?.encryptedKey ?? '', 'base64')),
    };
  }
}

async function describePackage(folder: string): Promise<NonNullable<TitleChain['package']>> {
  const { container, encryption, renditions } = await readTitle(folder);
  const table = await readKeyTable(join(folder, 'keys.json'));
  if (!table) throw new PackagingError('ERR_PACKAGE_KEY_TABLE', `${folder} has no table of content keys`);
  const segments = renditions.flatMap((rendition) => rendition.segments);
  return {
    container,
    encryption,
    renditions: renditions.map((rendition) => ({
      name: rendition.name,
      codecs: rendition.codecs.join(', '),
      segments: rendition.segments.length,
    })),
    keys: table.keys.map(({ name, keyId, encryptedKey }) => ({
      name,
      kmsKeyId: keyId,
      encryptedKeySha256: sha256(Buffer.from(encryptedKey, 'base64')),
      segments: segments.filter((segment) => segment.encryption?.key === name).length,
    })),
  };
}
