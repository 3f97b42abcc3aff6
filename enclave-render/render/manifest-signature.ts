import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { CompactSign, compactVerify, decodeProtectedHeader } from 'jose';
import * as v from 'valibot';
import { canonicalJson, parseCanonicalJson } from '../canonical-json.ts';
import { thumbprint } from '../mastering/public-key.ts';
import { RenderError, type RenderManifest, RenderManifestSchema } from './render-manifest.ts';

const TYPE = 'portcullis-render+jwt';
/** Most characters of a manifest's JWS: with the answer around it, it fits into one message to the enclave. */
export const MANIFEST_CHARACTERS = 1 << 20;

/** A JWS with a signature of Ed25519, which is always 64 bytes: what is cut off is none. */
const MANIFEST = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/;

/** The manifest in a text, undefined when there is none or not all of it. Whose it is, and whether it is genuine, the enclave finds out. */
export function wholeManifest(text: string): string | undefined {
  const trimmed = text.trim();
  return trimmed.length <= MANIFEST_CHARACTERS && MANIFEST.test(trimmed) ? trimmed : undefined;
}

/** A manifest whose owner's signature holds. */
export interface OpenedManifest {
  manifest: RenderManifest;
  /** SHA-384 of the JWS payload, hexadecimal: what attestations and statements name the manifest by. */
  payloadSha384: string;
  /** JWK thumbprint (RFC 7638) of the owner's key that signed it. */
  owner: string;
}

/**
 * Signs a manifest as its owner: a compact JWS (RFC 7515 §3.1), EdDSA (RFC 8037), over its canonical JSON (RFC 8785).
 * `privateKey` is Ed25519. Rejects with `ERR_RENDER_MANIFEST` when it is no manifest that an enclave would take.
 */
export async function signManifest(manifest: RenderManifest, privateKey: KeyObject): Promise<string> {
  if (privateKey.type !== 'private' || privateKey.asymmetricKeyType !== 'ed25519') {
    throw refused('it is signed with an Ed25519 key: openssl genpkey -algorithm ED25519');
  }
  const payload = canonicalJson(checked(manifest));
  const kid = thumbprint(createPublicKey(privateKey));
  return new CompactSign(Buffer.from(payload)).setProtectedHeader({ alg: 'EdDSA', kid, typ: TYPE }).sign(privateKey);
}

/**
 * Opens a manifest that one of these owners signed (Ed25519, public). Its payload has to be canonical JSON and nothing
 * but a manifest. Time is the caller's to check. Rejects with `ERR_RENDER_MANIFEST`.
 */
export async function openManifest(jws: string, ownerKeys: readonly KeyObject[]): Promise<OpenedManifest> {
  if (jws.length > MANIFEST_CHARACTERS) throw refused('it is too long');
  const owner = signerOf(jws);
  const key = ownerKeys.find((candidate) => thumbprint(candidate) === owner);
  if (owner === undefined || key?.asymmetricKeyType !== 'ed25519')
    throw refused('it names no owner that is known here');
  const payload = await verifiedPayload(jws, key);
  const content = parseCanonicalJson(Buffer.from(payload).toString('utf8'));
  if (content === undefined) throw refused('its payload is not canonical JSON');
  const manifest = checked(content);
  // What the schema leaves out, or no UTF-8 is, was signed and would be missing here.
  if (!Buffer.from(canonicalJson(manifest)).equals(payload)) throw refused('it has a name that no manifest may have');
  return { manifest, payloadSha384: createHash('sha384').update(payload).digest('hex'), owner };
}

/** Thumbprint of the key that a manifest says it was signed with, not yet believed; undefined when it says none. */
export function signerOf(jws: string): string | undefined {
  try {
    return decodeProtectedHeader(jws).kid;
  } catch {
    return undefined;
  }
}

async function verifiedPayload(jws: string, key: KeyObject): Promise<Uint8Array> {
  const verified = await compactVerify(jws, key, { algorithms: ['EdDSA'] }).catch(() => undefined);
  if (!verified) throw refused("the owner's signature does not hold");
  // A token of another kind under the same key is no manifest (RFC 8725 §3.11).
  if (verified.protectedHeader.typ !== TYPE) throw refused(`it is not of type ${TYPE}`);
  return verified.payload;
}

/** The manifest, held to its schema and to what the schema cannot say. Throws `ERR_RENDER_MANIFEST`. */
function checked(content: unknown): RenderManifest {
  const result = v.safeParse(RenderManifestSchema, content);
  if (!result.success) {
    const [issue] = result.issues;
    // The message of the issue would quote what stands there.
    throw refused(`${v.getDotPath(issue) ?? 'content'}: it has to be ${issue.expected ?? 'something else'}`);
  }
  const manifest = result.output;
  if (manifest.expiresAt <= manifest.issuedAt) throw refused('expiresAt: it has to be later than issuedAt');
  const pcr0 = manifest.pcrs['0'];
  if (pcr0 === undefined || /^0+$/.test(pcr0)) {
    throw refused('pcrs: they have to name PCR0 of an image, which is zero in debug mode only');
  }
  const names = manifest.inputs.map(({ name }) => name);
  if (new Set(names).size < names.length) throw refused('inputs: a name is there twice');
  return manifest;
}

function refused(why: string): RenderError {
  return new RenderError('ERR_RENDER_MANIFEST', `this is no render manifest to be taken: ${why}`);
}
