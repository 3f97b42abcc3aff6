import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KeyTable } from '../../enclave-render/packaging/key-table.ts';
import { packagePath } from '../../local/package-root.ts';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { describeWith } from '../harness/programs.ts';
import {
  rawRequest,
  removeDirectory,
  requestPlayback,
  revocation,
  startStack,
  temporaryDirectory,
  useStack,
} from '../harness/stack.ts';
import { serveFolders, type TitleServer } from '../harness/title-server.ts';

/** Somebody's page, on an origin of its own; `withoutToken` asks for keys as whoever has only the segments would. */
const PAGE = `<!doctype html>
<video muted playsinline width="160"></video>
<script src="/players/hls.js/dist/hls.js"></script>
<script>
  const video = document.querySelector('video');
  const errors = [];
  window.seen = () => ({
    errors, time: video.currentTime, frames: video.getVideoPlaybackQuality().totalVideoFrames,
    sound: video.webkitAudioDecodedByteCount,
  });
  window.play = (url, withoutToken) => {
    const hls = new Hls({
      maxBufferLength: 4, maxMaxBufferLength: 6, maxBufferSize: 0,
      xhrSetup: (xhr, asked) => {
        const { origin, pathname } = new URL(asked);
        const bare = pathname.replace(/^\\/[^/]+/, '');
        if (withoutToken && bare.endsWith('.key')) xhr.open('GET', origin + bare);
      },
    });
    hls.on(Hls.Events.ERROR, (_, { details, networkDetails }) => {
      // A loaded machine fills buffers too late, which hls.js gets over by itself.
      if (/^buffer(?:StalledError|SeekOverHole|NudgeOnStall)$/.test(details)) return;
      errors.push([details, networkDetails?.getResponseHeader?.('x-portcullis-reason') ?? '']);
    });
    hls.autoLevelCapping = 0;
    hls.loadSource(url);
    hls.attachMedia(video);
    void video.play().catch(() => {});
  };
</script>`;

interface Seen {
  errors: [details: string, reason: string][];
  time: number;
  frames: number;
  sound: number;
}

