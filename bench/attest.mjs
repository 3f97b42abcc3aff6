// npm run bench:attest [-- --json]: what verifying an attestation document costs beside its floor, ES384 verifications alone, of which
// a document needs five: one for each certificate below the root, and its own. On a document that AWS signed, in rounds that
// take turns and are about as long as each other; of each the best one, since whatever else the machine does can only slow it.
import { verify } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { AWS_NITRO_ROOT } from '../dist/lib/enclave-render/attestation/attestation-document.js';
import { loadKey, readCertificate } from '../dist/lib/enclave-render/attestation/certificate.js';
import { CertificateCache } from '../dist/lib/enclave-render/attestation/chain.js';
import { openCoseSign1, signedBytes } from '../dist/lib/enclave-render/attestation/cose-sign1.js';
import { parseAttestation, verifyAttestation } from '../dist/lib/enclave-render/attestation/verify.js';

const DOCUMENT = fileURLToPath(new URL('../../shared/attestation/docs/9e038c2da8de.bin', import.meta.url));
const ROUNDS = 100;
const PER_ROUND = { floor: 50, uncached: 10, authoritiesCached: 25, leafCached: 50 };

if (!existsSync(DOCUMENT)) {
  process.stderr.write(
    `bench:attest measures a document that AWS signed, which is not part of the project: ${DOCUMENT}\n`,
  );
  process.exit(2);
}

const document = readFileSync(DOCUMENT);
const { pcrs, cabundle, certificate } = parseAttestation(document);
const policy = { profile: 'nitro', roots: [AWS_NITRO_ROOT], at: 'document', pcrs, nonce: 'any', userData: 'any' };
const { payload, signature } = openCoseSign1(document);

/** The verifications that the document needs, with keys that are loaded. */
const loaded = ({ key }, dsaEncoding) => ({ key: loadKey(key), dsaEncoding });
const [root, ...below] = [...cabundle, certificate].map(readCertificate);
const VERIFICATIONS = [
  ...below.map(({ signedPart, signature: its }, i) => [signedPart, loaded([root, ...below][i], 'der'), its]),
  [signedBytes(payload), loaded(below.at(-1), 'ieee-p1363'), signature],
];
let turn = 0;
const cache = new CertificateCache();

const RUNS = {
  // One after the other: a loop over the same one is faster than any verifier can be, as the processor foresees its branches.
  floor: () => {
    const [bytes, key, its] = VERIFICATIONS[turn++ % VERIFICATIONS.length];
    if (!verify('sha384', bytes, key, its)) throw new Error('the floor does not verify');
  },
  uncached: () => verifyAttestation(document, policy),
  authoritiesCached: () => {
    for (const leaf of cache.leaves.keys()) cache.leaves.delete(leaf);
    verifyAttestation(document, policy, cache);
  },
  leafCached: () => verifyAttestation(document, policy, cache),
};

/** Runs in a second, by so many of them. */
function rate(name) {
  const began = performance.now();
  for (let i = 0; i < PER_ROUND[name]; i++) RUNS[name]();
  return (PER_ROUND[name] * 1000) / (performance.now() - began);
}

const names = Object.keys(RUNS);
const best = Object.fromEntries(names.map((name) => [name, 0]));
for (let round = 0; round < ROUNDS; round++) for (const name of names) best[name] = Math.max(best[name], rate(name));
const perSecond = Object.fromEntries(names.map((name) => [name, Math.round(best[name])]));

const { floor } = perSecond;
const GATES = [
  {
    what: 'whole document, nothing cached',
    name: 'uncached',
    target: 0.8,
    of: floor / 5,
    ofWhat: 'a fifth of the floor',
  },
  { what: 'authorities cached', name: 'authoritiesCached', target: 0.4, of: floor, ofWhat: 'the floor' },
  { what: 'leaf cached as well', name: 'leafCached', target: 0.85, of: floor, ofWhat: 'the floor' },
].map(({ of, ...gate }) => {
  const share = Number((perSecond[gate.name] / of).toFixed(3));
  return { ...gate, perSecond: perSecond[gate.name], share, met: share >= gate.target };
});

if (process.argv.includes('--json')) {
  process.stdout.write(`${JSON.stringify({ floor, gates: GATES })}\n`);
} else {
  process.stdout.write(`floor: ${floor} ES384 verifications in a second\n`);
  for (const { what, perSecond: rate, share, target, ofWhat, met } of GATES)
    process.stdout.write(`${what}: ${rate}/s, ${share} × ${ofWhat} (target ${target}): ${met ? 'met' : 'missed'}\n`);
}
if (!GATES.every(({ met }) => met)) process.exitCode = 1;
