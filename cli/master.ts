import type { KeyObject } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import type { DataKeyBits, EncryptionContext } from '../enclave-render/kms/data-keys.ts';
import { MASTER_CONTEXTS } from '../enclave-render/mastering/contexts.ts';
import { type Decrypted, decryptMaster, verifyMaster } from '../enclave-render/mastering/decrypt.ts';
import { encryptMaster } from '../enclave-render/mastering/encrypt.ts';
import {
  readDataKeyFile,
  readPrivateKeyFile,
  readPublicKeyFile,
  readSignKeyFile,
  readVerifyKeyFile,
} from '../enclave-render/mastering/key-files.ts';
import type { MasterManifest, MasterMode } from '../enclave-render/mastering/manifest.ts';
import { MasterError, type MasterErrorCode } from '../enclave-render/mastering/master-error.ts';
import { MASTER_MODES } from '../enclave-render/mastering/modes.ts';
import { type OpenRequest, readManifest } from '../enclave-render/mastering/opened.ts';
import { thumbprint } from '../enclave-render/mastering/public-key.ts';
import type { KmsRecipient } from '../enclave-render/mastering/recipients.ts';
import { rewrapMaster } from '../enclave-render/mastering/rewrap.ts';
import { manifestPath } from '../enclave-render/mastering/signed-manifest.ts';
import { openDataKeys } from '../local/data-keys.ts';
import { alignColumns, contextPair, EXIT_NO, formatTime, InputError, nowOr, print, report } from './command.ts';
import { registerMasterJob } from './master-job.ts';
import { startByteProgress } from './progress.ts';
import { DEFAULT_DATA } from './up.ts';

const MASTER_HELP = `
A master is a mezzanine file encrypted under a data key of its own, with a manifest beside it, <master>.manifest.json, that has
all that is needed to open it but a key. Modes: gcm, ctr and cbc are what AWS Elemental MediaConvert reads, framed is for the
archive (docs/mastering.md). The KMS is that of the configuration; 'portcullis kms create' makes a key on this machine.`;

const ENCRYPT_EXAMPLES = [
  'encrypt mezzanine.mov mezzanine.mov.enc --mode gcm',
  'encrypt mezzanine.mov archive.pcm --mode framed --recipient owner.pub.pem --sign-key studio.pem',
  'encrypt mezzanine.mov out.enc --mode ctr --data-key key.bin --iv 000102030405060708090a0b0c0d0e0f --no-kms',
  'encrypt mezzanine.mov out.enc --mode ctr --resume            go on after an interruption',
];
const DECRYPT_EXAMPLES = [
  'decrypt mezzanine.mov.enc mezzanine.mov',
  'decrypt mezzanine.mov.enc mezzanine.mov --context service=mediaconvert.amazonaws.com    in no other context',
  'decrypt archive.pcm mezzanine.mov --private-key owner.pem --verify-key studio.pub.pem',
  'decrypt theirs.enc out.mov --mode cbc --data-key key.bin --iv 000102030405060708090a0b0c0d0e0f --unauthenticated',
];
const VERIFY_EXAMPLES = ['verify mezzanine.mov.enc', 'verify archive.pcm --verify-key studio.pub.pem --json'];
const REWRAP_EXAMPLES = [
  'rewrap mezzanine.mov.enc --kms-key alias/archive --context service=portcullis',
  'rewrap archive.pcm --recipient partner.pub.pem               they can open it, too',
  'rewrap archive.pcm --remove <key id>                         master info shows the ids',
];

interface CommonOptions {
  data: string;
  config?: string;
  json?: boolean;
}

interface EncryptOptions extends CommonOptions {
  mode: MasterMode;
  keyBits: string;
  dataKey?: string;
  iv?: Buffer;
  kms: boolean;
  kmsKey?: string;
  context?: EncryptionContext;
  recipient?: string[];
  signKey?: string;
  resume?: boolean;
  force?: boolean;
}

interface OpenOptions extends CommonOptions {
  mode?: MasterMode;
  dataKey?: string;
  context?: EncryptionContext;
  iv?: Buffer;
  unauthenticated?: boolean;
  privateKey?: string;
  verifyKey?: string;
}

