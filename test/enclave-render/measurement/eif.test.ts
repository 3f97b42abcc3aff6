import { createHash, sign } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { decode, encode } from 'cborg';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildEif, type EifParts } from '../../../enclave-render/measurement/build-eif.ts';
import { EifError } from '../../../enclave-render/measurement/eif-error.ts';
import { type EifMeasurement, measureEif } from '../../../enclave-render/measurement/measure-eif.ts';
import { packagePath } from '../../../local/package-root.ts';
import { LONG } from '../../harness/programs.ts';
import { decodeDocument } from '../../harness/security-module.ts';
import { signingCertificate } from '../../harness/signing-certificate.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const signer = signingCertificate();

let files = 0;
function file(content: Uint8Array | string): string {
  const path = join(scratch, `file-${++files}`);
  writeFileSync(path, content);
  return path;
}

/** Measures bytes, and gives the code of the refusal when they are refused. */
async function measured(bytes: Uint8Array): Promise<EifMeasurement | string> {
  const path = join(scratch, 'measured.eif');
  writeFileSync(path, bytes);
  try {
    return await measureEif(path);
  } catch (error) {
    if (error instanceof EifError) return error.code;
    throw error;
  }
}

/** Section numbers of the format. */
const KERNEL = 1;
const CMDLINE = 2;
const RAMDISK = 3;
const SIGNATURE = 4;
const METADATA = 5;

interface CraftedSection {
  type: number;
  content: Uint8Array | string;
  flags?: number;
  /** What the section's own header says, when that is not its length. */
  told?: number;
}

/**
 * An image written here, byte by byte, so that the reader is not held to our own writer; `change` alters it before
 * the CRC.
 */
function craft(sections: CraftedSection[], change: (bytes: Buffer) => Buffer | undefined = () => undefined): Buffer {
  const header = Buffer.alloc(548);
  header.write('.eif');
  header.writeUInt16BE(4, 4);
  header.writeBigUInt64BE(1n << 30n, 8);
  header.writeBigUInt64BE(2n, 16);
  header.writeUInt16BE(sections.length, 26);
  let offset = 548;
  const parts: Buffer[] = [];
  for (const [i, { type, content, flags = 0, told }] of sections.entries()) {
    const bytes = Buffer.from(content);
    const sectionHeader = Buffer.alloc(12);
    sectionHeader.writeUInt16BE(type, 0);
    sectionHeader.writeUInt16BE(flags, 2);
    sectionHeader.writeBigUInt64BE(BigInt(told ?? bytes.length), 4);
    header.writeBigUInt64BE(BigInt(offset), 28 + 8 * i);
    header.writeBigUInt64BE(BigInt(bytes.length), 284 + 8 * i);
    parts.push(sectionHeader, bytes);
    offset += 12 + bytes.length;
  }
  const whole = Buffer.concat([header, ...parts]);
  return withCrc(change(whole) ?? whole);
}

function withCrc(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(crc32(bytes.subarray(548), crc32(bytes.subarray(0, 544))), 544);
  return bytes;
}

const PLAIN: CraftedSection[] = [
  { type: KERNEL, content: 'kernel image' },
  { type: CMDLINE, content: 'reboot=k panic=30' },
  { type: METADATA, content: '{}' },
  { type: RAMDISK, content: 'init' },
  { type: RAMDISK, content: 'application' },
];

/** The formula of the user guide, with nothing of ours. */
function pcr(...content: string[]): string {
  const inner = createHash('sha384').update(content.join('')).digest();
  return createHash('sha384').update(Buffer.alloc(48)).update(inner).digest('hex');
}

