// npm run bench:master [-- --size 256] [-- --json]: what encryption takes beside `cp` and `openssl enc`, on files in memory
// (/dev/shm), 2048 MiB unless told otherwise. Each candidate is a process of its own, so that its CPU time and its greatest memory
// (VmHWM) are its own. All take turns, in rounds; the best round counts for time, the worst for memory.
//
// The rows without "whole" are the pipeline alone: read, encrypt, write. The whole command also computes SHA-256 of both sides, the
// MAC and the manifest. Run it on a machine that does nothing else: with others about, wall time says little, CPU time more.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream, readFileSync, rmSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { encryptMaster } from '../dist/lib/enclave-render/mastering/encrypt.js';
import { transfer } from '../dist/lib/enclave-render/mastering/pipeline.js';

const option = (name, otherwise) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : process.argv[at + 1];
};
const ROUNDS = 3;
const MIB = 1 << 20;
const FOLDER = '/dev/shm';
const INPUT = `${FOLDER}/portcullis-bench-${option('--of', process.pid)}`;
const OUTPUT = `${INPUT}.out`;
const KEY = Buffer.alloc(32, 7);
const KEY_HEX = KEY.toString('hex');
const IV_HEX = '000102030405060708090a0b0c0d0e0f';

/** Encrypts with the pipeline alone. */
const pipeline = (mode, ivBytes, threads) => async () => {
  const [input, output] = [await open(INPUT), await open(OUTPUT, 'w+')];
  const job = {
    mode,
    direction: 'encrypt',
    dataKey: KEY,
    iv: Buffer.alloc(ivBytes, 1),
    inputBytes: statSync(INPUT).size,
  };
  await transfer({ job, inputFd: input.fd, outputFd: output.fd, digests: false, threads });
};
const whole = (mode) => () => encryptMaster({ source: INPUT, output: OUTPUT, mode, dataKey: KEY, force: true, now: 0 });

/** By name: a command, or what to run in a process of its own. */
const CANDIDATES = {
  cp: ['cp', INPUT, OUTPUT],
  'openssl enc, ctr': ['openssl', 'enc', '-aes-256-ctr', '-K', KEY_HEX, '-iv', IV_HEX, '-in', INPUT, '-out', OUTPUT],
  'gcm, one cipher thread': pipeline('gcm', 12, 1),
  'ctr, one cipher thread': pipeline('ctr', 16, 1),
  'ctr, two': pipeline('ctr', 16, 2),
  'framed, two': pipeline('framed', 32, 2),
  'gcm, whole': whole('gcm'),
  'ctr, whole': whole('ctr'),
  'framed, whole': whole('framed'),
};

/** What was wanted, as a share of another row's speed. */
const WANTED = [
  ['gcm, one cipher thread', 'cp', 0.65],
  ['ctr, two', 'cp', 0.9],
  ['ctr, two', 'openssl enc, ctr', 1.5],
  ['framed, two', 'cp', 0.9],
];
const WANTED_MB = 200;

if (option('--run')) {
  const [began, before] = [performance.now(), process.cpuUsage()];
  await CANDIDATES[option('--run')]();
  const { user, system } = process.cpuUsage(before);
  const [, peak] = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  const seconds = (performance.now() - began) / 1000;
  process.stdout.write(JSON.stringify({ seconds, cpuSeconds: (user + system) / 1e6, peakMb: (peak * 1024) / 1e6 }));
  process.exit();
}

function measure(name) {
  rmSync(OUTPUT, { force: true });
  const candidate = CANDIDATES[name];
  if (typeof candidate === 'function') {
    const args = [fileURLToPath(import.meta.url), '--run', name, '--of', String(process.pid)];
    return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
  }
  const script = `TIMEFORMAT='%R %U %S'; { time "$@" 2>/dev/null; } 2>&1`;
  const times = execFileSync('bash', ['-c', script, 'bash', ...candidate], { encoding: 'utf8' });
  const [seconds, user, system] = times.trim().split(' ').map(Number);
  return { seconds, cpuSeconds: user + system };
}

const mebibytes = Number(option('--size', 2048));
await makeInput(mebibytes);
const results = Object.fromEntries(Object.keys(CANDIDATES).map((name) => [name, []]));
try {
  for (let round = 0; round < ROUNDS; round++)
    for (const name of Object.keys(CANDIDATES)) results[name].push(measure(name));
} finally {
  for (const path of [INPUT, OUTPUT, `${OUTPUT}.manifest.json`]) rmSync(path, { force: true });
}

const megabytes = (mebibytes * MIB) / 1e6;
const rows = Object.entries(results).map(([name, rounds]) => {
  const best = (of) => Math.min(...rounds.map(of));
  const peak = Math.max(...rounds.map(({ peakMb }) => peakMb ?? 0));
  return {
    name,
    mbPerSecond: Math.round(megabytes / best(({ seconds }) => seconds)),
    mbPerCpuSecond: Math.round(megabytes / best(({ cpuSeconds }) => cpuSeconds)),
    ...(peak > 0 ? { peakMb: Math.round(peak) } : {}),
  };
});
const speed = (name) => rows.find((row) => row.name === name).mbPerSecond;
const targets = WANTED.map(([name, beside, wanted]) => {
  const share = Number((speed(name) / speed(beside)).toFixed(2));
  return { what: `${name} / ${beside}`, share, wanted, met: share >= wanted };
});
const peakMb = Math.max(...rows.map((row) => row.peakMb ?? 0));
const report = { node: process.version, mebibytes, load: loadavg()[0], rows, targets, peakMb, wantedMb: WANTED_MB };

if (process.argv.includes('--json')) process.stdout.write(`${JSON.stringify(report)}\n`);
else {
  process.stdout.write(`${mebibytes} MiB in ${FOLDER}, best of ${ROUNDS} rounds, load ${report.load.toFixed(1)}\n\n`);
  process.stdout.write(
    `${''.padEnd(26)}${'MB/s'.padStart(8)}${'MB a CPU-second'.padStart(18)}${'memory, MB'.padStart(13)}\n`,
  );
  for (const { name, mbPerSecond, mbPerCpuSecond, peakMb: memory = '' } of rows) {
    const cells = [String(mbPerSecond).padStart(8), String(mbPerCpuSecond).padStart(18), String(memory).padStart(13)];
    process.stdout.write(`${name.padEnd(26)}${cells.join('')}\n`);
  }
  process.stdout.write('\n');
  for (const { what, share, wanted, met } of targets) {
    process.stdout.write(
      `${what.padEnd(44)}${String(share).padStart(6)}, wanted ${wanted}: ${met ? 'met' : 'MISSED'}\n`,
    );
  }
  process.stdout.write(`memory ${peakMb} MB, wanted below ${WANTED_MB}: ${peakMb < WANTED_MB ? 'met' : 'MISSED'}\n`);
}

/** A file of random bytes. */
async function makeInput(count) {
  const piece = randomBytes(MIB);
  const stream = createWriteStream(INPUT);
  for (let i = 0; i < count; i++) {
    piece.writeUInt32BE(i);
    if (!stream.write(Buffer.from(piece))) await new Promise((resolve) => stream.once('drain', resolve));
  }
  await new Promise((resolve) => stream.end(resolve));
}
