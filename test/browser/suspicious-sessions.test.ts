import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createConsole } from '../../local/console.ts';
import type { LocalDynamoDb } from '../../local/dynamodb.ts';
import { type OpenPort, openPort } from '../../local/listen.ts';
import { packagePath } from '../../local/package-root.ts';
import { DetectionError, type IdentityTimeline } from '../../revocation/detect/detection-engine.ts';
import type { DetectionRun } from '../../revocation/detect/detection-runs.ts';
import type { CallerEnv } from '../../revocation/http/caller.ts';
import { detectionRoutes } from '../../revocation/http/detection-routes.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../revocation/list/dynamodb.ts';
import type { RevocationList, RevocationSource } from '../../revocation/list/revocation-list.ts';
import { dynamoDbSuspiciousSessions, SUSPICIOUS_SESSIONS_TABLE } from '../../revocation/suspicious/dynamodb.ts';
import type { SuspiciousSession, SuspiciousSessions } from '../../revocation/suspicious/suspicious-sessions.ts';
import { crossOrigin } from '../../token-api/http/cross-origin.ts';
import { problemDetails } from '../../token-api/http/problem.ts';
import { callerFromHeaders } from '../harness/api.ts';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { openDatabase } from '../harness/database.ts';
import { sessionFeatures } from '../harness/detection.ts';
import { describeWith, LONG } from '../harness/programs.ts';

const NOON = 1795348800;
const KEY = 'key-of-this-test';

const ANYBODY = { 'access-control-allow-origin': '*' };

const RUN: DetectionRun = {
  ranAt: NOON,
  checkedAt: NOON,
  mode: 'log',
  objects: 1,
  rows: 24310,
  sessionCount: 412,
  flagged: 3,
  auto: 1,
  reviewScore: 35,
  autoScore: 70,
  revoked: 0,
  odd: 0,
  refused: [],
};

/** A viewer that fetches every minute. */
const viewer = (label: string, minutes: number, requests = 10): IdentityTimeline => ({
  label,
  minutes: Array.from({ length: minutes }, (_, i) => [NOON + i * 60, requests]),
});

function finding(sessionId: string, score: number, more: Partial<SuspiciousSession> & { title?: string } = {}) {
  const { title = 'aurora', timeline = [viewer('203.0.113.0/24, AS3320, DE', 20)], ...rest } = more;
  const times = { firstSeen: NOON, lastSeen: NOON + 1200 };
  const features = sessionFeatures({ sessionId, title, ...times, requests: 188, identities: timeline.length });
  const verdict = score >= 70 ? 'auto' : 'review';
  const found = { sessionId, score, verdict, reasons: ['watched for 421 minutes'], features, timeline } as const;
  return { ...found, detectedAt: NOON, expiresAt: NOON + 86_400, ...rest, reasons: rest.reasons ?? [...found.reasons] };
}

/** What detection found and did, and who revoked what, behind the routes that the page asks. */
class World {
  readonly #database: LocalDynamoDb;
  readonly #suspicious: SuspiciousSessions;
  readonly list: RevocationList;
  latest: DetectionRun | undefined;
  running = false;
  /** What the next run does. */
  run: () => Promise<DetectionRun> = async () => RUN;

  private constructor(database: LocalDynamoDb) {
    this.#database = database;
    this.#suspicious = dynamoDbSuspiciousSessions(database.client);
    this.list = dynamoDbRevocationList(database.client);
  }

  static async open(): Promise<World> {
    return new World(await openDatabase([SUSPICIOUS_SESSIONS_TABLE, ...REVOCATION_TABLES]));
  }

  close(): Promise<void> {
    return this.#database.close();
  }

  find(...sessions: SuspiciousSession[]): Promise<void> {
    return this.#suspicious.record(sessions);
  }

  async revoke(id: string, source: RevocationSource): Promise<void> {
    const times = { revokedAt: NOON, expiresAt: NOON + 86_400 };
    await this.list.add({ kind: 'session', id, source, reasons: [], by: 'test', ...times });
  }

