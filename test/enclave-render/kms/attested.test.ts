import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedKms } from '../../../enclave-render/kms/embedded.ts';
import { renderKeyPolicy } from '../../../enclave-render/kms/key-policy.ts';
import { openForRecipient, type RecipientKeyPair, recipientKeyPair } from '../../../enclave-render/kms/recipient.ts';
import { documentOf, issueChain, REGISTERS, TIMESTAMP } from '../../harness/attestation-documents.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const CONTEXT = { purpose: 'render', job: 'job-1' };
const MINUTE = 60_000;
const pcr = (index: number) => Buffer.from(REGISTERS.get(index) as Uint8Array).toString('hex');
const CONDITION = { pcrs: { '0': pcr(0), '1': pcr(1), '2': pcr(2) } };
const chain = issueChain();
const refused = (code: string) => expect.objectContaining({ name: 'KmsError', code });

let folder: string;
let keystore: string;
let enclave: RecipientKeyPair;
let now = TIMESTAMP;
let kms: EmbeddedKms;
let keyId: string;
const secret = randomBytes(32);
let encrypted: Uint8Array;

const openKms = (attestationRoots: string[]) => new EmbeddedKms({ keystore, attestationRoots, now: () => now });
const documentWith = (changes: Record<string, unknown> = {}) =>
  documentOf(chain, { public_key: enclave.publicKey, ...changes });

beforeAll(async () => {
  folder = temporaryDirectory();
  keystore = join(folder, 'keystore.json');
  enclave = await recipientKeyPair();
  kms = openKms([chain.root]);
  keyId = (await kms.createKey({ alias: 'alias/render', attestation: CONDITION })).keyId;
  ({ encrypted } = await kms.encrypt(keyId, secret, CONTEXT));
});
afterAll(() => removeDirectory(folder));

describe('a key that decrypts for attested enclaves only', () => {
  test('does so for the enclave it names, and the audit trail says which that was', async () => {
    const { ciphertextForRecipient, keyId: arn } = await kms.decryptForRecipient(encrypted, CONTEXT, documentWith());
    expect(openForRecipient(ciphertextForRecipient, enclave)).toEqual(Uint8Array.from(secret));
    expect(arn).toContain(keyId);
    const last = readFileSync(`${keystore}.audit.jsonl`, 'utf8').trim().split('\n').at(-1) as string;
    expect(JSON.parse(last)).toMatchObject({ operation: 'Decrypt', outcome: 'ok', recipient: { pcr0: pcr(0) } });
    expect(last).not.toContain(secret.toString('hex'));
  });

  test('does so for nobody else: not without a document, and not by another key that it is put under', async () => {
    const { keyId: other } = await kms.createKey();
    await expect(kms.decrypt(encrypted, CONTEXT)).rejects.toThrow(refused('ERR_KMS_ACCESS'));
    await expect(kms.decrypt(encrypted, CONTEXT, keyId)).rejects.toThrow(refused('ERR_KMS_ACCESS'));
    await expect(kms.reEncrypt(encrypted, CONTEXT, other, CONTEXT)).rejects.toThrow(refused('ERR_KMS_ACCESS'));
  });

  test.each([
    ['another image', { pcrs: new Map(REGISTERS).set(0, randomBytes(48)) }, 'ERR_KMS_ACCESS'],
    ['another configuration', { pcrs: new Map(REGISTERS).set(1, randomBytes(48)) }, 'ERR_KMS_ACCESS'],
    ['another renderer', { pcrs: new Map(REGISTERS).set(2, randomBytes(48)) }, 'ERR_KMS_ACCESS'],
    ['a register too few', { pcrs: new Map([...REGISTERS].filter(([index]) => index !== 2)) }, 'ERR_KMS_ACCESS'],
    [
      'debug mode',
      { pcrs: new Map([...REGISTERS].map(([index, value]) => [index, index < 3 ? Buffer.alloc(48) : value])) },
      'ERR_KMS_ACCESS',
    ],
    ['no public key', { public_key: null }, 'ERR_KMS_VALIDATION'],
    ['a public key that is none', { public_key: randomBytes(64) }, 'ERR_KMS_VALIDATION'],
  ])('not for %s', async (_what, changes, code) => {
    await expect(kms.decryptForRecipient(encrypted, CONTEXT, documentWith(changes))).rejects.toThrow(refused(code));
  });

  test('not for a document that is not genuine, of a root that was not named, or older than five minutes', async () => {
    const document = documentWith();
    const changed = Uint8Array.from(document);
    changed[changed.length - 1] = (changed.at(-1) as number) ^ 1;
    await expect(kms.decryptForRecipient(encrypted, CONTEXT, changed)).rejects.toThrow(refused('ERR_KMS_VALIDATION'));
    for (const roots of [[], ['0'.repeat(64)]]) {
      const answer = openKms(roots).decryptForRecipient(encrypted, CONTEXT, document);
      await expect(answer).rejects.toThrow(refused('ERR_KMS_VALIDATION'));
    }
    now = TIMESTAMP + 6 * MINUTE;
    await expect(kms.decryptForRecipient(encrypted, CONTEXT, document)).rejects.toThrow(refused('ERR_KMS_VALIDATION'));
    now = TIMESTAMP;
  });

  test('not in another context, and a key that names no enclave not at all', async () => {
    const answer = kms.decryptForRecipient(encrypted, { ...CONTEXT, job: 'job-2' }, documentWith());
    await expect(answer).rejects.toThrow(refused('ERR_KMS_INVALID_CIPHERTEXT'));
    const { keyId: plain } = await kms.createKey();
    const under = await kms.encrypt(plain, secret, CONTEXT);
    const attempt = kms.decryptForRecipient(under.encrypted, CONTEXT, documentWith());
    await expect(attempt).rejects.toThrow(refused('ERR_KMS_ACCESS'));
  });

  test('is kept as such in the keystore, and a condition without the image is none', async () => {
    expect((await openKms([]).describeKey('alias/render')).attestation).toEqual(CONDITION);
    const attempt = kms.createKey({ attestation: { pcrs: { '1': pcr(1) } } });
    await expect(attempt).rejects.toThrow(refused('ERR_KMS_VALIDATION'));
  });
});

