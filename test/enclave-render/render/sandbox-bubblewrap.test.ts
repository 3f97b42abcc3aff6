import { execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { build } from 'esbuild';
import { beforeAll, describe, expect, test } from 'vitest';
import { openSandbox } from '../../../enclave-render/render/open-sandbox.ts';
import type { SandboxInput } from '../../../enclave-render/render/sandbox.ts';
import { BubblewrapSandbox } from '../../../enclave-render/render/sandbox-bubblewrap.ts';
import { DENIED } from '../../../enclave-render/render/seccomp.ts';
import { packagePath } from '../../../local/package-root.ts';
import { describeWithFfmpeg, ffmpeg } from '../../harness/media.ts';
import { describeWithSandbox, LIMITS, useRendererProbe } from '../../harness/renderer-probe.ts';

const ERRNO: Record<number, string> = { 1: 'EPERM', 38: 'ENOSYS' };

describeWithSandbox('a renderer under bubblewrap', () => {
  const probe = useRendererProbe();
  const sandbox = openSandbox('bubblewrap');
  const attempt = (...args: string[]) => probe.try(sandbox, args);

  function input(name: string, content: string, mode = 0o600): SandboxInput {
    const path = join(probe.folder, 'input');
    writeFileSync(path, content, { mode });
    const fd = openSync(path, 'r');
    unlinkSync(path);
    return { name, fd };
  }

  test('has no sockets but AF_UNIX: no loopback, no internet, netlink, packets, vsock', async () => {
    const families = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17, alg: 38, vsock: 40, xdp: 44 };
    const { unix, ...others } = families;
    const lines = Object.values(others).flatMap((family) => [`${family} EAFNOSUPPORT`, `${family} EAFNOSUPPORT`]);
    expect(await attempt('socket', ...Object.values(families).map(String))).toEqual([
      `${unix} OK`,
      `${unix} OK`,
      ...lines,
    ]);
  });

  test('reaches no socket of the host, by path or by an abstract name', async () => {
    const path = join(probe.folder, 'module.sock');
    const name = `portcullis-test-${process.pid}`;
    const servers = await Promise.all(
      [path, `\0${name}`].map(async (address) => {
        const server = createServer();
        await new Promise<void>((resolve) => server.listen(address, resolve));
        return server;
      }),
    );
    expect(await attempt('connect', path, `@${name}`)).toEqual([`${path} ENOENT`, `@${name} ECONNREFUSED`]);
    for (const server of servers) server.close();
  });

  test('sees no file of the host, of the agent, of the module', async () => {
    const paths = [
      '/etc/passwd',
      '/etc/hostname',
      '/etc/ssl',
      '/root',
      '/home',
      '/proc/1/environ',
      '/proc/cpuinfo',
      '/sys',
    ];
    const more = [
      '/dev/nsm',
      '/dev/kmsg',
      '/dev/shm',
      '/dev/pts',
      '/run',
      '/var',
      '/usr/bin',
      '/usr/bin/sh',
      '/bin/sh',
    ];
    const here = [
      packagePath('package.json'),
      probe.path,
      process.execPath,
      '/proc/self/exe',
      '/proc/self/mem',
      '/proc/sys',
    ];
    const all = [...paths, ...more, ...here];
    expect(await attempt('read', ...all)).toEqual(all.map((path) => `${path} ENOENT`));
  });

  test('sees its program, libraries, fonts, four devices and its descriptors', async () => {
    expect((await attempt('list', '/', '/bin', '/dev', '/proc', '/proc/self')).sort()).toEqual(
      [
        ...['//bin', '//dev', '//etc', '//in', '//lib', '//lib64', '//out', '//proc', '//tmp', '//usr', '//work'],
        ...['/bin/renderer-probe', '/dev/fd', '/dev/null', '/dev/random', '/dev/urandom', '/dev/zero'],
        ...['/proc/self', '/proc/self/fd'],
      ].sort(),
    );
    const [etc, usr] = [await attempt('list', '/etc'), await attempt('list', '/usr')];
    expect(['/etc/alternatives', '/etc/fonts', '']).toEqual(expect.arrayContaining(etc));
    expect(['/usr/lib', '/usr/lib64', '/usr/share']).toEqual(expect.arrayContaining(usr));
  });

  test('writes to /out and /tmp, and nowhere else', async () => {
    const paths = [
      '/x',
      '/bin/x',
      '/dev/x',
      '/etc/x',
      '/in/x',
      '/proc/x',
      '/proc/self/x',
      '/usr/lib/x',
      '/bin/renderer-probe',
    ];
    const lines = await attempt('write', ...paths, '/out/x', '/tmp/x');
    expect(lines.slice(-2)).toEqual(['/out/x OK', '/tmp/x OK']);
    for (const line of lines.slice(0, -2)) expect(line).toMatch(/ (?:EROFS|EACCES|ENOENT|ETXTBSY)$/);
  });

  test('sees and reaches no other process, and can start none; threads it has', async () => {
    expect(await attempt('processes')).toEqual([...['signal to all ESRCH', 'fork EPERM', 'spawn EPERM', 'thread OK']]);
    expect(await attempt('forks')).toEqual(['fork EPERM']);
  });

  test('has no privileges, and none of our environment', async () => {
    const lines = await attempt('environment');
    const variables = [
      'HOME=/tmp',
      'LC_ALL=C.UTF-8',
      'PATH=/bin',
      'PWD=/out',
      'TMPDIR=/tmp',
      'TZ=UTC',
      'XDG_CACHE_HOME=/tmp',
    ];
    expect(lines.slice(0, -2).sort()).toEqual(variables);
    expect(lines.at(-2)).toBe('host renderer, time zone UTC, uid 65534, gid 65534, pid 1, parent 0, session 1');
    expect(lines.at(-1)).toBe('capabilities 0 0 0 0, bounding 0, no new privileges 1, seccomp 2');
  });

  test('is refused every call of the table: io_uring, ptrace, mounts, namespaces, keys, modules and the rest', async () => {
    const column = process.arch === 'x64' ? 0 : 1;
    const rows = DENIED.flatMap(({ errno, calls }) =>
      Object.values(calls).flatMap((numbers) => (numbers[column] === null ? [] : [[numbers[column], errno] as const])),
    );
    const lines = await attempt('calls', ...rows.map(([number]) => String(number)), '452', '467');
    expect(lines).toEqual([...rows.map(([number, errno]) => `${number} ${ERRNO[errno]}`), '452 ENOSYS', '467 ENOSYS']);
  });

  test.runIf(process.arch === 'x64').each(['i386', 'x32'])('is killed when it calls as %s', async (abi) => {
    await expect(attempt('foreign', abi)).rejects.toMatchObject({ message: 'the renderer ended with 159' });
  });

  test('has no terminal to type into', async () => {
    expect(await attempt('terminal')).toEqual(['TIOCSTI EPERM', 'TIOCLINUX EPERM', '/dev/tty ENOENT']);
  });

  test('cannot raise its limits', async () => {
    expect(await attempt('limits')).toEqual(Array(4).fill('more EPERM'));
  });

  test('reads its inputs and cannot alter them, whose files they are and whatever their mode', async () => {
    for (const mode of [0o600, 0o666, 0o400]) {
      const inputs = [input('secret.txt', 'content', mode)];
      const lines = await probe.try(sandbox, ['alter', '/in/secret.txt'], { inputs });
      expect(lines).toEqual([
        'content 7',
        ...['open for writing EACCES', 'truncate EACCES', 'write EBADF'],
        ...['chmod EPERM', 'fchmod EPERM', 'access list EPERM', 'fchown EPERM', 'open for writing EACCES'],
        'unlink EROFS',
        expect.stringMatching(/^hard link (?:EXDEV|ENOENT|EPERM)$/),
      ]);
      expect(readFileSync(`/proc/self/fd/${inputs[0]?.fd}`, 'utf8')).toBe('content');
    }
  });

  test('has the descriptors that it was handed, and no other', async () => {
    const secret = openSync(packagePath('package.json'), 'r');
    const inputs = [input('a', ''), input('b', '')];
    const lines = await probe.try(sandbox, ['list', '/proc/self/fd'], { inputs });
    // 3 is the folder that it lists; 6 and 7 are the inputs.
    const its = [0, 1, 2, 3, 6, 7].map((fd) => `/proc/self/fd/${fd}`);
    expect(lines).toEqual(expect.arrayContaining(its));
    // What the shell that runs these tests may have left open.
    const others = lines.filter((line) => !its.includes(line));
    const links = others.length > 0 ? await probe.try(sandbox, ['link', ...others], { inputs }) : [];
    expect(links).toEqual(others.map((path) => `${path} -> /dev/null`));
    closeSync(secret);
  });

  test('cannot lead us astray by moving its folder for outputs away', async () => {
    const result = await sandbox.run({ command: probe.path, args: ['leave', 'moved'], inputs: [], limits: LIMITS });
    expect(result.outputs).toEqual([]);
    await result.dispose();
  });

  test('shares one limit between outputs and scratch', async () => {
    const limits = { ...LIMITS, outputBytes: 3 << 20 };
    const args = ['fill', String(2 << 20)];
    await expect(sandbox.run({ command: probe.path, args, inputs: [], limits })).rejects.toMatchObject({
      message: `the renderer took more than its limit of outputBytes, ${3 << 20}`,
    });
  });

  test('does not run without bubblewrap, and says what to do', async () => {
    const without = new BubblewrapSandbox('/nowhere/bwrap');
    await expect(without.run({ command: probe.path, args: [], inputs: [], limits: LIMITS })).rejects.toMatchObject({
      code: 'ERR_RENDER_SANDBOX',
      message: expect.stringContaining('isolation none'),
    });
  });

  test('does not run when bubblewrap cannot set the sandbox up', async () => {
    const broken = join(probe.folder, 'bwrap');
    writeFileSync(broken, '#!/bin/sh\necho "bwrap: No permissions to create a new namespace" >&2\nexit 1\n');
    chmodSync(broken, 0o755);
    const run = { command: probe.path, args: ['copy'], inputs: [], limits: LIMITS };
    await expect(new BubblewrapSandbox(broken).run(run)).rejects.toMatchObject({
      code: 'ERR_RENDER_SANDBOX',
      message: expect.stringContaining('No permissions to create a new namespace'),
    });
  });

  test('does not run where no filter is known', () => {
    for (const architecture of ['ia32', 'riscv64', 's390x', '']) {
      expect(() => new BubblewrapSandbox('/usr/bin/bwrap', architecture)).toThrow('no filter of system calls');
    }
  });

  describe('started by an agent', () => {
    const module = join(probe.folder, 'sandbox.mjs');
    beforeAll(async () => {
      const entryPoints = [packagePath('enclave-render', 'render', 'open-sandbox.ts')];
      await build({
        entryPoints,
        outfile: module,
        bundle: true,
        platform: 'node',
        target: 'node20',
        format: 'esm',
        logLevel: 'error',
      });
    });

    const agent = (args: string[]) => `
      const { openSandbox } = await import(${JSON.stringify(module)});
      const { openSync } = await import('node:fs');
      const run = {
        command: ${JSON.stringify(probe.path)}, args: ${JSON.stringify(args)}, limits: ${JSON.stringify(LIMITS)},
        inputs: [{ name: 'a', fd: openSync(${JSON.stringify(join(probe.folder, 'own'))}, 'r') }],
        onOutput: (text) => process.stdout.write(text),
      };
      const result = await openSandbox('bubblewrap').run(run);
      process.stdout.write(JSON.stringify(result.outputs.map(({ name, bytes }) => [name, bytes])) + result.sandboxSha384);
    `;
    const script = (args: string[]) => ['--input-type=module', '-e', agent(args)];
    const node = process.execPath;
    const env = { NODE_EXTRA_CA_CERTS: '' };
    const ownFile = (mode = 0o444) => {
      const path = join(probe.folder, 'own');
      writeFileSync(path, 'content');
      chmodSync(path, mode);
    };

    test('that was itself given a descriptor, has none of that', () => {
      ownFile();
      const secret = openSync(packagePath('package.json'), 'r');
      const stdio: SpawnOptions['stdio'] = ['ignore', 'pipe', 'inherit'];
      while (stdio.length < 40) (stdio as unknown[]).push('ignore');
      (stdio as unknown[]).push(secret);
      const text = execFileSync(node, script(['link', '/proc/self/fd/40', '/proc/self/fd/6']), {
        stdio: stdio as 'pipe'[],
        env,
        encoding: 'utf8',
      });
      expect(text).toContain('/proc/self/fd/40 -> /dev/null\n');
      expect(text).toContain(`/proc/self/fd/6 -> ${join(probe.folder, 'own')}`);
      closeSync(secret);
    });

    /** The outer sandboxes that an enclave may be simulated with: a tmpfs, no network, a /proc of their own. */
    const OUTER = [
      ...['--ro-bind', '/', '/', '--proc', '/proc', '--dev', '/dev', '--unshare-pid', '--unshare-net', '--unshare-ipc'],
      ...['--unshare-uts', '--die-with-parent', '--new-session', '--tmpfs', '/run'],
    ];
    const MEANS: [string, string[]][] = [
      ['as it is', []],
      ['within bubblewrap', ['bwrap', ...OUTER]],
      ['within bubblewrap with a user namespace', ['bwrap', '--unshare-user', ...OUTER]],
    ];

    test.each(MEANS)('%s, is gone when that is killed', async (_, outer) => {
      ownFile();
      const token = `token-killed-${process.pid}`;
      const [command = node, ...args] = [...outer, node, ...script(['sleep', token])];
      const child = spawn(command, args, {
        env: { ...env, PATH: process.env.PATH },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await new Promise((resolve) => child.stdout?.once('data', resolve));
      const running = () =>
        readdirSync('/proc').filter((pid) => {
          const path = `/proc/${pid}/cmdline`;
          if (!/^\d+$/.test(pid) || Number(pid) === child.pid || !existsSync(path)) return false;
          try {
            return readFileSync(path, 'latin1').includes(token);
          } catch {
            return false;
          }
        });
      expect(running().length).toBeGreaterThan(0);
      child.kill('SIGKILL');
      await expect.poll(() => running().length).toBe(0);
    });

    const ORDINARY = ['setpriv', '--reuid', '4321', '--regid', '4321', '--clear-groups'];
    const users = process.getuid?.() === 0 ? [[], ORDINARY] : [[]];

    test.each(MEANS)('%s, as root and as an ordinary user: runs, is the same sandbox, and is as closed', (_, outer) => {
      const answers = users.map((user) => {
        // Of whom it is whose permission to write has to be taken.
        ownFile(user.length > 0 ? 0o444 : 0o644);
        const [command = node, ...args] = [
          ...user,
          ...outer,
          node,
          ...script(['read', '/in/a', '/proc/1/environ', '/etc/passwd']),
        ];
        return execFileSync(command, args, { env: { ...env, PATH: process.env.PATH }, encoding: 'utf8' });
      });
      for (const answer of answers) {
        expect(answer).toMatch(/^\/in\/a OK\n\/proc\/1\/environ ENOENT\n\/etc\/passwd ENOENT\n\[\][0-9a-f]{96}$/);
        expect(answer).toBe(answers[0]);
      }
    });
  });

  describeWithFfmpeg('that is ffmpeg', () => {
    test('makes the same of a file with its index at the end as outside, with text drawn', async () => {
      const source = join(probe.folder, 'source.mp4');
      const outside = join(probe.folder, 'outside.mkv');
      const sound = ['-f', 'lavfi', '-i', 'sine=duration=2', '-c:a', 'aac'];
      await ffmpeg('-f', 'lavfi', '-i', 'testsrc2=d=2:s=320x180:r=25', ...sound, '-c:v', 'libx264', source);
      const box = readFileSync(source).indexOf('moov');
      expect(box).toBeGreaterThan(readFileSync(source).indexOf('mdat'));
      const work = ['-vf', 'drawtext=text=job-1:x=10:y=10:fontsize=20', '-c:v', 'ffv1', '-c:a', 'pcm_s16le'];
      const exact = ['-fflags', '+bitexact', '-flags', '+bitexact'];
      await ffmpeg('-i', source, ...work, ...exact, outside);
      const inputs = [{ name: 'source.mp4', fd: openSync(source, 'r') }];
      const args = ['-nostdin', '-loglevel', 'error', '-i', '/in/source.mp4', ...work, ...exact, '/out/inside.mkv'];
      const limits = { ...LIMITS, memoryBytes: 4 * 2 ** 30 };
      const result = await sandbox.run({ command: '/usr/bin/ffmpeg', args, inputs, limits });
      expect(result.outputs.map(({ name }) => name)).toEqual(['inside.mkv']);
      const inside = readFileSync(`/proc/self/fd/${result.outputs[0]?.fd}`);
      expect(inside.equals(readFileSync(outside))).toBe(true);
      await result.dispose();
    });

    test.each(['http://127.0.0.1:9/a.mp4', 'tcp://192.0.2.1:80', 'rtmp://127.0.0.1/x', 'unix:/run/x', '/etc/passwd'])(
      'cannot read %s',
      async (url) => {
        const limits = { ...LIMITS, memoryBytes: 4 * 2 ** 30 };
        const args = ['-nostdin', '-loglevel', 'error', '-i', url, '/out/a.mkv'];
        await expect(sandbox.run({ command: '/usr/bin/ffmpeg', args, inputs: [], limits })).rejects.toMatchObject({
          code: 'ERR_RENDER_TASK',
        });
      },
    );
  });
});