describe('measuring', () => {
  test('PCR0 is the image, PCR1 what boots, PCR2 the application', async () => {
    expect(await measured(craft(PLAIN))).toMatchObject({
      pcrs: {
        0: pcr('kernel image', 'reboot=k panic=30', 'init', 'application'),
        1: pcr('kernel image', 'reboot=k panic=30', 'init'),
        2: pcr('application'),
      },
      architecture: 'x86_64',
      defaultMemoryBytes: 2 ** 30,
      defaultCpus: 2,
      sections: [{ type: 'kernel', bytes: 12 }, { type: 'cmdline' }, { type: 'metadata' }, { type: 'ramdisk' }, {}],
    });
  });

  test('with one ramdisk PCR2 is that of nothing', async () => {
    expect(await measured(craft(PLAIN.slice(0, 4)))).toMatchObject({ pcrs: { 2: pcr() } });
  });

  // Signed by AWS in 2025, of an image with one ramdisk.
  const sample = packagePath('..', 'shared', 'attestation', 'docs', '7e9164536419.bin');
  test.skipIf(!existsSync(sample))('as an enclave of AWS says it (third-party attestation documents)', async () => {
    const { pcrs } = decodeDocument(readFileSync(sample));
    const [image, boot, application] = [0, 1, 2].map((i) => Buffer.from(pcrs.get(i) as Uint8Array).toString('hex'));
    const ours = (await measured(craft(PLAIN.slice(0, 4)))) as EifMeasurement;
    expect(application).toBe(ours.pcrs[2]);
    expect([image === boot, ours.pcrs[0] === ours.pcrs[1]]).toEqual([true, true]);
  });

  test('a file larger than one read is measured whole', async () => {
    const large = Buffer.alloc(3 * (1 << 20) + 17, 'frame');
    const sections = PLAIN.map((section, i) => (i === 4 ? { ...section, content: large } : section));
    expect(await measured(craft(sections))).toMatchObject({ pcrs: { 2: pcr(large.toString()) } });
  });

  test('metadata is not measured, and neither is where kernel, command line and ramdisks of the application end', async () => {
    const { pcrs } = (await measured(craft(PLAIN))) as EifMeasurement;
    const other = PLAIN.map((section) => (section.type === METADATA ? { ...section, content: '{"a":1}' } : section));
    expect(await measured(craft(other))).toMatchObject({ pcrs });
    const moved = [
      { type: KERNEL, content: 'kernel imagereboot=k ' },
      { type: CMDLINE, content: 'panic=30' },
      ...PLAIN.slice(2),
    ];
    expect(await measured(craft(moved))).toMatchObject({ pcrs });
    const split = [...PLAIN.slice(0, 4), { type: RAMDISK, content: 'appli' }, { type: RAMDISK, content: 'cation' }];
    expect(await measured(craft(split))).toMatchObject({ pcrs });
  });
});

