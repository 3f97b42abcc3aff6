import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { parseAttestation } from '../../enclave-render/attestation/verify.ts';
import {
  describeRealDocuments,
  documentOf,
  issueChain,
  NONCE,
  policyOf,
  REGISTERS,
  TIMESTAMP,
} from '../harness/attestation-documents.ts';
import { portcullis } from '../harness/cli.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

function fileOf(content: Uint8Array | object): string {
  const file = join(scratch, randomUUID());
  writeFileSync(file, content instanceof Uint8Array ? content : JSON.stringify(content));
  return file;
}

const CHAIN = issueChain();
const DOCUMENT = fileOf(documentOf(CHAIN));
const PCRS = fileOf(policyOf(CHAIN).pcrs);
const AT = new Date(TIMESTAMP).toISOString();
const NONCE_HEX = NONCE.toString('hex');
const GOOD = [DOCUMENT, '--at', AT, '--pcrs', PCRS, '--root', CHAIN.root];

const verify = (...args: string[]) => portcullis('attest', 'verify', ...args);
async function answerOf(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await verify(...args, '--json');
  expect(stderr).toBe('');
  return [code, JSON.parse(stdout)];
}
const yes = [0, { ok: true, code: null }];
const no = (code: string) => [1, { ok: false, code: `ERR_ATTESTATION_${code}` }];

describe('portcullis attest inspect', () => {
  test('prints what a document says', async () => {
    const { code, stdout } = await portcullis('attest', 'inspect', DOCUMENT, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      profile: 'nitro',
      moduleId: 'i-0123456789abcdef0-enc0123456789abcdef',
      timestamp: TIMESTAMP,
      pcrs: policyOf(CHAIN).pcrs,
      publicKey: null,
      nonce: NONCE_HEX,
    });
    expect(JSON.parse(stdout).certificates).toHaveLength(5);
    expect(JSON.parse(stdout).certificates[0]).toBe(CHAIN.root);
  });

  test('prints it for people, and that nobody vouches for it', async () => {
    const { code, stdout } = await portcullis('attest', 'inspect', DOCUMENT);
    expect(code).toBe(0);
    expect(stdout).toContain(`signed      ${AT}\n`);
    expect(stdout).toContain(`PCR8        ${REGISTERS.get(8)?.toString('hex')}\n`);
    expect(stdout).toMatch(/not verified: portcullis attest verify\n$/);
  });

  test('ends with 2 when there is nothing to read', async () => {
    for (const file of [join(scratch, 'none'), scratch, PCRS]) {
      const { code, stdout, stderr } = await portcullis('attest', 'inspect', file, '--json');
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(/^portcullis: (cannot read|the document is not strict CBOR)/);
    }
  });
});

