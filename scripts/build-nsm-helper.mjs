// Builds dist/enclave/nsm-helper, through which Node speaks to /dev/nsm: static, so that it runs in an image without
// libc. Not part of the build, because only an enclave image needs it.
//   node scripts/build-nsm-helper.mjs [--cc aarch64-linux-gnu-gcc] [--out FILE]
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: {
    cc: { type: 'string', default: 'gcc' },
    out: { type: 'string', default: `${root}dist/enclave/nsm-helper` },
    // For tests, which put something else in the place of the device through the dynamic loader.
    dynamic: { type: 'boolean', default: false },
  },
});

const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Werror', '-s'];
if (!values.dynamic) flags.push('-static');
mkdirSync(dirname(values.out), { recursive: true });
const source = `${root}enclave-render/security-module/nsm-helper.c`;
const { status, error } = spawnSync(values.cc, [...flags, '-o', values.out, source], { stdio: ['ignore', 2, 2] });
if (error)
  process.stderr.write(`build-nsm-helper: cannot run ${values.cc}: ${error.code} (apt-get install gcc libc6-dev)\n`);
process.exitCode = status === 0 ? 0 : 1;
