import { createHash, randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EmbeddedKms } from '../../enclave-render/kms/embedded.ts';
import { readTitle } from '../../enclave-render/packaging/title.ts';
import { type MasteredTitleOptions, masterTitle } from '../../local/mastered-title.ts';
import { packagePath } from '../../local/package-root.ts';
import type { TitleChain } from '../../local/title-chain.ts';
import { clearRendition, contentKeys } from '../harness/media.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const ALIAS = 'alias/test';
const COMMITTED = packagePath('local', 'titles', 'aurora');
const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex');

/** A place of its own for a title, with a KMS. */
async function place(): Promise<{ options: MasteredTitleOptions; kms: EmbeddedKms; folder: string; lines: string[] }> {
  const folder = join(scratch, randomUUID());
  mkdirSync(folder);
  const kms = new EmbeddedKms({ keystore: join(folder, 'keystore.json') });
  await kms.createKey({ alias: ALIAS });
  const lines: string[] = [];
  const options = {
    ...{ title: 'aurora', committed: COMMITTED, masters: join(folder, 'masters'), titles: join(folder, 'titles') },
    ...{ dataKeys: kms, keyId: ALIAS, now: () => 1_795_000_000, report: (line: string) => void lines.push(line) },
  };
  return { options, kms, folder, lines };
}

