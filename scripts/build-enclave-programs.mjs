// Builds the two programs in C of an enclave image, static, because they run before there are libraries, or without any:
// dist/enclave/nsm-helper, through which Node speaks to /dev/nsm, and dist/enclave/init. Not part of the build, because only an
// enclave image needs them.
//   node scripts/build-enclave-programs.mjs [--cc aarch64-linux-gnu-gcc] [--out FOLDER]
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const SOURCES = {
  'nsm-helper': 'enclave-render/security-module/nsm-helper.c',
  init: 'enclave-render/host/init.c',
};
const { values } = parseArgs({
  options: {
    cc: { type: 'string', default: 'gcc' },
    out: { type: 'string', default: `${root}dist/enclave` },
    only: { type: 'string' },
    // For tests: the one puts something else in the place of the device through the dynamic loader, the other Unix sockets in that of
    // vsock.
    dynamic: { type: 'boolean', default: false },
    'unix-sockets': { type: 'boolean', default: false },
  },
});

const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Werror', '-s'];
if (!values.dynamic) flags.push('-static');
if (values['unix-sockets']) flags.push('-DUNIX_SOCKETS');
mkdirSync(values.out, { recursive: true });
for (const [name, source] of Object.entries(SOURCES)) {
  if (values.only !== undefined && values.only !== name) continue;
  const argv = [...flags, '-o', join(values.out, name), join(root, source)];
  const { status, error } = spawnSync(values.cc, argv, { stdio: ['ignore', 2, 2] });
  if (error) {
    process.stderr.write(
      `build-enclave-programs: cannot run ${values.cc}: ${error.code} (apt-get install gcc libc6-dev)\n`,
    );
  }
  if (status !== 0) process.exitCode = 1;
}
