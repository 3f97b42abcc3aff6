import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import type { BoundaryCrossing } from '../enclave-render/boundary.ts';
import {
  readTranscoderJob,
  TRANSCODER_MODES,
  type TranscoderMode,
  transcoderJob,
} from '../enclave-render/mastering/jobs/elastic-transcoder.ts';
import { mediaConvertJob } from '../enclave-render/mastering/jobs/mediaconvert.ts';
import { migrateJob } from '../enclave-render/mastering/jobs/migrate.ts';
import type { EncryptionMethod, OutputProtection } from '../enclave-render/mastering/jobs/output-groups.ts';
import { runTranscoderJob } from '../enclave-render/mastering/jobs/run-job.ts';
import { readVerifyKeyFile } from '../enclave-render/mastering/key-files.ts';
import type { MasterManifest } from '../enclave-render/mastering/manifest.ts';
import { parseManifest } from '../enclave-render/mastering/signed-manifest.ts';
import { fileObjectStore } from '../enclave-render/storage/files.ts';
import { openDataKeys } from '../local/data-keys.ts';
import { EXIT_NO, InputError, note, print, readJson, readText } from './command.ts';
import { DEFAULT_DATA } from './up.ts';

const JOB_HELP = `
Writes the job that has a service of AWS decrypt a master and make renditions of it. Nothing is sent anywhere, and no key in clear
is in it: the data key of the master must be encrypted by KMS in the context of the service (portcullis master rewrap).
mediaconvert: a CreateJob request (.request) and the policy of its role (.policy). Renditions are encrypted by keys of a SPEKE
server, or by one key of yours, which is put into the job when it is submitted (docs/mastering-jobs.md); with neither, they reach
S3 in clear. elastictranscoder: job and pipeline as that service took them, for portcullis master job run.

Examples:
  portcullis master job --service mediaconvert --manifest aurora.enc.manifest.json --input s3://masters/aurora.enc \\
    --output s3://renditions/aurora/ --role arn:aws:iam::111122223333:role/mastering --cmaf \\
    --speke-url https://keys.example.com/speke --speke-resource aurora --speke-system edef8ba9-79d6-4ace-a3c8-27dcd51d21ed
  portcullis master job --service elastictranscoder --manifest aurora.enc.manifest.json --input s3://masters/aurora.enc \\
    --output s3://renditions/aurora/ --preset 1351620000001-000010 --output-encryption aes-gcm`;

const RUN_HELP = `
FILE is {"Job":{…},"Pipeline":{…}}, as elastictranscoder create-job and create-pipeline take them, or read-job and read-pipeline
answer. The input is decrypted as its Encryption says, ffmpeg encodes each output as the system preset of its PresetId says, and it is
encrypted as its Encryption says; nothing is written in clear but what the job leaves in clear. Buckets are folders. With --copy, video
and sound go into the container of the preset as they are. Playlists, thumbnails, watermarks, captions and clips are refused, each by
name; encrypted HLS is made by portcullis package hls.

Examples:
  portcullis master job run job.json --buckets /srv/buckets
  portcullis master job run job.json --buckets /srv/buckets --copy`;

const MIGRATE_HELP = `
FILE is as for portcullis master job run. The keys of encrypted inputs are put into MediaConvert's context by KMS (ReEncrypt), which
needs "mastering": {"kms": {"provider": "aws", "region": "…"}} in the configuration, and would move whatever key stands in the job: so
each is held to the manifest of its master (--manifest), or --unauthenticated says that there is none. What MediaConvert cannot do is said
field by field; the command then exits with 1, and outputs that would lose their protection are not in the request.

Examples:
  portcullis master migrate job.json --manifest aurora.enc.manifest.json --kms-key arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab \\
    --role arn:aws:iam::111122223333:role/mastering --preset 1457000000000-abcdef=web-720p --json`;

interface JobOptions {
  service?: 'mediaconvert' | 'elastictranscoder';
  manifest?: string;
  input?: string;
  output?: string;
  role?: string;
  region?: string;
  hls?: true;
  cmaf?: true;
  outputKmsKey?: string;
  spekeUrl?: string;
  spekeResource?: string;
  spekeSystem?: string[];
  staticKeyUrl?: string;
  encryption?: EncryptionMethod;
  preset?: string[];
  outputEncryption?: TranscoderMode;
  json?: boolean;
}

