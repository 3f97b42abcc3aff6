import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { ASSUMPTIONS, type CostModel, costOf, monthlyUsd, usageOf } from '../../config/cost.ts';
import { MODULE_NAMES } from '../../config/deployment.ts';
import { PRICES } from '../../config/prices.ts';
import { type Configuration, ConfigurationSchema } from '../../config/schema.ts';
import { packagePath } from '../../local/package-root.ts';
import { portcullis } from '../harness/cli.ts';

const configuration = (content: v.InferInput<typeof ConfigurationSchema> = {}): Configuration =>
  v.parse(ConfigurationSchema, content);
const everything = configuration({
  aws: { modules: [...MODULE_NAMES], delivery: { origin: 'media.example.com' } },
  revocation: { waf: { publish: true, capacityWcu: 5000 } },
  api: { sessionsPerSubject: 2 },
});
const delivering = configuration({ aws: { delivery: { origin: 'media.example.com' } } });
const lines = (model: CostModel) =>
  [model.perMillionRequests, model.perThousandSessions, model.perMonth].flatMap(({ lines }) => lines);
const usdOf = (model: CostModel, what: string) => lines(model).find((line) => line.what === what)?.usd;

describe('the model', () => {
  test('is that of docs/edge.md and docs/waf.md where these have figures', () => {
    const defaults = costOf(configuration());
    expect(usdOf(defaults, 'viewer-request function')).toBeCloseTo(0.1);
    expect(usdOf(defaults, 'reads of the edge store')).toBeCloseTo(0.06);
    const embedded = costOf(configuration({ aws: { keys: { at: 'embedded' } } }));
    expect(usdOf(embedded, 'reads of the edge store')).toBeUndefined();
    const waf = costOf(everything);
    expect((usdOf(waf, 'WAF, requests') ?? 0) + (usdOf(waf, 'WAF, capacity above 1,500 WCU') ?? 0)).toBeCloseTo(2);
    expect(usdOf(waf, 'rule group and its rules')).toBe(18);
  });

  test('an hour of viewing through WAF costs what docs/waf.md says', () => {
    const { wafRequest } = PRICES;
    const requests = 1000 * ASSUMPTIONS.requestsPerSession.value;
    expect((requests / wafRequest.per) * wafRequest.usd).toBeCloseTo(1.08);
  });

  test('a session costs more with places of a subject to count, and with keys of titles to fetch', () => {
    const quantity = (model: CostModel, what: string) => lines(model).find((line) => line.what === what)?.quantity;
    const counted = costOf(configuration({ api: { sessionsPerSubject: 2 } }));
    expect([quantity(counted, 'DynamoDB, writes'), quantity(counted, 'DynamoDB, reads')]).toEqual([12_000, 24_000]);
    const encrypted = costOf(configuration({ aws: { modules: ['base', 'api', 'mastering'] } }));
    expect([quantity(encrypted, 'keys of titles, KMS'), quantity(encrypted, 'HTTP API')]).toEqual([2000, 4000]);
    expect(quantity(encrypted, 'API and keys through the distribution')).toBe(6000);
    expect(quantity(encrypted, 'KMS keys')).toBe(4);
  });

  test('has no line for what is left out', () => {
    const rendering = costOf(configuration({ aws: { modules: ['render'] } }));
    expect(rendering.perMillionRequests).toEqual({ lines: [], usd: 0 });
    expect(rendering.perThousandSessions).toEqual({ lines: [], usd: 0 });
    const about = (model: CostModel, what: RegExp) => lines(model).filter((line) => what.test(line.what)).length;
    const off = { ...delivering, revocation: configuration({ revocation: { detection: { mode: 'off' } } }).revocation };
    expect([about(costOf(off), /^detection/), about(costOf(off), /logs|decisions|denials/)]).toEqual([0, 5]);
    // Nobody's logs are delivered where no distribution is known.
    expect(about(costOf(configuration()), /^detection|^access logs|decisions|denials/)).toBe(0);
    expect(about(costOf(delivering), /^detection/)).toBe(3);
    // One that was there has no secret of ours that is rotated, and so no alarm about that.
    const butAlarms = (model: CostModel) => lines(model).filter(({ what }) => what !== 'alarms');
    expect(butAlarms(costOf(configuration({ aws: { delivery: { distributionId: 'E1A2B3' } } })))).toEqual(
      butAlarms(costOf(delivering)),
    );
    expect(lines(costOf(configuration())).filter(({ what }) => what.startsWith('WAF'))).toEqual([]);
  });

  test('uses every price, in sums that are the sums of their lines', () => {
    const model = costOf(everything);
    expect(new Set(lines(model).map(({ price }) => price))).toEqual(new Set(Object.keys(PRICES)));
    for (const { lines, usd } of [model.perMillionRequests, model.perThousandSessions, model.perMonth]) {
      expect(usd).toBeCloseTo(lines.reduce((sum, line) => sum + line.usd, 0));
      for (const line of lines) expect(line.usd).toBeGreaterThan(0);
    }
  });

  test('everything costs more than the defaults', () => {
    const usage = { requestsPerMonth: 1e9, sessionsPerMonth: 1e6 };
    expect(monthlyUsd(costOf(everything), usage)).toBeGreaterThan(monthlyUsd(costOf(configuration()), usage));
  });

  test.each([
    [undefined, undefined, undefined],
    [1_800_000, undefined, { requestsPerMonth: 1_800_000, sessionsPerMonth: 1000 }],
    [undefined, 1000, { requestsPerMonth: 1_800_000, sessionsPerMonth: 1000 }],
    [5, 7, { requestsPerMonth: 5, sessionsPerMonth: 7 }],
    [0, undefined, { requestsPerMonth: 0, sessionsPerMonth: 0 }],
  ])('of %s requests and %s sessions', (requests, sessions, usage) => {
    expect(usageOf(requests, sessions)).toEqual(usage);
  });

  test('nothing played costs the month alone', () => {
    const model = costOf(configuration());
    expect(monthlyUsd(model, { requestsPerMonth: 0, sessionsPerMonth: 0 })).toBe(model.perMonth.usd);
  });
});

describe('portcullis cost', () => {
  test('as JSON, with what it takes for granted', async () => {
    const { code, stdout } = await portcullis('cost', '--sessions', '1000', '--json');
    const answer = JSON.parse(stdout);
    expect(code).toBe(0);
    expect(answer).toMatchObject({ currency: 'USD', region: 'us-east-1', assumptions: ASSUMPTIONS });
    const { perMillionRequests, perThousandSessions, perMonth, month } = answer;
    expect(month.usd).toBeCloseTo(1.8 * perMillionRequests.usd + perThousandSessions.usd + perMonth.usd);
  });

  test.each([
    ['--sessions', '-1'],
    ['--sessions', '1e6'],
    ['--requests-per-month', 'many'],
  ])('%s %s: 2', async (...args) => {
    expect((await portcullis('cost', ...args)).code).toBe(2);
  });

  test('docs/operations.md shows what it prints', async () => {
    const docs = readFileSync(packagePath('docs', 'operations.md'), 'utf8');
    const file = join(mkdtempSync(join(tmpdir(), 'portcullis-cost-')), 'portcullis.json');
    writeFileSync(file, JSON.stringify({ aws: { delivery: { origin: 'media.example.com' } } }));
    const { stdout } = await portcullis('cost', '--config', file, '--sessions', '50000');
    rmSync(dirname(file), { recursive: true });
    const [shown = ''] = stdout.split('\nList prices');
    expect(docs).toContain(`$ portcullis cost --config portcullis.json --sessions 50000\n${shown.trimEnd()}\n`);
  });
});