describe('refusals', () => {
  const replaced = (index: number, section: CraftedSection) => PLAIN.map((each, i) => (i === index ? section : each));
  const cases: [string, string, () => Buffer][] = [
    ['nothing', 'ERR_EIF_LENGTH', () => Buffer.alloc(0)],
    ['another file', 'ERR_EIF_HEADER', () => Buffer.alloc(1000, 'ELF')],
    ['another version', 'ERR_EIF_HEADER', () => craft(PLAIN, (b) => void b.writeUInt16BE(3, 4))],
    ['unknown flags', 'ERR_EIF_HEADER', () => craft(PLAIN, (b) => void b.writeUInt16BE(2, 6))],
    ['a reserved field in use', 'ERR_EIF_HEADER', () => craft(PLAIN, (b) => void b.writeUInt16BE(1, 24))],
    ['an unused field in use', 'ERR_EIF_HEADER', () => craft(PLAIN, (b) => void b.writeUInt32BE(1, 540))],
    ['no sections', 'ERR_EIF_HEADER', () => craft([])],
    ['more than 32 sections', 'ERR_EIF_HEADER', () => craft(PLAIN, (b) => void b.writeUInt16BE(33, 26))],
    ['a section listed and not counted', 'ERR_EIF_HEADER', () => craft(PLAIN, (b) => void b.writeUInt16BE(4, 26))],
    ['an offset beyond any file', 'ERR_EIF_HEADER', () => craft(PLAIN, (b) => void b.fill(0xff, 28, 36))],
    ['a damaged byte', 'ERR_EIF_CRC', () => flipped(craft(PLAIN), 8 * 565)],
    ['a damaged byte of a signed image', 'ERR_EIF_CRC', () => flipped(signedImage, 8 * 565)],
    ['a byte behind the end', 'ERR_EIF_LENGTH', () => craft(PLAIN, (b) => Buffer.concat([b, Buffer.alloc(1)]))],
    ['a gap', 'ERR_EIF_SECTION', () => craft(PLAIN, (b) => void b.writeBigUInt64BE(549n, 28))],
    ['sections that overlap', 'ERR_EIF_SECTION', () => craft(PLAIN, (b) => void b.writeBigUInt64BE(548n, 36))],
    ['a length of its own', 'ERR_EIF_SECTION', () => craft(replaced(1, { type: CMDLINE, content: 'abc', told: 2 }))],
    ['a length of 2⁵³', 'ERR_EIF_SECTION', () => craft(replaced(1, { type: CMDLINE, content: 'abc', told: 2 ** 53 }))],
    ['an unknown type', 'ERR_EIF_SECTION', () => craft([...PLAIN, { type: 6, content: 'x' }])],
    ['the invalid type', 'ERR_EIF_SECTION', () => craft([...PLAIN, { type: 0, content: 'x' }])],
    ['flags of a section', 'ERR_EIF_SECTION', () => craft(replaced(0, { type: KERNEL, content: 'k', flags: 1 }))],
    ['no kernel', 'ERR_EIF_SECTION', () => craft(PLAIN.slice(1))],
    ['no command line', 'ERR_EIF_SECTION', () => craft(PLAIN.filter(({ type }) => type !== CMDLINE))],
    ['no ramdisk', 'ERR_EIF_SECTION', () => craft(PLAIN.slice(0, 3))],
    ['two kernels', 'ERR_EIF_SECTION', () => craft([...PLAIN, { type: KERNEL, content: 'k' }])],
    ['two command lines', 'ERR_EIF_SECTION', () => craft([...PLAIN, { type: CMDLINE, content: 'k' }])],
    ['metadata twice', 'ERR_EIF_SECTION', () => craft([...PLAIN, { type: METADATA, content: '{}' }])],
    ['a ramdisk before the kernel', 'ERR_EIF_SECTION', () => craft([{ type: RAMDISK, content: 'r' }, ...PLAIN])],
    ['a signature that is none', 'ERR_EIF_SIGNATURE', () => craft([...PLAIN, { type: SIGNATURE, content: 'x' }])],
    [
      'a signature section without end',
      'ERR_EIF_SIGNATURE',
      () => craft([...PLAIN, { type: SIGNATURE, content: Buffer.alloc((64 << 10) + 1) }]),
    ],
  ];
  test.each(cases)('%s: %s', async (_name, code, bytes) => {
    expect(await measured(bytes())).toBe(code);
  });

  test('every truncation', async () => {
    const whole = await built({ signer });
    const step = LONG ? 1 : 37;
    for (let length = 0; length < whole.length; length += step) {
      expect(await measured(whole.subarray(0, length)), `${length} bytes`).toBe('ERR_EIF_LENGTH');
    }
  });

  // Who changes the header can write the checksum again; these bits are all that then goes unnoticed.
  test('every flipped bit of the header, but for those that say nothing of what is measured', async () => {
    const whole = await built({ signer });
    const { pcrs } = (await measured(whole)) as EifMeasurement;
    const unnoticed: number[] = [];
    const isPastFields = (bit: number) => bit >= 28 * 8;
    for (let bit = 0; bit < 544 * 8; bit += isPastFields(bit) && !LONG ? 7 : 1) {
      const crafted = withCrc(flipped(whole, bit));
      const result = await measured(crafted);
      if (typeof result === 'string') continue;
      expect(result.pcrs, `bit ${bit}`).toEqual(pcrs);
      unnoticed.push(bit);
    }
    const architecture = 8 * 7 + 7;
    const memoryAndCpus = Array.from({ length: 128 }, (_, i) => 8 * 8 + i);
    expect(unnoticed).toEqual([architecture, ...memoryAndCpus]);
    for (let bit = 0; bit < 548 * 8; bit += LONG ? 1 : 61) {
      expect(await measured(flipped(whole, bit)), `bit ${bit}`).toMatch(/^ERR_EIF_/);
    }
  });

  test('any bytes whatever: a code, and never another error', async () => {
    const whole = await built({ signer });
    const change = fc.record({ at: fc.nat(whole.length - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.boolean(), async (changes, mend) => {
        const crafted = Buffer.from(whole);
        for (const { at, bytes } of changes) crafted.set(bytes.subarray(0, crafted.length - at), at);
        const result = await measured(mend ? withCrc(crafted) : crafted);
        if (typeof result === 'string') expect(result).toMatch(/^ERR_EIF_/);
      }),
      { numRuns: LONG ? 5000 : 300 },
    );
  });

  test('a file that is not there, or is a folder', async () => {
    await expect(measureEif(join(scratch, 'none.eif'))).rejects.toMatchObject({ code: 'ERR_EIF_FILE' });
    await expect(measureEif(scratch)).rejects.toMatchObject({ code: 'ERR_EIF_FILE' });
  });
});

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (0x80 >> (bit & 7));
  return copy;
}