const filesBelow = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
const operations = (folder: string) =>
  readFileSync(join(folder, 'keystore.json.audit.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line).operation);

describe('a title from its mezzanine on', () => {
  let chain: TitleChain;
  let at: Awaited<ReturnType<typeof place>>;
  beforeAll(async () => {
    at = await place();
    chain = await masterTitle(at.options);
  });

  test('is mastered and packaged, and the chain says by what hashes and keys', () => {
    const { masters, titles } = at.options;
    expect(chain.failure).toBeUndefined();
    expect(chain.encodings.map(({ name }) => name)).toEqual(['360p', '180p']);
    for (const { name, mezzanine, master } of chain.encodings) {
      const folder = join(COMMITTED, name);
      const segments = readdirSync(folder).filter((file) => file.endsWith('.m4s'));
      const bytes = Buffer.concat(['init.mp4', ...segments.sort()].map((file) => readFileSync(join(folder, file))));
      expect(mezzanine).toEqual({ bytes: bytes.length, sha256: sha256(bytes) });
      const json = readFileSync(join(masters, `aurora-${name}.master.manifest.json`), 'utf8');
      const { keyId, encryptedKey } = JSON.parse(json).recipients[0];
      expect(master).toEqual({
        ...{ mode: 'framed', keyBits: 256, manifestSha256: sha256(json), kmsKeyId: keyId },
        bytes: readFileSync(join(masters, `aurora-${name}.master`)).length,
        sha256: sha256(readFileSync(join(masters, `aurora-${name}.master`))),
        encryptedKeySha256: sha256(Buffer.from(encryptedKey, 'base64')),
      });
    }
    const { keys } = JSON.parse(readFileSync(join(titles, 'aurora', 'keys.json'), 'utf8'));
    expect(chain.package?.keys.map(({ name }) => name)).toEqual(keys.map(({ name }: { name: string }) => name));
    // Three renditions of 30 segments, with a new key every five.
    expect(chain.package?.keys.map(({ segments }) => segments)).toEqual([15, 15, 15, 15, 15, 15]);
    expect(chain.package).toMatchObject({ container: 'cmaf', encryption: 'aes-128' });
  });

  test('is in clear in no file, and is what comes out under the keys', async () => {
    const segment = readFileSync(join(COMMITTED, '360p', 'segment-011.m4s'));
    const mdat = segment.indexOf('mdat') + 4;
    // Of the middle of the first picture, which is longer than what comes before it in a packet of any container.
    const picture = segment.subarray(mdat + 2000, mdat + 2064);
    const holds = (bytes: Buffer) => bytes.includes(picture);
    const written = filesBelow(at.folder).map((entry) => join(entry.parentPath, entry.name));
    expect(written.length).toBeGreaterThan(90);
    expect(written.filter((file) => holds(readFileSync(file)))).toEqual([]);
    expect(written.filter((file) => /mezzanine|partial/.test(file))).toEqual([]);

    const folder = join(at.options.titles, 'aurora');
    const keys = await contentKeys(join(folder, 'keys.json'), at.kms);
    const title = await readTitle(folder);
    const tallest = title.renditions.find(({ name }) => name === '360p');
    expect(tallest && holds(clearRendition(folder, tallest, keys))).toBe(true);
  });

  test('is used as it is at the next start, after a look at KMS for each master and for the package', async () => {
    const before = operations(at.folder).length;
    expect(await masterTitle(at.options)).toEqual(chain);
    expect(operations(at.folder).slice(before)).toEqual(['Decrypt', 'Decrypt', 'Decrypt']);
  });

  test('no key is in the chain', async () => {
    const keys = await contentKeys(join(at.options.titles, 'aurora', 'keys.json'), at.kms);
    const text = JSON.stringify(chain);
    for (const key of keys.values()) {
      for (const form of ['hex', 'base64', 'base64url'] as const)
        expect(text).not.toContain(Buffer.from(key).toString(form));
    }
  });
});

describe('what an earlier start made is made anew', () => {
  const namesOf = ({ package: packaged }: TitleChain) => packaged?.keys.map(({ name }) => name);

  test.each<[string, (at: Awaited<ReturnType<typeof place>>) => Promise<void> | void]>([
    [
      'when its KMS key is gone',
      async ({ folder, kms }) => {
        rmSync(join(folder, 'keystore.json'));
        await kms.createKey({ alias: ALIAS });
      },
    ],
    ['when a part of it is gone', ({ options }) => rmSync(join(options.titles, 'aurora', 'packaging.json'))],
    [
      'when its key table is damaged',
      ({ options }) => writeFileSync(join(options.titles, 'aurora', 'keys.json'), '{}'),
    ],
    ['when a master is gone', ({ options }) => rmSync(options.masters, { recursive: true })],
    [
      'when the mezzanine is another one',
      ({ options, folder }) => {
        options.committed = join(folder, 'committed');
        cpSync(COMMITTED, options.committed, { recursive: true });
        rmSync(join(options.committed, '360p', 'segment-029.m4s'));
        rmSync(join(options.committed, '180p', 'segment-029.m4s'));
      },
    ],
    [
      'when an earlier start was killed while it wrote',
      ({ options }) => {
        writeFileSync(join(options.masters, 'aurora-360p.master.partial'), 'half');
        rmSync(join(options.masters, 'aurora-360p.master.manifest.json'));
      },
    ],
  ])('%s', async (_name, change) => {
    const at = await place();
    const first = await masterTitle(at.options);
    await change(at);
    const second = await masterTitle(at.options);
    expect(second.failure).toBeUndefined();
    expect(namesOf(second)).not.toEqual(namesOf(first));
    expect(await contentKeys(join(at.options.titles, 'aurora', 'keys.json'), at.kms)).toBeDefined();
  });
});

describe('where the chain breaks', () => {
  test('without a KMS key nothing is mastered', async () => {
    const { options, kms, lines } = await place();
    await kms.disableKey(ALIAS);
    const chain = await masterTitle(options);
    expect(chain.failure).toEqual({ link: 'master', why: expect.stringMatching(/^ERR_KMS_DISABLED: /) });
    expect(chain.encodings.map(({ mezzanine, master }) => [mezzanine !== undefined, master])).toEqual([
      [true, undefined],
      [true, undefined],
    ]);
    expect(existsSync(options.titles)).toBe(false);
    expect(readdirSync(options.masters)).toEqual([]);
    expect(lines.at(-1)).toMatch(
      /^aurora is served as it was committed, in clear; the chain broke at the master: ERR_KMS/,
    );
  });

  test('without a place for it nothing is packaged, and the masters are there', async () => {
    const { options, folder } = await place();
    writeFileSync(join(folder, 'titles'), '');
    const chain = await masterTitle(options);
    expect(chain.failure).toMatchObject({ link: 'package' });
    expect(chain.encodings.map(({ master }) => master?.mode)).toEqual(['framed', 'framed']);
    expect(chain.package).toBeUndefined();
  });

  test('without a mezzanine nothing is done', async () => {
    const { options, folder } = await place();
    const chain = await masterTitle({ ...options, committed: join(folder, 'none') });
    expect(chain).toMatchObject({
      encodings: [],
      failure: { link: 'mezzanine', why: expect.stringContaining('ENOENT') },
    });
    mkdirSync(join(folder, 'none'));
    expect(await masterTitle({ ...options, committed: join(folder, 'none') })).toMatchObject({
      failure: { link: 'mezzanine' },
    });
  });
});
