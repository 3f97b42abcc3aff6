// npm run bench:render [-- --seconds 60] [-- --rounds 3] [-- --json]: a render of one minute by plain ffmpeg, beside the same in the
// sandbox with its output sealed to an owner's key, as `framed` master. Both take turns; all files are in memory (/dev/shm). The least
// of the rounds counts. Wall time is what an owner waits for; CPU time is what holds on a machine that has other things to do.
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { encryptMaster } from '../dist/lib/enclave-render/mastering/encrypt.js';
import { openSandbox } from '../dist/lib/enclave-render/render/open-sandbox.js';

const option = (name, otherwise) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};
const seconds = option('--seconds', 60);
const rounds = option('--rounds', 3);
const WANTED = 0.1;
const TICKS = 100;
const FFMPEG = '/usr/bin/ffmpeg';
const QUIET = ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y'];

const folder = mkdtempSync('/dev/shm/portcullis-bench-');
const source = join(folder, 'source.mp4');
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const sandbox = openSandbox('bubblewrap');
const limits = { memoryBytes: 8 * 2 ** 30, cpuSeconds: 3600, wallSeconds: 3600, outputBytes: 2 ** 31 };

/** What a job does: text into the picture, and into the encoding of a mezzanine. */
const render = (input, output) => [
  ...[...QUIET, '-i', input, '-vf', 'drawtext=text=job-1:x=40:y=40:fontsize=32:fontcolor=white'],
  ...['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '18', '-c:a', 'copy', output],
];

/** CPU time of this process and of those it started, in seconds; proc_pid_stat(5). */
function cpuSeconds() {
  const text = readFileSync('/proc/self/stat', 'utf8');
  const [user, system, childUser, childSystem] = text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15);
  return (Number(user) + Number(system) + Number(childUser) + Number(childSystem)) / TICKS;
}

async function measure(work) {
  const [began, before] = [performance.now(), cpuSeconds()];
  await work();
  return { wall: (performance.now() - began) / 1000, cpu: cpuSeconds() - before };
}

function plain() {
  execFileSync(FFMPEG, render(source, join(folder, 'plain.mp4')));
}

async function sealed() {
  const fd = openSync(source, 'r');
  const args = render('/in/source.mp4', '/out/rendered.mp4');
  const result = await sandbox.run({ command: FFMPEG, args, inputs: [{ name: 'source.mp4', fd }], limits });
  for (const output of result.outputs) {
    await encryptMaster({
      source: `/proc/self/fd/${output.fd}`,
      output: join(folder, `${output.name}.enc`),
      mode: 'framed',
      publicKeys: [publicKey],
      force: true,
      now: 0,
    });
  }
  await result.dispose();
  closeSync(fd);
}

try {
  execFileSync(FFMPEG, [
    ...[...QUIET, '-f', 'lavfi', '-i', `testsrc2=size=1280x720:rate=25:duration=${seconds}`],
    ...['-f', 'lavfi', '-i', `sine=frequency=440:sample_rate=48000:duration=${seconds}`],
    ...['-vf', 'noise=alls=2:allf=t', '-c:v', 'libx264', '-preset', 'ultrafast', '-crf', '18', '-c:a', 'aac', source],
  ]);
  const runs = { plain: [], sealed: [] };
  for (let round = 0; round < rounds; round++) {
    runs.plain.push(await measure(plain));
    runs.sealed.push(await measure(sealed));
  }
  const least = (name, of) => Math.min(...runs[name].map((run) => run[of]));
  const rows = ['wall', 'cpu'].map((of) => {
    const [without, within] = [least('plain', of), least('sealed', of)];
    const more = within / without - 1;
    return { of, plain: without, sealed: within, more, wanted: WANTED, met: more <= WANTED };
  });
  const report = { node: process.version, seconds, rounds, load: loadavg()[0], rows };
  if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    process.stdout.write(`${seconds} s of 720p, least of ${rounds} rounds, load ${report.load.toFixed(1)}\n`);
    for (const { of, plain: without, sealed: within, more, met } of rows) {
      const times = `plain ${without.toFixed(2)} s, sandboxed and sealed ${within.toFixed(2)} s`;
      const share = `${more < 0 ? '' : '+'}${(100 * more).toFixed(1)} %`;
      process.stdout.write(
        `${of.padEnd(5)}${times}: ${share}, wanted ≤ ${100 * WANTED} %: ${met ? 'met' : 'MISSED'}\n`,
      );
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
