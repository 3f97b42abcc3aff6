import { createPublicKey, type KeyObject } from 'node:crypto';
import { CompactSign, compactVerify } from 'jose';
import * as v from 'valibot';
import { canonicalJson, parseCanonicalJson } from '../canonical-json.ts';
import { thumbprint } from '../mastering/public-key.ts';
import type { AuditCheckpoint } from './audit-entry.ts';
import { AuditError } from './audit-error.ts';

const TYPE = 'portcullis-audit+jwt';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const CheckpointSchema = v.strictObject({
  length: v.pipe(count, v.minValue(1)),
  head: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  at: count,
}) satisfies v.GenericSchema<AuditCheckpoint>;

/** Signs a checkpoint: a compact JWS (RFC 7515 §3.1), EdDSA, over its canonical JSON. `privateKey` is Ed25519. */
export async function signCheckpoint(checkpoint: AuditCheckpoint, privateKey: KeyObject): Promise<string> {
  if (privateKey.type !== 'private' || privateKey.asymmetricKeyType !== 'ed25519') {
    throw refused('it is signed with an Ed25519 key: openssl genpkey -algorithm ED25519');
  }
  const kid = thumbprint(createPublicKey(privateKey));
  return new CompactSign(Buffer.from(canonicalJson(checkpoint)))
    .setProtectedHeader({ alg: 'EdDSA', kid, typ: TYPE })
    .sign(privateKey);
}

/** Opens a checkpoint that one of these keys (Ed25519, public) signed. Rejects with `ERR_AUDIT_CHECKPOINT`. */
export async function openCheckpoint(jws: string, keys: readonly KeyObject[]): Promise<AuditCheckpoint> {
  for (const key of keys.filter(({ asymmetricKeyType }) => asymmetricKeyType === 'ed25519')) {
    const verified = await compactVerify(jws, key, { algorithms: ['EdDSA'] }).catch(() => undefined);
    if (!verified) continue;
    if (verified.protectedHeader.typ !== TYPE) throw refused(`it is not of type ${TYPE}`);
    const content = parseCanonicalJson(Buffer.from(verified.payload).toString('utf8'));
    const result = v.safeParse(CheckpointSchema, content);
    if (!result.success) throw refused('it says something else');
    return result.output;
  }
  throw refused('it was changed, or signed with a key that was not given');
}

function refused(why: string): AuditError {
  return new AuditError('ERR_AUDIT_CHECKPOINT', `this is no checkpoint of an audit log: ${why}`);
}
