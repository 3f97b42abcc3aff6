// Takes docs/console.png: the console of a fresh stack while a title plays and after somebody tried three wrong URLs.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

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
} finally {
  await browser.close();
  stack.kill('SIGTERM');
}
