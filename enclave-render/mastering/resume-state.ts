import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { replaceFile, statePath } from './atomic-output.ts';
import { deriveKey } from './key-schedule.ts';
import type { Recipient } from './manifest.ts';
import { MasterError } from './master-error.ts';
import { RecipientSchema } from './signed-manifest.ts';
import type { FileIdentity } from './source-file.ts';

/**
 * What an interrupted run can go on with, beside its `.partial`: the data key only as its recipients have it. The MAC, under a key
 * derived from the data key, keeps anyone from having another input encrypted with this key and IV.
 */
export interface ResumeState {
  format: 'portcullis-resume/1';
  /** A run in `gcm` leaves its state too: it says which key and IV have been used. */
  mode: 'gcm' | 'ctr' | 'cbc';
  keyBits: 128 | 192 | 256;
  /** Base64. */
  iv: string;
  source: FileIdentity;
  recipients: Recipient[];
  mac: string;
}

const text = v.string();
const StateSchema = v.strictObject({
  format: v.literal('portcullis-resume/1'),
  mode: v.picklist(['gcm', 'ctr', 'cbc']),
  keyBits: v.picklist([128, 192, 256]),
  iv: text,
  source: v.strictObject({ bytes: v.number(), modifiedNs: text, changedNs: text, inode: text }),
  recipients: v.array(RecipientSchema),
  mac: text,
});

function macOf({ mac: _mac, ...state }: Omit<ResumeState, 'mac'> & { mac?: string }, dataKey: Uint8Array): string {
  return createHmac('sha256', deriveKey(dataKey, 'resume')).update(JSON.stringify(state)).digest('base64');
}

export async function writeState(output: string, state: Omit<ResumeState, 'mac'>, dataKey: Uint8Array): Promise<void> {
  await replaceFile(statePath(output), `${JSON.stringify({ ...state, mac: macOf(state, dataKey) }, null, 2)}\n`);
}

/** The state of an interrupted run; undefined when there is none. Throws `ERR_MASTER_RESUME`. */
export async function readState(output: string): Promise<ResumeState | undefined> {
  const path = statePath(output);
  const content = await readFile(path, 'utf8').catch(() => undefined);
  if (content === undefined) return undefined;
  try {
    return v.parse(StateSchema, JSON.parse(content));
  } catch {
    throw new MasterError('ERR_MASTER_RESUME', `${path} is no state of a run: use --force to start anew`);
  }
}

/** Whether the state was written under this data key, and not changed since. */
export function isStateOf(state: ResumeState, dataKey: Uint8Array): boolean {
  const [expected, found] = [Buffer.from(macOf(state, dataKey)), Buffer.from(state.mac)];
  return expected.length === found.length && timingSafeEqual(expected, found);
}
