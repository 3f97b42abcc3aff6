import { createHash, type KeyObject, verify } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { AttestationError } from './attestation-error.ts';
import { type Certificate, readCertificate } from './certificate.ts';

/** What a chain that holds comes to: who is at its end, and when all of it is valid. */
interface VerifiedChain {
  /** The lowest certificate. */
  key: KeyObject;
  subject: Uint8Array;
  /** Of all certificates, milliseconds since the epoch, both inclusive. */
  notBefore: number;
  notAfter: number;
}

/**
 * Chains that were found to hold, by the SHA-256 of their certificates: those of authorities live for a day, a leaf for three hours
 * and many documents. Which root is trusted and what time it is, is asked for every document; nothing that was refused is kept.
 */
export class CertificateCache {
  readonly authorities = new LRUCache<string, VerifiedChain>({ max: 256 });
  readonly leaves = new LRUCache<string, VerifiedChain>({ max: 1024 });
}

/**
 * Verifies a chain (RFC 5280 §6.1 for the certificates of attestation): the root first, which the caller trusts already, then each
 * issued by the one before it, the leaf last. Says nothing of the time. Throws `ERR_ATTESTATION_CHAIN`.
 */
export function verifyChain(
  cabundle: readonly Uint8Array[],
  leaf: Uint8Array,
  cache?: CertificateCache,
): VerifiedChain {
  if (cache === undefined) return verifyLeaf(leaf, verifyAuthorities(cabundle));
  const hashes = createHash('sha256');
  for (const der of cabundle) hashes.update(sha256(der));
  const authoritiesId = hashes.digest('hex');
  const leafId = `${authoritiesId} ${sha256(leaf).toString('hex')}`;
  const known = cache.leaves.get(leafId);
  if (known !== undefined) return known;
  const authorities = cache.authorities.get(authoritiesId) ?? verifyAuthorities(cabundle);
  cache.authorities.set(authoritiesId, authorities);
  const chain = verifyLeaf(leaf, authorities);
  cache.leaves.set(leafId, chain);
  return chain;
}

/** The root, whose own signature says nothing that its fingerprint does not, and the authorities below it. */
function verifyAuthorities(cabundle: readonly Uint8Array[]): VerifiedChain {
  const [root, ...below] = cabundle.map(readAuthority);
  if (root === undefined) throw broken('it is empty');
  let chain: VerifiedChain = root;
  // How many authorities may follow: the least that any above allows.
  let remaining = root.pathLength;
  for (const authority of below) {
    if (remaining === 0) throw broken('it is longer than an authority allows');
    remaining = Math.min(remaining - 1, authority.pathLength);
    chain = extend(chain, authority);
  }
  return chain;
}

function verifyLeaf(der: Uint8Array, authorities: VerifiedChain): VerifiedChain {
  const leaf = readCertificate(der);
  if (leaf.isCa || leaf.maySignCertificates) throw broken('its leaf is an authority');
  if (!leaf.maySignData) throw broken('its leaf may not sign');
  return extend(authorities, leaf);
}

function readAuthority(der: Uint8Array): Certificate {
  const certificate = readCertificate(der);
  if (!certificate.isCa || !certificate.maySignCertificates) throw broken('one above the leaf is no authority');
  return certificate;
}

/** The chain with one more certificate, which has to be issued and signed by the last. */
function extend(chain: VerifiedChain, next: Certificate): VerifiedChain {
  if (Buffer.compare(next.issuer, chain.subject) !== 0) throw broken('one is not issued by the one before it');
  if (!verify('sha384', next.signedPart, { key: chain.key, dsaEncoding: 'der' }, next.signature))
    throw broken('one is not signed by the one before it');
  return {
    key: next.key,
    subject: next.subject,
    notBefore: Math.max(chain.notBefore, next.notBefore),
    notAfter: Math.min(chain.notAfter, next.notAfter),
  };
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();
const broken = (why: string) => new AttestationError('ERR_ATTESTATION_CHAIN', `the chain does not hold: ${why}`);
