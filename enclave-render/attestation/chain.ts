import { createHash, hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { AttestationError } from './attestation-error.ts';
import { type Certificate, isSignedBy, loadKey, type PublicKey, readCertificate } from './certificate.ts';

/** What a chain that holds comes to: who is at its end, and when all of it is valid. */
interface VerifiedChain {
  /** Of the lowest certificate. */
  key: PublicKey;
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

/** Roots by their SHA-256, which says all of them: a caller trusts few, and each is read once. */
const ROOTS = new LRUCache<string, Certificate>({ max: 16 });

/**
 * Verifies a chain (RFC 5280 §6.1 for the certificates of attestation): the root first, which the caller trusts already and which has
 * this SHA-256, then each issued by the one before it, the leaf last. Says nothing of the time. Throws `ERR_ATTESTATION_CHAIN`.
 */
export function verifyChain(
  root: string,
  cabundle: readonly Uint8Array[],
  leaf: Uint8Array,
  cache?: CertificateCache,
): VerifiedChain {
  if (cache === undefined) return verifyLeaf(leaf, verifyAuthorities(root, cabundle));
  const authoritiesId = idOf(cabundle);
  const leafId = `${authoritiesId} ${hash('sha256', leaf)}`;
  const known = cache.leaves.get(leafId);
  if (known !== undefined) return known;
  const authorities = cache.authorities.get(authoritiesId) ?? loaded(verifyAuthorities(root, cabundle));
  cache.authorities.set(authoritiesId, authorities);
  const chain = loaded(verifyLeaf(leaf, authorities));
  cache.leaves.set(leafId, chain);
  return chain;
}

const loaded = (chain: VerifiedChain): VerifiedChain => ({ ...chain, key: loadKey(chain.key) });

/** The root, whose own signature says nothing that its hash does not, and the authorities below it. */
function verifyAuthorities(rootHash: string, [rootDer, ...below]: readonly Uint8Array[]): VerifiedChain {
  if (rootDer === undefined) throw broken('it is empty');
  const root = ROOTS.get(rootHash) ?? readRoot(rootDer);
  ROOTS.set(rootHash, root);
  let chain: VerifiedChain = root;
  // How many authorities may follow: the least that any above allows.
  let remaining = root.pathLength;
  for (const authority of below.map(readAuthority)) {
    if (remaining === 0) throw broken('it is longer than an authority allows');
    remaining = Math.min(remaining - 1, authority.pathLength);
    chain = extend(chain, authority);
  }
  return chain;
}

function readRoot(der: Uint8Array): Certificate {
  const root = readAuthority(der);
  return { ...root, key: loadKey(root.key) };
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
  if (!isSignedBy(chain.key, next.signedPart, next.signature, 'der'))
    throw broken('one is not signed by the one before it');
  return {
    key: next.key,
    subject: next.subject,
    notBefore: Math.max(chain.notBefore, next.notBefore),
    notAfter: Math.min(chain.notAfter, next.notAfter),
  };
}

/** SHA-256 of certificates and of where each ends. */
function idOf(certificates: readonly Uint8Array[]): string {
  const id = createHash('sha256').update(certificates.map(({ length }) => length).join());
  for (const der of certificates) id.update(der);
  return id.digest('hex');
}

const broken = (why: string) => new AttestationError('ERR_ATTESTATION_CHAIN', `the chain does not hold: ${why}`);
