import { readFileSync, writeFileSync } from 'node:fs';
import { request as ask } from 'node:http';
import { join } from 'node:path';
import { importJWK, SignJWT } from 'jose';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { consoleContentSecurityPolicy } from '../../config/console.ts';
import { ISSUER } from '../../local/issuer.ts';
import { type OpenPort, openPort } from '../../local/listen.ts';
import { packagePath } from '../../local/package-root.ts';
import { sendFile } from '../../local/send-file.ts';
import { AUDIENCE } from '../../token-api/http/authorize.ts';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { portcullis } from '../harness/cli.ts';
import { OpenIdProvider } from '../harness/openid-provider.ts';
import { describeWith, LONG } from '../harness/programs.ts';
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
    expect(await otherPage.locator('.logo').isVisible()).toBe(true);
    await other.close();
  });

  test('without a title it says how to add one', async () => {
    await page.route('**/v1/assets?*', (route) =>
      route.fulfill({ json: { assets: [] }, headers: { 'access-control-allow-origin': '*' } }),
    );
    await page.goto('about:blank');
    await page.goto(stack.console);
    await page.getByText('There is no title yet.').waitFor();
    expect(await page.getByTestId('play').isDisabled()).toBe(true);
    await page.unroute('**/v1/assets?*');
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

  test.runIf(LONG)('plays on when its token expires, and counts down the next one', async () => {
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

  describe('as it is deployed', () => {
    let site: OpenPort;
    let issuerPort: OpenPort;
    let provider: OpenIdProvider;
    let token: string;
    let other: BrowserContext;
    let deployed: Page;
    const bearers = new Set<string | undefined>();

    /** What the distribution does: the page from its files, `/v1/*` from the API. */
    beforeAll(async () => {
      // What plays there is not looked at any more.
      await page.goto('about:blank');
      site = await openPort(0);
      issuerPort = await openPort(0);
      const key = await importJWK(JSON.parse(readFileSync(join(data, 'issuer.json'), 'utf8')), 'ES256');
      token = await new SignJWT({ roles: ['player', 'security'] })
        .setProtectedHeader({ alg: 'ES256', kid: 'local' })
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setSubject('somebody')
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(key);
      provider = new OpenIdProvider(issuerPort.url, () => token);
      issuerPort.serve(provider.listener);
      const settings = { login: 'oidc', issuer: provider.issuer, clientId: 'console', detection: true };
      site.serve((request, response) => {
        const { url = '/', method, headers } = request;
        if (url.startsWith('/v1/')) {
          bearers.add(headers.authorization);
          const passed = ask(new URL(url, stack.api), { method, headers }, (answer) => {
            response.writeHead(answer.statusCode ?? 500, answer.headers);
            answer.pipe(response);
          });
          return void request.pipe(passed);
        }
        response.setHeader('content-security-policy', consoleContentSecurityPolicy([provider.issuer]));
        if (url === '/console/config.json') return void response.end(JSON.stringify(settings));
        const path = url.split('?', 1)[0]?.replace(/^\/console/, '') ?? '/';
        sendFile(request, response, path, { root: packagePath('dist', 'console'), index: false });
      });
      other = await browser.newContext();
      deployed = await other.newPage();
      deployed.on('pageerror', (error) => complaints.push(error.message));
      deployed.on('console', (message) => {
        if (/Content Security Policy|Trusted/.test(message.text())) complaints.push(message.text());
      });
    });
    afterAll(async () => {
      await other?.close();
      await site?.close();
      await issuerPort?.close();
    });
    const address = () => `${site.url}/console/index.html`;
    const connected = () => deployed.locator('[data-testid=connection][data-state=connected]').waitFor();

    test('logs in by a code with its verifier, and calls the API with the token', async () => {
      await deployed.goto(address());
      expect(await deployed.getByTestId('gate').isVisible()).toBe(false);
      await deployed.getByTestId('login-button').click();
      await connected();
      await deployed.getByTestId('sessions').getByRole('listitem').first().waitFor();
      expect([...bearers]).toEqual([`Bearer ${token}`]);
      expect(provider.authorizations).toHaveLength(1);
      expect(provider.authorizations[0]).toMatchObject({
        response_type: 'code',
        client_id: 'console',
        redirect_uri: address(),
        code_challenge_method: 'S256',
      });
      expect(provider.exchanges).toHaveLength(1);
      expect(provider.exchanges[0]).toMatchObject({ grant_type: 'authorization_code', redirect_uri: address() });
    });

    test('leaves the code in no address, and the token in no storage', async () => {
      expect(deployed.url()).toBe(address());
      const stored = await deployed.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));
      expect(stored).toBe('[{},{}]');
      expect(await other.cookies()).toEqual([]);
    });

    test('shows what there is on AWS: no stream of decisions, no mastering', async () => {
      const views = await deployed.getByTestId('views').getByRole('link').allTextContents();
      expect(views).toEqual(['Playback', 'Suspicious sessions']);
      expect(await deployed.getByTestId('decisions').isVisible()).toBe(false);
    });

    test('without its settings it says what to do', async () => {
      await deployed.route('**/config.json', (route) => route.fulfill({ status: 404 }));
      await deployed.reload();
      await deployed.getByRole('alert').getByText('docs/deployment.md').waitFor();
      await deployed.unroute('**/config.json');
    });

    test('redeems no code that was not asked for in this tab', async () => {
      await deployed.goto(`${address()}?code=stolen&state=foreign`);
      await deployed.getByTestId('login').getByText('This login was not begun here').waitFor();
      expect(provider.exchanges).toHaveLength(1);
      expect(deployed.url()).toBe(address());
    });

    test('says so when the issuer refuses, and when the token is over', async () => {
      await deployed.evaluate(() =>
        sessionStorage.setItem('portcullis.login', JSON.stringify({ state: 'x', verifier: 'y' })),
      );
      await deployed.goto(`${address()}?error=access_denied&state=x`);
      await deployed.getByTestId('login').getByText('access_denied').waitFor();
      await deployed.getByTestId('login-button').click();
      await connected();
      token = 'expired';
      await deployed.reload();
      await deployed.getByTestId('login-button').click();
      await deployed.getByTestId('login').getByText('This login has ended').waitFor();
    });
  });

  test('nothing broke on the way, the content security policy included', () => {
    expect(complaints).toEqual([]);
  });
});
