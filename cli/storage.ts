import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { link, lstat, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import { loadAws } from '../config/aws.ts';
import { checkBucket } from '../enclave-render/storage/bucket/check.ts';
import { bucketPolicy } from '../enclave-render/storage/bucket/policy.ts';
import { parsePolicy } from '../enclave-render/storage/bucket/policy-document.ts';
import {
  checkedManifest,
  contentOf,
  crossingsOf,
  isManifestName,
  MAX_MANIFEST_BYTES,
  manifestName,
  notItsManifest,
} from '../enclave-render/storage/crossing.ts';
import { readCustomerKey } from '../enclave-render/storage/customer-key.ts';
import { fileObjectStore } from '../enclave-render/storage/files.ts';
import {
  checkBucketName,
  type ObjectEncryption,
  type ObjectInfo,
  type ObjectStore,
  StorageError,
  type PutOptions as StorePutOptions,
} from '../enclave-render/storage/object-store.ts';
import { alignColumns, EXIT_NO, InputError, note, print, readJson } from './command.ts';
import { type Progress, startProgress } from './progress.ts';

const POLICY_HELP = `
Prints the policy. Requests without TLS 1.2 are denied, and SSE-C; with --kms-key every other encryption than SSE-KMS with that key.
A request that leaves the encryption to the default of the bucket is let through: set the default too.

Examples:
  portcullis storage policy --bucket masters > policy.json
  aws s3api put-bucket-policy --bucket masters --policy file://policy.json
  portcullis storage policy --bucket masters --kms-key arn:aws:kms:eu-central-1:111122223333:key/… \\
    --writer arn:aws:iam::111122223333:role/mastering --reader arn:aws:iam::111122223333:role/packaging`;

const PUT_HELP = `
A target that ends with / gets the name of the file. A folder of this machine stores without encrypting, so that --sse is for S3.
A file is taken for an encrypted master when its manifest stands beside it (FILE.manifest.json) and says the same SHA-256; the manifest
is stored with it. Anything else reaches S3 as plaintext, which is said and recorded in "crossings".

Examples:
  portcullis storage put aurora.gcm s3://masters/2026/ --sse SSE-KMS --kms-key alias/masters
  portcullis storage put aurora.gcm s3://masters/aurora --sse SSE-C --sse-c-key customer.key    # 32 bytes, mode 0600
  portcullis storage put aurora.gcm /srv/masters/`;

const GET_HELP = `
The file appears when it is whole, with mode 0600. A manifest that stands beside the object comes with it (FILE.manifest.json), and the
object has to be the one that it speaks of; then portcullis master verify FILE.

Examples:
  portcullis storage get s3://masters/2026/aurora.gcm aurora.gcm
  portcullis storage get s3://masters/aurora aurora.gcm --sse-c-key customer.key
  portcullis storage get /srv/masters/aurora.gcm aurora.gcm`;

const CHECK_HELP = `
Tries requests that should not get through against the policy of a bucket and its settings, without sending them. Exit code 0 when all
are blocked for certain, 1 when one would be let through or cannot be told (a condition on addresses, an operator we do not know).

Examples:
  portcullis storage check masters
  portcullis storage check masters --kms-key arn:aws:kms:eu-central-1:111122223333:key/…
  portcullis storage check masters --policy policy.json     the file instead of the bucket`;

const list = (value: string, all: string[] = []) => [...all, value];

export function registerStorage(program: Command): void {
  const storage = program.command('storage').description('put and get objects; make and check policies of buckets');

  storage
    .command('policy')
    .description('make a bucket policy that enforces TLS and encryption')
    .requiredOption('--bucket <name>', 'bucket')
    .option('--kms-key <arn>', 'the only KMS key that objects may be encrypted with')
    .option('--writer <arn>', 'role that may put objects; may be repeated', list)
    .option('--reader <arn>', 'role that may read and list them; may be repeated', list)
    .option('--allow-sse-c', 'let through uploads with keys of the uploader')
    .option('--json', 'print the policy on one line')
    .addHelpText('after', POLICY_HELP)
    .action((options: PolicyOptions) => {
      const { bucket, kmsKey, writer, reader, allowSseC, json } = options;
      const policy = bucketPolicy({ bucket, kmsKey, writers: writer, readers: reader, allowSseC });
      if (kmsKey) note(`objects without a header get the default of the bucket: set it to SSE-KMS with ${kmsKey}`);
      print(json, policy, JSON.stringify(policy, null, 2).split('\n'));
    });

  storage
    .command('put')
    .description('store a file')
    .argument('<file>', 'file to store')
    .argument('<target>', 's3://bucket/key, file:///path or a path')
    .addOption(
      new Option('--sse <type>', 'encryption by S3; the default of the bucket unless given').choices([
        ...['SSE-S3', 'SSE-KMS', 'DSSE-KMS', 'SSE-C'],
      ]),
    )
    .option('--kms-key <id>', 'with SSE-KMS and DSSE-KMS: id, ARN or alias of the KMS key')
    .option('--context <json>', 'with SSE-KMS and DSSE-KMS: encryption context, which CloudTrail logs in clear')
    .option('--sse-c-key <file>', 'with SSE-C: file with the 32 bytes of the key (mode 0600)')
    .option('--content-type <type>', 'media type of the object')
    .option('--if-absent', 'refuse when there is an object of that name')
    .option('--json', 'print JSON')
    .addHelpText('after', PUT_HELP)
    .action(put);

  storage
    .command('get')
    .description('fetch an object into a file')
    .argument('<source>', 's3://bucket/key, file:///path or a path')
    .argument('<file>', 'file to write')
    .option('--sse-c-key <file>', 'file with the 32 bytes of the key of an object under SSE-C (mode 0600)')
    .option('--force', 'replace the file')
    .option('--json', 'print JSON')
    .addHelpText('after', GET_HELP)
    .action(get);

  storage
    .command('check')
    .description('say what a bucket, or a policy, would let through')
    .argument('<bucket>', 'name of the bucket')
    .option('--policy <file>', 'look at this policy only, instead of asking AWS')
    .option('--kms-key <arn>', 'the only KMS key that objects may be under; the default of the bucket unless given')
    .option('--allow-sse-c', 'uploads with keys of the uploader are wanted')
    .option('--json', 'print JSON')
    .addHelpText('after', CHECK_HELP)
    .action(check);
}

interface PolicyOptions {
  bucket: string;
  kmsKey?: string;
  writer?: string[];
  reader?: string[];
  allowSseC?: boolean;
  json?: boolean;
}

interface PutOptions {
  sse?: ObjectEncryption['type'];
  kmsKey?: string;
  context?: string;
  sseCKey?: string;
  contentType?: string;
  ifAbsent?: boolean;
  json?: boolean;
}

async function put(file: string, target: string, options: PutOptions): Promise<void> {
  const status = await stat(file).catch((error: NodeJS.ErrnoException) => {
    throw new InputError(`cannot read ${file}: ${error.code}`);
  });
  if (!status.isFile()) throw new InputError(`${file} is no file`);
  const content = await contentOf(file);
  const { store, key, url, isS3 } = await locate(target, basename(file));
  const encryption = await encryptionOf(options);
  const crossings = isS3 ? crossingsOf(content, encryption) : [];
  // Before it happens, while it can still be stopped.
  for (const { by, why } of crossings)
    note(`this hands plaintext to S3, outside the attested boundary (${by}): ${why}`);
  const progress = lateProgress();
  const stopped = stopOnSignal();
  let info: ObjectInfo;
  let manifestUrl: string | undefined;
  try {
    if (content.kind === 'master' && options.ifAbsent) await refuseManifest(store, key);
    const source =
      content.kind === 'master' ? hashed(file, content) : createReadStream(file, { highWaterMark: 1 << 20 });
    info = await store.put(key, source, {
      encryption,
      bytes: status.size,
      contentType: options.contentType,
      ifAbsent: options.ifAbsent,
      signal: stopped.signal,
      onProgress: (bytes) => progress.update('storing', bytes, status.size),
    });
    if (content.kind === 'master') {
      const { ifAbsent } = options;
      await putManifest(store, key, content.manifestBytes, { encryption, ifAbsent, signal: stopped.signal });
      manifestUrl = manifestName(url);
    }
  } finally {
    progress.stop();
    stopped.release();
    if (encryption?.type === 'SSE-C') encryption.key.fill(0);
  }
  const { bytes, etag, sha256 } = info;
  const encrypted = info.encryption ? describe(info.encryption) : isS3 ? 'by the bucket' : 'not by the store: a folder';
  print(
    options.json,
    {
      ...{ url, bytes, etag, sha256, encryption: info.encryption ?? null, content: content.kind },
      ...(manifestUrl !== undefined && { manifest: manifestUrl }),
      crossings,
    },
    [
      `stored ${url}, ${bytes} bytes`,
      `content: ${content.kind === 'plaintext' ? 'plaintext, as no manifest of a master stands beside it' : content.kind}`,
      `encrypted: ${encrypted}`,
      ...(manifestUrl === undefined ? [] : [`its manifest: ${manifestUrl}`]),
    ],
  );
}

/** Throws `ERR_STORAGE_EXISTS` when a manifest stands where that of a new master is to go. */
async function refuseManifest(store: ObjectStore, key: string): Promise<void> {
  try {
    await store.head(manifestName(key));
  } catch (error) {
    // What may not be looked at shows when it is put.
    if (error instanceof StorageError && error.code !== 'ERR_STORAGE_UNAVAILABLE') return;
    throw error;
  }
  throw new StorageError('ERR_STORAGE_EXISTS', `object ${manifestName(key)}: there is one already`);
}

/**
 * Stores the manifest of a master that was just stored. The master goes first, because it is what may fail; until its manifest is there,
 * readers refuse the pair.
 */
async function putManifest(store: ObjectStore, key: string, bytes: Uint8Array, options: StorePutOptions) {
  const name = manifestName(key);
  try {
    const type = { bytes: bytes.length, contentType: 'application/json' };
    await store.put(name, Readable.from([bytes], { objectMode: false }), { ...options, ...type });
  } catch (error) {
    const why = (error as Error).message;
    const code = error instanceof StorageError ? error.code : 'ERR_STORAGE_UNAVAILABLE';
    throw new StorageError(code, `the master is stored, and its manifest ${name} is not: put it again (${why})`);
  }
}

/** A master while it is stored; fails before its end when its bytes are not those that its manifest tells of. */
function hashed(file: string, { sha256, manifest }: { sha256: string; manifest: string }): Readable {
  async function* read() {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
      hash.update(chunk);
      yield chunk;
    }
    if (hash.digest('hex') !== sha256) throw notItsManifest(file, manifest);
  }
  return Readable.from(read(), { objectMode: false });
}

