import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.ts';
import type { SecurityModule } from '../security-module/security-module.ts';
import {
  type AttestedStatement,
  type JobStatement,
  TASK_PREDICATE,
  type TaskStatement,
  USER_DATA_PREFIX,
} from './statement.ts';

/** SHA-384 of a text, hexadecimal: of a statement, what it is known by and what its attestation is bound to. */
export function sha384(text: string): string {
  return createHash('sha384').update(text).digest('hex');
}

/**
 * User data of an attestation: what it is for, then the 48 bytes of the SHA-384 (hexadecimal) of what it is bound to.
 */
export function userDataOf(purpose: keyof typeof USER_DATA_PREFIX, hash: string): Buffer {
  return Buffer.concat([Buffer.from(USER_DATA_PREFIX[purpose]), Buffer.from(hash, 'hex')]);
}

/**
 * A statement with an attestation that is bound to it, made in the enclave. `nonce` is that of the manifest,
 * hexadecimal. Rejects with `SecurityModuleError`.
 */
export async function attestedStatement(
  module: SecurityModule,
  statement: TaskStatement | JobStatement,
  nonce: string,
): Promise<AttestedStatement> {
  const text = canonicalJson(statement);
  const purpose = statement.predicateType === TASK_PREDICATE ? 'task' : 'job';
  const userData = userDataOf(purpose, sha384(text));
  const attestation = await module.attest({ userData, nonce: Buffer.from(nonce, 'hex') });
  return { statement: text, attestation: Buffer.from(attestation).toString('base64') };
}
