import { createHash, X509Certificate } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { AsnConvert } from '@peculiar/asn1-schema';
import { BasicConstraints, Certificate, id_ce_basicConstraints, id_ce_keyUsage, KeyUsage } from '@peculiar/asn1-x509';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AWS_NITRO_ROOT } from '../../../enclave-render/attestation/attestation-document.ts';
import { connectNsm } from '../../../enclave-render/security-module/nsm.ts';
import { type SimulatorOptions, simulatedModule } from '../../../enclave-render/security-module/simulator.ts';
import { openSimulatorCa, type SimulatorCa } from '../../../enclave-render/security-module/simulator-ca.ts';
import { packagePath } from '../../../local/package-root.ts';
import { decodeDocument, socketPair } from '../../harness/security-module.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const NOW = Date.parse('2026-11-22T12:00:00.250Z');
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const PCRS = { 0: 'a0'.repeat(48), 1: 'b1'.repeat(48), 2: 'c2'.repeat(48) };
const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

let ca: SimulatorCa;
beforeAll(async () => {
  ca = await openSimulatorCa(join(scratch, 'ca'), NOW);
});

async function launched(options: Partial<SimulatorOptions> = {}) {
  const module = simulatedModule({ ca, pcrs: PCRS, now: () => NOW, ...options });
  const [near, far] = await socketPair(scratch);
  module.serve(far);
  return { module, connection: connectNsm(near) };
}
async function attested(options: Partial<SimulatorOptions> = {}) {
  const { connection } = await launched(options);
  return decodeDocument(await connection.attest({ nonce: Buffer.alloc(32) }));
}

/** What a chain is, but for names, keys and numbers. */
function structureOf(certificates: Uint8Array[]) {
  return certificates.map((der) => {
    const { tbsCertificate, signatureAlgorithm } = AsnConvert.parse(der, Certificate);
    const extensions = tbsCertificate.extensions ?? [];
    const value = (id: string) => extensions.find(({ extnID }) => extnID === id)?.extnValue.buffer as ArrayBuffer;
    const { notBefore, notAfter } = tbsCertificate.validity;
    return {
      algorithms: [signatureAlgorithm.algorithm, tbsCertificate.subjectPublicKeyInfo.algorithm.algorithm],
      extensions: extensions.map(({ extnID, critical }) => `${extnID} ${critical}`).sort(),
      constraints: { ...AsnConvert.parse(value(id_ce_basicConstraints), BasicConstraints) },
      usage: AsnConvert.parse(value(id_ce_keyUsage), KeyUsage).toJSON(),
      hours: Math.round((notAfter.getTime().getTime() - notBefore.getTime().getTime()) / HOUR),
    };
  });
}

describe('documents', () => {
  test('are as AWS writes them: fields in order, map with a length or without, PCR0 to PCR15', async () => {
    const indefinite = await attested();
    const definite = await attested({ payloadMap: 'definite' });
    expect([indefinite.payload[0], definite.payload[0], definite.payload.length - indefinite.payload.length]).toEqual([
      0xbf,
      0xa9,
      expect.any(Number),
    ]);
    for (const { fields, pcrs } of [indefinite, definite]) {
      const names = 'module_id digest timestamp pcrs certificate cabundle public_key user_data nonce';
      expect([...fields.keys()].join(' ')).toBe(names);
      expect(fields.get('timestamp')).toBe(NOW);
      expect([...pcrs.keys()]).toEqual(Array.from({ length: 16 }, (_, i) => i));
    }
  });

  const sample = packagePath('..', 'shared', 'attestation', 'docs', '9e038c2da8de.bin');
  test.skipIf(!existsSync(sample))(
    'have a chain of the structure of one of AWS (third-party attestation documents)',
    async () => {
      const aws = decodeDocument(readFileSync(sample));
      const ours = await attested();
      const ourStructure = structureOf(ours.certificates);
      for (const [i, theirs] of structureOf(aws.certificates).entries()) {
        const { hours, ...rest } = ourStructure[i] as (typeof ourStructure)[number];
        expect(rest).toEqual({ ...theirs, hours: undefined });
        // To some hours AWS's vary by themselves.
        expect(hours / theirs.hours).toBeGreaterThan(0.95);
        expect(hours / theirs.hours).toBeLessThan(1.05);
      }
      expect(ours.payload.length).toBeLessThan(1.3 * aws.payload.length);
      expect([...ours.fields.keys()]).toEqual([...aws.fields.keys()]);
    },
  );

  test('say in every name that they are of a simulation, and lead to the root that is to be named', async () => {
    const { certificates } = await attested();
    for (const der of certificates) {
      const { subject } = new X509Certificate(der);
      expect(subject).toMatch(/simulated/);
      expect(subject).not.toMatch(/Amazon|aws/i);
    }
    const root = createHash('sha256')
      .update(certificates[0] as Uint8Array)
      .digest('hex');
    expect(root).toBe(ca.root);
    expect(root).not.toBe(AWS_NITRO_ROOT);
  });

  test('have the parent in PCR3 and PCR4 as AWS forms them, without a hash inside', async () => {
    const { pcrs, fields } = await attested();
    const [instance] = (fields.get('module_id') as string).split('-enc');
    const formed = (text: string | undefined) =>
      createHash('sha384')
        .update(Buffer.concat([Buffer.alloc(48), Buffer.from(text ?? '')]))
        .digest('hex');
    const hex = (index: number) => Buffer.from(pcrs.get(index) as Uint8Array).toString('hex');
    expect(hex(3)).toBe(formed('arn:aws:iam::000000000000:role/portcullis-simulated-parent'));
    expect(hex(4)).toBe(formed(instance));
    expect([hex(0), hex(1), hex(2), hex(5), hex(8)]).toEqual([
      ...Object.values(PCRS),
      ...Array(2).fill('00'.repeat(48)),
    ]);
  });

  test('a signed image has PCR8; registers that are not of an image are refused', async () => {
    const { module } = await launched({ pcrs: { ...PCRS, 8: 'd8'.repeat(48) } });
    expect(module.pcrs[8]).toBe('d8'.repeat(48));
    for (const pcrs of [
      {},
      { 0: PCRS[0], 1: PCRS[1] },
      { ...PCRS, 4: PCRS[0] },
      { ...PCRS, 0: 'A0'.repeat(48) },
      { ...PCRS, 2: 'c2' },
    ]) {
      const refused = () => simulatedModule({ ca, pcrs, now: () => NOW });
      expect(refused).toThrow(expect.objectContaining({ code: 'ERR_MODULE_SIMULATOR' }));
    }
  });

  test('each launch is another module; all documents of one are of one', async () => {
    const [one, two] = [await launched(), await launched()];
    expect(one.module.moduleId).not.toBe(two.module.moduleId);
    const of = async (connection: (typeof one)['connection']) => {
      const { fields } = decodeDocument(await connection.attest({}));
      return fields.get('module_id');
    };
    expect([await of(one.connection), await of(one.connection)]).toEqual(Array(2).fill(one.module.moduleId));
    expect(one.module.moduleId).toMatch(/^i-[0-9a-f]{17}-enc[0-9a-f]{16}$/);
  });

  test('all certificates are valid at the time of the document, for as long as a launch may be', async () => {
    let now = NOW;
    const { connection } = await launched({ now: () => now });
    const leaves = new Set<string>();
    for (const time of [NOW, NOW + HOUR, NOW + 2.6 * HOUR, NOW + 30 * HOUR, NOW + 40 * DAY, NOW + DAY]) {
      now = time;
      const { certificates, fields } = decodeDocument(await connection.attest({}));
      expect(fields.get('timestamp')).toBe(time);
      for (const der of certificates) {
        const { validFrom, validTo } = new X509Certificate(der);
        expect(Date.parse(validFrom)).toBeLessThanOrEqual(time);
        expect(Date.parse(validTo)).toBeGreaterThan(time);
      }
      leaves.add(new X509Certificate(certificates.at(-1) as Uint8Array).fingerprint256);
    }
    expect(leaves.size).toBe(5);
  });
});