/** A part of how IAM evaluates policies: Allow statements, actions by name, StringEquals and StringEqualsIgnoreCase on one value. */
function isAllowed(
  policy: ReturnType<typeof renderKeyPolicy>,
  { role, action, keys }: { role: string; action: string; keys: Record<string, string> },
): boolean {
  return policy.Statement.some(({ Principal, Action, Condition = {} }) => {
    if (Principal.AWS !== role || !Action.includes(action)) return false;
    return Object.entries(Condition).every(([operator, pairs]) =>
      Object.entries(pairs).every(([name, wanted]) => {
        const found = keys[name];
        if (found === undefined) return false;
        if (operator === 'StringEquals') return found === wanted;
        if (operator === 'StringEqualsIgnoreCase') return found.toLowerCase() === wanted.toLowerCase();
        throw new Error(`${operator} is not evaluated here`);
      }),
    );
  });
}

describe('the key policy for AWS', () => {
  const roles = {
    ownerRole: 'arn:aws:iam::111122223333:role/owner',
    parentRole: 'arn:aws:iam::111122223333:role/parent',
  };
  const policy = renderKeyPolicy(roles, CONDITION, { purpose: 'render' });
  const keys = {
    'kms:RecipientAttestation:PCR0': pcr(0).toUpperCase(),
    'kms:RecipientAttestation:PCR1': pcr(1),
    'kms:RecipientAttestation:PCR2': pcr(2),
    'kms:EncryptionContext:purpose': 'render',
  };
  const asks = (role: string, action: string, changes: Record<string, string | undefined> = {}) =>
    isAllowed(policy, { role, action, keys: JSON.parse(JSON.stringify({ ...keys, ...changes })) });

  test('lets the parent decrypt for the enclave, and nothing else', () => {
    expect(asks(roles.parentRole, 'kms:Decrypt')).toBe(true);
    for (const name of Object.keys(keys)) {
      expect(asks(roles.parentRole, 'kms:Decrypt', { [name]: undefined })).toBe(false);
      expect(asks(roles.parentRole, 'kms:Decrypt', { [name]: '00' })).toBe(false);
    }
    for (const action of ['kms:GenerateDataKey', 'kms:ReEncryptFrom', 'kms:PutKeyPolicy', 'kms:CreateGrant']) {
      expect(asks(roles.parentRole, action)).toBe(false);
    }
  });

  test('lets the owner encrypt and administer, and not decrypt; names everybody and every action', () => {
    expect(asks(roles.ownerRole, 'kms:GenerateDataKey')).toBe(true);
    expect(asks(roles.ownerRole, 'kms:Decrypt')).toBe(false);
    expect(JSON.stringify(policy.Statement.map(({ Principal, Action }) => [Principal, Action]))).not.toContain('*');
  });
});
