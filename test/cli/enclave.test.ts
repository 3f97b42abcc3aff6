import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { signingCertificate } from '../harness/signing-certificate.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

function file(name: string, content: Uint8Array | string): string {
  const path = join(scratch, name);
  writeFileSync(path, content);
  return path;
}
const kernel = file('bzImage', randomBytes(5000));
const init = file('init.cpio', 'init');
const app = file('app.cpio', 'application');
const image = join(scratch, 'render.eif');
const BUILD = ['enclave', 'build', '--kernel', kernel, '--cmdline', 'reboot=k panic=30', '--ramdisk', init];
const signer = signingCertificate();
const SIGN = [
  '--sign-cert',
  file('certificate.pem', signer.certificate),
  '--sign-key',
  file('key.pem', signer.privateKeyPem),
];

function pcr(...parts: (string | Uint8Array)[]): string {
  const inner = createHash('sha384')
    .update(Buffer.concat(parts.map((part) => Buffer.from(part))))
    .digest();
  return createHash('sha384').update(Buffer.alloc(48)).update(inner).digest('hex');
}

describe('enclave build and measure', () => {
  beforeAll(async () => {
    const built = await portcullis(...BUILD, '--ramdisk', app, ...SIGN, image);
    expect([built.code, built.stderr]).toEqual([0, '']);
  });

  test('measures what was built', async () => {
    const { code, stdout } = await portcullis('enclave', 'measure', image, '--json');
    const { pcrs, sections, signedBy } = JSON.parse(stdout);
    expect(code).toBe(0);
    const boot = [readFileSync(kernel), 'reboot=k panic=30', 'init'];
    expect(pcrs).toEqual({
      0: pcr(...boot, 'application'),
      1: pcr(...boot),
      2: pcr('application'),
      8: expect.stringMatching(/^[0-9a-f]{96}$/),
    });
    expect(sections.map(({ type }: { type: string }) => type).join(' ')).toBe(
      'kernel cmdline metadata ramdisk ramdisk signature',
    );
    expect(signedBy.subject).toBe('CN=image signing');
  });

  test('says it in words', async () => {
    const { stdout } = await portcullis('enclave', 'measure', image);
    expect(stdout).toMatch(/^PCR0 {2}[0-9a-f]{96} {2}the image\nPCR1 .*\nPCR2 .*\nPCR8 .* signing certificate\n/);
    expect(stdout).toMatch(
      /x86_64; kernel 5000 B, cmdline 17 B, .*\nsigned by CN=image signing, valid 20\S+Z to 20\S+Z\n$/,
    );
  });

  test('builds the same image of the same parts, for another architecture too', async () => {
    const [one, two] = [join(scratch, 'one.eif'), join(scratch, 'two.eif')];
    for (const path of [one, two]) expect((await portcullis(...BUILD, '--arch', 'arm64', path)).code).toBe(0);
    expect(readFileSync(one).equals(readFileSync(two))).toBe(true);
    const { stdout } = await portcullis('enclave', 'measure', one);
    expect(stdout).toMatch(/\narm64; .*\nnot signed\n$/);
  });

  test('refuses a damaged image, and what is none, with 2 and a code', async () => {
    const bytes = readFileSync(image);
    const refusals: [Uint8Array, RegExp][] = [
      [bytes.subarray(0, -1), /truncated/],
      [Buffer.concat([bytes, Buffer.alloc(1)]), /1 bytes follow/],
      [Buffer.from(bytes).fill(1, 700, 701), /checksum/],
      [Buffer.alloc(600), /not an enclave image/],
    ];
    for (const [content, message] of refusals) {
      const { code, stdout, stderr } = await portcullis('enclave', 'measure', file('damaged.eif', content), '--json');
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(message);
    }
    expect(await portcullis('enclave', 'measure', join(scratch, 'none'))).toMatchObject({ code: 2 });
  });

  test('refuses parts that do not fit, and leaves nothing where the image would be', async () => {
    const out = join(scratch, 'refused.eif');
    const refusals: [string[], RegExp][] = [
      [[...BUILD, '--sign-cert', SIGN[1] as string, out], /--sign-key/],
      [[...BUILD, '--sign-cert', SIGN[1] as string, '--sign-key', SIGN[1] as string, out], /not a private key/],
      [
        [
          ...BUILD,
          '--sign-cert',
          SIGN[1] as string,
          '--sign-key',
          file('other.pem', signingCertificate().privateKeyPem),
          out,
        ],
        /not that of the signing certificate/,
      ],
      [[...BUILD, '--ramdisk', join(scratch, 'none'), out], /cannot read .*ENOENT/],
      [[...BUILD, '--arch', 'mips', out], /x86_64, arm64/],
      [['enclave', 'build', '--kernel', kernel, '--cmdline', 'x', out], /--ramdisk/],
    ];
    for (const [args, message] of refusals) {
      const { code, stdout, stderr } = await portcullis(...args);
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(message);
      expect(stderr).not.toMatch(/BEGIN/);
      expect(existsSync(out)).toBe(false);
    }
  });
});