async function encryptionOf({ sse, kmsKey, context, sseCKey }: PutOptions): Promise<ObjectEncryption | undefined> {
  const isKms = sse === 'SSE-KMS' || sse === 'DSSE-KMS';
  if (!isKms && (kmsKey !== undefined || context !== undefined)) {
    throw new InputError('--kms-key and --context are for --sse SSE-KMS and --sse DSSE-KMS');
  }
  if ((sse === 'SSE-C') !== (sseCKey !== undefined))
    throw new InputError('--sse SSE-C and --sse-c-key FILE go together');
  if (sse === undefined) return undefined;
  if (sse === 'SSE-S3') return { type: sse };
  if (sse === 'SSE-C') return { type: sse, key: await readCustomerKey(sseCKey ?? '') };
  return {
    type: sse,
    ...(kmsKey !== undefined && { keyId: kmsKey }),
    ...(context !== undefined && { context: contextIn(context) }),
  };
}

function contextIn(text: string): Record<string, string> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {}
  const isContext =
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((entry) => typeof entry === 'string');
  if (!isContext) throw new InputError('--context is a JSON object of texts: {"department":"mastering"}');
  return value as Record<string, string>;
}

const describe = ({ type, keyId }: { type: string; keyId?: string | undefined }) =>
  keyId ? `${type}, ${keyId}` : type;

