import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from 'vitest';
import { buildEdgeFunction } from '../../edge-functions/build/bundle.ts';
import type { TokenCrypto } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { describeEngines, EDGE_DEFAULTS, EDGE_SOURCES, type EngineName, runFunction } from './edge.ts';

/** A question to the crypto of a verifier: `key` is base64url, `text` the UTF-8 text, or `hex` the bytes, that `mac` covers. */
export type MacQuestion = { key: string; mac: string } & ({ text: string } | { hex: string });

/** A compact JWS, to be taken apart and verified as any JWS, whatever its header and payload say. */
export interface JwsQuestion {
  key: string;
  jws: string;
}

/**
 * A function on the crypto module of the edge and nothing else of it, built as the shipped one is. Asked for a JWS it
 * does what RFC 7515 §5.2 wants of the signature: three parts, canonical base64url, the MAC over the first two.
 */
const ENTRY = `
import { edgeCrypto } from ${JSON.stringify(join(EDGE_SOURCES, 'crypto.js'))};
function isJws(jws, key) {
  const parts = jws.split('.');
  return (
    parts.length === 3 &&
    edgeCrypto.decode(parts[0]) !== '' &&
    edgeCrypto.decode(parts[1]) !== '' &&
    edgeCrypto.isMac(key, parts[0] + '.' + parts[1], parts[2])
  );
}
export function handler(event) {
  if (event.jws !== undefined) return isJws(event.jws, event.key);
  return edgeCrypto.isMac(event.key, event.hex === undefined ? event.text : Buffer.from(event.hex, 'hex'), event.mac);
}
`;

/** Who answers: the crypto of the edge in either engine, or that of Node. */
export type Verifier = EngineName | 'node:crypto';

/** The answers of one verifier. */
export async function verdicts(verifier: Verifier, questions: (MacQuestion | JwsQuestion)[]): Promise<unknown[]> {
  if (verifier === 'node:crypto') return questions.map((question) => answer(nodeCrypto, question));
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-crypto-'));
  try {
    writeFileSync(join(folder, 'viewer-request.js'), ENTRY);
    const { code } = await buildEdgeFunction(folder, 'store', EDGE_DEFAULTS);
    const results = await runFunction(verifier, code, questions, { now: 0, store: new Map() });
    return results.map((result) => ('value' in result ? result.value : result.error));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function answer(crypto: TokenCrypto, question: MacQuestion | JwsQuestion): boolean {
  if ('jws' in question) {
    const [header = '', payload = '', mac = '', ...rest] = question.jws.split('.');
    const isCanonical = crypto.decode(header) !== '' && crypto.decode(payload) !== '' && rest.length === 0;
    return isCanonical && crypto.isMac(question.key, `${header}.${payload}`, mac);
  }
  // node:crypto takes bytes for text too.
  const text = 'hex' in question ? (Buffer.from(question.hex, 'hex') as unknown as string) : question.text;
  return crypto.isMac(question.key, text, question.mac);
}

/** The same suite for each verifier. */
export function describeVerifiers(name: string, run: (verifier: Verifier) => void): void {
  describe(`${name}, node:crypto`, () => run('node:crypto'));
  describeEngines(name, run);
}
