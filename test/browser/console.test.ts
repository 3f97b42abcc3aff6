import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { portcullis } from '../harness/cli.ts';
import { describeWith } from '../harness/programs.ts';
import { useStack } from '../harness/stack.ts';

describeWith('chromium', 'the console in a real browser', () => {
  const stack = useStack();
  const { data } = stack;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGUMENTS });
    context = await browser.newContext();
    page = await context.newPage();
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (/Content Security Policy|Trusted/.test(message.text())) complaints.push(message.text());
    });
  });
  afterAll(async () => {
    await browser?.close();
  });

  const video = () =>
    page.getByTestId('video').evaluate((element) => {
      const { currentTime, paused } = element as HTMLVideoElement;
      return { currentTime, paused, frames: (element as HTMLVideoElement).getVideoPlaybackQuality().totalVideoFrames };
    });
  const status = () => page.getByTestId('player-status');

  async function play(title: string): Promise<string> {
    await page.goto('about:blank');
    await page.goto(stack.console);
    await page.getByTestId('title-select').selectOption(title);
    await page.getByTestId('play').click();
    await page.locator('[data-testid=player-status][data-state=playing]').waitFor({ timeout: 20_000 });
    return page.getByTestId('playback-url').inputValue();
  }

  /** Fetches a URL from within the page: what a player there would see of the answer, CORS included. */
  const fetchInPage = (target: Page, url: string) =>
    target.evaluate(async (address) => {
      const answer = await fetch(address, { cache: 'no-store' });
      return [answer.status, answer.headers.get('x-portcullis-reason')];
    }, url);

  /** A playback URL minted with the keys of the running stack. */
  async function mint(policy: object, viewer: object, ...more: string[]): Promise<string> {
    const write = (name: string, content: object) => {
      writeFileSync(join(data, name), JSON.stringify(content));
      return join(data, name);
    };
    const { stdout, stderr } = await portcullis(
      ...['token', 'mint', '--policy', write('policy.json', policy), '--viewer', write('viewer.json', viewer)],
      ...['--keys', join(data, 'key-ring.json'), '--url', `${stack.edge}/aurora/master.m3u8`, ...more],
    );
    if (!stdout) throw new Error(stderr);
    return stdout.trim();
  }

  test('plays for five seconds, and stops with the reason when its session is revoked', async () => {
    const url = await play('aurora');
    const sessionId = new URL(url).pathname.slice(1, 13);
    const start = await video();
    await page.waitForTimeout(5000);
    const later = await video();
    expect(later.currentTime - start.currentTime).toBeGreaterThan(4);
    expect(later.frames - start.frames).toBeGreaterThan(75);
    expect(later.paused).toBe(false);

    await page.locator(`[data-session="${sessionId}"] [data-testid=revoke]`).click({ timeout: 15_000 });
    await page.locator('[data-testid=player-status][data-state=stopped]').waitFor({ timeout: 15_000 });
    expect(await status().getAttribute('data-reason')).toBe('session-revoked');
    expect(await status().textContent()).toContain('revoked');
    const stopped = await video();
    await page.waitForTimeout(1500);
    const still = await video();
    expect(still.paused).toBe(true);
    expect(still.currentTime).toBe(stopped.currentTime);
    await page.locator('[data-testid=decisions] [data-reason=session-revoked]').first().waitFor();
    expect(await fetchInPage(page, url)).toEqual([403, 'session-revoked']);
    await page.locator(`[data-session="${sessionId}"] [data-testid=restore]`).click();
    await expect.poll(() => fetchInPage(page, url)).toEqual([200, null]);
  });

  test('shows the token it plays with', async () => {
    const url = await play('harbour');
    const payload = JSON.parse((await page.getByTestId('token-payload').textContent()) ?? '');
    expect(payload).toMatchObject({ aid: 'harbour', paths: ['/harbour/'], sid: new URL(url).pathname.slice(1, 13) });
    const countdown = () => page.getByTestId('countdown').textContent();
    const before = await countdown();
    await expect.poll(countdown, { timeout: 5000 }).not.toBe(before);
    expect(await page.getByTestId('qr').locator('svg').count()).toBe(1);
    const signature = new URL(url).pathname.split('/')[1]?.split('.')[3] ?? '';
    expect(await page.locator('main').textContent()).not.toContain(signature);
  });

  test('a copied URL is refused when it was altered, each time for its own reason', async () => {
    const url = await play('aurora');
    expect(await fetchInPage(page, url)).toEqual([200, null]);
    const end = url.indexOf('/aurora');
    const changed = `${url.slice(0, end - 5)}${url[end - 5] === 'A' ? 'B' : 'A'}${url.slice(end - 4)}`;
    expect(await fetchInPage(page, changed)).toEqual([401, 'token-signature-invalid']);
    expect(await fetchInPage(page, url.replace('/aurora/', '/harbour/'))).toEqual([403, 'path-not-allowed']);
    const hourAgo = Math.floor(Date.now() / 1000) - 3600;
    const expired = await mint({ lifetime: 'PT30M' }, {}, '--now', String(hourAgo));
    expect(await fetchInPage(page, expired)).toEqual([401, 'token-expired']);
  });

  test('a token bound to a user-agent opens nothing for another one', async () => {
    await play('aurora');
    const userAgent = await page.evaluate(() => navigator.userAgent);
    const url = await mint({ lifetime: 'PT30M', bindings: ['user-agent', 'country'] }, { userAgent, country: 'DE' });
    expect(await fetchInPage(page, url)).toEqual([200, null]);
    const other = await browser.newContext({ userAgent: 'Ripper/1.0' });
    const otherPage = await other.newPage();
    await otherPage.goto(stack.console.split('#')[0] ?? '');
    expect(await fetchInPage(otherPage, url)).toEqual([403, 'binding-mismatch']);
    await other.close();
  });

  test('without its key the page says where to find it', async () => {
    const other = await browser.newContext();
    const otherPage = await other.newPage();
    await otherPage.goto(stack.console.split('#')[0] ?? '');
    await otherPage.getByTestId('gate').waitFor();
    expect(await otherPage.getByTestId('gate').textContent()).toContain('portcullis up');
    await other.close();
  });

  test('is operated by keyboard and fits a phone', async () => {
    await page.setViewportSize({ width: 360, height: 740 });
    await page.goto('about:blank');
    await page.goto(stack.console);
    await page.locator('[data-testid=play]:enabled').waitFor();
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute('data-testid'));
    for (let i = 0; i < 15 && (await focused()) !== 'play'; i++) await page.keyboard.press('Tab');
    expect(await focused()).toBe('play');
    await page.keyboard.press('Enter');
    await page.locator('[data-testid=player-status][data-state=playing]').waitFor({ timeout: 20_000 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect(width).toBeLessThanOrEqual(360);
  });

  test('plays on when its token expires, and counts down the next one', async () => {
    const put = async (path: string, body: object) => {
      const headers = { authorization: `Bearer ${stack.tokens.backend}`, 'content-type': 'application/json' };
      const { ok } = await fetch(`${stack.edge}${path}`, { method: 'PUT', headers, body: JSON.stringify(body) });
      expect(ok).toBe(true);
    };
    await put('/v1/policies/short', { lifetime: 'PT10S' });
    await put('/v1/assets/harbour', { title: 'Harbour', path: '/harbour/master.m3u8', policy: 'short' });
    const first = await play('harbour');
    await page.waitForTimeout(12_000);
    const start = await video();
    await expect.poll(async () => (await video()).currentTime).not.toBe(start.currentTime);
    expect(await status().getAttribute('data-state')).toBe('playing');
    expect(await page.getByTestId('countdown').textContent()).not.toBe('expired');
    const latest = await page.getByTestId('playback-url').inputValue();
    expect(latest).not.toBe(first);
    expect(new URL(latest).pathname.slice(1, 13)).toBe(new URL(first).pathname.slice(1, 13));
    expect(await fetchInPage(page, first)).toEqual([401, 'token-expired']);
    expect(await fetchInPage(page, latest)).toEqual([200, null]);
  });

  test('nothing broke on the way, the content security policy included', () => {
    expect(complaints).toEqual([]);
  });
});