  routes(): Hono<CallerEnv> {
    const app = new Hono<CallerEnv>();
    app.onError(problemDetails(() => undefined));
    app.use(crossOrigin(['*']));
    const { list } = this;
    const routes = detectionRoutes({
      authorize: () => callerFromHeaders,
      suspicious: this.#suspicious,
      list,
      detection: {
        latest: async () => this.latest,
        isRunning: async () => this.running,
        run: async () => (this.latest = await this.run()),
      },
      refusalsOf: async () => new Map(),
      report: () => undefined,
      now: () => NOON,
    });
    app.route('/', routes);
    app.post('/v1/sessions/:id/revocation', async (c) => {
      await this.revoke(c.req.param('id'), 'manual');
      return c.json({}, 201);
    });
    app.delete('/v1/sessions/:id/revocation', async (c) => {
      await list.remove('session', c.req.param('id'), 'test', NOON);
      return c.body(null, 204);
    });
    // What the other view asks for.
    app.get('/v1/sessions', (c) => c.json({ sessions: [] }));
    app.get('/v1/assets', (c) => c.json({ assets: [] }));
    app.get('/v1/decisions', (c) => c.body(new ReadableStream()));
    return app;
  }
}

describeWith('chromium', 'the view of suspicious sessions', () => {
  let world: World;
  let api: OpenPort;
  let consolePort: OpenPort;
  let browser: Browser;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    api = await openPort(0);
    consolePort = await openPort(0);
    const tokens = { player: 'p', backend: 'b', security: 's' };
    const session = async () => ({ edge: api.url, api: api.url, tokens, chain: { title: 'aurora', encodings: [] } });
    consolePort.serve(createConsole(packagePath('dist', 'console'), KEY, session));
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGUMENTS });
    // One for all tests: a new one is a process.
    page = await browser.newPage();
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('dialog', (dialog) => {
      complaints.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('console', (message) => {
      // The browser itself says so of every answer of 400 or more.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
        complaints.push(message.text());
    });
  });
  afterAll(async () => {
    await browser?.close();
    await world?.close();
    await consolePort?.close();
    await api?.close();
  });
  beforeEach(async () => {
    await page.unrouteAll();
    await page.goto('about:blank');
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.emulateMedia({ colorScheme: 'light' });
    await world?.close();
    world = await World.open();
    api.serve(getRequestListener(world.routes().fetch));
  });

  const open = async (view = '?view=suspicious') => {
    await page.goto(`${consolePort.url}/${view}#key=${KEY}`);
    await page.locator('#connection[data-state=connected]').waitFor();
  };
  const row = (sessionId: string) => page.locator(`[data-testid=findings] [data-session="${sessionId}"]`);
  const ids = () =>
    page
      .getByTestId('findings')
      .evaluate((list) => Array.from(list.children, (item) => (item as HTMLElement).dataset.session));
  const width = () => page.evaluate(() => document.documentElement.scrollWidth);

  /** How many pixels of a plot have the colour of each entry of its legend. */
  const coloursIn = (sessionId: string) =>
    row(sessionId).evaluate((item) => {
      const canvas = item.querySelector('canvas');
      if (!canvas) return [];
      const { data } = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height) ?? { data: [] };
      const amounts = new Map<string, number>();
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] !== 255) continue;
        const colour = `rgb(${data[i]}, ${data[i + 1]}, ${data[i + 2]})`;
        amounts.set(colour, (amounts.get(colour) ?? 0) + 1);
      }
      return Array.from(
        item.querySelectorAll('.swatch'),
        (swatch) => amounts.get(getComputedStyle(swatch).backgroundColor) ?? 0,
      );
    });

  test('says what detection looks at while there is nothing, and that it has not run', async () => {
    await open();
    await page.getByTestId('findings-empty').waitFor();
    expect(await page.getByTestId('findings-empty').textContent()).toMatch(/access logs.+share/s);
    expect(await page.getByTestId('detection-run').textContent()).toBe('Detection has not run yet.');
    expect(await page.locator('canvas.u-canvas, .plot canvas').count()).toBe(0);
  });

  test('shows score, verdict, reasons and who revoked, the highest score first', async () => {
    const reasons = ['3 viewers fetched in the same minute', '41 of 60 segments were fetched by two viewers'];
    await world.find(
      finding('AbCdEf012345', 82.5, { reasons }),
      finding('second012345', 71),
      finding('third0123456', 40),
    );
    await world.revoke('AbCdEf012345', 'auto');
    await world.revoke('second012345', 'manual');
    await open();
    await row('third0123456').waitFor();
    expect(await ids()).toEqual(['AbCdEf012345', 'second012345', 'third0123456']);
    expect(await row('AbCdEf012345').locator('.score').textContent()).toBe('82.5 of 100Clear case');
    expect(await row('AbCdEf012345').locator('.reasons li').allTextContents()).toEqual(reasons);
    expect(await row('AbCdEf012345').locator('.tags').textContent()).toBe('revoked by detection');
    expect(await row('second012345').locator('.tags').textContent()).toBe('revoked by a person');
    expect(await row('third0123456').locator('.score').textContent()).toBe('40 of 100Needs a look');
    expect(await row('third0123456').locator('.tags').textContent()).toBe('');
  });

  test.runIf(LONG)(
    'marks on each bar from which score on a session needs a look, and from which it is a clear case',
    async () => {
      await world.find(finding('AbCdEf012345', 82.5));
      await open();
      await row('AbCdEf012345').waitFor();
      const bar = row('AbCdEf012345').locator('.score-bar');
      // Nothing is known of them before the first run.
      expect(await bar.locator('.mark:visible').count()).toBe(0);
      world.latest = RUN;
      await bar.locator('.mark.auto').waitFor();
      // Over the bar, and not over the verdict under it.
      const bottoms = [bar.locator('.mark.auto'), row('AbCdEf012345').locator('.verdict')].map(async (part) => {
        const box = await part.boundingBox();
        return box ? [box.y, box.y + box.height] : [];
      });
      const [mark = [], verdict = []] = await Promise.all(bottoms);
      expect(mark[1]).toBeLessThanOrEqual(verdict[0] ?? 0);
      const places = () =>
        bar.evaluate((element) => {
          const { left, width } = element.getBoundingClientRect();
          const middle = (mark: Element) => {
            const box = mark.getBoundingClientRect();
            return Math.round(((box.left + box.width / 2 - left) / width) * 100);
          };
          return Array.from(element.querySelectorAll('.mark'), middle);
        });
      expect(await places()).toEqual([35, 70]);
      world.latest = { ...RUN, reviewScore: 10, autoScore: 90 };
      await expect.poll(places, { timeout: 10_000 }).toEqual([10, 90]);
    },
  );

  test('waits for a run that takes longer than an answer may', async () => {
    const startedAt = NOON + 60;
    await page.route('**/v1/detections', (route) =>
      route.fulfill({ status: 202, json: { started: true, startedAt }, headers: ANYBODY }),
    );
    world.latest = RUN;
    world.running = true;
    await open();
    await page.getByTestId('detect').click();
    await page.waitForResponse('**/v1/detections/latest');
    await page.waitForResponse('**/v1/detections/latest');
    expect(await page.getByTestId('detect').textContent()).toBe('Running…');
    expect(await page.getByTestId('detection-progress').isVisible()).toBe(true);
    world.latest = { ...RUN, ranAt: startedAt, checkedAt: startedAt, flagged: 7 };
    world.running = false;
    await expect.poll(() => page.getByTestId('detection-run').textContent()).toContain('found 7 suspicious');
    await expect.poll(() => page.getByTestId('detect').textContent()).toBe('Run detection now');
    expect(await page.getByTestId('detection-error').isVisible()).toBe(false);
    expect(await page.getByTestId('detection-progress').isVisible()).toBe(false);

    // The next one ends, and there is no result of it.
    world.latest = RUN;
    await page.getByTestId('detect').click();
    await expect.poll(() => page.getByTestId('detection-error').textContent()).toContain('The run failed');
  });

  test('shows that detection runs also when somebody else has started it', async () => {
    world.latest = RUN;
    world.running = true;
    await open();
    await page.getByTestId('detection-progress').waitFor();
    expect(await page.getByTestId('detect').textContent()).toBe('Run detection now');
    world.running = false;
  });

  test('plots one colour for each identity, in the light and in the dark scheme', async () => {
    const labels = ['203.0.113.0/24, AS3320, DE', '198.51.100.0/24, AS3215, FR', '2001:db8:7::/48, AS7018, US'];
    const timeline = labels.map((label, i) => viewer(label, 20 - i));
    await world.find(finding('AbCdEf012345', 82.5, { timeline }));
    await page.emulateMedia({ colorScheme: 'light' });
    await open();
    await row('AbCdEf012345').locator('canvas').waitFor();
    expect(await row('AbCdEf012345').locator('.legend bdi').allTextContents()).toEqual(labels);
    const plain = [100, 100, 100];
    const more = (amounts: number[]) => amounts.map((amount) => Math.min(amount, 100));
    await expect.poll(async () => more(await coloursIn('AbCdEf012345'))).toEqual(plain);
    await page.emulateMedia({ colorScheme: 'dark' });
    await expect.poll(async () => more(await coloursIn('AbCdEf012345'))).toEqual(plain);

    await row('AbCdEf012345')
      .locator('.u-over')
      .hover({ position: { x: 30, y: 30 } });
    await expect.poll(() => row('AbCdEf012345').locator('.amount').allTextContents()).toEqual(['10', '10', '10']);
  });

  test('follows the width of the window, down to a phone', async () => {
    const label = `2001:db8:7::/48, AS7018 ${'Operator with a long name '.repeat(4)}, US`;
    const timeline = Array.from({ length: 8 }, () => viewer(label, 120));
    await world.find(finding('A'.repeat(64), 82.5, { timeline, title: 'a'.repeat(250), reasons: ['w'.repeat(200)] }));
    world.latest = { ...RUN, refused: [{ name: `s3://logs/${'x'.repeat(200)}.gz`, why: 'y'.repeat(200) }] };
    await open();
    const canvas = () =>
      row('A'.repeat(64))
        .locator('canvas')
        .evaluate((element) => element.clientWidth);
    await row('A'.repeat(64)).locator('canvas').waitFor();
    await page.getByTestId('refused-objects').locator('summary').click();
    for (const narrower of [1280, 1000, 390, 320]) {
      await page.setViewportSize({ width: narrower, height: 844 });
      await expect.poll(canvas).toBeLessThan(narrower);
      expect(await width()).toBeLessThanOrEqual(narrower);
    }
    await page.setViewportSize({ width: 1280, height: 844 });
    await expect.poll(canvas).toBeGreaterThan(400);
  });

  test('shows what viewers sent as text', async () => {
    const markup = '<img src=x onerror=alert(1)><script>alert(2)</script>';
    const timeline = [viewer(markup, 5)];
    await world.find(finding('AbCdEf012345', 82.5, { title: `${markup}\u202e`, reasons: [markup], timeline }));
    world.latest = {
      ...RUN,
      refused: [{ name: markup, why: markup }],
      alarm: { candidates: 9, allowed: 4, message: markup, digest: 'one' },
    };
    await open();
    await row('AbCdEf012345').locator('canvas').waitFor();
    for (const place of ['.title', '.reasons', '.legend'])
      expect(await row('AbCdEf012345').locator(place).textContent()).toContain(markup);
    expect(await page.getByTestId('detection-alarm').textContent()).toBe(markup);
    expect(await page.getByTestId('refused-objects').textContent()).toContain(markup);
    expect(await page.locator('main img, main script').count()).toBe(0);
    // What runs from right to left ends with the title.
    expect(
      await row('AbCdEf012345')
        .locator('.title')
        .evaluate((element) => element.tagName),
    ).toBe('BDI');
  });

  test('draws what a timeline has, however odd', async () => {
    const odd = (...minutes: [number, number][]) => [{ label: 'odd', minutes }];
    await world.find(
      finding('without01234', 90, { timeline: [] }),
      finding('silent012345', 80, { timeline: odd([NOON, 0]) }),
      finding('decades01234', 70, { timeline: odd([0, 1], [NOON, 5]) }),
      finding('flood0123456', 60, { timeline: odd([NOON, Number.MAX_SAFE_INTEGER]) }),
      finding('score0123456', 50, { reasons: [], title: '' }),
    );
    await open();
    await row('score0123456').locator('canvas').waitFor();
    expect(await row('without01234').textContent()).toContain('No timeline was recorded.');
    expect(await row('silent012345').textContent()).toContain('No timeline was recorded.');
    expect(await row('decades01234').locator('canvas').count()).toBe(1);
    expect(await row('flood0123456').locator('canvas').count()).toBe(1);
    expect(await row('score0123456').textContent()).toContain('no title');
  });

  test('shows one page after the other', async () => {
    const id = (i: number) => `session${String(i).padStart(5, '0')}`;
    // Nothing to draw, which is slow and not what is tried here.
    const all = Array.from({ length: 45 }, (_, i) => finding(id(i), 90 - i, { timeline: [] }));
    await world.find(...all);
    await open();
    const count = () => page.locator('#findings-count').textContent();
    await expect.poll(count).toBe('20+');
    await page.getByTestId('show-more').click();
    await expect.poll(count).toBe('40+');
    await page.getByTestId('show-more').click();
    await expect.poll(count).toBe('45');
    expect(await ids()).toEqual(all.map(({ sessionId }) => sessionId));
    // The button is gone; the keyboard goes on where it was.
    expect(await page.getByTestId('show-more').isVisible()).toBe(false);
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label'));
    await expect.poll(focused).toBe('Revoke session session00040');
  });

  test('runs detection, and says what came of it', async () => {
    await open();
    const said = () => page.getByTestId('detection-run').textContent();
    let finish = (_: DetectionRun) => {};
    world.run = () => new Promise((resolve) => (finish = resolve));
    await page.getByTestId('detect').click();
    await page.locator('[data-testid=detect][aria-busy=true]').waitFor();
    expect(await page.getByTestId('detect').textContent()).toBe('Running…');
    await world.find(finding('AbCdEf012345', 82.5));
    finish(RUN);
    await row('AbCdEf012345').waitFor();
    expect(await said()).toContain('read 24,310 log lines of 412 sessions, found 3 suspicious, revoked 0.');
    expect(await said()).toContain('It revokes nothing by itself.');
    expect(await page.getByTestId('detection-alarm').isVisible()).toBe(false);

    world.run = async () => ({ ...RUN, objects: 0 });
    await page.getByTestId('detect').click();
    await expect.poll(said).toContain('nothing new in the logs');

    const refused = [{ name: 'E2.2026-11-22-13.gz', why: 'it ends in the middle of its gzip stream' }];
    const alarm = {
      candidates: 9,
      allowed: 4,
      message: '9 of 412 sessions were to be revoked, more than 4',
      digest: 'one',
    };
    world.run = async () => ({
      ...RUN,
      mode: 'enforce',
      refused,
      alarm,
      odd: 1,
      cost: { bytesScanned: 1e9, usd: 0.005 },
    });
    await page.getByTestId('detect').click();
    await page.getByTestId('detection-alarm').waitFor();
    expect(await page.getByTestId('detection-alarm').textContent()).toBe(alarm.message);
    expect(await said()).toContain(
      'It revokes clear cases by itself. What makes no sense in the log lines of 1 session counts as harmless.',
    );
    expect(await said()).toContain('It cost about $0.0050.');
    await page.getByTestId('refused-objects').locator('summary').click();
    expect(await page.getByTestId('refused-objects').textContent()).toContain(
      `${refused[0]?.name}: ${refused[0]?.why}`,
    );
  });

  test('says why detection did not run', async () => {
    await open();
    const error = () => page.getByTestId('detection-error').textContent();
    const refuse = (code: 'ERR_DETECTION_RUNNING' | 'ERR_DETECTION_OFF' | 'ERR_DETECTION_QUERY', message: string) => {
      world.run = async () => {
        throw new DetectionError(code, message);
      };
    };
    refuse('ERR_DETECTION_RUNNING', 'Detection is running.');
    await page.getByTestId('detect').click();
    await expect.poll(error).toContain('running already');
    refuse('ERR_DETECTION_OFF', 'Detection is switched off.');
    await page.getByTestId('detect').click();
    await expect.poll(error).toContain('Detection is switched off.');
    refuse('ERR_DETECTION_QUERY', 'The query was cancelled.');
    await page.getByTestId('detect').click();
    await expect.poll(error).toContain('The query was cancelled.');
    world.run = async () => RUN;
    await page.getByTestId('detect').click();
    await expect.poll(() => page.getByTestId('detection-error').isVisible()).toBe(false);
  });

  test('shows the list also when it cannot be told what detection did last', async () => {
    await page.route('**/v1/detections/latest', (route) => route.fulfill({ status: 500, json: {}, headers: ANYBODY }));
    await world.find(finding('AbCdEf012345', 82.5));
    await open();
    await row('AbCdEf012345').waitFor();
    await expect.poll(() => page.getByTestId('detection-run').textContent()).toContain('cannot be read. HTTP 500');
  });

  test('says so when the list cannot be read, and reads it again', async () => {
    let broken = true;
    await page.route('**/v1/sessions/suspicious?*', (route) =>
      broken ? route.fulfill({ status: 503, json: {}, headers: ANYBODY }) : route.continue(),
    );
    await world.find(finding('AbCdEf012345', 82.5));
    await open();
    await page.getByTestId('findings-error').waitFor();
    broken = false;
    await row('AbCdEf012345').waitFor();
    expect(await page.getByTestId('findings-error').isVisible()).toBe(false);
  });

  test('is operated by keyboard: the view, revoke and restore', async () => {
    await world.find(finding('AbCdEf012345', 82.5), finding('second012345', 40));
    await open('');
    const focused = () => page.evaluate(() => document.activeElement?.textContent);
    const tabTo = async (text: string) => {
      for (let i = 0; i < 15 && (await focused()) !== text; i++) await page.keyboard.press('Tab');
      expect(await focused()).toBe(text);
    };
    await tabTo('Suspicious sessions');
    await page.keyboard.press('Enter');
    await row('AbCdEf012345').waitFor();
    await tabTo('Revoke');
    await page.keyboard.press('Enter');
    await expect.poll(focused).toBe('Restore');
    expect(await world.list.get('session', 'AbCdEf012345', NOON)).toMatchObject({ source: 'manual' });
    expect(await row('AbCdEf012345').locator('.tags').textContent()).toBe('revoked by a person');
    await page.keyboard.press('Enter');
    await expect.poll(focused).toBe('Revoke');
    expect(await world.list.active(NOON)).toEqual([]);
    expect(await row('AbCdEf012345').locator('.tags').textContent()).toBe('restored by a person');
  });

  test('revokes once on a double click', async () => {
    await world.find(finding('AbCdEf012345', 82.5));
    await open();
    await row('AbCdEf012345').getByTestId('revoke').click();
    await row('AbCdEf012345').getByTestId('restore').waitFor();
    await page.mouse.down({ clickCount: 2 });
    await page.mouse.up({ clickCount: 2 });
    // Takes its turn after whatever that did.
    await row('AbCdEf012345').getByTestId('restore').click();
    await row('AbCdEf012345').getByTestId('revoke').waitFor();
    const events = await world.list.history('session', 'AbCdEf012345');
    expect(events.map(({ action }) => action)).toEqual(['restored', 'revoked']);
  });

  test('has an address of its own, without the key', async () => {
    await open();
    const current = () => page.locator('[aria-current=page]').allTextContents();
    expect(await current()).toEqual(['Suspicious sessions']);
    expect(await page.title()).toContain('Suspicious sessions');
    await page.getByText('Playback', { exact: true }).click();
    expect(page.url()).toBe(`${consolePort.url}/?view=playback`);
    expect(await current()).toEqual(['Playback']);
    expect(await page.getByTestId('suspicious').isVisible()).toBe(false);
    await page.goBack();
    expect(page.url()).toBe(`${consolePort.url}/?view=suspicious`);
    expect(await current()).toEqual(['Suspicious sessions']);
    await page.reload();
    await page.getByTestId('detect').waitFor();
    expect(page.url()).toBe(`${consolePort.url}/?view=suspicious`);
  });

  test.runIf(LONG)('moves nothing away under a pointer', async () => {
    await world.find(finding('second012345', 40));
    await open();
    await row('second012345').getByTestId('revoke').hover();
    const asked = page.waitForResponse('**/v1/detections/latest');
    await world.find(finding('AbCdEf012345', 82.5));
    await world.revoke('second012345', 'auto');
    await asked;
    // Twice, so that whatever followed the first is done.
    await page.waitForResponse('**/v1/detections/latest');
    expect(await ids()).toEqual(['second012345']);
    expect(await row('second012345').locator('.tags').textContent()).toBe('revoked by detection');
    await page.mouse.move(5, 5);
    await expect.poll(ids).toEqual(['AbCdEf012345', 'second012345']);
  });

  test('nothing broke on the way, the content security policy included', () => {
    expect(complaints).toEqual([]);
  });
});
