import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, describe, expect, test } from 'vitest';
import { contentOf, crossingsOf } from '../../../enclave-render/storage/crossing.ts';
import { readCustomerKey } from '../../../enclave-render/storage/customer-key.ts';
import { fileObjectStore, foldersUpTo } from '../../../enclave-render/storage/files.ts';
import { packagePath } from '../../../local/package-root.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));
let folders = 0;
function folder(): string {
  const path = join(scratch, `folder-${++folders}`);
  mkdirSync(path);
  return path;
}
const stream = (text: string) => Readable.from([Buffer.from(text)], { objectMode: false });
const invalid = { name: 'StorageError', code: 'ERR_STORAGE_INVALID' };

describe('a folder as a store', () => {
  test('follows no link, to a file or through a folder', async () => {
    const [path, outside] = [folder(), folder()];
    writeFileSync(join(outside, 'secret'), 'secret');
    symlinkSync(join(outside, 'secret'), join(path, 'link'));
    symlinkSync(outside, join(path, 'folder'));
    symlinkSync(join(outside, 'new'), join(path, 'dangling'));
    const store = fileObjectStore(path);
    for (const key of ['link', 'folder/secret', 'dangling']) {
      await expect(store.get(key)).rejects.toMatchObject(invalid);
      await expect(store.head(key)).rejects.toMatchObject(invalid);
    }
    await expect(store.put('folder/new', stream('new'))).rejects.toMatchObject(invalid);
    await expect(store.delete('folder/secret')).rejects.toMatchObject(invalid);
    await store.put('link', stream('replaced'));
    await store.put('dangling', stream('replaced'));
    expect(readdirSync(outside)).toEqual(['secret']);
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
    const keys: string[] = [];
    for await (const { key } of store.list('')) keys.push(key);
    expect(keys).toEqual(['dangling', 'link']);
  });

  test('waits for no pipe, and takes a folder for no object', async () => {
    const path = folder();
    execFileSync('mkfifo', [join(path, 'pipe')]);
    mkdirSync(join(path, 'sub'));
    const store = fileObjectStore(path);
    for (const key of ['pipe', 'sub'])
      await expect(store.get(key)).rejects.toMatchObject({ code: 'ERR_STORAGE_NOT_FOUND' });
  });

  test('keeps objects private, and nothing of what was not stored', async () => {
    const path = folder();
    const store = fileObjectStore(path);
    const never = new Readable({ read() {} });
    const failing = store.put('a/b', never);
    never.destroy(new Error('gone'));
    await expect(failing).rejects.toThrow('gone');
    await store.put('a', stream('a'));
    expect(statSync(join(path, 'a')).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(path, '.portcullis-partial'))).toEqual([]);
    await expect(store.get('.portcullis-partial/x')).rejects.toMatchObject(invalid);
  });

  test('an object that is being read stays what it was when it is replaced', async () => {
    const store = fileObjectStore(folder());
    await store.put('key', stream('first'));
    const { body } = await store.get('key');
    await store.put('key', stream('second'));
    expect(String(await buffer(body))).toBe('first');
  });

  test.each([
    ['/', '/object', ['/']],
    ['/', '/srv/masters/object', ['/srv/masters', '/srv', '/']],
    ['/srv', '/srv/object', ['/srv']],
    ['/srv', '/srv/masters/2026/object', ['/srv/masters/2026', '/srv/masters', '/srv']],
  ])('below %s, the folders of %s that are synced come to an end', (root, path, folders) => {
    expect(foldersUpTo(root, path)).toEqual(folders);
  });

  const hasMemory = existsSync('/proc/self/mem');
  // Its first page is mapped nowhere: reading it is an input error of the file system, as of a disk that fails.
  test.skipIf(!hasMemory)('a body that the disk fails at is an error of the store', async () => {
    const { body } = await fileObjectStore('/proc/self').get('mem');
    await expect(buffer(body)).rejects.toMatchObject({ name: 'StorageError', code: 'ERR_STORAGE_UNAVAILABLE' });
  });

  test('a process that is killed while it stores leaves no object', async () => {
    const path = folder();
    const module = packagePath('dist', 'lib', 'enclave-render', 'storage', 'files.js');
    const script = `
      import { Readable } from 'node:stream';
      import { fileObjectStore, foldersUpTo } from ${JSON.stringify(module)};
      const source = new Readable({ read() {} });
      source.push(Buffer.alloc(100000));
      fileObjectStore(${JSON.stringify(path)}).put('key', source, { onProgress: () => console.log('taken') });
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const store = fileObjectStore(path);
    await expect(store.head('key')).rejects.toMatchObject({ code: 'ERR_STORAGE_NOT_FOUND' });
    for await (const info of store.list('')) expect(info).toBeUndefined();
    await store.put('key', stream('whole'));
    expect(String(await buffer((await store.get('key')).body))).toBe('whole');
  });

  test('a source that fails before anybody reads it ends no process', async () => {
    const source = Readable.from(['x']);
    const put = fileObjectStore(folder()).put('../up', source);
    source.destroy(new Error('later'));
    await expect(put).rejects.toMatchObject(invalid);
  });
});

describe('what a file is', () => {
  const manifest = { format: 'portcullis-master/1', ciphertextBytes: 6, ciphertextSha256: 'ab'.repeat(32) };
  const file = (beside?: unknown) => {
    const path = join(folder(), 'file');
    writeFileSync(path, 'cipher');
    if (beside !== undefined) {
      writeFileSync(`${path}.manifest.json`, typeof beside === 'string' ? beside : JSON.stringify(beside));
    }
    return path;
  };

  test('a master beside its manifest, and the manifest: nothing crosses', async () => {
    const path = file(manifest);
    const content = await contentOf(path);
    expect(content).toEqual({
      kind: 'master',
      manifest: `${path}.manifest.json`,
      manifestBytes: Buffer.from(JSON.stringify(manifest)),
      sha256: manifest.ciphertextSha256,
    });
    expect(crossingsOf(content, { type: 'SSE-S3' })).toEqual([]);
    expect(await contentOf(`${path}.manifest.json`)).toEqual({ kind: 'manifest' });
  });

  test('anything else is plaintext, under every encryption of S3', async () => {
    const content = await contentOf(file());
    expect(content).toEqual({ kind: 'plaintext' });
    const encryptions = [undefined, { type: 'SSE-S3' as const }, { type: 'SSE-C' as const, key: Buffer.alloc(32) }];
    expect(encryptions.flatMap((encryption) => crossingsOf(content, encryption)).map(({ by }) => by)).toEqual([
      'the default encryption of the bucket',
      'SSE-S3',
      'SSE-C',
    ]);
  });

  test.each([
    ['of another file', { ...manifest, ciphertextBytes: 7 }],
    ['that is none', { format: 'something' }],
    ['that is no JSON', '{'],
    ['without a hash', { ...manifest, ciphertextSha256: 'ab' }],
    ['larger than any', ' '.repeat(2 << 20)],
  ])('a manifest %s is refused', async (_, beside) => {
    await expect(contentOf(file(beside))).rejects.toMatchObject(invalid);
  });
});

describe('a file with an SSE-C key', () => {
  const file = (content: string | Uint8Array, mode = 0o600) => {
    const path = join(folder(), 'key');
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  };

  test('is 32 bytes', async () => {
    expect([...(await readCustomerKey(file(Buffer.alloc(32, 200))))]).toEqual(Array.from({ length: 32 }, () => 200));
  });

  test.each<[string, string | Uint8Array, number?]>([
    ['too short', Buffer.alloc(31, 200)],
    ['too long', Buffer.alloc(33, 200)],
    ['empty', ''],
    ['base64 of 32 bytes', Buffer.alloc(32, 200).toString('base64')],
    ['text of 32 characters, base64 of 24 bytes', Buffer.alloc(24, 200).toString('base64')],
    ['text of 32 characters, hexadecimal of 16 bytes', Buffer.alloc(16, 200).toString('hex')],
    ['readable by its group', Buffer.alloc(32, 200), 0o640],
    ['readable by all', Buffer.alloc(32, 200), 0o604],
  ])('%s is refused, and nothing of it told', async (_, content, mode) => {
    const path = file(content, mode);
    const error = await readCustomerKey(path).catch((thrown: Error) => thrown);
    expect(error).toMatchObject(invalid);
    const text = Buffer.from(content).toString('latin1');
    if (text !== '') expect((error as Error).message).not.toContain(text.slice(0, 10));
  });

  test('that is a link, a pipe or of somebody else is refused', async () => {
    const [path, link, pipe] = [file(Buffer.alloc(32, 200)), join(folder(), 'link'), join(folder(), 'pipe')];
    symlinkSync(path, link);
    execFileSync('mkfifo', ['-m', '600', pipe]);
    await expect(readCustomerKey(link)).rejects.toMatchObject({
      ...invalid,
      message: expect.stringMatching(/symbolic link/),
    });
    await expect(readCustomerKey(pipe)).rejects.toMatchObject({
      ...invalid,
      message: expect.stringMatching(/no regular file/),
    });
    // Only root can give a file away.
    if (process.geteuid?.() !== 0) return;
    chownSync(path, 65534, 65534);
    await expect(readCustomerKey(path)).rejects.toMatchObject({
      ...invalid,
      message: expect.stringMatching(/another user/),
    });
  });

  test('that is not there', async () => {
    await expect(readCustomerKey(join(scratch, 'none'))).rejects.toMatchObject(invalid);
    expect(existsSync(join(scratch, 'none'))).toBe(false);
  });
});
