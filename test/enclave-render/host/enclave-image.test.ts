import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildEnclaveImage, type EnclaveImageParts } from '../../../enclave-render/host/enclave-image.ts';
import { packagePath } from '../../../local/package-root.ts';
import { openIdentity, runSubmittedJob, submitJob } from '../../../local/render-jobs.ts';
import { publicPem } from '../../../local/render-owner.ts';
import { buildTestInit, enclaveMachine, serveModule, whyNoMachine } from '../../harness/enclave-machine.ts';
import { describeWith, isOnPath, LONG } from '../../harness/programs.ts';
import { testShop, testSource, twoStepJob } from '../../harness/render-shop.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const LIMITS = { memoryBytes: 4 * 2 ** 30, cpuSeconds: 60, wallSeconds: 120, outputBytes: 64 << 20 };
const CONFIGURATION = { format: 'portcullis-runner/1', owners: ['key'], isolation: 'bubblewrap', limits: LIMITS };

describeWith('gcc', 'the enclave image', () => {
  const folder = temporaryDirectory();
  const built = join(folder, 'built');
  let parts: EnclaveImageParts;
  afterAll(() => removeDirectory(folder));

  const configured = (name: string, content: unknown) => {
    const path = join(folder, name);
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };

  beforeAll(() => {
    execFileSync(process.execPath, [packagePath('scripts', 'build-enclave-programs.mjs'), '--out', built]);
    cpSync(packagePath('dist/enclave/agent'), join(built, 'agent'), { recursive: true });
    const kernel = configured('kernel', 'kernel');
    const configuration = configured('runner.json', { ...CONFIGURATION, renderers: {} });
    parts = { kernel, cmdline: 'panic=30', name: 'render', version: '1', built, configuration };
  });

  test('is the same when it is built again, and another with another configuration or driver', async () => {
    // Node and ffmpeg with their libraries are 360 MB: what is asked here needs neither.
    const small = { ...parts, node: join(built, 'nsm-helper') };
    const one = await buildEnclaveImage(join(folder, 'one.eif'), small);
    expect(await buildEnclaveImage(join(folder, 'two.eif'), small)).toEqual(one);
    const limits = { ...LIMITS, cpuSeconds: 61 };
    const other = configured('other.json', { ...CONFIGURATION, renderers: {}, limits });
    const configuredImage = await buildEnclaveImage(join(folder, 'two.eif'), { ...small, configuration: other });
    expect(configuredImage.pcrs[1]).toBe(one.pcrs[1]);
    expect(configuredImage.pcrs[2]).not.toBe(one.pcrs[2]);
    const driven = await buildEnclaveImage(join(folder, 'two.eif'), { ...small, nsmModule: parts.kernel });
    expect(driven.pcrs[1]).not.toBe(one.pcrs[1]);
    expect(driven.pcrs[2]).toBe(one.pcrs[2]);
    expect(readdirSync(folder).filter((name) => name.includes('ramdisks'))).toEqual([]);
  });

  test.each<[string, () => Partial<EnclaveImageParts>, RegExp]>([
    ['a configuration that is not there', () => ({ configuration: join(folder, 'nowhere') }), /ENOENT/],
    ['one that is no JSON', () => ({ configuration: configured('text', '{') }), /not JSON/],
    ['one without owners', () => ({ configuration: configured('none', { ...CONFIGURATION, owners: [] }) }), /owners/],
    [
      'Blender',
      () => ({
        configuration: configured('blender', { ...CONFIGURATION, renderers: { blender: '/usr/bin/blender' } }),
      }),
      /Blender/,
    ],
    ['an agent that was not built', () => ({ built: folder }), /build-enclave-programs/],
    ['a driver that is not there', () => ({ nsmModule: join(folder, 'nowhere') }), /ENOENT/],
    ['a place that is none', () => ({}), /cannot write/],
  ])('%s is refused', async (name, change, message) => {
    const place = name === 'a place that is none' ? join(folder, 'no', 'where.eif') : join(folder, 'refused.eif');
    const refused = buildEnclaveImage(place, { ...parts, ...change() });
    await expect(refused).rejects.toMatchObject({ message: expect.stringMatching(message), code: /^ERR_EIF_/ });
  });

  test('a renderer that is no program is refused', async () => {
    const configuration = configured('script', { ...CONFIGURATION, renderers: { ffmpeg: parts.kernel } });
    await expect(buildEnclaveImage(join(folder, 'refused.eif'), { ...parts, configuration })).rejects.toMatchObject({
      code: 'ERR_MODULE_IMAGE',
    });
  });
});

const missing = !LONG ? 'only in long tests' : whyNoMachine() || (isOnPath('cpio') ? '' : 'needs cpio');
describe.skipIf(missing !== '')(`a whole image${missing && ` (${missing})`}`, () => {
  const folder = temporaryDirectory();
  afterAll(() => removeDirectory(folder));

  // Nothing of this machine is seen by the enclave but its kernel: a library that was left out would be missed.
  test('renders a job with nothing but what is in its ramdisks', async () => {
    await testSource(folder);
    const identity = await openIdentity(join(folder, 'data'));
    const machine = await enclaveMachine(identity, join(folder, 'machine'), []);
    machine.close();
    const built = join(folder, 'built');
    execFileSync(process.execPath, [packagePath('scripts', 'build-enclave-programs.mjs'), '--out', built]);
    cpSync(packagePath('dist/enclave/agent'), join(built, 'agent'), { recursive: true });
    const configuration = join(folder, 'runner.json');
    const owners = [publicPem(identity.owner.signing)];
    writeFileSync(
      configuration,
      JSON.stringify({ ...CONFIGURATION, owners, renderers: { ffmpeg: '/usr/bin/ffmpeg' } }),
    );
    writeFileSync(join(folder, 'kernel'), 'kernel');
    const image = join(folder, 'render.eif');
    const parts = { kernel: join(folder, 'kernel'), cmdline: 'panic=30', name: 'render', version: '1', built };
    const { sections } = await buildEnclaveImage(image, { ...parts, configuration });

    removeDirectory(machine.folder);
    mkdirSync(machine.folder);
    for (const ramdisk of ramdisksOf(readFileSync(image), sections)) {
      execFileSync('cpio', ['-idm', '--quiet'], { cwd: machine.folder, input: ramdisk });
    }
    buildTestInit(machine.folder);
    const close = await serveModule(identity.ca, join(machine.folder, 'rootfs', 'enclave'));
    const shop = { ...(await testShop(folder)), launcher: machine.launcher };
    const verified = await runSubmittedJob(shop, await submitJob(shop, twoStepJob(folder)), {
      onEvent: () => undefined,
    });
    close();
    expect(verified?.tasks.length).toBe(2);
  }, 300_000);
});

/** The ramdisks of an image: sections follow its header of 548 bytes, each behind 12 of its own. */
function ramdisksOf(image: Buffer, sections: readonly { type: string; bytes: number }[]): Buffer[] {
  const found: Buffer[] = [];
  let offset = 548;
  for (const { type, bytes } of sections) {
    offset += 12;
    if (type === 'ramdisk') found.push(image.subarray(offset, offset + bytes));
    offset += bytes;
  }
  return found;
}