describe('portcullis attest verify', () => {
  test('says yes to a document under the root that is named', async () => {
    expect(await answerOf(...GOOD)).toEqual(yes);
    expect(await answerOf(...GOOD, '--nonce', NONCE_HEX.toUpperCase())).toEqual(yes);
    expect(await answerOf(DOCUMENT, '--at', String(TIMESTAMP), '--pcrs', PCRS, '--root', CHAIN.root)).toEqual(yes);
    const colons = CHAIN.root.toUpperCase().replace(/..(?=.)/g, '$&:');
    expect(await answerOf(DOCUMENT, '--at', 'document', '--pcrs', PCRS, '--root', colons)).toEqual(yes);
    const { stdout } = await verify(...GOOD);
    expect(stdout).toBe(
      `genuine and allowed; its nonce was not asked for: i-0123456789abcdef0-enc0123456789abcdef, signed ${AT}\n`,
    );
  });

  test('says no, and why', async () => {
    expect(await answerOf(DOCUMENT, '--at', AT, '--pcrs', PCRS)).toEqual(no('ROOT'));
    expect(await answerOf(DOCUMENT, '--at', '2030-01-01T00:00:00Z', ...GOOD.slice(3))).toEqual(no('TIME'));
    expect(await answerOf(DOCUMENT, '--at', AT, '--root', CHAIN.root, '--pcrs', fileOf({}))).toEqual(no('PCR'));
    const { pcrs } = policyOf(CHAIN);
    const signer = fileOf({ 8: pcrs['8'] });
    expect(await answerOf(DOCUMENT, '--at', AT, '--root', CHAIN.root, '--pcrs', signer)).toEqual(no('PCR'));
    expect(await answerOf(...GOOD, '--nonce', '00')).toEqual(no('NONCE'));
    expect(await answerOf(...GOOD, '--profile', 'nitrotpm')).toEqual(no('PAYLOAD'));
    expect(await answerOf(fileOf(Buffer.from('no document')), ...GOOD.slice(1))).toEqual(no('CBOR'));
    expect(await answerOf(fileOf(Buffer.alloc(0)), ...GOOD.slice(1))).toEqual(no('SIZE'));
    const { code, stdout } = await verify(DOCUMENT, '--at', AT, '--pcrs', PCRS);
    expect([code, stdout]).toEqual([
      1,
      'not genuine: the document does not begin with a root that is trusted; of a simulated enclave? ' +
        'name its root with --root, from portcullis render keys (ERR_ATTESTATION_ROOT)\n',
    ]);
  });

  test.each<[string, string[]]>([
    ['no time', [DOCUMENT, '--pcrs', PCRS]],
    ['no registers', [DOCUMENT, '--at', AT]],
    ['no file', ['--at', AT, '--pcrs', PCRS]],
    ['a file that is not there', [join(scratch, 'none'), ...GOOD.slice(1)]],
    ['a time without a zone', [DOCUMENT, '--at', '2026-03-01T12:00:00', '--pcrs', PCRS]],
    ['a time that is none', [DOCUMENT, '--at', 'now', '--pcrs', PCRS]],
    ['registers that are not there', [DOCUMENT, '--at', AT, '--pcrs', join(scratch, 'none')]],
    ['registers that are not JSON', [DOCUMENT, '--at', AT, '--pcrs', DOCUMENT]],
    ['registers in a list', [DOCUMENT, '--at', AT, '--pcrs', fileOf([policyOf(CHAIN).pcrs['0']])]],
    ['a register that is too short', [DOCUMENT, '--at', AT, '--pcrs', fileOf({ 0: 'ab' })]],
    ['a register by another name', [DOCUMENT, '--at', AT, '--pcrs', fileOf({ PCR0: '11'.repeat(48) })]],
    ['a nonce that is not hexadecimal', [...GOOD, '--nonce', 'nonce']],
    ['an empty nonce', [...GOOD, '--nonce', '']],
    ['a root that is no fingerprint', [DOCUMENT, '--at', AT, '--pcrs', PCRS, '--root', 'aws']],
    ['a profile that there is not', [...GOOD, '--profile', 'tpm']],
  ])('ends with 2 for %s', async (_, args) => {
    const { code, stdout } = await verify(...args, '--json');
    expect([code, stdout]).toEqual([2, '']);
  });
});

describeRealDocuments('portcullis attest, on documents that AWS signed', (documents) => {
  test.each(documents)('$file', async ({ file, bytes, at, expect: expected }) => {
    if (at === null) {
      expect(await answerOf(file, '--at', AT, '--pcrs', PCRS)).toEqual(no('CBOR'));
      return;
    }
    const { stdout } = await portcullis('attest', 'inspect', file, '--json');
    const { pcrs, moduleId, timestamp } = JSON.parse(stdout);
    expect({ pcrs, moduleId, timestamp }).toEqual({ pcrs: parseAttestation(bytes).pcrs, moduleId, timestamp: at });
    const args = ['--at', new Date(at).toISOString(), '--pcrs', fileOf(pcrs)];
    expect(await answerOf(file, ...args)).toEqual(expected === 'VALID' ? yes : no('DEBUG'));
    expect(await answerOf(file, '--at', new Date().toISOString(), ...args.slice(2))).toEqual(no('TIME'));
  });
});
