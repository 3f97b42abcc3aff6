import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { publint } from 'publint';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packagePath } from '../../local/package-root.ts';
import { mintingKey, parseKeyRing } from '../../token-api/key-ring/key-ring.ts';
import { edgeView } from '../../token-api/minting/minter.ts';
import { decide, TEST_RING } from '../harness/minting.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

/** What a CMS would write, in strict TypeScript and without the types of Node or of a browser. */
const CONSUMER = `
declare const console: { log(text: string): void };
import { createMinter, currentKey, loadPolicy, MintingError, type MintedToken, type Policy } from 'portcullis/token-api';

const key = currentKey(${JSON.stringify(TEST_RING)});
const minter = createMinter({ key: () => key, maxLifetimeSeconds: 86400 });
const policy: Policy = { lifetime: 'PT1H', paths: ['/aurora/'], bindings: ['country', 'ip?'] };
const loaded = loadPolicy(policy, { maxLifetimeSeconds: 86400 });
const minted: MintedToken = minter.mint({
  policy: loaded,
  viewer: { country: 'DE' },
  url: 'https://media.example.com/aurora/master.m3u8',
});
let code = '';
try {
  // @ts-expect-error A string where a list belongs.
  minter.mint({ policy: { lifetime: 'PT1H', paths: '/aurora/' }, viewer: {}, url: minted.url });
} catch (error) {
  if (error instanceof MintingError) code = error.code;
}
console.log(JSON.stringify({ url: minted.url, expiresIn: minted.expiresAt - minted.issuedAt, code }));
`;
const CONFIGURATION = {
  compilerOptions: { strict: true, module: 'nodenext', target: 'es2023', lib: ['es2023'], types: [] },
  files: ['consumer.ts'],
};

/** The project as npm would publish it, in a folder where nothing else is installed. */
const folder = temporaryDirectory();
const installed = join(folder, 'node_modules', 'portcullis');
const run = (command: string, ...args: string[]) => execFileSync(command, args, { cwd: folder, encoding: 'utf8' });

beforeAll(() => {
  const packing = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
  const [{ filename }] = JSON.parse(
    execFileSync('npm', packing, { cwd: packagePath(), encoding: 'utf8', stdio: 'pipe' }),
  );
  mkdirSync(installed, { recursive: true });
  run('tar', '-xzf', filename, '-C', installed, '--strip-components=1');
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(CONFIGURATION));
  writeFileSync(join(folder, 'consumer.ts'), CONSUMER);
});
afterAll(() => removeDirectory(folder));

test('the minting library imports node:crypto and nothing else', () => {
  const code = readFileSync(join(installed, 'dist', 'token-api', 'index.js'), 'utf8');
  const imports = [...code.matchAll(/^import\b.*? from ["'](.*)["'];$|\bimport\(|\brequire\(/gm)].map(
    ([, name]) => name,
  );
  expect(new Set(imports)).toEqual(new Set(['node:crypto']));
});

test('as packed it type-checks and mints where nothing else is installed', () => {
  run(process.execPath, packagePath('node_modules', 'typescript', 'bin', 'tsc'), '-p', '.');
  const { url, expiresIn, code } = JSON.parse(run(process.execPath, 'consumer.js'));
  expect([expiresIn, code]).toEqual([3600, 'ERR_POLICY_LIST']);
  const key = mintingKey(parseKeyRing(structuredClone(TEST_RING)));
  const uri = new URL(url).pathname;
  expect(decide(uri, edgeView({ country: 'DE' }, ''), { key, now: Date.now() / 1000 })).toBe('');
  expect(decide(uri, edgeView({ country: 'FR' }, ''), { key, now: Date.now() / 1000 })).toBe('binding-mismatch');
});

test('publint has nothing to say of the package', async () => {
  const { messages } = await publint({ pkgDir: installed, pack: false, strict: true });
  expect(messages).toEqual([]);
});
