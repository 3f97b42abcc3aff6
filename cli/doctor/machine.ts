import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { dirname, resolve } from 'node:path';
import { promisify } from 'node:util';
import { packagePath } from '../../local/package-root.ts';
import { type Finding, failed, ok, warning } from './finding.ts';

const run = promisify(execFile);

/** Something about this machine. */
export interface MachineCheck {
  name: string;
  check: () => Promise<Finding>;
}

/** Programs, what each is for, and the Debian package that it comes in. */
const PROGRAMS = [
  { program: 'ffmpeg', without: 'no rendering, no transcoding while packaging', from: 'ffmpeg' },
  { program: 'bwrap', without: 'no rendering in a sandbox', from: 'bubblewrap' },
  { program: 'njs', without: "the tests of the edge function in CloudFront's engine are skipped", from: 'njs' },
  { program: 'chromium', without: 'the browser tests are skipped', from: 'chromium' },
  { program: 'gcc', without: "no helper of the enclave's security module is built", from: 'gcc libc6-dev' },
  { program: 'openssl', without: 'masters are not compared with openssl in tests', from: 'openssl' },
];

/** Packages that are optional, and what is off without them. */
const PACKAGES = [
  { name: '@duckdb/node-api', without: 'no detection over files, here or on the local stack' },
  { name: '@aws-sdk/client-dynamodb', without: 'no local stack' },
  { name: 'aws-cdk-lib', without: 'no npm run synth' },
];

/** Ports of `portcullis up` unless told otherwise. */
const PORTS = [8080, 8081, 8082];

/** What the local stack writes at its first start, titles and their packages, and some room. */
const NEEDED_BYTES = 1024 ** 3;

const FROM_HERE = createRequire(import.meta.url);

/** Where a program is on the PATH. */
function pathOf(program: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(':').filter((folder) => folder !== '');
  return folders.map((folder) => resolve(folder, program)).find((path) => existsSync(path));
}

/** Whether a package is installed, by its folder: not every package lets itself be asked for its main file. */
function isInstalled(name: string): boolean {
  return (FROM_HERE.resolve.paths(name) ?? []).some((folder) => existsSync(`${folder}/${name}/package.json`));
}

function nodeVersion(): Finding {
  const { engines } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { engines: { node: string } };
  const [needed = ''] = /[\d.]+/.exec(engines.node) ?? [];
  const [[major = 0, minor = 0], [least = 0, leastMinor = 0]] = [process.versions.node, needed].map((version) =>
    version.split('.').map(Number),
  ) as [number[], number[]];
  const isOld = major < least || (major === least && minor < leastMinor);
  return isOld ? failed(`${process.version} is too old: install Node ${needed} or newer`) : ok(process.version);
}

async function freePorts(): Promise<Finding> {
  const taken: number[] = [];
  for (const port of PORTS) {
    const server = createServer();
    try {
      await once(server.listen(port, '127.0.0.1'), 'listening');
    } catch {
      taken.push(port);
    } finally {
      server.close();
    }
  }
  if (taken.length === 0) return ok(PORTS.join(', '));
  return warning(
    `${taken.join(', ')} taken, perhaps by a stack that is up: portcullis up --port 0 takes any that are free`,
  );
}

async function diskSpace(): Promise<Finding> {
  const { bavail, bsize } = await statfs(process.cwd());
  const free = `${((bavail * bsize) / 1024 ** 3).toFixed(1)} GiB free here`;
  return bavail * bsize < NEEDED_BYTES ? warning(`${free}: the local stack wants 1 GiB, renders want more`) : ok(free);
}

/** Does in a sandbox what renders need of the kernel: namespaces, for users without rights too. */
async function sandbox(): Promise<Finding> {
  const bwrap = pathOf('bwrap');
  if (!bwrap) return warning('bubblewrap is missing: apt-get install bubblewrap');
  const node = dirname(process.execPath);
  const arguments_ = ['--unshare-all', '--die-with-parent', '--ro-bind', '/', '/', process.execPath, '--version'];
  try {
    await run(bwrap, arguments_, { timeout: 60_000, env: { PATH: node } });
    return ok('bubblewrap makes user, process and network namespaces');
  } catch (error) {
    const [reason = ''] = `${(error as { stderr?: string }).stderr ?? ''}`.trim().split('\n');
    return warning(
      `bubblewrap cannot make a sandbox (${reason || 'it ended without a word'}): allow user namespaces, ` +
        'sysctl kernel.unprivileged_userns_clone=1, in a container --security-opt seccomp=unconfined (docs/sandbox.md)',
    );
  }
}

/** Everything that is looked at on this machine, in order. What only switches something off is a warning. */
export const MACHINE_CHECKS: MachineCheck[] = [
  { name: 'Node', check: async () => nodeVersion() },
  ...PROGRAMS.map(({ program, without, from }) => ({
    name: program,
    check: async () => {
      const path = pathOf(program);
      return path ? ok(path) : warning(`missing: ${without} (apt-get install ${from})`);
    },
  })),
  ...PACKAGES.map(({ name, without }) => ({
    name,
    check: async () => (isInstalled(name) ? ok('installed') : warning(`missing: ${without} (npm install ${name})`)),
  })),
  { name: 'sandbox', check: sandbox },
  { name: 'ports', check: freePorts },
  { name: 'disk', check: diskSpace },
];
