import type { AttestationDocument, AttestationProfile } from './attestation-document.ts';
import { AttestationError } from './attestation-error.ts';
import { PROFILES } from './profiles.ts';
import { decodeStrictly } from './strict-cbor.ts';

/** Bytes of a register: SHA-384. */
const PCR_BYTES = 48;
const PCR_INDEX_MOST = 31;
const CERTIFICATE_BYTES = 1024;
const PUBLIC_KEY_BYTES = 1024;
/** Of user data and of a nonce. */
const CALLER_BYTES = 512;
/** The year 10000: no clock is there, and nothing that writes dates goes further. */
const TIMESTAMP_END = 253_402_300_800_000;

const SHARED_FIELDS = [
  'module_id',
  'digest',
  'timestamp',
  'certificate',
  'cabundle',
  'public_key',
  'user_data',
  'nonce',
];

/**
 * Reads the payload of a document (AWS Nitro Enclaves, "Attestation document specification"), and believes none of it. Lengths of
 * maps may be indefinite, as AWS writes them since 2026. Throws `ERR_ATTESTATION_CBOR` and `ERR_ATTESTATION_PAYLOAD`.
 */
export function readPayload(payload: Uint8Array): AttestationDocument {
  const fields = decodeStrictly(payload, true);
  if (!(fields instanceof Map)) throw wrong('it is not a map');
  const profile = profileOf(fields);
  const { field } = PROFILES[profile];
  for (const name of fields.keys()) {
    if (name !== field && !SHARED_FIELDS.includes(name)) throw wrong('it has a field that is none of the profile');
  }
  if (fields.get('digest') !== 'SHA384') throw wrong('digest is not SHA384');
  return {
    profile,
    moduleId: moduleId(fields.get('module_id')),
    timestamp: timestamp(fields.get('timestamp')),
    pcrs: registers(fields.get(field), field),
    certificate: bytes(fields.get('certificate'), 'certificate', 1, CERTIFICATE_BYTES),
    cabundle: certificates(fields.get('cabundle')),
    publicKey: optionalBytes(fields.get('public_key'), 'public_key', 1, PUBLIC_KEY_BYTES),
    userData: optionalBytes(fields.get('user_data'), 'user_data', 0, CALLER_BYTES),
    nonce: optionalBytes(fields.get('nonce'), 'nonce', 0, CALLER_BYTES),
  };
}

function profileOf(fields: Map<unknown, unknown>): AttestationProfile {
  const found = (Object.keys(PROFILES) as AttestationProfile[]).filter((name) => fields.has(PROFILES[name].field));
  const [profile] = found;
  if (profile === undefined || found.length > 1) throw wrong('it has not the registers of one profile');
  return profile;
}

function moduleId(value: unknown): string {
  if (typeof value !== 'string' || !/^[\x21-\x7e]{1,256}$/.test(value)) throw wrong('module_id is not an id');
  return value;
}

function timestamp(value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) <= 0 || (value as number) >= TIMESTAMP_END)
    throw wrong('timestamp is not a time in milliseconds');
  return value as number;
}

/** Indices may have gaps, and are not bounded by how many there are. */
function registers(value: unknown, field: string): Record<string, string> {
  if (!(value instanceof Map) || value.size === 0) throw wrong(`${field} is not a map of registers`);
  const pcrs: Record<string, string> = {};
  for (const [index, register] of value) {
    if (!Number.isInteger(index) || index < 0 || index > PCR_INDEX_MOST)
      throw wrong(`${field} has an index that is not one from 0 to ${PCR_INDEX_MOST}`);
    const { buffer, byteOffset, length } = bytes(register, field, PCR_BYTES, PCR_BYTES);
    pcrs[index] = Buffer.from(buffer, byteOffset, length).toString('hex');
  }
  return pcrs;
}

function certificates(value: unknown): Uint8Array[] {
  if (!Array.isArray(value) || value.length === 0) throw wrong('cabundle has no certificate');
  return value.map((certificate) => bytes(certificate, 'cabundle', 1, CERTIFICATE_BYTES));
}

function optionalBytes(value: unknown, name: string, least: number, most: number): Uint8Array | null {
  return value === null || value === undefined ? null : bytes(value, name, least, most);
}

function bytes(value: unknown, name: string, least: number, most: number): Uint8Array {
  if (!(value instanceof Uint8Array) || value.length < least || value.length > most)
    throw wrong(`${name} is not ${least === most ? least : `${least} to ${most}`} bytes`);
  return value;
}

const wrong = (why: string) => new AttestationError('ERR_ATTESTATION_PAYLOAD', `not the payload of a document: ${why}`);