async function get(
  source: string,
  file: string,
  options: { sseCKey?: string; force?: boolean; json?: boolean },
): Promise<void> {
  const { store, key, url } = await locate(source);
  const beside = manifestName(file);
  for (const path of [file, beside]) if (!options.force && (await isThere(path))) throw isThereAlready(path);
  const sseKey = options.sseCKey === undefined ? undefined : await readCustomerKey(options.sseCKey);
  const progress = lateProgress();
  const stopped = stopOnSignal();
  // Of this run alone: FILE.partial may be that of a master which is being made, or of another run.
  const partial = `${file}.${randomBytes(6).toString('hex')}.partial`;
  let begun = false;
  const hash = createHash('sha256');
  let info: ObjectInfo;
  let manifest: Buffer | undefined;
  try {
    manifest = isManifestName(key) ? undefined : await fetchManifest(store, key, sseKey, stopped.signal);
    const object = await store.get(key, { sseKey });
    info = object.info;
    stopped.signal.addEventListener('abort', () => object.body.destroy(stopped.signal.reason as Error));
    const handle = await open(partial, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
      object.body.destroy();
      throw new InputError(`cannot write ${partial}: ${error.code}`);
    });
    begun = true;
    let bytes = 0;
    try {
      for await (const chunk of object.body as AsyncIterable<Uint8Array>) {
        hash.update(chunk);
        await handle.writeFile(chunk);
        bytes += chunk.byteLength;
        progress.update('fetching', bytes, info.bytes);
      }
      if (bytes !== info.bytes) throw new InputError(`${url} ended after ${bytes} of ${info.bytes} bytes: try again`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    stopped.signal.throwIfAborted();
    // A digest goes on after it was asked for only in a copy.
    const told = manifest && checkedManifest(manifest, manifestName(url));
    if (told && told.ciphertextSha256 !== hash.copy().digest('hex')) throw notItsManifest(url, manifestName(url));
    // A manifest that was there is that of what was in FILE before.
    if (options.force) await rm(beside, { force: true });
    if (manifest) await writeManifest(beside, manifest);
    await giveName(partial, file, options.force === true).catch(async (error) => {
      if (manifest) await rm(beside, { force: true });
      throw error;
    });
  } finally {
    progress.stop();
    stopped.release();
    sseKey?.fill(0);
    if (begun) await rm(partial, { force: true });
  }
  const sha256 = hash.digest('hex');
  const { bytes, etag, encryption = null } = info;
  print(options.json, { url, file, bytes, etag, sha256, encryption, ...(manifest && { manifest: beside }) }, [
    `fetched ${file}, ${bytes} bytes, SHA-256 ${sha256}`,
    ...(manifest ? [`fetched ${beside}: portcullis master verify ${file}`] : []),
  ]);
}

/** The manifest that stands beside an object; undefined when there is none, or none that may be read. */
async function fetchManifest(
  store: ObjectStore,
  key: string,
  sseKey: Uint8Array | undefined,
  signal: AbortSignal,
): Promise<Buffer | undefined> {
  const name = manifestName(key);
  try {
    const { info, body } = await store.get(name, { sseKey });
    signal.addEventListener('abort', () => body.destroy(signal.reason as Error));
    if (info.bytes <= MAX_MANIFEST_BYTES) return await buffer(body);
    body.destroy();
    throw new StorageError('ERR_STORAGE_INVALID', `${name} is too large for a manifest`);
  } catch (error) {
    const code = error instanceof StorageError ? error.code : undefined;
    if (code === 'ERR_STORAGE_NOT_FOUND') return undefined;
    // S3 says this also of what is not there, to those who may not list the bucket.
    if (code !== 'ERR_STORAGE_ACCESS' && code !== 'ERR_STORAGE_INVALID') throw error;
    note(`whether a manifest stands beside it was not seen: ${(error as Error).message}`);
    return undefined;
  }
}

/** Mode 0600, on the disk before the master has its name. */
async function writeManifest(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EEXIST' ? isThereAlready(path) : new InputError(`cannot write ${path}: ${error.code}`);
  });
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const isThere = (path: string) =>
  lstat(path).then(
    () => true,
    () => false,
  );