/** `portcullis master job`, `master job run` and `master migrate`. */
export function registerMasterJob(master: Command): void {
  const job = master
    .command('job')
    .description('write the job that has a service of AWS make renditions of a master, or run one here')
    .addOption(new Option('--service <name>', 'service; required').choices(['mediaconvert', 'elastictranscoder']))
    .option('--manifest <file>', 'manifest of the master, in mode gcm, ctr or cbc; required')
    .option('--input <url>', 'the encrypted master, s3://bucket/key; required')
    .option('--output <url>', 'folder of the renditions, s3://bucket/folder/; required')
    .option('--role <arn>', 'role that the service assumes; mediaconvert needs it')
    .option('--region <region>', 'region of the job, unless that of the KMS key')
    .option('--hls', 'make HLS in MPEG-2 TS (the default)')
    .addOption(new Option('--cmaf', 'make CMAF with HLS and DASH manifests').conflicts('hls'))
    .option('--output-kms-key <arn>', 'KMS key of the renditions in S3 (SSE-KMS); SSE-S3 without')
    .option('--speke-url <url>', 'SPEKE server that has the content keys')
    .option('--speke-resource <id>', 'name of the title on the SPEKE server')
    .option('--speke-system <uuid...>', 'DRM systems, at most three')
    .addOption(new Option('--static-key-url <url>', 'where players get the content key').conflicts('spekeUrl'))
    .addOption(
      new Option('--encryption <method>', 'of the segments; AES128 in HLS, SAMPLE_AES in CMAF unless given').choices([
        'AES128',
        'SAMPLE_AES',
        'AES_CTR',
      ]),
    )
    .option('--preset <id...>', 'elastictranscoder: presets, an output for each')
    .addOption(
      new Option('--output-encryption <mode>', 'elastictranscoder: encryption of the outputs; s3 unless given').choices(
        Object.keys(TRANSCODER_MODES),
      ),
    )
    .option('--json', 'print JSON')
    .addHelpText('after', JOB_HELP)
    .action(async (options: JobOptions) => writeJob(options));

  job
    .command('run')
    .description('run a job of Elastic Transcoder here')
    .argument('<file>', 'job and pipeline')
    .requiredOption('--buckets <dir>', 'folder with a folder for each bucket; required')
    .option('--copy', 'copy video and sound as they are, instead of encoding them')
    .option('--data <dir>', 'data directory of the stack, with its keystore', DEFAULT_DATA)
    .option('--config <file>', 'configuration (docs/configuration.md) that names the KMS')
    .option('--json', 'print JSON')
    .addHelpText('after', RUN_HELP)
    // Commander gives an option that both have to `job`, also when it comes after `run`.
    .action((file: string, _: object, command: Command) => runJob(file, command.optsWithGlobals()));

  master
    .command('migrate')
    .description('turn a job of Elastic Transcoder into one of MediaConvert')
    .argument('<file>', 'job and pipeline')
    .requiredOption('--kms-key <arn>', 'KMS key of the data keys from now on; required')
    .requiredOption('--role <arn>', 'role that MediaConvert assumes; required')
    .option('--manifest <file...>', 'manifest of each encrypted input, whose key is held to it')
    .addOption(
      new Option('--unauthenticated', 'there are no manifests: nothing shows whose key is in the job; go on').conflicts(
        ['manifest', 'verifyKey'],
      ),
    )
    .option('--verify-key <file>', 'Ed25519 public key that has to have signed the manifests (PEM or JWK)')
    .option('--region <region>', 'region of the job, unless that of the KMS key')
    .option('--preset <old=new...>', 'output preset of MediaConvert in place of a preset of your own', presetPair)
    .option('--data <dir>', 'data directory of the stack, with its keystore', DEFAULT_DATA)
    .option('--config <file>', 'configuration (docs/configuration.md) that names the KMS')
    .option('--json', 'print JSON')
    .addHelpText('after', MIGRATE_HELP)
    .action(migrate);
}

/** Options that one service has and the other has not. */
const OF_THE_OTHER: Record<NonNullable<JobOptions['service']>, (keyof JobOptions)[]> = {
  mediaconvert: ['preset', 'outputEncryption'],
  elastictranscoder: [
    'region',
    'hls',
    'cmaf',
    'outputKmsKey',
    'spekeUrl',
    'spekeResource',
    'spekeSystem',
    'staticKeyUrl',
    'encryption',
  ],
};

