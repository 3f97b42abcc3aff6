import { readFile, writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import * as v from 'valibot';
import { readConfiguration } from '../config/configuration.ts';
import { type AttestationCondition, AttestationConditionSchema } from '../enclave-render/kms/attestation-condition.ts';
import type { EncryptionContext } from '../enclave-render/kms/data-keys.ts';

import { EmbeddedKms, type KeyMetadata } from '../enclave-render/kms/embedded.ts';
import { RENDER_CONTEXT, renderKeyPolicy } from '../enclave-render/kms/key-policy.ts';
import { DELETION_DAYS } from '../enclave-render/kms/keystore.ts';
import { unwrapDataKey } from '../enclave-render/mastering/recipients.ts';
import { checkManifestMac, parseManifest } from '../enclave-render/mastering/signed-manifest.ts';
import { keystorePath } from '../local/data-keys.ts';
import { alignColumns, contextPair, formatTime, InputError, integer, print, readText } from './command.ts';
import { DEFAULT_DATA } from './up.ts';

interface KmsOptions {
  data: string;
  keystore?: string;
  passphraseFile?: string;
  config?: string;
  json?: boolean;
}

const HELP = `
These are keys in a file of this machine that behave as those of AWS KMS (docs/kms.md); for AWS KMS itself use the aws command.
KEY is an id, an ARN, alias/name or the ARN of an alias.

Examples:
  portcullis kms create --alias alias/portcullis-mastering      the first key makes the keystore
  portcullis kms list
  portcullis kms rotate alias/portcullis-mastering              old ciphertexts go on decrypting`;

const POLICY_HELP = `
Examples:
  portcullis enclave measure render.eif --json | jq .pcrs > pcrs.json
  portcullis kms policy --pcrs pcrs.json --owner-role arn:aws:iam::111122223333:role/owner \\
    --parent-role arn:aws:iam::111122223333:role/render-parent > policy.json
  aws kms create-key --policy file://policy.json`;

export function registerKms(program: Command): void {
  const kms = program
    .command('kms')
    .description('the keys of the embedded KMS, which data keys of masters are encrypted with')
    .addHelpText('after', HELP);

  const add = (name: string, description: string, ...examples: string[]) =>
    kms
      .command(name)
      .description(description)
      .option('--keystore <file>', 'keystore (mode 0600), instead of that in the data directory')
      .option('--passphrase-file <file>', 'file (mode 0600) whose first line is the passphrase of the keystore')
      .option('--data <dir>', 'data directory of the stack', DEFAULT_DATA)
      .option('--config <file>', 'configuration (docs/configuration.md) that names keystore and passphrase file')
      .option('--json', 'print JSON')
      .addHelpText('after', `\nExamples:\n${examples.map((example) => `  portcullis kms ${example}`).join('\n')}`);

  /** A command that changes the one key it names, and shows it. */
  const addChange = (
    name: string,
    description: string,
    change: (kms: EmbeddedKms, key: string, options: KmsOptions & { days?: number }) => Promise<KeyMetadata>,
  ) =>
    add(name, description, `${name} alias/portcullis-mastering`)
      .argument('<key>', 'id, ARN, alias/name or ARN of an alias')
      .action(async (key: string, options: KmsOptions) => {
        printKey(options.json, await change(await openKms(options), key, options));
      });

  add(
    'create',
    'make a key, and the keystore when there is none',
    'create --alias alias/portcullis-mastering',
    'create --keystore keys.json --passphrase-file passphrase --description "archive 2026"',
    'create --alias alias/render --attestation pcrs.json           decrypts for these enclaves only',
  )
    .option('--alias <name>', 'alias/name that stands for the key')
    .option('--description <text>', 'what it is for; anybody with the keystore may read it')
    .option(
      '--attestation <file>',
      'registers of the enclaves that it decrypts for, and for nobody else: {"0":"hex",…}',
    )
    .action(async (options: KmsOptions & { alias?: string; description?: string; attestation?: string }) => {
      const { alias, description } = options;
      const attestation = options.attestation === undefined ? undefined : await readCondition(options.attestation);
      printKey(options.json, await (await openKms(options)).createKey({ alias, description, attestation }));
    });

  kms
    .command('policy')
    .description('write the key policy for AWS KMS that lets a key decrypt for attested enclaves only')
    .requiredOption('--pcrs <file>', 'registers of the enclaves: {"0":"hex",…}; portcullis enclave measure prints them')
    .requiredOption('--owner-role <arn>', 'IAM role that administers the key and encrypts with it', iamRole)
    .requiredOption('--parent-role <arn>', 'IAM role of the instance that enclaves run on', iamRole)
    .option('--json', 'print JSON, which it is anyhow')
    .addHelpText('after', POLICY_HELP)
    .action(async ({ pcrs, ownerRole, parentRole }: { pcrs: string; ownerRole: string; parentRole: string }) => {
      const policy = renderKeyPolicy({ ownerRole, parentRole }, await readCondition(pcrs), RENDER_CONTEXT);
      print(true, policy, []);
    });

  add('list', 'list the keys', 'list', 'list --keystore keys.json --passphrase-file passphrase --json').action(
    async (options: KmsOptions) => {
      const keys = await (await openKms(options)).listKeys();
      const rows = keys.map((key) => [key.keyId, key.state, `version ${key.version}`, key.aliases.join(' ')]);
      const lines = alignColumns([['key', 'state', 'material', 'aliases'], ...rows]);
      print(options.json, { keys }, keys.length > 0 ? lines : ['no keys']);
    },
  );

  addChange('describe', 'show a key', (embedded, key) => embedded.describeKey(key));
  addChange('disable', 'let a key do nothing until it is enabled', (embedded, key) => embedded.disableKey(key));
  addChange('enable', 'let a disabled key work again', (embedded, key) => embedded.enableKey(key));
  addChange('rotate', 'give a key new material for what is encrypted from now on', (embedded, key) =>
    embedded.rotateKey(key),
  );
  addChange(
    'delete',
    'delete a key after a waiting period, in which it does nothing; nothing under it can be decrypted ever after',
    (embedded, key, { days }) => embedded.scheduleKeyDeletion(key, days),
  ).option(
    '--days <n>',
    `waiting period in days, ${DELETION_DAYS.least} to ${DELETION_DAYS.most}; 30 by default`,
    integer(DELETION_DAYS.least, DELETION_DAYS.most),
  );
  addChange('cancel-deletion', 'keep a key that is pending deletion; it is disabled then', (embedded, key) =>
    embedded.cancelKeyDeletion(key),
  );

  add(
    'decrypt',
    'write the data key of a master into a file, for other programs; the command aws kms decrypt does it for keys of AWS KMS',
    'decrypt aurora.enc.manifest.json aurora.key',
    'decrypt aurora.enc.manifest.json aurora.key --context service=mediaconvert.amazonaws.com',
  )
    .argument('<manifest>', 'manifest of the master')
    .argument('<file>', 'file to write, mode 0600; it must not be there yet')
    .option('--context <name=value>', 'encryption context, repeatable (default: what the manifest says)', contextPair)
    .action(decrypt);

  add(
    'alias',
    'let an alias stand for a key',
    'alias alias/portcullis-mastering 1f0c8d2e-9a4b-4c3d-8e5f-0123456789ab',
    'alias alias/portcullis-mastering alias/archive --move    it stood for another key before',
    'alias alias/archive --remove                             the key stays',
  )
    .argument('<alias>', 'alias/name')
    .argument('[key]', 'id, ARN, alias/name or ARN of an alias')
    .option('--move', 'the alias is there, and stands for this key from now on')
    .option('--remove', 'take the alias away')
    .action(async (alias: string, key: string | undefined, options: KmsOptions & { move?: true; remove?: true }) => {
      const { move, remove } = options;
      if (remove ? key !== undefined || move : key === undefined) {
        throw new InputError('an alias needs the key it stands for (portcullis kms alias ALIAS KEY), or --remove');
      }
      const embedded = await openKms(options);
      if (key === undefined) printKey(options.json, await embedded.deleteAlias(alias));
      else printKey(options.json, await (move ? embedded.updateAlias(alias, key) : embedded.createAlias(alias, key)));
    });
}

/**
 * Writes the data key that a manifest names into a file of mode 0600: for openssl, or `--data-key`. The manifest has to be signed under
 * it, so that no other key gets out under its name.
 */
async function decrypt(path: string, output: string, options: KmsOptions & { context?: EncryptionContext }) {
  const manifest = parseManifest(await readText(path));
  const dataKey = await unwrapDataKey(manifest, { dataKeys: await openKms(options), context: options.context });
  try {
    checkManifestMac(manifest, dataKey);
    await writeFile(output, dataKey, { flag: 'wx', mode: 0o600 }).catch((error: NodeJS.ErrnoException) => {
      throw new InputError(`cannot write ${output}: ${error.code}; name a file that is not there yet`);
    });
  } finally {
    dataKey.fill(0);
  }
  print(options.json, { output, keyBits: manifest.keyBits }, [
    `${output} holds the data key of ${manifest.keyBits} bits: whoever reads it opens the master`,
  ]);
}

/** Registers from a file. Throws `InputError`. */
async function readCondition(file: string): Promise<AttestationCondition> {
  try {
    const condition = v.safeParse(AttestationConditionSchema, { pcrs: JSON.parse(await readFile(file, 'utf8')) });
    if (condition.success) return condition.output;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code) throw new InputError(`cannot read ${file}: ${code}`);
  }
  throw new InputError(`${file} is not {"0":"<96 hexadecimal digits>",…}: registers by index, PCR0 among them`);
}