describeWith('chromium', 'the mastered title in a real browser', () => {
  const stack = useStack();
  let browser: Browser;
  let site: TitleServer;

  beforeAll(async () => {
    site = await serveFolders({ '/players/': packagePath('node_modules') }, (path) =>
      path === '/' ? { status: 200, type: 'text/html', body: PAGE } : undefined,
    );
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGUMENTS });
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });

  const keyNames = () =>
    (JSON.parse(readFileSync(join(stack.data, 'titles', 'aurora', 'keys.json'), 'utf8')) as KeyTable).keys.map(
      ({ name }) => name,
    );

  async function play(withoutToken = false) {
    const playback = await requestPlayback(stack);
    const page = await browser.newPage();
    const asked: { path: string; status: number; reason: string | undefined }[] = [];
    page.on('response', (answer) => {
      const path = new URL(answer.url()).pathname;
      asked.push({ path, status: answer.status(), reason: answer.headers()['x-portcullis-reason'] });
    });
    await page.goto(site.url);
    await page.evaluate(`window.play('${playback.playbackUrl}', ${withoutToken})`);
    const keys = () => asked.filter(({ path }) => path.endsWith('.key'));
    return { playback, page, keys, seen: () => page.evaluate<Seen>('window.seen()') };
  }

  test('plays through token, edge and key server, across a change of keys', async () => {
    const { page, keys, seen } = await play();
    await expect.poll(async () => (await seen()).time, { timeout: 40_000 }).toBeGreaterThan(11);
    const { frames, sound, errors } = await seen();
    expect(frames).toBeGreaterThan(100);
    expect(sound).toBeGreaterThan(0);
    expect(errors).toEqual([]);
    expect(new Set(keys().map(({ status }) => status))).toEqual(new Set([200]));
    const asked = new Set(keys().map(({ path }) => path.slice(path.lastIndexOf('/') + 1, -'.key'.length)));
    expect([...asked].sort()).toEqual(expect.arrayContaining(keyNames().slice(0, 2)));
    await page.close();
  });

  test('without a token a key request gets 401, and no frame is decoded', async () => {
    const { page, keys, seen } = await play(true);
    await expect.poll(async () => (await seen()).errors.length, { timeout: 20_000 }).toBeGreaterThan(0);
    await page.waitForTimeout(3000);
    const { time, frames, sound, errors } = await seen();
    expect({ time, frames, sound }).toEqual({ time: 0, frames: 0, sound: 0 });
    expect(errors[0]).toEqual(['keyLoadError', 'token-missing']);
    expect(keys().length).toBeGreaterThan(0);
    expect(new Set(keys().map(({ status, reason }) => `${status} ${reason}`))).toEqual(new Set(['401 token-missing']));
    await page.close();
  });

  test('a revoked session gets no more keys', async () => {
    const { playback, page, keys, seen } = await play();
    await expect.poll(async () => (await seen()).frames, { timeout: 20_000 }).toBeGreaterThan(10);
    const [last] = keys().slice(-1);
    expect((await rawRequest(stack.edge, last?.path ?? '')).status).toBe(200);
    expect((await revocation(stack, playback.sessionId, 'POST')).status).toBe(201);
    // Also of a key that the edge holds, and of one that it does not.
    for (const name of [keyNames()[0], keyNames()[5]]) {
      const path = new URL(`keys/${name}.key`, playback.playbackUrl).pathname;
      const ask = async () => {
        const { status, headers } = await rawRequest(stack.edge, path);
        return [status, headers['x-portcullis-reason']];
      };
      await expect.poll(ask).toEqual([403, 'session-revoked']);
    }
    await expect
      .poll(async () => (await seen()).errors.map(([, reason]) => reason), { timeout: 30_000 })
      .toContain('session-revoked');
    await page.close();
  });

  /** Opens the view of the console that shows the chain. */
  async function openChain(console: string): Promise<Page> {
    const page = await browser.newPage();
    await page.goto(console);
    await page.getByRole('link', { name: 'Mastering' }).click();
    await page.getByTestId('chain').waitFor();
    return page;
  }

  test('the console shows the chain with its hashes and key ids, and no key', async () => {
    const page = await openChain(stack.console);
    const links = page.getByTestId('chain').locator('[data-link]');
    const states = await links.evaluateAll((items) => items.map((item) => [item.dataset.link, item.dataset.state]));
    expect(states).toEqual(['mezzanine', 'master', 'package', 'edge'].map((link) => [link, 'done']));
    const text = (await page.getByTestId('mastering').textContent()) ?? '';
    const manifest = readFileSync(join(stack.data, 'masters', 'aurora-360p.master.manifest.json'));
    expect(text).toContain(createHash('sha256').update(manifest).digest('hex'));
    expect(text).toContain(JSON.parse(manifest.toString()).plaintextSha256);
    expect(text).toContain(JSON.parse(manifest.toString()).recipients[0].keyId);
    const { playbackUrl } = await requestPlayback(stack);
    for (const name of keyNames()) {
      expect(text).toContain(name);
      const { body } = await rawRequest(stack.edge, new URL(`keys/${name}.key`, playbackUrl).pathname);
      for (const form of ['hex', 'base64'] as const) expect(text).not.toContain(body.toString(form));
    }
    await page.setViewportSize({ width: 360, height: 740 });
    const summaries = page.getByTestId('chain').locator('summary');
    for (const summary of await summaries.all()) await summary.press('Enter');
    expect(await page.getByTestId('chain').locator('dd').first().isVisible()).toBe(true);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    await page.reload();
    await page.getByTestId('chain').waitFor();
    expect(await page.title()).toBe('Mastering · Portcullis console');
    await page.close();
  });

  test('where the chain broke, the console says which links were not run, and the committed title plays', async () => {
    const data = temporaryDirectory();
    const [config, keystore] = [join(data, 'portcullis.json'), join(data, 'keystore.json')];
    writeFileSync(keystore, '{}', { mode: 0o600 });
    writeFileSync(config, JSON.stringify({ mastering: { kms: { provider: 'embedded', keystore } } }));
    const broken = await startStack(data, '--config', config);
    const page = await openChain(broken.console);
    const failure = await page.getByTestId('chain-failure').textContent();
    expect(failure).toMatch(/^Failed: master\. ERR_KMS_KEYSTORE: .*Not run: package\.$/);
    const states = page.getByTestId('chain').locator('[data-link]');
    expect(await states.evaluateAll((items) => items.map((item) => item.dataset.state))).toEqual([
      ...['done', 'failed', 'not run', 'done'],
    ]);
    await page.getByRole('link', { name: 'Playback' }).click();
    await page.getByTestId('title-select').selectOption('aurora');
    await page.getByTestId('play').click();
    await page.locator('[data-testid=player-status][data-state=playing]').waitFor({ timeout: 20_000 });
    await page.close();
    await broken.stop();
    removeDirectory(data);
  });
});