async function writeJob(options: JobOptions): Promise<void> {
  const { service, manifest: path, input, output } = options;
  if (!service || !path || !input || !output) {
    throw new InputError('a job needs --service, --manifest, --input and --output (--help has examples)');
  }
  const [foreign] = OF_THE_OTHER[service].filter((name) => options[name] !== undefined);
  if (foreign) {
    const option = foreign.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new InputError(`--${option} means nothing to --service ${service}: leave it out`);
  }
  const manifest = parseManifest(await readText(path));
  if (service === 'elastictranscoder') {
    const job = transcoderJob(manifest, {
      input,
      output,
      role: options.role,
      presets: options.preset ?? [],
      outputMode: options.outputEncryption ?? 's3',
    });
    print(options.json, job, JSON.stringify(job, null, 2).split('\n'));
    return;
  }
  const job = mediaConvertJob(manifest, {
    input,
    output,
    packaging: options.cmaf ? 'cmaf' : 'hls',
    role: options.role,
    region: options.region,
    outputKmsKey: options.outputKmsKey,
    protection: protectionOf(options),
  });
  print(options.json, job, [
    `job for MediaConvert in ${job.region}:`,
    ...JSON.stringify(job.request, null, 2).split('\n'),
    'policy of its role:',
    ...JSON.stringify(job.policy, null, 2).split('\n'),
    ...crossingLines(job.crossings),
    ...job.todo.map((line) => `to do: ${line}`),
  ]);
}

function protectionOf(options: JobOptions): OutputProtection | undefined {
  const { spekeUrl, spekeResource, spekeSystem, staticKeyUrl, encryption: method } = options;
  if (staticKeyUrl !== undefined) return { type: 'static-key', keyUrl: staticKeyUrl, method };
  if (spekeUrl !== undefined) {
    if (!spekeResource || !spekeSystem) throw new InputError('--speke-url needs --speke-resource and --speke-system');
    return { type: 'speke', url: spekeUrl, resourceId: spekeResource, systemIds: spekeSystem, method };
  }
  if (spekeResource || spekeSystem || method) {
    throw new InputError('to have the renditions encrypted, give --speke-url or --static-key-url');
  }
  return undefined;
}

interface RunOptions {
  buckets: string;
  copy?: true;
  data: string;
  config?: string;
  json?: boolean;
}

async function runJob(file: string, options: RunOptions): Promise<void> {
  const job = readTranscoderJob(await readJson(file));
  const { mastering } = await readConfiguration(options.config);
  const run = await runTranscoderJob(job, {
    keys: await openDataKeys(mastering, options.data),
    bucket: (name) => fileObjectStore(join(options.buckets, name)),
    copy: options.copy,
  });
  if (!run.inputAuthenticated) note('the input has no tag, so that nothing says whether it was tampered with');
  print(options.json, run, [
    ...run.outputs.map(({ bucket, key, bytes }) => `s3://${bucket}/${key}: ${bytes} bytes`),
    ...crossingLines(run.crossings),
  ]);
}

interface MigrateOptions {
  manifest?: string[];
  unauthenticated?: true;
  verifyKey?: string;
  kmsKey: string;
  role: string;
  region?: string;
  preset?: Record<string, string>;
  data: string;
  config?: string;
  json?: boolean;
}

async function migrate(file: string, options: MigrateOptions): Promise<void> {
  const job = readTranscoderJob(await readJson(file));
  const manifests: MasterManifest[] = [];
  for (const path of options.manifest ?? []) manifests.push(parseManifest(await readText(path)));
  const verifyKey = options.verifyKey === undefined ? undefined : await readVerifyKeyFile(options.verifyKey);
  const { mastering } = await readConfiguration(options.config);
  const migration = await migrateJob(job, await openDataKeys(mastering, options.data), {
    kmsKey: options.kmsKey,
    role: options.role,
    region: options.region,
    authenticity: options.unauthenticated ? 'unauthenticated' : { manifests, verifyKey },
    presets: options.preset,
  });
  print(options.json, migration, [
    `job for MediaConvert in ${migration.region}:`,
    ...JSON.stringify(migration.request, null, 2).split('\n'),
    'policy of its role:',
    ...JSON.stringify(migration.policy, null, 2).split('\n'),
    ...crossingLines(migration.crossings),
    ...migration.todo.map((line) => `to do: ${line}`),
    ...migration.unmapped.map(({ field, why }) => `not migrated: ${field}: ${why}`),
  ]);
  if (migration.unmapped.length > 0) process.exitCode = EXIT_NO;
}

function presetPair(text: string, all: Record<string, string> = {}): Record<string, string> {
  const [, from, to] = /^([\w-]+)=(.+)$/.exec(text) ?? [];
  if (from === undefined || to === undefined) throw new InvalidArgumentError('It must be <old id>=<new name>.');
  return { ...all, [from]: to };
}

function crossingLines(crossings: BoundaryCrossing[]): string[] {
  if (crossings.length === 0) return ['nothing leaves the attested boundary but ciphertext'];
  return crossings.map(({ service, by, why }) => `leaves the attested boundary to ${service} (${by}): ${why}`);
}
