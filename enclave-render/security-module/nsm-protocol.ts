import { decode, type EncodeOptions, encode, rfc8949EncodeOptions } from 'cborg';
import * as v from 'valibot';

// Requests and answers of the Nitro security module, in CBOR (github.com/aws/aws-nitro-enclaves-nsm-api,
// src/api/mod.rs). A request or answer with fields is a map of its name to a map of them, one without fields its name
// alone.

/** Most bytes of a request and of an answer (Linux, include/uapi/linux/nsm.h). */
export const REQUEST_BYTES = 0x1000;
export const RESPONSE_BYTES = 0x3000;

/** Most bytes of what goes into an attestation document (AWS Nitro Enclaves user guide, "Attestation document"). */
export const ATTESTATION_LIMITS = { user_data: 512, nonce: 512, public_key: 1024 } as const;

/** Registers that a module has, and the digest of all of them. */
export const MAX_PCRS = 32;
export const DIGEST = 'SHA384';

const index = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_PCRS - 1));
const bytes = v.custom<Uint8Array>((value) => value instanceof Uint8Array);
const register = v.pipe(bytes, v.length(48));
const optionalBytes = (max: number) => v.nullable(v.pipe(bytes, v.maxLength(max)));

/** Requests that we make, with their answers; an answer may have fields that a later module adds. */
export const NSM_REQUESTS = {
  DescribeNSM: {
    request: v.null(),
    response: v.object({
      version_major: v.literal(1),
      module_id: v.pipe(v.string(), v.regex(/^i-[0-9a-f]{1,32}-enc[0-9a-f]{1,32}$/)),
      max_pcrs: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAX_PCRS)),
      locked_pcrs: v.pipe(v.array(index), v.maxLength(MAX_PCRS)),
      digest: v.literal(DIGEST),
    }),
  },
  DescribePCR: {
    request: v.strictObject({ index }),
    response: v.object({ lock: v.boolean(), data: register }),
  },
  Attestation: {
    request: v.strictObject({
      user_data: optionalBytes(ATTESTATION_LIMITS.user_data),
      nonce: optionalBytes(ATTESTATION_LIMITS.nonce),
      public_key: optionalBytes(ATTESTATION_LIMITS.public_key),
    }),
    response: v.object({ document: v.pipe(bytes, v.minLength(1)) }),
  },
  GetRandom: {
    request: v.null(),
    response: v.object({ random: v.pipe(bytes, v.minLength(1), v.maxLength(256)) }),
  },
} as const;

export type NsmRequestName = keyof typeof NSM_REQUESTS;
export type NsmRequest<Name extends NsmRequestName> = v.InferOutput<(typeof NSM_REQUESTS)[Name]['request']>;
export type NsmResponse<Name extends NsmRequestName> = v.InferOutput<(typeof NSM_REQUESTS)[Name]['response']>;

/** Why a module refuses, in an answer `{"Error": …}`. */
const NSM_ERRORS = [
  'InvalidArgument',
  'InvalidIndex',
  'InvalidResponse',
  'ReadOnlyIndex',
  'InvalidOperation',
  'BufferTooSmall',
  'InputTooLarge',
  'InternalError',
] as const;
export type NsmError = (typeof NSM_ERRORS)[number];

/** Writes maps in the order they are in, as the module does. */
const ORDERED: EncodeOptions = { ...rfc8949EncodeOptions, mapSorter: () => 0 };

/** CBOR with the fields of maps and objects in their own order. */
export function encodeOrdered(value: unknown): Uint8Array {
  return encode(value, ORDERED);
}

/** A request, or an answer, of a name and its fields. */
export function encodeNsm(name: NsmRequestName | 'Error', fields: unknown): Uint8Array {
  return encodeOrdered(fields === null ? name : { [name]: fields });
}

/**
 * Name and fields of a request or an answer; undefined when it is none. Strict: no key twice, nothing behind the end,
 * no number longer than need be. Maps of indefinite length may be, because the module writes them.
 */
export function decodeNsm(message: Uint8Array): { name: string; fields: unknown } | undefined {
  let value: unknown;
  try {
    value = decode(message, { strict: true, useMaps: true, rejectDuplicateMapKeys: true, allowUndefined: false });
  } catch {
    return undefined;
  }
  if (typeof value === 'string') return { name: value, fields: null };
  if (!(value instanceof Map) || value.size !== 1) return undefined;
  const [name, content] = [...value][0] as [unknown, unknown];
  if (typeof name !== 'string') return undefined;
  return { name, fields: content instanceof Map ? Object.fromEntries(content) : content };
}

/** Whether a module may say this of a request that it refuses. */
export function isNsmError(value: unknown): value is NsmError {
  return NSM_ERRORS.includes(value as NsmError);
}
