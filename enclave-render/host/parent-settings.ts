import { createPublicKey, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { HostError } from './host-error.ts';

const path = v.pipe(v.string(), v.regex(/^\/[A-Za-z0-9._/-]*[A-Za-z0-9]$/, 'an absolute path of plain letters'));
const region = v.pipe(v.string(), v.regex(/^[a-z]{2}(?:-[a-z]+)+-\d$/, 'a region, such as eu-central-1'));
const bucket = v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'the name of a bucket'));
const owner = v.pipe(
  v.string(),
  v.regex(
    /^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$/,
    'an Ed25519 public key: the line between BEGIN PUBLIC KEY and END PUBLIC KEY',
  ),
);
const whole = (min: number, max: number) => v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));

/** What the parent of Nitro enclaves is told: one JSON file. */
export const ParentSettingsSchema = v.strictObject({
  /** Of the KMS keys of jobs. */
  region,
  /** Where jobs come from and outputs go (docs/enclave.md has the names in it): a bucket, or a folder of this machine. */
  jobs: v.union([v.strictObject({ bucket }), v.strictObject({ folder: path })], '{"bucket": …} or {"folder": …}'),
  /** Whose jobs it takes, and nobody else's: the keys of the image's configuration (SPKI in DER, base64). */
  owners: v.pipe(v.array(owner), v.maxLength(16)),
  /** The enclave image. */
  image: path,
  /** What an enclave gets; memory in MiB, at least four times the image's length. */
  cpus: whole(2, 256),
  memoryMib: whole(256, 4_194_304),
  /** Folder of its own, for ciphertext of the job that runs. */
  work: path,
  /** How often to look for jobs. */
  pollSeconds: v.exactOptional(whole(1, 3600), 10),
});

export type ParentSettings = v.InferOutput<typeof ParentSettingsSchema>;

/** The public keys of owners, Ed25519. */
export function ownerKeys({ owners }: Pick<ParentSettings, 'owners'>): KeyObject[] {
  return owners.map((key) => createPublicKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'spki' }));
}

/** The settings in `content`, as read from `from`. Throws `ERR_HOST_SETTINGS`, which names the field. */
export function parentSettings(content: unknown, from: string): ParentSettings {
  const result = v.safeParse(ParentSettingsSchema, content);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue) ?? 'its content';
  // A message of our own says more than the pattern.
  const expected = issue.type === 'regex' || issue.type === 'union' ? issue.message : (issue.expected ?? issue.message);
  throw new HostError('ERR_HOST_SETTINGS', `${from}: ${where} has to be ${expected} (docs/enclave.md, the parent)`);
}

/** The settings in a file. Rejects with `ERR_HOST_SETTINGS`. */
export async function readParentSettings(file: string): Promise<ParentSettings> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new HostError('ERR_HOST_SETTINGS', `cannot read ${file}: ${error.code}`);
  });
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new HostError('ERR_HOST_SETTINGS', `${file} is not JSON`);
  }
  return parentSettings(content, file);
}
