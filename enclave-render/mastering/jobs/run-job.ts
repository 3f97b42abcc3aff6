import { createHash, randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { BoundaryCrossing } from '../../boundary.ts';
import type { DataKeys } from '../../kms/data-keys.ts';
import type { ObjectEncryption, ObjectStore } from '../../storage/object-store.ts';
import { SERVICE_CONTEXTS } from '../contexts.ts';
import { openRangeView } from '../range-view.ts';
import {
  TRANSCODER_MODES,
  type TranscoderEncryption,
  type TranscoderJob,
  type TranscoderOutput,
  transcoderEncryption,
} from './elastic-transcoder.ts';
import { unhandledFields } from './fields.ts';
import { MasterJobError } from './job-error.ts';
import { type FileKey, openJobInput } from './job-input.ts';
import { type KeyUse, refuseKeyReuse } from './key-reuse.ts';
import { makeOutput, type OutputRecipe } from './make-output.ts';
import { presetOf, TRANSCODER_PRESETS } from './presets.ts';
import { encrypting } from './stream-ciphers.ts';
import { openDataKey } from './transcoder-key.ts';

/** What a job is run with. */
export interface JobSurroundings {
  keys: DataKeys;
  /** The bucket of a name. */
  bucket(name: string): ObjectStore;
  /** Puts video and sound as they are into the container of the preset, or of the output's name, instead of encoding them. */
  copy?: boolean | undefined;
}

/** What a run made. */
export interface JobRun {
  /** The job as ReadJob would answer it: with the keys that were made for outputs, encrypted. */
  job: Record<string, unknown>;
  outputs: { bucket: string; key: string; bytes: number }[];
  crossings: BoundaryCrossing[];
  /** Whether the input was authenticated (`aes-gcm`) before any of it was used. */
  inputAuthenticated: boolean;
}

/** An output as it is to be made. */
interface Plan {
  output: TranscoderOutput;
  recipe: OutputRecipe;
  /** With the key that was made for it, if it was. */
  encryption: TranscoderEncryption | undefined;
  key: FileKey | undefined;
}

/**
 * Runs a job of Elastic Transcoder: decrypts the input as its Encryption says, has ffmpeg make the outputs from it one after the other,
 * and encrypts them as theirs says. ffmpeg reads through a loopback view and writes into a pipe, so that no plaintext touches the disk but
 * that of outputs which the job leaves in clear. Outputs must not be there yet; a failure leaves none behind. Throws `MasterJobError`, and
 * what `surroundings` throws.
 */
export async function runTranscoderJob(transcoderJob: TranscoderJob, surroundings: JobSurroundings): Promise<JobRun> {
  const { job, pipeline: settings, inputs, outputs, outputBucket } = transcoderJob;
  refuseWhatIsNotRun(transcoderJob);
  const [input] = inputs;
  if (input === undefined) throw new MasterJobError('ERR_MASTER_JOB_INVALID', 'the job needs an input');
  const recipes = outputs.map((output) => recipeOf(output, surroundings.copy === true));
  const { keys } = surroundings;
  const kmsKey = settings.AwsKmsKeyArn ?? undefined;
  const opened: FileKey[] = [];
  const stored: string[] = [];
  const target = surroundings.bucket(outputBucket);
  try {
    const inputKey = await openKey(input.Encryption, 'Inputs[0].Encryption', keys, kmsKey);
    if (inputKey) opened.push(inputKey);
    const plans: Plan[] = [];
    for (const [i, output] of outputs.entries()) {
      const { encryption, key } = await outputKey(output.Encryption, `Outputs[${i}].Encryption`, keys, kmsKey);
      if (key) opened.push(key);
      plans.push({ output, recipe: recipes[i] as OutputRecipe, encryption, key });
    }
    refuseKeyReuse(
      keyUse('Inputs[0]', inputKey),
      plans.flatMap(({ key }, i) => keyUse(`Outputs[${i}]`, key)),
    );

    const reader = await openJobInput(surroundings.bucket(settings.InputBucket), input.Key, inputKey);
    const view = await openRangeView(reader);
    const made: JobRun['outputs'] = [];
    try {
      for (const { output, recipe, encryption, key } of plans) {
        const name = `${job.OutputKeyPrefix}${output.Key}`;
        const clear = makeOutput(view, recipe);
        const { bytes } = await target.put(name, key ? encrypted(clear, key) : clear, {
          encryption: atRest(encryption, kmsKey),
          ifAbsent: true,
        });
        stored.push(name);
        made.push({ bucket: outputBucket, key: name, bytes });
      }
    } finally {
      await view.close();
      await reader.close();
    }
    return {
      job: {
        ...job,
        Outputs: plans.map(({ output, encryption }) => ({ ...output, ...(encryption && { Encryption: encryption }) })),
        Status: 'Complete',
      },
      outputs: made,
      crossings: crossingsOf(transcoderJob),
      inputAuthenticated: inputKey?.mode === 'gcm',
    };
  } catch (error) {
    await Promise.allSettled(stored.map((name) => target.delete(name)));
    throw error;
  } finally {
    for (const { key } of opened) key.fill(0);
  }
}

/** How an output is made. Throws `ERR_MASTER_JOB_PRESET`, and `ERR_MASTER_JOB_NOT_RUN` for a copy into no container that is known. */
function recipeOf({ Key, PresetId }: TranscoderOutput, isCopy: boolean): OutputRecipe {
  if (!isCopy) return { preset: presetOf(PresetId) };
  const container = TRANSCODER_PRESETS.get(PresetId)?.container ?? /\.(ts|mp4)$/.exec(Key)?.[1];
  if (container === 'ts' || container === 'mp4') return { copyInto: container };
  throw new MasterJobError(
    'ERR_MASTER_JOB_NOT_RUN',
    `the container of the preset ${PresetId} is not known here: let the Key of the output end in .ts or .mp4`,
  );
}

function refuseWhatIsNotRun(transcoderJob: TranscoderJob): void {
  if (transcoderJob.inputs.length > 1) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_NOT_RUN',
      'several inputs in one job are not stitched here: run a job for each',
    );
  }
  const [first] = unhandledFields(transcoderJob, 'run');
  if (first) throw new MasterJobError('ERR_MASTER_JOB_NOT_RUN', `${first.field} is not run here: ${first.why}`);
}

