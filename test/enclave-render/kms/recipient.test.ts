import { spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commitment, isCommitted } from '../../../enclave-render/kms/commitment.ts';
import { openForRecipient, type RecipientKeyPair, recipientKeyPair } from '../../../enclave-render/kms/recipient.ts';
import { sealForRecipient } from '../../../enclave-render/kms/seal-for-recipient.ts';
import { packagePath } from '../../../local/package-root.ts';
import { LONG } from '../../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const REAL = packagePath('..', 'shared', 'attestation', 'kms');
const refused = expect.objectContaining({ name: 'KmsError', code: 'ERR_KMS_INVALID_CIPHERTEXT' });

let keys: RecipientKeyPair;
let folder: string;
beforeAll(async () => {
  keys = await recipientKeyPair();
  folder = temporaryDirectory();
});
afterAll(() => removeDirectory(folder));

/** Flips each bit in turn: what opens nevertheless must be another key than the one that was committed to. */
function expectEveryBitToMatter(envelope: Uint8Array, pair: RecipientKeyPair, committed: string): { opened: number } {
  let opened = 0;
  // In the encrypted key (its 256 bytes) a sample will do: each is one decryption with RSA.
  const isSampled = (bit: number) => LONG || bit < 131 * 8 || bit >= 387 * 8 || bit % 61 === 0;
  for (let bit = 0; bit < envelope.length * 8; bit++) {
    if (!isSampled(bit)) continue;
    const changed = Uint8Array.from(envelope);
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    let key: Uint8Array;
    try {
      key = openForRecipient(changed, pair);
    } catch (error) {
      expect(error).toEqual(refused);
      continue;
    }
    opened++;
    // A bit of the frame that means nothing may be flipped, as long as the key is the right one or found out.
    if (isCommitted(key, committed)) expect(key).toEqual(openForRecipient(envelope, pair));
  }
  return { opened };
}

describe('a data key for an enclave', () => {
  test('opens with the private key of the recipient, and with openssl', () => {
    for (const length of [1, 16, 24, 32, 256, 4096]) {
      const plaintext = Uint8Array.from(randomBytes(length));
      const envelope = sealForRecipient(plaintext, keys.publicKey);
      expect(openForRecipient(envelope, keys)).toEqual(plaintext);
      writeFileSync(join(folder, 'envelope'), envelope);
      writeFileSync(join(folder, 'key'), keys.privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
      const args = [
        'cms',
        '-decrypt',
        '-inform',
        'DER',
        '-in',
        join(folder, 'envelope'),
        '-inkey',
        join(folder, 'key'),
      ];
      const { stdout, status, stderr } = spawnSync('openssl', args);
      expect(`${status} ${stderr}`).toBe('0 ');
      expect(Uint8Array.from(stdout)).toEqual(plaintext);
    }
  });

  test('does not open with another key, cut off, with more behind it, or as something else', async () => {
    const envelope = sealForRecipient(randomBytes(32), keys.publicKey);
    const others = await recipientKeyPair();
    expect(() => openForRecipient(envelope, others)).toThrow(refused);
    // The right private key under another name: the recipient is named by its public key.
    expect(() => openForRecipient(envelope, { ...keys, publicKey: others.publicKey })).toThrow(refused);
    for (let length = 0; length < envelope.length - 12; length++) {
      expect(() => openForRecipient(envelope.subarray(0, length), keys)).toThrow(refused);
    }
    for (const odd of [new Uint8Array(), new Uint8Array(9000), randomBytes(400)]) {
      expect(() => openForRecipient(odd, keys)).toThrow(refused);
    }
  });

  test('is encrypted to RSA keys of 2048 bits or more only', () => {
    for (const key of [new Uint8Array(), randomBytes(200)]) {
      expect(() => sealForRecipient(randomBytes(32), key)).toThrow(
        expect.objectContaining({ code: 'ERR_KMS_VALIDATION' }),
      );
    }
  });

  test('every bit that is flipped is refused, or gives a key that is found out by its commitment', () => {
    const dataKey = Uint8Array.from(randomBytes(32));
    expectEveryBitToMatter(sealForRecipient(dataKey, keys.publicKey), keys, commitment(dataKey));
  });

  test('the commitment tells one key from another, and takes nothing that is none', () => {
    const dataKey = randomBytes(32);
    expect(isCommitted(dataKey, commitment(dataKey))).toBe(true);
    expect(isCommitted(randomBytes(32), commitment(dataKey))).toBe(false);
    for (const odd of ['', 'zz', commitment(dataKey).slice(2), `${commitment(dataKey)}00`]) {
      expect(isCommitted(dataKey, odd)).toBe(false);
    }
    expect(commitment(dataKey)).not.toContain(dataKey.toString('hex'));
  });
});

const isThere = existsSync(REAL);
describe.skipIf(!isThere)(`what AWS KMS answered${isThere ? '' : ' (the third-party data is not here)'}`, () => {
  const read = (name: string) => Uint8Array.from(readFileSync(join(REAL, name)));
  const pair = (): RecipientKeyPair => {
    const privateKey = createPrivateKey(Buffer.from(read('edgebit-rsa.pem')));
    return { privateKey, publicKey: createPublicKey(privateKey).export({ format: 'der', type: 'spki' }) };
  };

  test('opens to the plaintext', () => {
    expect(openForRecipient(read('edgebit-ciphertext-for-recipient.ber'), pair())).toEqual(
      read('edgebit-plaintext.bin'),
    );
  });

  test('with any bit flipped is refused, or gives a key that is found out by its commitment', () => {
    const envelope = read('edgebit-ciphertext-for-recipient.ber');
    const { opened } = expectEveryBitToMatter(envelope, pair(), commitment(read('edgebit-plaintext.bin')));
    // The reason why there are commitments: it is not authenticated.
    expect(opened).toBeGreaterThan(0);
  });

  test('has the structure that is made here, byte for byte but for keys', () => {
    const real = Buffer.from(read('edgebit-ciphertext-for-recipient.ber'));
    const made = Buffer.from(sealForRecipient(read('edgebit-plaintext.bin'), pair().publicKey));
    // Encrypted key, IV, ciphertext: where they lie in an envelope of a 32-byte key under RSA-2048.
    for (const [from, to] of [
      [131, 387],
      [415, 431],
      [435, 483],
    ] as const) {
      real.fill(0, from, to);
      made.fill(0, from, to);
    }
    expect(made.toString('hex')).toBe(real.toString('hex'));
  });
});
