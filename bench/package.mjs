// npm run bench:package [-- --seconds N] [--json]: packaging a title of 20 Mbit/s with AES-128 beside ffmpeg's remux of the same file
// with AES-128 (MPEG-TS: ffmpeg refuses to encrypt CMAF), each as a process of its own, in memory (/dev/shm). Wall time is what
// somebody waits for; the CPU time beside it is what holds on a machine that has other things to do. The best of three runs.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RUNS = 3;
const CLIP_SECONDS = 10;
const args = process.argv.slice(2);
const seconds = Number(args[args.indexOf('--seconds') + 1]) || 180;

const scratch = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'portcullis-bench-'));
const file = (name) => join(scratch, name);
const cli = fileURLToPath(new URL('../dist/lib/cli/portcullis.js', import.meta.url));

function run(command, argv) {
  const began = process.hrtime.bigint();
  const { status, stderr, error } = spawnSync('/usr/bin/env', ['time', '-f', '%U %S %M', command, ...argv], {
    encoding: 'utf8',
  });
  if (error || status !== 0) throw new Error(`${command} ended with ${status}: ${stderr ?? error}`);
  const wall = Number(process.hrtime.bigint() - began) / 1e9;
  const [user, system, kilobytes] = stderr.trim().split('\n').at(-1).split(' ').map(Number);
  return { wall, cpu: user + system, megabytes: kilobytes / 1024 };
}

function best(command, argv, clean) {
  const runs = Array.from({ length: RUNS }, () => {
    clean();
    return run(command, argv);
  });
  const least = (of) => Math.min(...runs.map((each) => each[of]));
  return { wall: least('wall'), cpu: least('cpu'), megabytes: Math.max(...runs.map(({ megabytes }) => megabytes)) };
}

try {
  const quiet = ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y'];
  run('ffmpeg', [
    ...quiet,
    ...['-f', 'lavfi', '-i', `testsrc2=size=1920x1080:rate=25:duration=${CLIP_SECONDS}`],
    ...['-f', 'lavfi', '-i', `sine=frequency=440:sample_rate=48000:duration=${CLIP_SECONDS}`],
    ...['-vf', 'noise=alls=20:allf=t', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '50'],
    ...['-b:v', '20M', '-maxrate', '20M', '-bufsize', '20M', '-c:a', 'aac', file('clip.mp4')],
  ]);
  const loops = String(Math.max(0, Math.ceil(seconds / CLIP_SECONDS) - 1));
  run('ffmpeg', [...quiet, '-stream_loop', loops, '-i', file('clip.mp4'), '-c', 'copy', file('title.mp4')]);
  const megabytes = statSync(file('title.mp4')).size / 1e6;
  run(process.execPath, [cli, 'kms', 'create', '--alias', 'alias/portcullis-mastering', '--data', file('data')]);

  writeFileSync(file('bench.key'), randomBytes(16));
  writeFileSync(file('key-info'), `bench.key\n${file('bench.key')}\n`);
  const empty = (name) => () => rmSync(file(name), { recursive: true, force: true });
  const fresh = (name) => () => {
    empty(name)();
    mkdirSync(file(name));
  };
  const hls = ['-f', 'hls', '-hls_time', '4', '-hls_playlist_type', 'vod', '-hls_key_info_file', file('key-info')];
  const remux = ['-i', file('title.mp4'), '-c', 'copy', ...hls, '-hls_segment_filename', file('remux/%05d.ts')];
  const pack = (format) => [
    cli,
    'package',
    'hls',
    file('title.mp4'),
    file('packed'),
    '--format',
    format,
    '--data',
    file('data'),
  ];
  const results = {
    'ffmpeg, TS': best('ffmpeg', [...quiet, ...remux, file('remux/index.m3u8')], fresh('remux')),
    'portcullis, TS': best(process.execPath, pack('ts'), empty('packed')),
    'portcullis, CMAF': best(process.execPath, pack('cmaf'), empty('packed')),
  };
  const reference = results['ffmpeg, TS'];
  const rows = Object.entries(results).map(([name, { wall, cpu, megabytes: memory }]) => ({
    name,
    wall,
    cpu,
    memory,
    megabytesPerSecond: megabytes / wall,
    speed: reference.wall / wall,
    cpuSpeed: reference.cpu / cpu,
  }));
  if (args.includes('--json')) process.stdout.write(`${JSON.stringify({ megabytes, rows })}\n`);
  else {
    process.stdout.write(
      `${megabytes.toFixed(0)} MB, least of ${RUNS} runs; speed beside ffmpeg by wall and by CPU time\n`,
    );
    for (const { name, wall, cpu, memory, megabytesPerSecond, speed, cpuSpeed } of rows) {
      process.stdout.write(
        `${name.padEnd(18)} ${wall.toFixed(2)} s  ${megabytesPerSecond.toFixed(0).padStart(4)} MB/s  CPU ${cpu.toFixed(2)} s  ` +
          `${memory.toFixed(0)} MB  ×${speed.toFixed(2)}, ×${cpuSpeed.toFixed(2)}\n`,
      );
    }
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