/** The encryption of an output and its key: a new one of 256 bits, with an IV, where the job leaves them out. */
async function outputKey(
  encryption: TranscoderEncryption | null | undefined,
  where: string,
  keys: DataKeys,
  kmsKey: string | undefined,
): Promise<{ encryption: TranscoderEncryption | undefined; key: FileKey | undefined }> {
  const row = encryption && TRANSCODER_MODES[encryption.Mode];
  if (row?.by !== 'client' || encryption?.Key !== '') {
    return { encryption: encryption ?? undefined, key: await openKey(encryption, where, keys, kmsKey) };
  }
  if (!kmsKey) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_KMS_KEY',
      `${where} asks for a new key, which the pipeline's AwsKmsKeyArn has to encrypt: add it, or Key, KeyMd5 and InitializationVector`,
    );
  }
  const made = await keys.generate(kmsKey, 256, SERVICE_CONTEXTS.elastictranscoder);
  const iv = randomBytes(16);
  return {
    encryption: transcoderEncryption(row.mode, made.encrypted, iv),
    key: { mode: row.mode, key: made.plaintext, iv },
  };
}

/** The key of a file, or undefined where S3 has it. */
async function openKey(
  encryption: TranscoderEncryption | null | undefined,
  where: string,
  keys: DataKeys,
  kmsKey: string | undefined,
): Promise<FileKey | undefined> {
  const row = encryption && TRANSCODER_MODES[encryption.Mode];
  if (row?.by !== 'client') return undefined;
  const plaintext = await openDataKey(encryption as TranscoderEncryption, where, keys, kmsKey);
  return { mode: row.mode, key: plaintext, iv: Buffer.from(encryption?.InitializationVector ?? '', 'base64') };
}

/** KMS encrypts a key differently each time, so that only a digest of the key itself tells keys apart. */
function keyUse(file: string, key: FileKey | undefined): KeyUse[] {
  return key ? [{ ...key, file, key: createHash('sha256').update(key.key).digest('hex') }] : [];
}

function encrypted(plaintext: Readable, { mode, key, iv }: FileKey): Readable {
  const cipher = encrypting(mode, key, iv);
  plaintext.on('error', (error) => cipher.destroy(error));
  cipher.on('close', () => plaintext.destroy());
  return plaintext.pipe(cipher);
}

function atRest(
  encryption: TranscoderEncryption | undefined,
  kmsKey: string | undefined,
): ObjectEncryption | undefined {
  const row = encryption && TRANSCODER_MODES[encryption.Mode];
  if (row?.by !== 's3') return undefined;
  return row.type === 'SSE-KMS' && kmsKey ? { type: 'SSE-KMS', keyId: kmsKey } : { type: row.type };
}

/** Outputs of a run that S3 gets in clear. */
function crossingsOf({ outputs }: TranscoderJob): BoundaryCrossing[] {
  return outputs.flatMap(({ Encryption }, i): BoundaryCrossing[] => {
    const row = Encryption && TRANSCODER_MODES[Encryption.Mode];
    if (row?.by === 'client') return [];
    const by = row ? `Outputs[${i}].Encryption ${row.type}` : `Outputs[${i}] without Encryption`;
    return [{ service: 's3', by, why: 'Amazon S3 receives the output in clear and encrypts it at rest' }];
  });
}