let signedImage: Buffer;
beforeAll(async () => {
  signedImage = await built({ signer });
});

const parts = (changes: Partial<EifParts> = {}): EifParts => ({
  kernel: file('kernel image'),
  cmdline: 'reboot=k panic=30',
  ramdisks: [file('init'), file('application')],
  architecture: 'x86_64',
  name: 'render',
  version: '1',
  ...changes,
});

async function built(changes: Partial<EifParts> = {}): Promise<Buffer> {
  const path = join(scratch, 'built.eif');
  await buildEif(path, parts(changes));
  return readFileSync(path);
}

describe('building', () => {
  test('build, read and measure agree, whatever the parts are', async () => {
    const content = fc.uint8Array({ minLength: 1, maxLength: 3000 });
    const ramdisks = fc.array(content, { minLength: 1, maxLength: 6 });
    const cmdline = fc.string({ minLength: 1, maxLength: 80 }).filter((text) => !text.includes('\0'));
    await fc.assert(
      fc.asyncProperty(content, cmdline, ramdisks, fc.boolean(), async (kernel, text, disks, isArm) => {
        const path = join(scratch, 'property.eif');
        const architecture = isArm ? 'arm64' : 'x86_64';
        const built = await buildEif(
          path,
          parts({ kernel: file(kernel), cmdline: text, ramdisks: disks.map(file), architecture }),
        );
        expect(await measureEif(path)).toEqual(built);
        const all = [kernel, Buffer.from(text), ...disks];
        const inner = createHash('sha384').update(Buffer.concat(all)).digest();
        const expected = createHash('sha384').update(Buffer.alloc(48)).update(inner).digest('hex');
        expect(built).toMatchObject({ pcrs: { 0: expected }, architecture });
        expect(built.sections.map(({ type }) => type)).toEqual([
          'kernel',
          'cmdline',
          'metadata',
          ...disks.map(() => 'ramdisk'),
        ]);
      }),
      { numRuns: 30 },
    );
  });

  test('the same parts make the same bytes, and the metadata is what nitro-cli asks for', async () => {
    const image = await built();
    expect(await built()).toEqual(image);
    const offset = Number(image.readBigUInt64BE(28 + 8 * 2)) + 12;
    const metadata = image.toString('utf8', offset, offset + Number(image.readBigUInt64BE(284 + 8 * 2)));
    expect(JSON.parse(metadata)).toMatchObject({
      ImageName: 'render',
      BuildMetadata: { BuildTool: 'portcullis' },
      DockerInfo: {},
    });
  });

  test('refuses what no image can be built of, and leaves nothing behind', async () => {
    const folder = join(scratch, 'nothing-behind');
    mkdirSync(folder);
    const path = join(folder, 'out.eif');
    const codes = async (changes: Partial<EifParts>) => (await refusal(buildEif(path, parts(changes)))).code;
    expect(await codes({ ramdisks: [] })).toBe('ERR_EIF_INPUT');
    expect(await codes({ cmdline: '' })).toBe('ERR_EIF_INPUT');
    expect(await codes({ cmdline: 'a\0b' })).toBe('ERR_EIF_INPUT');
    expect(await codes({ kernel: join(scratch, 'none') })).toBe('ERR_EIF_INPUT');
    expect(await codes({ kernel: scratch })).toBe('ERR_EIF_INPUT');
    expect(await codes({ ramdisks: [file('')] })).toBe('ERR_EIF_INPUT');
    expect(await codes({ ramdisks: Array.from({ length: 30 }, () => file('r')) })).toBe('ERR_EIF_INPUT');
    expect((await refusal(buildEif(join(folder, 'none', 'out.eif'), parts()))).code).toBe('ERR_EIF_FILE');
    expect(readdirSync(folder)).toEqual([]);
  });
});