function iamRole(arn: string): string {
  if (/^arn:aws(?:-cn|-us-gov)?:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/.test(arn)) return arn;
  throw new InvalidArgumentError('not the ARN of an IAM role: arn:aws:iam::<account>:role/<name>');
}

/** The embedded KMS that the options name, or the configuration, or the data directory. Throws `InputError`. */
async function openKms(options: KmsOptions): Promise<EmbeddedKms> {
  const { kms } = (await readConfiguration(options.config)).mastering;
  if (kms.provider === 'aws') {
    throw new InputError(
      `${options.config} says AWS KMS: use the aws command (aws kms create-key), or another --config`,
    );
  }
  return new EmbeddedKms({
    keystore: options.keystore ?? kms.keystore ?? keystorePath(options.data),
    passphraseFile: options.passphraseFile ?? kms.passphraseFile,
  });
}

function registers(pcrs: NonNullable<KeyMetadata['attestation']>['pcrs']): string {
  return Object.entries(pcrs)
    .map(([index, register]) => `PCR${index} ${register}`)
    .join(', ');
}

function printKey(json: boolean | undefined, key: KeyMetadata): void {
  const rows = [
    ['key', key.arn],
    ['state', key.deletesAt === null ? key.state : `${key.state}, deleted at ${formatTime(key.deletesAt)}`],
    ['material', `version ${key.version}, of ${formatTime(key.rotatedAt)}`],
    ['created', formatTime(key.createdAt)],
    ...(key.aliases.length > 0 ? [['aliases', key.aliases.join(' ')]] : []),
    ...(key.attestation ? [['decrypts for', `enclaves of ${registers(key.attestation.pcrs)} only`]] : []),
    ...(key.description === '' ? [] : [['description', key.description]]),
  ];
  print(json, key, alignColumns(rows));
}