describe('the authority', () => {
  const refused = { code: 'ERR_MODULE_SIMULATOR' };

  test('is made once, and only its owner can read it', async () => {
    const folder = join(scratch, 'deep', 'made');
    const all = await Promise.all(Array.from({ length: 8 }, () => openSimulatorCa(folder, NOW)));
    expect(new Set(all.map(({ root }) => root)).size).toBe(1);
    expect((await openSimulatorCa(folder, NOW + DAY)).root).toBe(all[0]?.root);
    expect(readdirSync(folder)).toEqual(['simulator-ca.pem']);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'simulator-ca.pem')).mode & 0o777).toBe(0o600);
  });

  test('is valid for 30 years, which DER writes in another way than the years before 2050', () => {
    const [root] = ca.issueChain('i-0-enc0', NOW).cabundle;
    expect(new X509Certificate(root as Buffer).validTo).toBe('Nov 22 12:00:00 2056 GMT');
  });

  test('is refused where others can read it, or when it is damaged', async () => {
    const made = async (name: string) => {
      const folder = join(scratch, name);
      await openSimulatorCa(folder, NOW);
      return { folder, file: join(folder, 'simulator-ca.pem') };
    };
    const open = await made('open-folder');
    chmodSync(open.folder, 0o750);
    await expect(openSimulatorCa(open.folder, NOW)).rejects.toMatchObject(refused);

    const readable = await made('readable');
    chmodSync(readable.file, 0o640);
    await expect(openSimulatorCa(readable.folder, NOW)).rejects.toMatchObject(refused);

    const [one, two] = [await made('one'), await made('two')];
    const [pem, other] = [one, two].map(({ file }) => readFileSync(file, 'utf8')) as [string, string];
    const certificate = (text: string) => text.slice(text.indexOf('-----BEGIN CERT'));
    const key = (text: string) => text.slice(0, text.indexOf('-----BEGIN CERT'));
    for (const content of [
      '',
      'no PEM',
      key(pem),
      certificate(pem),
      key(pem) + certificate(other),
      pem.slice(0, -60),
    ]) {
      writeFileSync(one.file, content);
      const error = await openSimulatorCa(one.folder, NOW).catch((each) => each);
      expect(error).toMatchObject(refused);
      expect(error.message).not.toMatch(/BEGIN|[A-Za-z0-9+/]{40}/);
    }
  });

  test('is not followed through a link, nor made where a file is', async () => {
    const folder = join(scratch, 'linked');
    mkdirSync(folder, { mode: 0o700 });
    symlinkSync(join(scratch, 'ca', 'simulator-ca.pem'), join(folder, 'simulator-ca.pem'));
    await expect(openSimulatorCa(folder, NOW)).rejects.toMatchObject(refused);
    writeFileSync(join(scratch, 'file'), '');
    await expect(openSimulatorCa(join(scratch, 'file'), NOW)).rejects.toMatchObject(refused);
  });
});
