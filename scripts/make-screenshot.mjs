// Takes the pictures of the console in docs/: a fresh stack while a title plays and after somebody tried three wrong URLs,
// its session revoked, suspicious sessions as detection might find them in an evening, and the way of the title.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const LAST_MINUTE = Math.floor(Date.now() / 60_000) * 60 - 120;

/** A viewer that fetches from one minute to another of the last forty, about as often in each. */
function viewer(label, from, to, perMinute) {
  const minutes = Array.from({ length: to - from }, (_, i) => {
    const wave = Math.sin((from + i) * 12.9898 + perMinute) * 0.18;
    return [LAST_MINUTE + (from + i - 39) * 60, Math.round(perMinute * (1 + wave))];
  });
  return { label, minutes };
}

function session(sessionId, score, title, reasons, timeline, more = {}) {
  const minutes = timeline.flatMap((identity) => identity.minutes);
  const times = minutes.map(([minute]) => minute);
  const requests = minutes.reduce((sum, [, amount]) => sum + amount, 0);
  return {
    ...{ sessionId, score, verdict: score >= 70 ? 'auto' : 'review', reasons, title, timeline, revoked: false },
    ...{ firstSeen: Math.min(...times) + 7, lastSeen: Math.max(...times) + 52, detectedAt: LAST_MINUTE + 75 },
    ...{ features: { identities: timeline.length, requests }, ...more },
  };
}

const SUSPICIOUS = [
  session(
    'q7RkZp2LxW4a',
    96.2,
    'aurora',
    [
      '4 viewers fetched in the same minute',
      '171 of 226 segments were fetched by two viewers',
      'two or more viewers at once in 34 of 40 minutes',
      '3 countries in the same minute',
    ],
    [
      viewer('203.0.113.0/24, AS3320, DE', 0, 40, 16),
      viewer('198.51.100.0/24, AS3215, FR', 6, 40, 15),
      viewer('2001:db8:7::/48, AS7018, US', 9, 33, 15),
      viewer('192.0.2.0/24, AS3320, DE', 21, 38, 14),
    ],
    { revoked: true, source: 'auto' },
  ),
  session(
    'Bv81mQdT0sJe',
    88.4,
    'harbour',
    [
      '7.8 seconds of media fetched a second',
      '100 % of the requests came from hosting or VPN services',
      '9.3 times as many requests as is usual for the title',
    ],
    [viewer('198.18.4.0/24, AS16509, IE', 17, 27, 142)],
    { revoked: true, source: 'auto' },
  ),
  session(
    'hT5sGk3nVb2M',
    47.5,
    'aurora',
    ['88 of 190 segments were fetched by two viewers', '2 viewers fetched in the same minute'],
    [viewer('198.51.100.0/24, AS3215, FR', 2, 39, 15), viewer('203.0.113.0/24, AS6805, DE', 11, 30, 15)],
  ),
];
const RUN = {
  ...{ ranAt: LAST_MINUTE + 75, mode: 'enforce', objects: 1, rows: 48_213, sessionCount: 412, flagged: 3, auto: 2 },
  ...{ revoked: 2, odd: 0, refused: [] },
};

const root = fileURLToPath(new URL('..', import.meta.url));
const stack = spawn(process.execPath, ['dist/lib/cli/portcullis.js', 'up', '--port', '0', '--ephemeral', '--json'], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const ready = await new Promise((resolve) => stack.stdout.once('data', (chunk) => resolve(JSON.parse(chunk))));
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 }, colorScheme: 'light' });
  await page.goto(ready.console);
  await page.getByTestId('title-select').selectOption('aurora');
  await page.getByTestId('play').click();
  await page.locator('[data-testid=player-status][data-state=playing]').waitFor();
  await page.waitForTimeout(6000);
  const url = await page.getByTestId('playback-url').inputValue();
  for (const wrong of [
    url.replace('/aurora/', 'A/aurora/'),
    url.replace('/aurora/', '/harbour/'),
    `${ready.edge}/aurora/master.m3u8`,
  ]) {
    await fetch(wrong);
  }
  await page.waitForTimeout(2500);
  await page.screenshot({ path: `${root}docs/console.png` });
  await page.locator('[data-testid=sessions] [data-testid=revoke]').first().click();
  await page.locator('[data-testid=player-status][data-state=stopped]').waitFor();
  await page.waitForTimeout(500);
  await page.screenshot({ path: `${root}docs/console-revoked.png` });

  const answer = (json) => (route) => route.fulfill({ json, headers: { 'access-control-allow-origin': '*' } });
  await page.route('**/v1/sessions/suspicious?*', answer({ sessions: SUSPICIOUS }));
  await page.route('**/v1/detections/latest', answer(RUN));
  await page.getByRole('link', { name: 'Suspicious sessions' }).click();
  await page
    .locator('[data-testid=findings] canvas')
    .nth(SUSPICIOUS.length - 1)
    .waitFor();
  await page.screenshot({ path: `${root}docs/console-suspicious.png`, fullPage: true });

  await page.getByRole('link', { name: 'Mastering' }).click();
  await page.getByTestId('chain').locator('[data-link]').first().waitFor();
  await page.setViewportSize({ width: 1280, height: 1180 });
  await page.screenshot({ path: `${root}docs/console-mastering.png` });
} finally {
  await browser.close();
  stack.kill('SIGTERM');
}
