// What the project needs from the machine: Node packages, and programs from Debian's packages. Plain Node without
// dependencies, because it runs before anything is installed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Programs by name: the Debian package each comes in, and what cannot be done without it. */
const PROGRAMS = {
  chromium: { package: 'chromium', purpose: 'the browser tests' },
  njs: { package: 'njs', purpose: "the tests of the edge function in CloudFront's engine" },
  ffmpeg: { package: 'ffmpeg', purpose: 'the tests of mastering and packaging' },
  bwrap: { package: 'bubblewrap', purpose: 'rendering in a sandbox' },
  gcc: { package: 'gcc libc6-dev', purpose: "the tests of the security module's helper" },
  openssl: { package: 'openssl', purpose: 'the comparison of masters with openssl' },
};

function say(line) {
  process.stderr.write(`${line}\n`);
}

function fail(line) {
  say(line);
  process.exit(1);
}

/** Runs a command with everything it prints on stderr; whether it succeeded. */
function run(command, args, env = {}) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], env: { ...process.env, ...env } });
  return status === 0;
}

function isInstalled(program) {
  return spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;
}

/** Installs the Node packages when they are missing or not those of the lock file. */
export function ensurePackages() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) fail(`Node 20.19 or newer is needed, this is ${process.version}.`);
  const stamp = `${root}node_modules/.portcullis-lock`;
  const lock = createHash('sha256')
    .update(readFileSync(`${root}package-lock.json`))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  say('setup: installing Node packages');
  if (!run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'])) fail('setup: npm ci failed; see above.');
  writeFileSync(stamp, lock);
}

/** Installs the programs that are missing, all unless some are named, through apt when it may; returns those still missing. */
export function ensurePrograms(names = Object.keys(PROGRAMS)) {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return [];
  const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  const mayInstall = isInstalled('apt-get') && (sudo.length === 0 || run('sudo', ['-n', 'true']));
  if (mayInstall) {
    const packages = missing.flatMap((name) => PROGRAMS[name].package.split(' '));
    say(`setup: installing ${packages.join(', ')} (apt); the first time this takes a minute or two`);
    const apt = (...args) => {
      const [command, ...rest] = [...sudo, 'apt-get', '-q', ...args];
      return run(command, rest, { DEBIAN_FRONTEND: 'noninteractive' });
    };
    if (apt('update')) apt('install', '-y', '--no-install-recommends', ...packages);
  }
  const still = missing.filter((name) => !isInstalled(name));
  for (const name of still) {
    say(
      `setup: ${name} is missing: without it ${PROGRAMS[name].purpose} cannot run (apt-get install ${PROGRAMS[name].package})`,
    );
  }
  return still;
}

/** Builds what ships, unless what is built came from these sources. */
export async function ensureBuild() {
  const { sourcesDigest } = await import('./sources.mjs');
  const stamp = `${root}dist/.sources`;
  const digest = sourcesDigest(root);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  if (!run(process.execPath, ['scripts/build.mjs'])) process.exit(1);
  writeFileSync(stamp, digest);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  ensurePackages();
  const missing = ensurePrograms();
  await ensureBuild();
  process.exitCode = missing.length > 0 ? 1 : 0;
}
