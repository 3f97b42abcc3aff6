import { createPrivateKey, type KeyObject } from 'node:crypto';
import { type Command, Option } from 'commander';
import { buildEnclaveImage } from '../enclave-render/host/enclave-image.ts';
import { buildEif, type EifParts } from '../enclave-render/measurement/build-eif.ts';
import { ARCHITECTURES } from '../enclave-render/measurement/eif-format.ts';
import { type EifMeasurement, measureEif } from '../enclave-render/measurement/measure-eif.ts';
import { packagePath } from '../local/package-root.ts';
import { alignColumns, InputError, print, readText } from './command.ts';

const MEASURE_HELP = `
Reads an enclave image (EIF) to its last byte, checks it, and prints the registers that an enclave of it will have: PCR0
image, PCR1 kernel, command line and first ramdisk, PCR2 the other ramdisks, PCR8 the signing certificate if it is signed.
An image that is truncated, damaged, ambiguous or wrongly signed is refused with exit code 2 (docs/enclave.md).

Examples:
  portcullis enclave measure render.eif
  portcullis enclave measure render.eif --json | jq .pcrs >pcrs.json     what attest verify --pcrs takes`;

const BUILD_HELP = `
Puts an enclave image together as nitro-cli does, and prints its measurement. The same parts make the same bytes, but for
the signature. The certificate is one on P-256, P-384 or P-521, in PEM.

Examples:
  portcullis enclave build --kernel bzImage --cmdline "$(cat cmdline)" --ramdisk init.cpio --ramdisk app.cpio render.eif
  portcullis enclave build --kernel bzImage --cmdline "reboot=k panic=30" --ramdisk init.cpio \\
    --sign-cert certificate.pem --sign-key key.pem render.eif`;

const IMAGE_HELP = `
Puts the enclave image of the render agent together, of the programs that are installed here: Node, ffmpeg, bubblewrap and
the libraries that they are linked with, fonts, the agent, and its configuration, which names the owners whose jobs it takes
(docs/enclave.md). Kernel, its command line and nsm.ko are those of aws-nitro-enclaves-cli, /usr/share/nitro_enclaves/blobs.
The same files make the same image. Once before: node scripts/build-enclave-programs.mjs

Examples:
  portcullis enclave image --kernel bzImage --cmdline "$(cat cmdline)" --nsm-module nsm.ko \\
    --configuration runner.json render.eif
  portcullis enclave image --kernel bzImage --cmdline "$(cat cmdline)" --configuration runner.json render.eif \\
    --json | jq .pcrs >pcrs.json`;

interface ImageOptions extends SigningOptions {
  kernel: string;
  cmdline: string;
  configuration: string;
  nsmModule?: string;
  name: string;
  imageVersion: string;
  json?: true;
}

interface SigningOptions {
  signCert?: string;
  signKey?: string;
}

interface BuildOptions extends SigningOptions, Omit<EifParts, 'ramdisks' | 'architecture' | 'version' | 'signer'> {
  ramdisk: string[];
  arch: EifParts['architecture'];
  imageVersion: string;
  json?: true;
}

export function registerEnclave(program: Command): void {
  const enclave = program.command('enclave').description('enclave images: build and measure them');
  enclave
    .command('measure')
    .description('check an enclave image and print its PCRs')
    .argument('<file>', 'enclave image (EIF)')
    .option('--json', 'print JSON')
    .addHelpText('after', MEASURE_HELP)
    .action(async (file: string, { json }: { json?: true }) => {
      printMeasurement(json, await measureEif(file));
    });
  enclave
    .command('build')
    .description('build an enclave image, sign it, and print its PCRs')
    .argument('<out>', 'enclave image to write')
    .requiredOption('--kernel <file>', 'kernel image')
    .requiredOption('--cmdline <text>', 'command line of the kernel')
    .requiredOption('--ramdisk <file>', 'ramdisk; again for more, the first has the init program', collect)
    .addOption(new Option('--arch <name>', 'architecture').choices(ARCHITECTURES).default('x86_64'))
    .option('--name <name>', 'name in the metadata, which is not measured', 'portcullis')
    .option('--image-version <version>', 'version in the metadata', '1')
    .option('--sign-cert <file>', 'certificate to sign with, PEM')
    .option('--sign-key <file>', 'its private key, PEM')
    .option('--json', 'print JSON')
    .addHelpText('after', BUILD_HELP)
    .action(async (out: string, options: BuildOptions) => {
      const { kernel, cmdline, ramdisk: ramdisks, arch: architecture, name, imageVersion: version } = options;
      const parts: EifParts = { kernel, cmdline, ramdisks, architecture, name, version };
      const signer = await readSigner(options);
      if (signer) parts.signer = signer;
      printMeasurement(options.json, await buildEif(out, parts));
    });
  enclave
    .command('image')
    .description('build the enclave image that renders, of what is installed here')
    .argument('<out>', 'enclave image to write')
    .requiredOption('--kernel <file>', 'kernel image')
    .requiredOption('--cmdline <text>', 'command line of the kernel')
    .requiredOption('--configuration <file>', 'owners, renderers and limits, JSON; measured')
    .option('--nsm-module <file>', "driver of the security module, where it is not the kernel's own")
    .option('--name <name>', 'name in the metadata, which is not measured', 'portcullis')
    .option('--image-version <version>', 'version in the metadata', '1')
    .option('--sign-cert <file>', 'certificate to sign with, PEM')
    .option('--sign-key <file>', 'its private key, PEM')
    .option('--json', 'print JSON')
    .addHelpText('after', IMAGE_HELP)
    .action(async (out: string, options: ImageOptions) => {
      const { kernel, cmdline, configuration, nsmModule, name, imageVersion: version } = options;
      const built = packagePath('dist/enclave');
      const signer = await readSigner(options);
      const parts = { kernel, cmdline, configuration, nsmModule, name, version, built };
      printMeasurement(options.json, await buildEnclaveImage(out, { ...parts, ...(signer && { signer }) }));
    });
}

async function readSigner({ signCert, signKey }: SigningOptions): Promise<EifParts['signer']> {
  if ((signCert === undefined) !== (signKey === undefined)) {
    throw new InputError('signing takes both: --sign-cert FILE and --sign-key FILE');
  }
  if (signCert === undefined || signKey === undefined) return undefined;
  return { certificate: await readText(signCert), privateKey: await readKey(signKey) };
}

function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

async function readKey(path: string): Promise<KeyObject> {
  const text = await readText(path);
  try {
    return createPrivateKey(text);
  } catch {
    throw new InputError(`${path} is not a private key in PEM without a passphrase`);
  }
}

const MEASURED: Record<string, string> = {
  0: 'the image',
  1: 'kernel, command line, first ramdisk',
  2: 'other ramdisks',
  8: 'signing certificate',
};

function printMeasurement(json: boolean | undefined, measured: EifMeasurement): void {
  const { pcrs, architecture, sections, signedBy } = measured;
  const seconds = (time: string) => time.replace('.000Z', 'Z');
  print(json, measured, [
    ...alignColumns(Object.entries(pcrs).map(([index, value]) => [`PCR${index}`, value, MEASURED[index] ?? ''])),
    `${architecture}; ${sections.map(({ type, bytes }) => `${type} ${bytes} B`).join(', ')}`,
    signedBy
      ? `signed by ${signedBy.subject}, valid ${seconds(signedBy.notBefore)} to ${seconds(signedBy.notAfter)}`
      : 'not signed',
  ]);
}
