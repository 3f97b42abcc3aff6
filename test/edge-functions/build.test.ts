import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import { afterAll, describe, expect, test } from 'vitest';
import { buildEdgeFunction } from '../../edge-functions/build/bundle.ts';
import { checkedHeaders, type EdgeManifest } from '../../edge-functions/build/manifest.ts';
import { EdgeSettingsSchema } from '../../edge-functions/build/settings.ts';
import { BYTE_BUDGET } from '../../edge-functions/store/keys-line.ts';
import { packagePath } from '../../local/package-root.ts';
import { parseKeyRing, verificationKeys } from '../../token-api/key-ring/key-ring.ts';
import { TEST_RING } from '../harness/minting.ts';

const sources = packagePath('dist', 'lib', 'edge-functions', 'viewer-request');
const defaults = v.parse(EdgeSettingsSchema, {});
const scratch = mkdtempSync(join(tmpdir(), 'portcullis-build-'));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A folder with one entry that does what `body` says. */
function sourceWith(body: string): string {
  const folder = mkdtempSync(join(scratch, 'source-'));
  writeFileSync(join(folder, 'viewer-request.js'), body);
  return folder;
}

describe('the shipped functions', () => {
  const manifest = JSON.parse(readFileSync(packagePath('dist', 'edge', 'manifest.json'), 'utf8')) as EdgeManifest;

  test.each([
    ['viewer-request.js', 'store'],
    ['viewer-request.embedded.js', 'embedded'],
    ['viewer-request.compat.js', 'compat'],
  ] as const)('%s are the bytes that the sources give, as the manifest says', async (name, variant) => {
    const { code, bytes, sha256 } = await buildEdgeFunction(sources, variant, defaults);
    expect(readFileSync(packagePath('dist', 'edge', name), 'utf8')).toBe(code);
    expect(manifest.functions[name]).toEqual({ bytes, sha256 });
    expect(bytes).toBeLessThanOrEqual(BYTE_BUDGET);
  });

  test('the manifest tells generated headers from those of the viewer', () => {
    expect(manifest.runtime).toBe('cloudfront-js-2.0');
    expect(manifest.generatedHeaders).toContain('cloudfront-viewer-country');
    expect(manifest.generatedHeaders).toContain('cloudfront-is-mobile-viewer');
    expect(manifest.generatedHeaders.every((name) => name.startsWith('cloudfront-'))).toBe(true);
    expect(new Set(manifest.generatedHeaders).size).toBeLessThanOrEqual(10);
    expect(manifest.viewerHeaders).toEqual(['origin', 'referer', 'user-agent']);
  });
});

test('the ring is the last line, and everything before it the same for everyone', async () => {
  const ring = verificationKeys(parseKeyRing(TEST_RING));
  const { code } = await buildEdgeFunction(sources, 'embedded', defaults, ring);
  const empty = readFileSync(packagePath('dist', 'edge', 'viewer-request.embedded.js'), 'utf8');
  const lines = (text: string) => text.trimEnd().split('\n');
  expect(lines(code).at(-1)).toBe(`const KEYS=${JSON.stringify(ring)};`);
  expect(lines(empty).at(-1)).toBe('const KEYS={};');
  expect(lines(code).slice(0, -1)).toEqual(lines(empty).slice(0, -1));
});

test('no ring secret reaches the edge', async () => {
  const { code } = await buildEdgeFunction(sources, 'embedded', defaults, verificationKeys(parseKeyRing(TEST_RING)));
  expect(code).not.toContain(TEST_RING.keys[0].secret);
});

test('settings are built in', async () => {
  const settings = { ...defaults, maxTokenLifetimeSeconds: 1234, allowedOrigins: ['https://play.example'] };
  const { code } = await buildEdgeFunction(sources, 'store', settings);
  expect(code).toContain('1234');
  expect(code).toContain('https://play.example');
});

describe('gates', () => {
  test('more generated headers than CloudFront gives are refused', () => {
    const names = Array.from({ length: 11 }, (_, i) => `cloudfront-viewer-${i}`);
    expect(() => checkedHeaders(names)).toThrow(expect.objectContaining({ code: 'ERR_EDGE_HEADERS' }));
    expect(checkedHeaders(names.slice(1))).toHaveLength(10);
  });

  test('a function over the budget is refused', async () => {
    const folder = sourceWith(`export function handler(event) { return ${JSON.stringify('x'.repeat(BYTE_BUDGET))}; }`);
    await expect(buildEdgeFunction(folder, 'store', defaults)).rejects.toMatchObject({ code: 'ERR_EDGE_BUDGET' });
  });

  test('a function outside the dialect is refused', async () => {
    const folder = sourceWith('export function handler(event) { return event?.request; }');
    await expect(buildEdgeFunction(folder, 'store', defaults)).rejects.toMatchObject({ code: 'ERR_EDGE_DIALECT' });
  });

  test.each(['mint', '@aws-sdk/client-kms', 'node:fs'])('%s in the bundle is refused', async (what) => {
    const folder = sourceWith(`export function handler(event) { return ${JSON.stringify(what)}; }`);
    await expect(buildEdgeFunction(folder, 'store', defaults)).rejects.toMatchObject({ code: 'ERR_EDGE_CONTENT' });
  });

  test('an import that cannot be resolved is refused', async () => {
    const folder = sourceWith("import a from 'left-pad';\nexport function handler(event) { return a; }");
    await expect(buildEdgeFunction(folder, 'store', defaults)).rejects.toMatchObject({ code: 'ERR_EDGE_SOURCE' });
  });

  test('an entry without a handler is refused', async () => {
    const folder = sourceWith('export const other = 1;');
    await expect(buildEdgeFunction(folder, 'store', defaults)).rejects.toMatchObject({ code: 'ERR_EDGE_SOURCE' });
  });
});