/** Gives a whole file its name, and waits until that is on the disk. Without `force` only where nothing is, also by now. */
async function giveName(partial: string, file: string, force: boolean): Promise<void> {
  try {
    // A link is made only where nothing is; a rename replaces.
    if (force) await rename(partial, file);
    else await link(partial, file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw isThereAlready(file);
    const advice = force ? '' : ' (where the file system has no hard links, --force does without)';
    throw new InputError(`cannot write ${file}: ${code}${advice}`);
  }
  const directory = await open(dirname(resolve(file)), 'r');
  await directory.sync().finally(() => directory.close());
}

const isThereAlready = (file: string) => new InputError(`${file} is there already: --force replaces it`);

interface Location {
  store: ObjectStore;
  key: string;
  /** For people and scripts. */
  url: string;
  isS3: boolean;
}

/** Where an object is: `s3://bucket/key`, `file:///path` or a path. `name` is the one it gets in a place that ends with `/`. */
async function locate(text: string, name?: string): Promise<Location> {
  const s3 = /^s3:\/\/([^/]+)(?:\/(.*))?$/s.exec(text);
  if (s3) {
    const [, bucket = '', path = ''] = s3;
    checkBucketName(bucket);
    const key = path === '' || path.endsWith('/') ? `${path}${name ?? ''}` : path;
    if (key === '' || key.endsWith('/')) throw new InputError(`${text} names no object: s3://bucket/key`);
    const { s3ObjectStore } = await loadAws(() => import('../enclave-render/storage/s3.ts'));
    return { store: s3ObjectStore(await client(), bucket), key, url: `s3://${bucket}/${key}`, isS3: true };
  }
  const isUrl = text.startsWith('file:');
  if (!isUrl && /^[a-z][a-z\d+.-]*:\/\//i.test(text)) throw new InputError(`${text}: s3://, file:/// or a path`);
  let path: string;
  try {
    path = isUrl ? fileURLToPath(text) : text;
  } catch {
    throw new InputError(`${text} is no URL of a file: file:///path`);
  }
  const isFolder = path.endsWith('/') || (await stat(path).catch(() => undefined))?.isDirectory();
  if (isFolder && name === undefined) throw new InputError(`${text} is a folder: name the object in it`);
  const whole = isFolder ? join(path, name ?? '') : resolve(path);
  return { store: fileObjectStore(dirname(whole)), key: basename(whole), url: resolve(whole), isS3: false };
}

async function client() {
  const { s3Client } = await loadAws(() => import('../enclave-render/storage/s3.ts'));
  return s3Client(Boolean(process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL));
}

async function check(
  bucket: string,
  options: { policy?: string; kmsKey?: string; allowSseC?: boolean; json?: boolean },
): Promise<void> {
  const { kmsKey, allowSseC } = options;
  // Which names and keys there can be is the matter of the policy that is made of them.
  bucketPolicy({ bucket, kmsKey, allowSseC });
  const read = async () => {
    const { readBucket } = await loadAws(() => import('../enclave-render/storage/bucket/s3.ts'));
    return readBucket(await client(), bucket);
  };
  const found = options.policy === undefined ? await read() : { policy: parsePolicy(await readJson(options.policy)) };
  const result = checkBucket({ bucket, kmsKey, allowSseC, ...found });
  print(options.json, result, [
    ...alignColumns(result.probes.map(({ probe, verdict, action, why }) => [verdict, probe, action, why])),
    ...result.notes.map((line) => `note: ${line}`),
    result.safe ? `${bucket}: all of it is blocked` : `${bucket}: not safe`,
  ]);
  if (!result.safe) process.exitCode = EXIT_NO;
}

/** A bar for what takes longer than two seconds. */
function lateProgress(): Progress {
  const from = performance.now();
  let bar: Progress | undefined;
  return {
    update(phase, done, total) {
      if (bar === undefined && performance.now() - from > 2000) bar = startProgress();
      bar?.update(phase, done, total);
    },
    stop: () => bar?.stop(),
  };
}

/** A signal for Ctrl-C and kill, so that what was begun is removed before the command ends. */
function stopOnSignal(): { signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const stop = () => controller.abort(new InputError('interrupted: nothing was left behind'));
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, stop);
  return {
    signal: controller.signal,
    release() {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, stop);
    },
  };
}
