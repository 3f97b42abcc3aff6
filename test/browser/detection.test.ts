import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { describeWith } from '../harness/programs.ts';
import { accessLog, rawRequest, useStack } from '../harness/stack.ts';

/** Three viewers of the stack: Berlin, Paris, New York. */
const VIEWERS = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];
const SHARED = 'Shared/1.0';
const SEGMENTS = Array.from({ length: 12 }, (_, i) => String(i + 1).padStart(5, '0'));

describeWith('chromium', 'a shared session, from the player to the list of suspicious ones', () => {
  // Nothing is revoked but by the page, and detection runs when the page asks for it.
  const detection = { mode: 'log', everySeconds: 86_400, reviewScore: 10 };
  const stack = useStack({ revocation: { detection } });
  let browser: Browser;
  let page: Page;
  let playbackUrl: string;
  let sessionId: string;
  const complaints: string[] = [];

  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGUMENTS });
    page = await browser.newPage();
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      // The browser itself says so of every answer of 400 or more.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
        complaints.push(message.text());
    });
    await page.goto(stack.console);
    await page.getByTestId('title-select').selectOption('aurora');
    await page.getByTestId('play').click();
    await page.locator('[data-testid=player-status][data-state=playing]').waitFor({ timeout: 20_000 });
    playbackUrl = await page.getByTestId('playback-url').inputValue();
    sessionId = new URL(playbackUrl).pathname.slice(1, 13);
  });
  afterAll(async () => {
    await browser?.close();
  });

  const currentTime = () => page.getByTestId('video').evaluate((video) => (video as HTMLVideoElement).currentTime);
  const row = () => page.locator(`[data-testid=findings] [data-session="${sessionId}"]`);

  /** What the edge answers each of the viewers who ask for a segment with the token of the session. */
  const answers = async (number: string) => {
    const path = new URL(`360p/segment-${number}.m4s`, playbackUrl).pathname;
    const ask = (localAddress: string) =>
      rawRequest(stack.edge, path, { localAddress, headers: { 'user-agent': SHARED } });
    const got = await Promise.all(VIEWERS.map(ask));
    return got.map(({ status, headers }) => headers['x-portcullis-reason'] ?? status);
  };

  test('goes on playing while the other view is shown, which has nothing yet', async () => {
    await page.getByRole('link', { name: 'Suspicious sessions' }).click();
    await page.getByTestId('findings-empty').waitFor();
    await expect.poll(() => page.getByTestId('detection-run').textContent()).toBe('Detection has not run yet.');
    const before = await currentTime();
    await expect.poll(async () => (await currentTime()) - before, { timeout: 20_000 }).toBeGreaterThan(3);
    expect(await page.getByTestId('player-status').getAttribute('data-state')).toBe('playing');
  });

  test('is found, with reasons and a colour for each of those who fetched', async () => {
    for (const number of SEGMENTS) expect(await answers(number)).toEqual([200, 200, 200]);
    const logged = () => accessLog(stack.data).split(SHARED).length - 1;
    await expect.poll(logged).toBe(VIEWERS.length * SEGMENTS.length);
    await page.getByTestId('detect').click();
    await row().locator('canvas').waitFor();
    expect(await page.getByTestId('detection-run').textContent()).toContain('found 1 suspicious, revoked 0.');
    expect(await row().locator('.reasons').textContent()).toMatch(
      /3 countries in the same minute|segments were fetched by two viewers/,
    );
    expect(await row().locator('.title').textContent()).toBe('aurora');
    const labels = (await row().locator('.legend').textContent()) ?? '';
    for (const network of ['AS3320', 'AS3215', 'AS7018', 'DE', 'FR', 'US']) expect(labels).toContain(network);
  });

  test('is revoked by one click and restored by another', async () => {
    await row().getByTestId('revoke').click();
    await row().getByTestId('restore').waitFor();
    expect(await answers('00004')).toEqual(['session-revoked', 'session-revoked', 'session-revoked']);
    const stopped = page.locator('[data-testid=player-status][data-state=stopped]');
    await stopped.waitFor({ state: 'attached', timeout: 15_000 });
    await row().getByTestId('restore').click();
    await row().getByTestId('revoke').waitFor();
    expect(await answers('00004')).toEqual([200, 200, 200]);
    expect(await row().locator('.tags').textContent()).toBe('restored by a person');
  });

  test('nothing broke on the way, the content security policy included', () => {
    expect(complaints).toEqual([]);
  });
});
