import { constants, createCipheriv, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { KmsError } from './data-keys.ts';
import { recipientId } from './recipient.ts';

const [SEQUENCE, SET, INTEGER, OCTET_STRING, CONTEXT_0, CONTEXT_0_PRIMITIVE] = [0x30, 0x31, 0x02, 0x04, 0xa0, 0x80];

/** AlgorithmIdentifiers and object identifiers of the envelope, in DER. */
const DER = {
  envelopedData: hex('06092a864886f70d010703'),
  data: hex('06092a864886f70d010701'),
  /** RSAES-OAEP with SHA-256 in both places (RFC 4055 §4.1). */
  oaepSha256: hex(
    '303c06092a864886f70d010107302fa00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500',
  ),
  aes256Cbc: hex('060960864801650304012a'),
} as const;

/**
 * Encrypts a plaintext to the public key of an attestation document (SPKI in DER, RSA of 2048 bits or more), in the structure in which
 * AWS KMS answers: CMS EnvelopedData, indefinite lengths (RFC 5652 §6.1; ITU-T X.690 §8.1.3.6) but for the recipient. Throws
 * `ERR_KMS_VALIDATION` when the key is none of that kind.
 */
export function sealForRecipient(plaintext: Uint8Array, publicKey: Uint8Array): Uint8Array {
  const [contentKey, iv] = [randomBytes(32), randomBytes(16)];
  try {
    const encryptedKey = publicEncrypt(
      { key: rsaKey(publicKey), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
      contentKey,
    );
    const cipher = createCipheriv('aes-256-cbc', contentKey, iv);
    const content = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    const recipient = der(
      SEQUENCE,
      der(INTEGER, Buffer.of(2)),
      der(CONTEXT_0_PRIMITIVE, recipientId(publicKey)),
      DER.oaepSha256,
      der(OCTET_STRING, encryptedKey),
    );
    const encryptedContent = indefinite(
      SEQUENCE,
      DER.data,
      der(SEQUENCE, DER.aes256Cbc, der(OCTET_STRING, iv)),
      indefinite(CONTEXT_0, der(OCTET_STRING, content)),
    );
    const envelope = indefinite(SEQUENCE, der(INTEGER, Buffer.of(2)), der(SET, recipient), encryptedContent);
    return new Uint8Array(indefinite(SEQUENCE, DER.envelopedData, indefinite(CONTEXT_0, envelope)));
  } finally {
    contentKey.fill(0);
  }
}

function rsaKey(publicKey: Uint8Array) {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
    if (key.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048) return key;
  } catch {
    // Said below.
  }
  throw new KmsError('ERR_KMS_VALIDATION', 'the attestation document has no RSA key of 2048 bits or more');
}

/** Tag, length in its shortest form (ITU-T X.690 §10.1), content. */
function der(tag: number, ...content: Uint8Array[]): Buffer {
  const bytes = Buffer.concat(content);
  const { length } = bytes;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...head]), bytes]);
}

function indefinite(tag: number, ...content: Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.of(tag, 0x80), ...content, Buffer.of(0, 0)]);
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}