export function registerMaster(program: Command): void {
  const master = program
    .command('master')
    .description('encrypt mezzanine files into masters, open them, and have services read them')
    .addHelpText('after', MASTER_HELP);

  add(master, 'encrypt', 'encrypt a file into a master, with a manifest beside it', ENCRYPT_EXAMPLES)
    .argument('<in>', 'the file')
    .argument('<out>', 'the master')
    .addOption(modeOption().makeOptionMandatory())
    .addOption(new Option('--key-bits <n>', 'length of the data key').choices(['128', '192', '256']).default('256'))
    .option('--data-key <file>', 'a data key of your own: 16, 24 or 32 bytes in a file of mode 0600')
    .option('--iv <hex>', 'with --data-key: an initialization vector of your own, else a random one', hex)
    .option('--kms-key <id>', 'KMS key that may open it (default: mastering.keyId of the configuration)')
    .option(
      '--context <name=value>',
      'encryption context of KMS, repeatable (default: that of MediaConvert)',
      contextPair,
    )
    .option('--no-kms', 'no KMS key may open it: only --recipient, or who has the --data-key')
    .option('--recipient <file>', 'public key of an owner who may open it (PEM or JWK), repeatable', collect)
    .option('--sign-key <file>', 'Ed25519 key to sign the manifest with (PEM or JWK, mode 0600)')
    .option('--resume', 'go on with a run that was interrupted (ctr, cbc)')
    .option('--force', 'replace an output that is there')
    .action(encrypt);

  opening(add(master, 'decrypt', 'decrypt a master', DECRYPT_EXAMPLES).argument('<in>', 'the master'))
    .argument('<out>', 'the file')
    .option('--force', 'replace an output that is there')
    .action(async (path: string, output: string, options: OpenOptions & { force?: boolean }) => {
      const request = await openRequest(path, options);
      const decrypted = await running('decrypting', (run) =>
        decryptMaster({ source: path, output, force: options.force, ...request, ...run }),
      );
      printDecrypted(options.json, decrypted, request.verifyKey, output);
    });

  opening(add(master, 'verify', 'check that a master is whole and opens; exit code 1 when not', VERIFY_EXAMPLES))
    .argument('<in>', 'the master')
    .action(verify);

  add(master, 'rewrap', 'change who can open a master: its manifest alone', REWRAP_EXAMPLES)
    .argument('<in>', 'the master')
    .option('--kms-key <id>', 'put the data key under this KMS key, instead of the one it is under')
    .option('--context <name=value>', 'in this encryption context, repeatable (default: that of the mode)', contextPair)
    .option('--recipient <file>', 'let the owner of this public key open it, too, repeatable', collect)
    .option('--remove <id>', 'take this recipient off, repeatable; what they have seen they keep', collect)
    .option('--private-key <file>', 'your own private key, when no KMS key opens it (mode 0600)')
    .option('--verify-key <file>', 'Ed25519 public key that has to have signed the manifest (PEM or JWK)')
    .action(rewrap);

  master
    .command('info')
    .description('show what the manifest of a master says, without opening it and without checking it')
    .argument('<in>', 'the master')
    .option('--json', 'print JSON')
    .action(async (path: string, { json }: { json?: boolean }) => {
      const manifest = await readManifest(path);
      const bytes = await stat(path).then(
        ({ size }) => size,
        () => undefined,
      );
      const hint =
        bytes === manifest.ciphertextBytes
          ? []
          : [`${path} ${bytes === undefined ? 'is not there' : `has ${bytes} bytes: it is another file`}`];
      print(json, manifest, [...manifestLines(manifest), ...hint]);
    });
  registerMasterJob(master);
}