async function refusal(promise: Promise<unknown>): Promise<EifError> {
  return promise.then(
    () => expect.fail('it was not refused'),
    (error) => error,
  );
}

describe('signing', () => {
  /** The signature section of an image and what is in it, decoded. */
  const sectionOf = (image: Buffer) => {
    const at = 28 + 8 * 5;
    const offset = Number(image.readBigUInt64BE(at));
    const content = image.subarray(offset + 12, offset + 12 + Number(image.readBigUInt64BE(284 + 8 * 5)));
    const [entry] = decode(content) as [{ signing_certificate: number[]; signature: number[] }];
    const cose = decode(Uint8Array.from(entry.signature), { useMaps: true }) as unknown[];
    return { content, entry, cose };
  };
  const signedWith = (content: Uint8Array) => craft([...PLAIN, { type: SIGNATURE, content }]);
  const bytesOf = (text: string) => [...Buffer.from(text)];
  const sealed = (entry: unknown) => encode([entry]);
  /** A section of these COSE parts, properly signed. */
  const crafted = (changes: { header?: Map<number, number>; payload?: unknown; unprotected?: unknown }) => {
    const [header, unprotected, payload] = sectionOf(images.signed).cose;
    const protectedHeader = changes.header ? encode(changes.header) : header;
    const content = changes.payload ? encode(changes.payload) : payload;
    const structure = encode(['Signature1', protectedHeader, new Uint8Array(), content]);
    const signature = sign('sha384', structure, { key: signer.privateKey, dsaEncoding: 'ieee-p1363' });
    const cose = encode([protectedHeader, changes.unprotected ?? unprotected, content, new Uint8Array(signature)]);
    return sealed({ signing_certificate: bytesOf(signer.certificate), signature: [...cose] });
  };
  const images = {} as { signed: Buffer };
  beforeAll(async () => {
    images.signed = await built({ signer });
  });

  test.each(['P-256', 'P-384', 'P-521'] as const)('with a key on %s', async (curve) => {
    const each = signingCertificate(curve);
    const path = join(scratch, `${curve}.eif`);
    const measurement = await buildEif(path, parts({ signer: each }));
    const der = Buffer.from(each.certificate.replace(/-----[A-Z ]+-----/g, ''), 'base64');
    const inner = createHash('sha384').update(der).digest();
    const expected = createHash('sha384').update(Buffer.alloc(48)).update(inner).digest('hex');
    expect(measurement).toMatchObject({
      pcrs: { 8: expected },
      signedBy: { subject: 'CN=image signing', sha256: createHash('sha256').update(der).digest('hex') },
    });
    expect(await measureEif(path)).toEqual(measurement);
  });

  test("the section is written as AWS's own writer does it: bytes as arrays of numbers, maps in its order", () => {
    const { content, cose } = sectionOf(images.signed);
    expect(content.subarray(0, 22).toString('latin1')).toBe('\x81\xa2\x73signing_certificate');
    expect(Buffer.from(cose[0] as Uint8Array).toString('hex')).toBe('a1013822');
    const { register_index, register_value } = decode(cose[2] as Uint8Array) as Record<string, unknown>;
    expect(register_index).toBe(0);
    expect(Buffer.from(register_value as number[]).toString('hex')).toBe(
      pcr('kernel image', 'reboot=k panic=30', 'init', 'application'),
    );
    expect(Buffer.from(cose[2] as Uint8Array).toString('latin1', 0, 16)).toBe('\xa2\x6eregister_index');
  });

  test('a signature of its own parts is taken: what is refused below is refused for its reason', async () => {
    expect(await measured(signedWith(crafted({})))).toMatchObject({ signedBy: { subject: 'CN=image signing' } });
  });

  test('one of another image, or with a bit changed, is refused', async () => {
    const { content } = sectionOf(images.signed);
    const other = PLAIN.map((section, i) => (i === 0 ? { ...section, content: 'another kernel' } : section));
    expect(await measured(craft([...other, { type: SIGNATURE, content }]))).toBe('ERR_EIF_SIGNATURE');
    const { pcrs, signedBy } = (await measured(images.signed)) as EifMeasurement;
    for (let bit = 0; bit < content.length * 8; bit += LONG ? 1 : 97) {
      const result = await measured(signedWith(flipped(content, bit)));
      if (result === 'ERR_EIF_SIGNATURE') continue;
      // Another certificate of the same key, such as one of other dates, is another PCR8. Text around it says nothing.
      const { subject, sha256 } = (result as EifMeasurement).signedBy ?? {};
      const isSame = sha256 === signedBy?.sha256;
      expect((result as EifMeasurement).pcrs[8] === pcrs[8], `bit ${bit}: ${subject}`).toBe(isSame);
      expect(bit / 8).toBeLessThan(content.indexOf('signature', 30));
    }
  });

  test('one of another key, of two entries, of no strict CBOR, of another register or algorithm is refused', async () => {
    const { entry, content } = sectionOf(images.signed);
    const { certificate } = signingCertificate();
    const refused: Uint8Array[] = [
      sealed({ ...entry, signing_certificate: bytesOf(certificate) }),
      sealed({ ...entry, signing_certificate: bytesOf(signer.certificate + certificate) }),
      sealed({ ...entry, signing_certificate: bytesOf('no certificate') }),
      sealed({ ...entry, signing_certificate: Buffer.from(signer.certificate) }),
      sealed({ ...entry, signature: [256] }),
      sealed({ ...entry, more: 1 }),
      sealed({ signature: entry.signature }),
      sealed(1),
      encode(entry),
      encode([]),
      encode([entry, entry]),
      Buffer.concat([content, Buffer.from([0])]),
      crafted({ header: new Map([[1, -7]]) }),
      crafted({
        header: new Map([
          [1, -35],
          [4, 1],
        ]),
      }),
      crafted({ unprotected: new Map([[4, 1]]) }),
      crafted({ payload: { register_index: 1, register_value: [...Buffer.alloc(48)] } }),
      crafted({ payload: { register_index: 0, register_value: [...Buffer.alloc(48)] } }),
    ];
    for (const [i, section] of refused.entries()) {
      expect(await measured(signedWith(section)), `case ${i}`).toBe('ERR_EIF_SIGNATURE');
    }
  });

  test('a signature section twice is refused', async () => {
    const { content } = sectionOf(images.signed);
    const sections = [...PLAIN, { type: SIGNATURE, content }, { type: SIGNATURE, content }];
    expect(await measured(craft(sections))).toBe('ERR_EIF_SECTION');
  });

  test('a key that is not that of the certificate, or none for signing, is refused', async () => {
    const other = signingCertificate();
    const path = join(scratch, 'wrong.eif');
    const wrong = { ...signer, privateKey: other.privateKey };
    expect((await refusal(buildEif(path, parts({ signer: wrong })))).code).toBe('ERR_EIF_INPUT');
    const text = { ...signer, certificate: 'no certificate' };
    expect((await refusal(buildEif(path, parts({ signer: text })))).code).toBe('ERR_EIF_INPUT');
  });
});
