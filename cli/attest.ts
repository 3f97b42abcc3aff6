import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type AttestationProfile,
  AWS_NITRO_ROOT,
  type Pcrs,
} from '../enclave-render/attestation/attestation-document.ts';
import { AttestationError, PolicyError } from '../enclave-render/attestation/attestation-error.ts';
import { parseAttestation, verifyAttestation } from '../enclave-render/attestation/verify.ts';
import { alignColumns, EXIT_NO, InputError, print, readJson } from './command.ts';

const HELP = `
FILE is an attestation document as the security module gave it: a COSE_Sign1, not base64. docs/attestation.md says what is checked,
in which order, and what each code means.

Examples:
  portcullis attest inspect document.bin
  portcullis attest verify document.bin --at document --pcrs pcrs.json --nonce 6f1d…`;

const INSPECT_HELP = `
Believes nothing: what it prints nobody has vouched for. Exit code 2 when it cannot be read.

Examples:
  portcullis attest inspect document.bin
  portcullis attest inspect document.bin --json | jq .pcrs`;

const VERIFY_HELP = `
The registers are JSON, {"0": "<96 digits of hexadecimal>", …}. PCR0 has to be among them (of nitrotpm PCR4 or PCR7); PCR8 counts only
beside PCR0. Without --nonce a document is not known to be fresh. Exit code 1 when it is refused.

Examples:
  portcullis attest verify document.bin --at 2026-11-22T14:00:00Z --pcrs pcrs.json --nonce 6f1d…
  portcullis attest verify document.bin --at document --pcrs pcrs.json        years later: at its own timestamp
  portcullis attest verify document.bin --at 1795356000000 --pcrs pcrs.json --root 641a… --json`;

/** What to do about `ERR_ATTESTATION_ROOT` at the command line. */
export const UNKNOWN_ROOT = 'of a simulated enclave? name its root with --root, from portcullis render keys';

export function registerAttest(program: Command): void {
  const attest = program
    .command('attest')
    .description('attestation documents of enclaves: what is in them, and whether they are genuine and allowed')
    .addHelpText('after', HELP);

  attest
    .command('inspect')
    .description('show what a document says, verifying nothing')
    .argument('<file>', 'attestation document')
    .option('--json', 'print JSON')
    .addHelpText('after', INSPECT_HELP)
    .action(async (file: string, { json }: { json?: true }) => inspect(await readDocument(file), json));

  attest
    .command('verify')
    .description('say whether a document is genuine, and what the registers, the time and the nonce have to be')
    .argument('<file>', 'attestation document')
    .requiredOption('--at <time>', 'when it has to hold: a time with its zone, milliseconds, or document', moment)
    .requiredOption('--pcrs <file>', 'JSON of the registers that it must have')
    .option('--nonce <hex>', 'the nonce that was asked for', hexadecimal)
    .option('--root <fingerprint>', 'SHA-256 of the root to trust instead of that of AWS', fingerprint, AWS_NITRO_ROOT)
    .addOption(
      new Option('--profile <name>', 'of which security module it is').choices(['nitro', 'nitrotpm']).default('nitro'),
    )
    .option('--json', 'print JSON')
    .addHelpText('after', VERIFY_HELP)
    .action(async (file: string, options: VerifyOptions) => {
      verify(await readDocument(file), await readPcrs(options.pcrs), options);
    });
}

interface VerifyOptions {
  at: number | 'document';
  pcrs: string;
  nonce?: Buffer;
  root: string;
  profile: AttestationProfile;
  json?: true;
}

function inspect(document: Uint8Array, json: true | undefined): void {
  const { certificate, cabundle, publicKey, userData, nonce, ...said } = parseAttestation(document);
  const certificates = [...cabundle, certificate].map((der) => createHash('sha256').update(der).digest('hex'));
  const answer = { ...said, publicKey: hex(publicKey), userData: hex(userData), nonce: hex(nonce), certificates };
  print(json, answer, [
    ...alignColumns([
      ['profile', said.profile],
      ['module', said.moduleId],
      ['signed', new Date(said.timestamp).toISOString()],
      ...Object.entries(said.pcrs).map(([index, register]) => [`PCR${index}`, register]),
      ['public key', answer.publicKey ?? 'none'],
      ['user data', answer.userData ?? 'none'],
      ['nonce', answer.nonce ?? 'none'],
      ['root', certificates[0] ?? ''],
    ]),
    'not verified: portcullis attest verify',
  ]);
}

function verify(document: Uint8Array, pcrs: Pcrs, { at, nonce, root, profile, json }: VerifyOptions): void {
  try {
    const policy = { profile, roots: [root], at, pcrs, nonce: nonce ?? ('any' as const), userData: 'any' as const };
    const { moduleId, timestamp } = verifyAttestation(document, policy);
    const checked = nonce === undefined ? 'genuine and allowed; its nonce was not asked for' : 'genuine and allowed';
    print(json, { ok: true, code: null }, [`${checked}: ${moduleId}, signed ${new Date(timestamp).toISOString()}`]);
  } catch (error) {
    if (!(error instanceof AttestationError || error instanceof PolicyError)) throw error;
    const kind = error instanceof AttestationError ? 'not genuine' : 'genuine, but not allowed';
    const advice = error.code === 'ERR_ATTESTATION_ROOT' ? `; ${UNKNOWN_ROOT}` : '';
    print(json, { ok: false, code: error.code }, [`${kind}: ${error.message}${advice} (${error.code})`]);
    process.exitCode = EXIT_NO;
  }
}

async function readDocument(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new InputError(`cannot read ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** Registers by index. Which of them have to be there, the verifier says. */
export async function readPcrs(file: string): Promise<Pcrs> {
  const pcrs = await readJson(file);
  const isMap = typeof pcrs === 'object' && pcrs !== null && !Array.isArray(pcrs);
  const entries = isMap ? Object.entries(pcrs as Record<string, unknown>) : [];
  const isRegister = ([index, register]: [string, unknown]) =>
    /^(?:0|[1-9]\d?)$/.test(index) && Number(index) < 32 && /^[0-9a-f]{96}$/i.test(String(register));
  if (!isMap || !entries.every(isRegister))
    throw new InputError(`${file} is not of the form {"0": "<96 digits of hexadecimal>", …} with indices from 0 to 31`);
  return Object.fromEntries(entries.map(([index, register]) => [index, String(register).toLowerCase()]));
}

/** A time in milliseconds since the epoch, or with date and zone (RFC 3339), or `document`. */
function moment(text: string): number | 'document' {
  if (text === 'document') return text;
  const isDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)$/.test(text);
  const milliseconds = /^\d{1,15}$/.test(text) ? Number(text) : isDate ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(milliseconds)) {
    throw new InvalidArgumentError(
      'It must be a time with its zone (2026-11-22T14:00:00Z), milliseconds since the epoch, or document.',
    );
  }
  return milliseconds;
}

function hexadecimal(text: string): Buffer {
  if (!/^(?:[0-9a-f]{2}){1,512}$/i.test(text))
    throw new InvalidArgumentError('It must be 1 to 512 bytes in hexadecimal.');
  return Buffer.from(text, 'hex');
}

/** As `openssl x509 -fingerprint -sha256` prints it, or without the colons. */
function fingerprint(text: string): string {
  const digits = text.replaceAll(':', '').toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digits))
    throw new InvalidArgumentError('It must be a SHA-256 of 64 digits in hexadecimal.');
  return digits;
}

const hex = (bytes: Uint8Array | null) => (bytes === null ? null : Buffer.from(bytes).toString('hex'));
