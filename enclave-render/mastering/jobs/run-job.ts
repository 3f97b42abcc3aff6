import { createHash, randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { BoundaryCrossing } from '../../boundary.ts';
import type { DataKeys } from '../../kms/data-keys.ts';
import type { ObjectEncryption, ObjectStore } from '../../storage/object-store.ts';
import {
  checkDataKey,
  checkKeyMd5,
  TRANSCODER_MODES,
  type TranscoderEncryption,
  type TranscoderJob,
  type TranscoderOutput,
  transcoderEncryption,
} from './elastic-transcoder.ts';
import { unhandledFields } from './fields.ts';
import { MasterJobError } from './job-error.ts';
import { type KeyUse, refuseKeyReuse } from './key-reuse.ts';
import { SERVICE_CONTEXTS, type ServiceMode } from './service-keys.ts';
import { decrypting, encrypting } from './stream-ciphers.ts';

/** What a job is run with. */
export interface JobSurroundings {
  keys: DataKeys;
  /** The bucket of a name. */
  bucket(name: string): ObjectStore;
  /** Makes an output from the plaintext of the input; its stream fails when it could not be made as a whole. */
  transcode(plaintext: Readable, output: { key: string; presetId: string }): Readable;
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

/** A file's key, in clear. */
interface FileKey {
  mode: ServiceMode;
  key: Uint8Array;
  iv: Uint8Array;
}

/**
 * Runs a job of Elastic Transcoder: decrypts the input as its Encryption says, has the outputs made from it one after the other, and
 * encrypts them as theirs says. Outputs must not be there yet; a failure leaves none behind. Throws `MasterJobError`,
 * and what `surroundings` throws.
 */
export async function runTranscoderJob(transcoderJob: TranscoderJob, surroundings: JobSurroundings): Promise<JobRun> {
  const { job, pipeline: settings, inputs, outputs, outputBucket } = transcoderJob;
  refuseWhatIsNotRun(transcoderJob);
  const [input] = inputs;
  if (input === undefined) throw new MasterJobError('ERR_MASTER_JOB_INVALID', 'the job needs an input');
  const opened: FileKey[] = [];
  const stored: string[] = [];
  const target = surroundings.bucket(outputBucket);
  try {
    const open = async (encryption: TranscoderEncryption, where: string) => {
      const key = await openKey(encryption, where, surroundings.keys, settings.AwsKmsKeyArn);
      if (key) opened.push(key);
      return key;
    };
    const inputKey = input.Encryption ? await open(input.Encryption, 'Inputs[0].Encryption') : undefined;
    const plans: {
      output: TranscoderOutput;
      encryption: TranscoderEncryption | undefined;
      key: FileKey | undefined;
    }[] = [];
    for (const [i, output] of outputs.entries()) {
      const where = `Outputs[${i}].Encryption`;
      const encryption = await withKey(output.Encryption, where, surroundings.keys, settings.AwsKmsKeyArn);
      plans.push({ output, encryption, key: encryption && (await open(encryption, where)) });
    }
    const outputUses = plans.flatMap(({ key }, i) => keyUse(`Outputs[${i}]`, key));
    refuseKeyReuse(keyUse('Inputs[0]', inputKey), outputUses);

    const source = surroundings.bucket(settings.InputBucket);
    const plaintext = async () => {
      const { body } = await source.get(input.Key);
      if (!inputKey) return body;
      const decipher = decrypting(inputKey.mode, inputKey.key, inputKey.iv);
      body.on('error', (error) => decipher.destroy(error));
      decipher.on('close', () => body.destroy());
      return body.pipe(decipher);
    };
    const inputAuthenticated = inputKey?.mode === 'gcm';
    if (inputAuthenticated) await pipeline(await plaintext(), discarding());

    const made: JobRun['outputs'] = [];
    for (const { output, encryption, key } of plans) {
      const name = `${job.OutputKeyPrefix}${output.Key}`;
      const clear = surroundings.transcode(await plaintext(), { key: output.Key, presetId: output.PresetId });
      const body = key ? encrypted(clear, key) : clear;
      const { bytes } = await target.put(name, body, {
        encryption: atRest(encryption, settings.AwsKmsKeyArn),
        ifAbsent: true,
      });
      stored.push(name);
      made.push({ bucket: outputBucket, key: name, bytes });
    }
    return {
      job: {
        ...job,
        Outputs: plans.map(({ output, encryption }) => ({ ...output, ...(encryption && { Encryption: encryption }) })),
        Status: 'Complete',
      },
      outputs: made,
      crossings: crossingsOf(transcoderJob),
      inputAuthenticated,
    };
  } catch (error) {
    await Promise.allSettled(stored.map((name) => target.delete(name)));
    throw error;
  } finally {
    for (const { key } of opened) key.fill(0);
  }
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

/** The encryption of an output, with a new key of 256 bits and an IV where the job leaves them out. */
async function withKey(
  encryption: TranscoderEncryption | null | undefined,
  where: string,
  keys: DataKeys,
  kmsKey: string | null | undefined,
): Promise<TranscoderEncryption | undefined> {
  if (!encryption) return undefined;
  const row = TRANSCODER_MODES[encryption.Mode];
  if (row.by === 's3' || encryption.Key !== '') return encryption;
  if (!kmsKey) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_KMS_KEY',
      `${where} asks for a new key, which the pipeline's AwsKmsKeyArn has to encrypt: add it, or Key, KeyMd5 and InitializationVector`,
    );
  }
  const made = await keys.generate(kmsKey, 256, SERVICE_CONTEXTS.elastictranscoder);
  made.plaintext.fill(0);
  return transcoderEncryption(row.mode, made.encrypted, randomBytes(16));
}

/** The key of a file, or undefined where S3 has it. */
async function openKey(
  { Mode, Key, KeyMd5, InitializationVector }: TranscoderEncryption,
  where: string,
  keys: DataKeys,
  kmsKey: string | null | undefined,
): Promise<FileKey | undefined> {
  const row = TRANSCODER_MODES[Mode];
  if (row.by === 's3') return undefined;
  const encryptedKey = Buffer.from(Key, 'base64');
  const { plaintext } = await keys.decrypt(encryptedKey, SERVICE_CONTEXTS.elastictranscoder, kmsKey ?? undefined);
  try {
    checkKeyMd5(KeyMd5, encryptedKey, plaintext, where);
    checkDataKey(plaintext, where);
  } catch (error) {
    plaintext.fill(0);
    throw error;
  }
  return { mode: row.mode, key: plaintext, iv: Buffer.from(InitializationVector, 'base64') };
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

function discarding(): Writable {
  return new Writable({ write: (_chunk, _encoding, done) => done() });
}

function atRest(
  encryption: TranscoderEncryption | undefined,
  kmsKey: string | null | undefined,
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
