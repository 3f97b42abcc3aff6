// Takes the pictures of the console in docs/: a fresh stack while a title plays among other viewers and after somebody tried
// three wrong URLs, its session revoked, suspicious sessions as detection might find them in an evening, the way of the title,
// and the login of a deployed console. Needs ffmpeg, which makes the files small.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const LAST_MINUTE = Math.floor(Date.now() / 60_000) * 60 - 120;

const RUN = {
  ...{ ranAt: LAST_MINUTE + 75, checkedAt: LAST_MINUTE + 75, mode: 'enforce', reviewScore: 21, autoScore: 56 },
  ...{
    objects: 1,
    rows: 48_213,
    sessionCount: 412,
    flagged: 3,
    auto: 2,
    revoked: 2,
    odd: 0,
    refused: [],
    running: false,
  },
};

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
    ...{
      sessionId,
      score,
      verdict: score >= RUN.autoScore ? 'auto' : 'review',
      reasons,
      title,
      timeline,
      revoked: false,
    },
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

const root = fileURLToPath(new URL('..', import.meta.url));
const stack = spawn(process.execPath, ['dist/lib/cli/portcullis.js', 'up', '--port', '0', '--ephemeral', '--json'], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const ready = await new Promise((resolve) => stack.stdout.once('data', (chunk) => resolve(JSON.parse(chunk))));
const scratch = mkdtempSync(join(tmpdir(), 'portcullis-pictures-'));

/** Takes a picture in 256 colours, a third of the bytes: those of the page, and a fine grain where a video plays. */
async function picture(page, name, options = {}) {
  const taken = join(scratch, name);
  await page.screenshot({ path: taken, ...options });
  const colours = 'split[a][b];[a]palettegen=reserve_transparent=0[p];[b][p]paletteuse=dither=sierra2_4a';
  const file = join(root, 'docs', name);
  execFileSync('ffmpeg', ['-v', 'error', '-y', '-i', taken, '-vf', colours, '-pred', 'none', file]);
}

/** Sessions of others, the last of them revoked: as their players and the security team would call the API. */
async function others(titles) {
  const tokens = JSON.parse(readFileSync(ready.tokenFile, 'utf8'));
  const post = (path, role, body) =>
    fetch(`${ready.edge}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokens[role]}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  for (const [index, asset] of titles.entries()) {
    const { playbackUrl, sessionId } = await (await post('/v1/playback', 'player', { asset })).json();
    await fetch(playbackUrl);
    if (index < titles.length - 1) continue;
    await post(`/v1/sessions/${sessionId}/revocation`, 'security', { reason: 'Shared' });
    await fetch(playbackUrl);
  }
}

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
  await others(['harbour', 'aurora', 'harbour']);
  await page.goto(ready.console);
  await page.getByTestId('title-select').selectOption('aurora');
  await page.getByTestId('play').click();
  await page.locator('[data-testid=player-status][data-state=playing]').waitFor();
  await page.waitForTimeout(6000);
  // A busy machine begins with the smaller rendition.
  await page.waitForFunction(() => document.querySelector('video').videoHeight === 360);
  const url = await page.getByTestId('playback-url').inputValue();
  for (const wrong of [
    url.replace('/aurora/', 'A/aurora/'),
    url.replace('/aurora/', '/harbour/'),
    `${ready.edge}/aurora/master.m3u8`,
  ]) {
    await fetch(wrong);
  }
  await page.waitForTimeout(1500);
  await picture(page, 'console.png');
  await page.locator('[data-testid=sessions] [data-testid=revoke]').first().click();
  await page.locator('[data-testid=player-status][data-state=stopped]').waitFor();
  await page.waitForTimeout(500);
  await picture(page, 'console-revoked.png');

  const answer = (json) => (route) => route.fulfill({ json, headers: { 'access-control-allow-origin': '*' } });
  await page.route('**/v1/sessions/suspicious?*', answer({ sessions: SUSPICIOUS }));
  await page.route('**/v1/detections/latest', answer(RUN));
  await page.getByRole('link', { name: 'Suspicious sessions' }).click();
  await page
    .locator('[data-testid=findings] canvas')
    .nth(SUSPICIOUS.length - 1)
    .waitFor();
  await picture(page, 'console-suspicious.png', { fullPage: true });

  await page.getByRole('link', { name: 'Mastering' }).click();
  await page.getByTestId('chain').locator('[data-link]').first().waitFor();
  await page.locator('[data-link=render] summary').click();
  await page.setViewportSize({ width: 1280, height: 990 });
  await picture(page, 'console-mastering.png');

  const login = await browser.newPage({ viewport: { width: 960, height: 400 }, colorScheme: 'light' });
  const settings = { login: 'oidc', issuer: 'https://login.example.com', clientId: 'console', detection: true };
  await login.route('**/config.json', answer(settings));
  await login.goto(new URL('/', ready.console).href);
  await login.getByTestId('login').waitFor();
  await picture(login, 'console-login.png');
} finally {
  await browser.close();
  rmSync(scratch, { recursive: true });
  stack.kill('SIGTERM');
}
