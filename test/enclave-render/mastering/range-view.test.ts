import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync, watch, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { MASTER_MODES } from '../../../enclave-render/mastering/modes.ts';
import { openMaster } from '../../../enclave-render/mastering/open-master.ts';
import { openRangeView, type RangeView } from '../../../enclave-render/mastering/range-view.ts';
import { gcmCounter } from '../../../enclave-render/mastering/segments.ts';
import { packagePath } from '../../../local/package-root.ts';
import { mastersFolder } from '../../harness/masters.ts';
import { isOnPath } from '../../harness/programs.ts';

const MIB = 1 << 20;
const run = promisify(execFile);
const { file, encrypt, path, dataKeys } = mastersFolder();

const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});
async function view(master: string): Promise<RangeView> {
  const reader = await openMaster(master, { dataKeys });
  const opened = await openRangeView(reader);
  open.push(opened.close, reader.close);
  return opened;
}

describe('a Range view', () => {
  test('gives what is asked for, as RFC 9110 has it', async () => {
    const source = file(2 * MIB + 9);
    const plaintext = readFileSync(source);
    const { url } = await view((await encrypt(source, 'framed')).output);
    const get = (range?: string, method = 'GET') => fetch(url, { method, headers: range ? { range } : {} });
    const whole = await get();
    expect([whole.status, whole.headers.get('accept-ranges')]).toEqual([200, 'bytes']);
    expect(Buffer.from(await whole.arrayBuffer()).equals(plaintext)).toBe(true);
    for (const [range, begin, end] of [
      ['bytes=0-0', 0, 1],
      ['bytes=1048570-1048590', MIB - 6, MIB + 15],
      ['bytes=2097152-', 2 * MIB, 2 * MIB + 9],
      ['bytes=-5', 2 * MIB + 4, 2 * MIB + 9],
      ['bytes=5-99999999', 5, 2 * MIB + 9],
    ] as const) {
      const part = await get(range);
      expect([part.status, part.headers.get('content-range')]).toEqual([
        206,
        `bytes ${begin}-${end - 1}/${2 * MIB + 9}`,
      ]);
      expect(Buffer.from(await part.arrayBuffer()).equals(plaintext.subarray(begin, end))).toBe(true);
    }
    const beyond = await get('bytes=99999999-');
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${2 * MIB + 9}`]);
    expect((await get('bytes=0-1,5-6')).status).toBe(200);
    const head = await get(undefined, 'HEAD');
    expect([head.status, head.headers.get('content-length')]).toEqual([200, `${2 * MIB + 9}`]);
    expect((await get(undefined, 'POST')).status).toBe(405);
    for (const wrong of [new URL('/', url), `${url}x`, url.slice(0, -1), `${url}?a`]) {
      expect((await fetch(wrong)).status).toBe(404);
    }
    expect(new URL(url).hostname).toBe('127.0.0.1');
  });

  test.skipIf(process.getuid?.() !== 0)(
    'gives nothing to another user of the machine (needs root to be one)',
    async () => {
      const { url } = await view((await encrypt(file(10), 'framed')).output);
      const script = `fetch('${url}').then(({ status }) => console.log(status))`;
      const nobody = { uid: 65534, gid: 65534, cwd: '/' };
      expect((await run(process.execPath, ['-e', script], nobody)).stdout.trim()).toBe('404');
      expect((await run(process.execPath, ['-e', script], { cwd: '/' })).stdout.trim()).toBe('200');
    },
  );

  test.skipIf(process.getuid?.() !== 0)(
    'gives nothing to another user with the port of an open connection of ours (needs root to be one)',
    async () => {
      const { url } = await view((await encrypt(file(10), 'framed')).output);
      const ours = connect({ host: '127.0.0.1', port: Number(new URL(url).port) });
      open.push(async () => void ours.destroy());
      await once(ours, 'connect');
      const script = `
        const options = { localAddress: '127.0.0.2', localPort: ${ours.localPort} };
        require('node:http').get('${url}', options, ({ statusCode }) => console.log(statusCode));`;
      const nobody = { uid: 65534, gid: 65534, cwd: '/' };
      expect((await run(process.execPath, ['-e', script], nobody)).stdout.trim()).toBe('404');
    },
  );

  test.skipIf(process.platform !== 'linux')(
    'gives nothing when it cannot find out whose connection it is',
    async () => {
      const module = packagePath('dist', 'lib', 'enclave-render', 'mastering', 'range-view.js');
      // A process of its own that runs out of file descriptors between connection and request.
      const script = `
      import { openSync } from 'node:fs';
      import { get } from 'node:http';
import { connect } from 'node:net';
      import { openRangeView } from ${JSON.stringify(module)};
      const view = await openRangeView({ size: 6, read: async () => Buffer.from('secret'), close: async () => {} });
      const { port, pathname } = new URL(view.url);
      const socket = connect({ host: '127.0.0.1', port });
      let answer = '';
      socket.on('data', (piece) => (answer += piece)).on('close', () => {
        console.log(JSON.stringify({ answer, code: view.failure?.code }));
        process.exit();
      });
      socket.on('connect', () => setImmediate(async () => {
        await fetch(new URL('/', view.url));
        for (;;) try { openSync('/dev/null'); } catch { break; }
        socket.write(\`GET \${pathname} HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n\`);
      }));`;
      const limited = 'ulimit -n 100 && exec "$0" --input-type=module -e "$1"';
      const { stdout } = await run('sh', ['-c', limited, process.execPath, script]);
      expect(JSON.parse(stdout)).toEqual({ answer: '', code: 'EMFILE' });
    },
  );

  test('takes so many connections and no more', async () => {
    const { url } = await view((await encrypt(file(10), 'framed')).output);
    const port = Number(new URL(url).port);
    const sockets = [];
    for (let i = 0; i < 64; i++) {
      const socket = connect({ host: '127.0.0.1', port });
      sockets.push(socket);
      await once(socket, 'connect');
    }
    const refused = connect({ host: '127.0.0.1', port }).on('error', () => undefined);
    await once(refused.resume(), 'close');
    expect(sockets.some(({ destroyed }) => destroyed)).toBe(false);
    for (const socket of sockets) socket.destroy();
    // Not fetch, which may wait for a connection that was refused.
    const status = async () => {
      const [response] = await once(get(url), 'response');
      response.resume();
      return response.statusCode;
    };
    await expect.poll(() => status().catch(String), { timeout: 30_000 }).toBe(200);
  });

  test('of nothing is empty', async () => {
    for (const mode of MASTER_MODES) {
      const { url } = await view((await encrypt(file(0), mode)).output);
      expect(Buffer.from(await (await fetch(url)).arrayBuffer()).length).toBe(0);
    }
  });

  test.each(MASTER_MODES)(
    'of a %s master that is changed after it was opened breaks off, and says why',
    async (mode) => {
      const source = file(3 * MIB);
      const { output, bytes } = await encrypt(source, mode);
      const opened = await view(output);
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
      writeFileSync(output, bytes);
      const broken = fetch(opened.url).then((response) => response.arrayBuffer());
      await expect(broken).rejects.toThrow();
      expect(opened.failure).toMatchObject({ code: 'ERR_MASTER_AUTHENTICATION' });
    },
  );

  test.each(MASTER_MODES)('of a %s master that was changed before, or cut off, is not opened', async (mode) => {
    const { output, bytes } = await encrypt(file(2 * MIB), mode);
    const altered = Buffer.from(bytes);
    altered[altered.length - 1] = (altered[altered.length - 1] ?? 0) ^ 1;
    writeFileSync(output, altered);
    await expect(openMaster(output, { dataKeys })).rejects.toMatchObject({ code: 'ERR_MASTER_AUTHENTICATION' });
    writeFileSync(output, bytes.subarray(0, -1));
    await expect(openMaster(output, { dataKeys })).rejects.toMatchObject({ code: 'ERR_MASTER_MANIFEST_MISMATCH' });
  });
});

test.each(MASTER_MODES)('a %s master that is closed gives what is being read, and then nothing', async (mode) => {
  const source = file(3 * MIB);
  const reader = await openMaster((await encrypt(source, mode)).output, { dataKeys });
  const reading = [reader.read(0, 1000), reader.read(0, 3 * MIB), reader.read(MIB, 5)];
  await reader.close();
  const plaintext = readFileSync(source);
  const expected = [plaintext.subarray(0, 1000), plaintext, plaintext.subarray(MIB, MIB + 5)];
  const equal = (await Promise.all(reading)).map((bytes, i) => expected[i]?.equals(bytes));
  expect(equal).toEqual([true, true, true]);
  await expect(reader.read(0, 1)).rejects.toMatchObject({ code: 'ERR_MASTER_FILE' });
});

test('a GCM counter that begins anew within the file is followed', async () => {
  const dataKey = randomBytes(32);
  let iv = randomBytes(16);
  // One IV of 16 bytes in twenty thousand has a counter that wraps within three mebibytes.
  while (gcmCounter(dataKey, iv).readUInt32BE(12) < 2 ** 32 - (3 * MIB) / 16) iv = randomBytes(16);
  const source = file(4 * MIB);
  const { output } = await encrypt(source, 'gcm', { dataKey, iv });
  const reader = await openMaster(output, { dataKey });
  open.push(reader.close);
  expect(readFileSync(source).equals(await reader.read(0, 4 * MIB))).toBe(true);
});

describe.skipIf(!isOnPath('ffmpeg'))('ffmpeg through the Range view', () => {
  test('makes of a master what it makes of the plaintext, with no plaintext on the disk', async () => {
    const [mezzanine, work] = [path('mezzanine.mp4'), path('work')];
    await mkdir(work);
    // Without -movflags faststart: the index is at the end, so that ffmpeg has to seek.
    const inputs = ['-f', 'lavfi', '-i', 'testsrc2=size=640x360:rate=25', '-f', 'lavfi', '-i', 'sine=frequency=440'];
    const codecs = ['-t', '4', '-c:v', 'libx264', '-preset', 'ultrafast', '-c:a', 'aac'];
    await run('ffmpeg', ['-v', 'error', ...inputs, ...codecs, mezzanine]);
    const plaintext = readFileSync(mezzanine);
    expect(plaintext.indexOf('moov')).toBeGreaterThan(plaintext.indexOf('mdat'));
    const md5 = async (input: string, ...decode: string[]) => {
      const options = { cwd: work, env: { ...process.env, TMPDIR: work, HOME: work } };
      return (await run('ffmpeg', ['-v', 'error', '-i', input, ...decode, '-f', 'md5', '-'], options)).stdout;
    };
    const expected = { copied: await md5(mezzanine, '-c', 'copy'), decoded: await md5(mezzanine) };

    const masters = [];
    for (const mode of MASTER_MODES) masters.push({ mode, ...(await encrypt(mezzanine, mode)) });
    const before = new Set(readdirSync(path('.'), { recursive: true, encoding: 'utf8' }));
    const touched = new Set<string>();
    const watcher = watch(path('.'), { recursive: true }, (_, name) => name && touched.add(name));
    for (const { mode, output } of masters) {
      const { url } = await view(output);
      expect({ mode, copied: await md5(url, '-c', 'copy'), decoded: await md5(url) }).toEqual({ mode, ...expected });
    }
    watcher.close();
    // What was written meanwhile, and every file that is there now and was not before: none of it is plaintext.
    const present = readdirSync(path('.'), { recursive: true, encoding: 'utf8' });
    const changed = present.filter((name) => touched.has(name) || !before.has(name));
    for (const name of changed.filter((entry) => !entry.includes('audit'))) {
      const content = readFileSync(join(path('.'), name));
      expect(content.includes(plaintext.subarray(4096, 4128)), name).toBe(false);
    }
    expect([...touched].filter((name) => !name.startsWith('kms'))).toEqual([]);
    expect(readdirSync(work)).toEqual([]);
  });
});
