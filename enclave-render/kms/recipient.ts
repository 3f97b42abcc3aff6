import { constants, createDecipheriv, createHash, generateKeyPair, type KeyObject, privateDecrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { ContentInfo, EnvelopedData, id_envelopedData } from '@peculiar/asn1-cms';
import { id_RSAES_OAEP, RsaEsOaepParams } from '@peculiar/asn1-rsa';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import { KmsError } from './data-keys.ts';

/** Key encryption of `Recipient`, as AWS KMS calls it. */
export const KEY_ENCRYPTION_ALGORITHM = 'RSAES_OAEP_SHA_256';
const MODULUS_BITS = 2048;
/** Of one data key of at most 4,096 bytes. */
const MAX_BYTES = 8192;

const OID = {
  data: '1.2.840.113549.1.7.1',
  sha256: '2.16.840.1.101.3.4.2.1',
  mgf1: '1.2.840.113549.1.1.8',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
} as const;

/** The key pair of one launch: its public half goes into attestation documents, its private half nowhere. */
export interface RecipientKeyPair {
  /** DER (SPKI, RFC 5280 §4.1). */
  publicKey: Uint8Array;
  privateKey: KeyObject;
}

/** Makes a key pair; takes half a second. */
export async function recipientKeyPair(): Promise<RecipientKeyPair> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: MODULUS_BITS });
  return { publicKey: publicKey.export({ format: 'der', type: 'spki' }), privateKey };
}

/** By what a recipient is named in CMS (RFC 5652 §6.2.1, subjectKeyIdentifier): SHA-256 of its SPKI. */
export function recipientId(publicKey: Uint8Array): Buffer {
  return createHash('sha256').update(publicKey).digest();
}

/**
 * Opens `CiphertextForRecipient` of AWS KMS: CMS EnvelopedData (RFC 5652 §6.1) to one recipient, RSAES-OAEP with SHA-256, AES-256-CBC.
 * **Nothing authenticates it**: whoever knows the public key can make one, and one that was changed may open to another key. So what
 * comes out is to be held to its commitment before it is used. Throws `ERR_KMS_INVALID_CIPHERTEXT`, which says nothing about why.
 */
export function openForRecipient(ciphertextForRecipient: Uint8Array, keys: RecipientKeyPair): Uint8Array {
  try {
    const { keyId, encryptedKey, iv, content } = readEnvelope(ciphertextForRecipient);
    if (!keyId.equals(recipientId(keys.publicKey))) throw new Error('another recipient');
    const contentKey = privateDecrypt(
      { key: keys.privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
      encryptedKey,
    );
    const decipher = createDecipheriv('aes-256-cbc', contentKey, iv);
    contentKey.fill(0);
    const [head, tail] = [decipher.update(content), decipher.final()];
    const plaintext = Uint8Array.from(Buffer.concat([head, tail]));
    head.fill(0);
    tail.fill(0);
    return plaintext;
  } catch {
    const message = 'what KMS answered is not for this enclave, or was changed on its way';
    throw new KmsError('ERR_KMS_INVALID_CIPHERTEXT', message);
  }
}

/** The parts of an envelope whose algorithms are those of KMS. Throws for any other. */
function readEnvelope(ber: Uint8Array) {
  if (ber.length > MAX_BYTES) throw new Error('too long');
  const { contentType, content } = AsnConvert.parse(ber, ContentInfo);
  if (contentType !== id_envelopedData) throw new Error('not EnvelopedData');
  const envelope = AsnConvert.parse(content, EnvelopedData);
  const [recipient, ...others] = envelope.recipientInfos;
  const { ktri } = recipient ?? {};
  const keyId = ktri?.rid.subjectKeyIdentifier;
  if (!ktri || !keyId || others.length > 0) throw new Error('not one recipient by key');
  requireOaepSha256(ktri.keyEncryptionAlgorithm);
  const { contentType: inner, contentEncryptionAlgorithm, encryptedContent } = envelope.encryptedContentInfo;
  if (inner !== OID.data || contentEncryptionAlgorithm.algorithm !== OID.aes256Cbc) throw new Error('other algorithm');
  if (!contentEncryptionAlgorithm.parameters || !encryptedContent) throw new Error('incomplete');
  const pieces = encryptedContent.constructedValue ?? [encryptedContent.value ?? new OctetString()];
  return {
    keyId: Buffer.from(keyId.buffer),
    encryptedKey: Buffer.from(ktri.encryptedKey.buffer),
    iv: Buffer.from(AsnConvert.parse(contentEncryptionAlgorithm.parameters, OctetString).buffer),
    content: Buffer.concat(pieces.map((piece) => Buffer.from(piece.buffer))),
  };
}

/** RFC 8017 §A.2.1 with SHA-256 as hash and in MGF1, and no label. */
function requireOaepSha256({ algorithm, parameters }: { algorithm: string; parameters?: ArrayBuffer | null }): void {
  if (algorithm !== id_RSAES_OAEP || !parameters) throw new Error('not OAEP');
  const { hashAlgorithm, maskGenAlgorithm } = AsnConvert.parse(parameters, RsaEsOaepParams);
  const mask = Buffer.from(maskGenAlgorithm.parameters ?? new ArrayBuffer(0)).toString('hex');
  const sha256 = '300d06096086480165030402010500';
  if (hashAlgorithm.algorithm !== OID.sha256 || maskGenAlgorithm.algorithm !== OID.mgf1 || mask !== sha256) {
    throw new Error('not OAEP with SHA-256');
  }
}
