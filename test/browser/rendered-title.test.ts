import { createHash } from 'node:crypto';
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyAuditLog } from '../../enclave-render/audit/verify-audit-log.ts';
import type { Receipt } from '../../enclave-render/receipt/statement.ts';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { describeWith, LONG } from '../harness/programs.ts';
import { type RunningStack, removeDirectory, startRenderingStack, temporaryDirectory } from '../harness/stack.ts';

describeWith('chromium', 'the title of the stack, rendered in an enclave', () => {
  const data = temporaryDirectory();
  let stack: RunningStack;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    // A start that was killed while it rendered has left this.
    mkdirSync(join(data, 'masters', 'aurora-rendered.quarantine', 'encode.1'), { recursive: true, mode: 0o700 });
    stack = await startRenderingStack(data);
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGUMENTS });
    page = await openChain(stack.console);
  });
  afterAll(async () => {
    await browser?.close();
    await stack?.stop();
    removeDirectory(data);
  });

  async function openChain(console: string): Promise<Page> {
    const opened = await browser.newPage();
    await opened.goto(console);
    await opened.getByRole('link', { name: 'Mastering' }).click();
    await opened.getByTestId('chain').locator('[data-link]').first().waitFor();
    return opened;
  }
  const statesOn = (opened: Page) =>
    opened
      .getByTestId('chain')
      .locator('[data-link]')
      .evaluateAll((items) =>
        items.map((item) => `${(item as HTMLElement).dataset.link} ${(item as HTMLElement).dataset.state}`),
      );
  const jobs = () => readdirSync(join(data, 'render', 'jobs'));

  test('has a receipt that was verified before it was delivered, and the console shows it', async () => {
    expect(await statesOn(page)).toEqual(['mezzanine done', 'render done', 'master done', 'package done', 'edge done']);
    const shown = (await page.getByTestId('chain').locator('[data-link=render]').textContent()) ?? '';
    const [job = ''] = jobs();
    const receipt = readFileSync(join(data, 'render', 'jobs', job, 'receipt.json'), 'utf8');
    expect(shown).toContain(createHash('sha256').update(receipt).digest('hex'));
    expect(shown).toContain(job);
    expect(shown).toContain('SIMULATED');
    const { tasks } = JSON.parse(receipt) as Receipt;
    expect(tasks).toHaveLength(2);
    for (const { statement } of tasks) {
      const [subject] = JSON.parse(statement).subject;
      // What is packaged is what the statement is about.
      const master = readFileSync(join(data, 'masters', 'aurora-rendered', subject.name));
      expect(createHash('sha256').update(master).digest('hex')).toBe(subject.digest.sha256);
    }
  });

  test('has an audit log that is whole, whose lines the console shows by their hashes', async () => {
    const log = readFileSync(join(data, 'render', 'audit.jsonl'), 'utf8');
    const { entries } = await verifyAuditLog(log, { checkpoints: [], keys: [], copies: [] });
    expect(entries.map(({ event }) => event)).toEqual([
      ...['job-submitted', 'enclave-started', 'receipt-verified', 'output-accepted', 'enclave-ended'],
    ]);
    const shown = (await page.getByTestId('chain').locator('[data-link=render]').textContent()) ?? '';
    for (const line of log.trim().split('\n')) expect(shown).toContain(createHash('sha256').update(line).digest('hex'));
  });

  test('plays', async () => {
    await page.getByRole('link', { name: 'Playback' }).click();
    await page.getByTestId('title-select').selectOption('aurora');
    await page.getByTestId('play').click();
    await page.locator('[data-testid=player-status][data-state=playing]').waitFor({ timeout: 20_000 });
  });

  // That of a job in test/local/rendered-title.test.ts says as much of it every day.
  test.runIf(LONG)('is not rendered again by the next start', async () => {
    await stack.stop();
    const before = jobs();
    stack = await startRenderingStack(data);
    expect(jobs()).toEqual(before);
    const opened = await openChain(stack.console);
    expect(await statesOn(opened)).toContain('render done');
    await opened.close();
  });

  test('is served as it was committed where it cannot be rendered, and the console says so', async () => {
    const folder = temporaryDirectory();
    // Of the owner's signing key others have had a copy: it signs nothing.
    mkdirSync(join(folder, 'render', 'owner'), { recursive: true, mode: 0o700 });
    cpSync(join(data, 'render', 'owner', 'sign.pem'), join(folder, 'render', 'owner', 'sign.pem'));
    chmodSync(join(folder, 'render', 'owner', 'sign.pem'), 0o644);
    const broken = await startRenderingStack(folder);
    const opened = await openChain(broken.console);
    expect(await statesOn(opened)).toEqual([
      ...['mezzanine done', 'render failed', 'master not run', 'package not run', 'edge done'],
    ]);
    expect(await opened.getByTestId('chain-failure').textContent()).toMatch(
      /^Failed: render\. ERR_.*Not run: .*package\.$/,
    );
    await opened.close();
    await broken.stop();
    removeDirectory(folder);
  });
});
