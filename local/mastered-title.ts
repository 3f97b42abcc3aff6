import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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
import type { RenderShop } from './render-jobs.ts';
import { renderedMasters, renderTitle } from './rendered-title.ts';
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
  /** Opens what renders the title; without it the mezzanines are mastered as they are. */
  openRenderShop?: (() => Promise<RenderShop>) | undefined;
  /** Seconds since the epoch. */
  now: () => number;
  report: (line: string) => void;
}

/** As those of the committed title. */
const SEGMENT_SECONDS = 2;
const ROTATE_EVERY = 5;

const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');

/**
 * Brings a title from its mezzanines to what the edge serves, as post-production does it with the commands: `render submit` (or
 * `master encrypt`, when nothing is to be rendered), then `package hls` from the masters, so that segments in clear are written nowhere.
 * What an earlier start made is used as long as it is of the same mezzanines and its keys still open. Never rejects: what went wrong is
 * in the chain.
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
    link = options.openRenderShop ? 'render' : 'master';
    const made = await (options.openRenderShop
      ? renderMasters(options, mezzanines, chain)
      : encryptMasters(options, mezzanines));
    link = 'master';
    for (const [index, master] of made.masters.entries()) {
      const encoding = chain.encodings[index];
      if (encoding) encoding.master = await describeMaster(master);
    }
    link = 'package';
    if (made.isNew || !(await isPackaged(options))) {
      report(`packaging ${title}`);
      await packageMasters(options, made.masters);
    }
    chain.package = await describePackage(join(options.titles, title));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    chain.failure = { link, why: code && !message.includes(code) ? `${code}: ${message}` : message };
    report(`${title} is served as it was committed, in clear; the chain broke at the ${link}: ${chain.failure.why}`);
  }
  return chain;
}

/** The masters of a title, and whether they were made just now. */
interface Masters {
  masters: { name: string; path: string }[];
  isNew: boolean;
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

/** Has the tallest mezzanine rendered into every encoding, and its receipt verified. */
async function renderMasters(
  options: MasteredTitleOptions,
  mezzanines: Mezzanine[],
  chain: TitleChain,
): Promise<Masters> {
  const { title, masters: folder, openRenderShop, report } = options;
  const [source] = mezzanines;
  if (!openRenderShop || !source)
    throw new StackError('ERR_STACK_NOT_BUILT', 'there is no mezzanine; run: npm run build');
  const output = join(folder, `${title}-rendered`);
  const shop = await openRenderShop();
  const { chain: rendered, isNew } = await withMezzanine(`${output}.mezzanine.mp4`, source, (path) =>
    renderTitle({ title, shop, source: path, sourceSha256: sha256(source.bytes), output, report }),
  );
  chain.render = rendered;
  return { masters: renderedMasters(output), isNew };
}

/** Encrypts each mezzanine as it is. */
async function encryptMasters(options: MasteredTitleOptions, mezzanines: Mezzanine[]): Promise<Masters> {
  const { title, masters: folder, dataKeys, keyId, now, report } = options;
  const masters = mezzanines.map(({ name }) => ({ name, path: join(folder, `${title}-${name}.master`) }));
  if (await areMastersOf(mezzanines, masters, dataKeys)) return { masters, isNew: false };
  report(`mastering ${title}`);
  const kms = { dataKeys, keyId, context: MASTER_CONTEXTS.framed };
  for (const [index, mezzanine] of mezzanines.entries()) {
    const output = masters[index]?.path ?? '';
    await withMezzanine(`${output}.mezzanine.mp4`, mezzanine, (source) =>
      encryptMaster({ source, output, mode: 'framed', kms, now: now(), force: true }),
    );
  }
  return { masters, isNew: true };
}

/** The mezzanine as a file, for as long as something reads it. */
async function withMezzanine<Result>(
  path: string,
  { bytes }: Mezzanine,
  use: (path: string) => Promise<Result>,
): Promise<Result> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  try {
    await writeFile(path, bytes, { mode: 0o600 });
    return await use(path);
  } finally {
    await rm(path, { force: true });
  }
}

/** Whether masters are there, are of these mezzanines, and KMS still opens them. */
async function areMastersOf(
  mezzanines: Mezzanine[],
  masters: Masters['masters'],
  dataKeys: DataKeys,
): Promise<boolean> {
  try {
    for (const [index, { path }] of masters.entries()) {
      const { plaintextSha256 } = await readManifest(path);
      if (plaintextSha256 !== sha256(mezzanines[index]?.bytes ?? '')) return false;
      await (await openMaster(path, { dataKeys })).close();
    }
    return true;
  } catch {
    return false;
  }
}

async function packageMasters(options: MasteredTitleOptions, masters: Masters['masters']): Promise<void> {
  const { titles, title, dataKeys, keyId } = options;
  await mkdir(titles, { recursive: true });
  const sources: TitleSource[] = [];
  try {
    for (const { name, path } of masters) sources.push({ name, reader: await openMaster(path, { dataKeys }) });
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

/** Whether the package is there, and KMS still opens its keys. */
async function isPackaged(options: MasteredTitleOptions): Promise<boolean> {
  try {
    const folder = join(options.titles, options.title);
    await readTitle(folder);
    const [key] = (await readKeyTable(join(folder, 'keys.json')))?.keys ?? [];
    if (!key) return false;
    const encrypted = Buffer.from(key.encryptedKey, 'base64');
    const { plaintext } = await options.dataKeys.decrypt(encrypted, key.context, key.keyId);
    plaintext.fill(0);
    return true;
  } catch {
    return false;
  }
}

async function describeMaster({ path }: { path: string }): Promise<NonNullable<EncodingChain['master']>> {
  const json = await readFile(manifestPath(path), 'utf8');
  const { mode, keyBits, ciphertextBytes, ciphertextSha256, recipients } = parseManifest(json);
  const recipient = recipients.find(({ type }) => type === 'kms');
  return {
    mode,
    keyBits,
    bytes: ciphertextBytes,
    sha256: ciphertextSha256,
    manifestSha256: sha256(json),
    kmsKeyId: recipient?.keyId ?? '',
    encryptedKeySha256: sha256(Buffer.from(recipient?.encryptedKey ?? '', 'base64')),
  };
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