function add(master: Command, name: string, description: string, examples: string[]): Command {
  return master
    .command(name)
    .description(description)
    .option('--data <dir>', 'data directory of the stack, whose KMS is used', DEFAULT_DATA)
    .option('--config <file>', 'configuration (docs/configuration.md) that names the KMS')
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExamples:\n${examples.map((example) => `  portcullis master ${example}`).join('\n')}`);
}

function opening(command: Command): Command {
  return command
    .option('--private-key <file>', 'private key of a recipient (PEM or JWK, mode 0600)')
    .option('--verify-key <file>', 'Ed25519 public key that has to have signed the manifest (PEM or JWK)')
    .option('--data-key <file>', 'the data key itself (mode 0600)')
    .option(
      '--context <name=value>',
      'encryption context it has to be in, repeatable (default: what the manifest says)',
      contextPair,
    )
    .addOption(modeOption())
    .option('--iv <hex>', 'without a manifest: the initialization vector', hex)
    .option('--unauthenticated', 'without a manifest: nothing shows whether a file in ctr or cbc was changed; go on');
}

function modeOption(): Option {
  return new Option('--mode <mode>', 'how it is encrypted').choices(MASTER_MODES);
}

function hex(text: string): Buffer {
  if (!/^(?:[0-9A-Fa-f]{2})+$/.test(text)) throw new InvalidArgumentError('It must be hexadecimal, two digits a byte.');
  return Buffer.from(text, 'hex');
}

function collect(text: string, previous: string[] = []): string[] {
  return [...previous, text];
}

async function encrypt(source: string, output: string, options: EncryptOptions): Promise<void> {
  const { mode, iv, force, resume } = options;
  const keyBits = Number(options.keyBits) as DataKeyBits;
  const dataKey = options.dataKey === undefined ? undefined : await readDataKeyFile(options.dataKey);
  const publicKeys = await Promise.all((options.recipient ?? []).map(readPublicKeyFile));
  const signKey = options.signKey === undefined ? undefined : await readSignKeyFile(options.signKey);
  const kms = options.kms ? await kmsRecipient(options, mode) : undefined;
  const request = { source, output, mode, keyBits, dataKey, iv, kms, publicKeys, signKey, force, resume };
  const manifest = await running('encrypting', (run) => encryptMaster({ ...request, ...run, now: nowOr(undefined) }));
  print(options.json, { output, manifest: manifestPath(output), ...described(manifest) }, [
    `${output} holds ${source}, encrypted`,
    ...manifestLines(manifest),
  ]);
}

async function verify(path: string, options: OpenOptions): Promise<void> {
  const request = await openRequest(path, options);
  try {
    const verified = await running('verifying', (run) => verifyMaster({ source: path, ...request, ...run }));
    printDecrypted(options.json, verified, request.verifyKey);
  } catch (error) {
    if (!(error instanceof MasterError) || !NOT_GENUINE.includes(error.code)) throw error;
    process.exitCode = EXIT_NO;
    print(options.json, { verified: false, code: error.code, message: error.message }, [
      `not verified: ${error.message}`,
    ]);
  }
}

/** What makes the answer of `verify` a no: the master is there and is not what was made. */
const NOT_GENUINE: MasterErrorCode[] = [
  'ERR_MASTER_AUTHENTICATION',
  'ERR_MASTER_COMMITMENT',
  'ERR_MASTER_LENGTH',
  'ERR_MASTER_MANIFEST_MISMATCH',
  'ERR_MASTER_SIGNATURE',
];

interface RewrapOptions extends CommonOptions {
  kmsKey?: string;
  context?: EncryptionContext;
  recipient?: string[];
  remove?: string[];
  privateKey?: string;
  verifyKey?: string;
}

async function rewrap(path: string, options: RewrapOptions): Promise<void> {
  const { kmsKey, context, recipient = [], remove = [], privateKey, verifyKey: signer } = options;
  if (!kmsKey && recipient.length === 0 && remove.length === 0) {
    throw new InputError('say what changes: --kms-key, --recipient or --remove');
  }
  if (context && !kmsKey) throw new InputError('--context goes with --kms-key');
  const { mode, recipients } = await readManifest(path);
  const kms = kmsKey ? await kmsRecipient(options, mode) : undefined;
  const opensByKms = recipient.length > 0 && recipients.some(({ type }) => type === 'kms');
  const open = {
    privateKey: privateKey === undefined ? undefined : await readPrivateKeyFile(privateKey),
    dataKeys: kms?.dataKeys ?? (opensByKms ? await configuredKms(options) : undefined),
  };
  const add = await Promise.all(recipient.map(readPublicKeyFile));
  const verifyKey = signer === undefined ? undefined : await readVerifyKeyFile(signer);
  const manifest = await rewrapMaster({ master: path, kms, add, remove, open, verifyKey });
  print(options.json, { manifest: manifestPath(path), ...described(manifest) }, manifestLines(manifest));
}

async function configuredKms({ config, data }: CommonOptions) {
  return openDataKeys((await readConfiguration(config)).mastering, data);
}

async function kmsRecipient(
  options: CommonOptions & { kmsKey?: string; context?: EncryptionContext },
  mode: MasterMode,
): Promise<KmsRecipient> {
  const { mastering } = await readConfiguration(options.config);
  const dataKeys = await openDataKeys(mastering, options.data);
  return { dataKeys, keyId: options.kmsKey ?? mastering.keyId, context: options.context ?? MASTER_CONTEXTS[mode] };
}

/** What the options give to open a master with. A KMS is asked only where nothing else opens it. */
async function openRequest(path: string, options: OpenOptions): Promise<OpenRequest> {
  const { mode, iv, unauthenticated, context } = options;
  if (context && (options.dataKey !== undefined || options.privateKey !== undefined)) {
    throw new InputError('--context is for a master that KMS opens: leave it out with --data-key and --private-key');
  }
  const dataKey = options.dataKey === undefined ? undefined : await readDataKeyFile(options.dataKey);
  const privateKey = options.privateKey === undefined ? undefined : await readPrivateKeyFile(options.privateKey);
  const verifyKey: KeyObject | undefined =
    options.verifyKey === undefined ? undefined : await readVerifyKeyFile(options.verifyKey);
  if (mode !== undefined) {
    if (!dataKey) throw new InputError('--mode is for a file without a manifest: give its --data-key, too');
    return { dataKey, verifyKey, withoutManifest: { mode, iv, unauthenticated } };
  }
  if (iv || unauthenticated)
    throw new InputError('--iv and --unauthenticated are for a file without a manifest: give its --mode, too');
  const isForKms = async () => (await readManifest(path)).recipients.some(({ type }) => type === 'kms');
  const needsKms = !dataKey && !privateKey && (await isForKms());
  return { dataKey, privateKey, verifyKey, context, dataKeys: needsKms ? await configuredKms(options) : undefined };
}

/** Runs with a bar, and ends tidily at Ctrl-C. */
async function running<Result>(
  phase: string,
  run: (hooks: { onProgress: (bytes: number, total: number) => void; signal: AbortSignal }) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const progress = startByteProgress(phase);
  try {
    return await run({ onProgress: progress.update, signal: controller.signal });
  } finally {
    progress.stop();
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

function described({ recipients, signatures, ...rest }: MasterManifest) {
  return { ...rest, recipients: recipients.map(({ type, keyId }) => ({ type, keyId })), signatures };
}

function printDecrypted(json: boolean | undefined, decrypted: Decrypted, verifyKey?: KeyObject, output?: string): void {
  const { mode, plaintextBytes, plaintextSha256, authenticated } = decrypted;
  if (!authenticated) report('warning: nothing shows whether this file was changed (--unauthenticated)');
  const signedBy = verifyKey ? thumbprint(verifyKey) : undefined;
  const answer = { mode, plaintextBytes, plaintextSha256, authenticated, ...(signedBy ? { signedBy } : {}) };
  print(json, output ? { output, ...answer } : { verified: true, ...answer }, [
    output ? `${output} has ${plaintextBytes} bytes` : `verified: ${plaintextBytes} bytes in mode ${mode}`,
    `SHA-256 ${plaintextSha256}`,
    ...(signedBy ? [`signed by ${signedBy}`] : []),
  ]);
}

function manifestLines(manifest: MasterManifest): string[] {
  const { mode, keyBits, plaintextBytes, plaintextSha256, ciphertextSha256, createdAt, recipients, signatures } =
    manifest;
  return alignColumns([
    ['mode', `${mode}, data key of ${keyBits} bits`],
    [
      'plaintext',
      `${plaintextBytes} bytes, ${plaintextSha256 ? `SHA-256 ${plaintextSha256}` : 'its hash is not told'}`,
    ],
    ['master', `${manifest.ciphertextBytes} bytes, SHA-256 ${ciphertextSha256}`],
    ['made', formatTime(createdAt)],
    ...recipients.map((recipient) => [
      'opened by',
      recipient.type === 'kms'
        ? `KMS key ${recipient.keyId} in context ${JSON.stringify(recipient.context)}`
        : `public key ${recipient.keyId}`,
    ]),
    ...(recipients.length === 0 ? [['opened by', 'who has the data key']] : []),
    ...signatures.flatMap(({ keyId }) => (keyId ? [['signed by', keyId]] : [])),
  ]);
}
