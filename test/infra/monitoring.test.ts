import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { costOf } from '../../config/cost.ts';
import { ConfigurationSchema } from '../../config/schema.ts';
import { NAMESPACE as ALARM_NAMESPACE, ALARMS, alarmsOf, type Watched } from '../../infra/alarms.ts';
import { HANDLERS } from '../../lambda/handlers.ts';
import { packagePath } from '../../local/package-root.ts';
// @ts-expect-error: a script, without types.
import { EVERYTHING } from '../../scripts/stack-diagram.mjs';
import { REASON_DOCS } from '../../token/reason-docs.ts';
import { NAMESPACE } from '../../token-api/telemetry/powertools.ts';
import { METRICS } from '../../token-api/telemetry/telemetry.ts';
import { builtArtefacts } from '../harness/artefacts.ts';
import { synthesise } from '../harness/templates.ts';

const artefacts = builtArtefacts();
const configuration = {
  revocation: { waf: { publish: true } },
  keys: { maxStaleSeconds: 600 },
  aws: {
    region: 'eu-central-1',
    modules: ['base', 'api', 'revocation', 'mastering'],
    alarmEmail: 'ops@example.com',
    delivery: { origin: 'media.example.com' },
  },
};
const whole = synthesise(configuration, artefacts);
const bare = synthesise({ aws: { modules: ['base'] } }, artefacts);
/** With detection, but no distribution that is known. */
const alone = synthesise({ aws: { modules: ['base', 'api', 'revocation'] } }, artefacts);
const text = (value: unknown) => JSON.stringify(value);
const watched: Watched = {
  distributionId: 'E1',
  viewerRequest: 'portcullis-viewer-request',
  stateMachineArn: (name) => `arn:${name}`,
};
const operations = readFileSync(packagePath('docs', 'operations.md'), 'utf8');

interface Alarm {
  AlarmName: string;
  AlarmDescription: string;
  MetricName?: string;
  Namespace?: string;
  Dimensions?: { Name: string; Value: unknown }[];
  Metrics?: { Expression?: string }[];
  Threshold: number;
  TreatMissingData: string;
  AlarmActions: unknown[];
}
const alarms = (templates: typeof whole) =>
  templates.of('AWS::CloudWatch::Alarm').map(({ stack, Properties }) => ({ stack, ...(Properties as Alarm) }));

describe('alarms', () => {
  test('are about metrics that are emitted, with the dimensions that they have', () => {
    expect(ALARM_NAMESPACE).toBe(NAMESPACE);
    const ours = Object.values(ALARMS).filter(({ metric }) => metric.namespace === NAMESPACE);
    expect(ours.length).toBeGreaterThan(5);
    for (const { metric } of ours) {
      expect(Object.keys(METRICS)).toContain(metric.name);
      const { service, target, ...others } = metric.dimensions(watched);
      expect(others).toEqual({});
      expect(['api', 'detection', 'key-rotation', 'reconciler', 'render']).toContain(service);
      // Of revocations there is a series for each target, and none without one (`lambda/reconciler/index.ts`).
      expect(target !== undefined).toBe(service === 'reconciler');
      if (target !== undefined) expect(['edge store', 'WAF rule group']).toContain(target);
    }
    const denials = Object.entries(ALARMS).filter(([name]) => name.startsWith('denials-'));
    for (const [name, { metric }] of denials) {
      expect(Object.keys(REASON_DOCS)).toContain(metric.name);
      expect(name).toBe(`denials-${metric.name}`);
    }
  });

  test('are about handlers and queues that are there', () => {
    const values = Object.values(ALARMS).map(({ metric }) => metric.dimensions(watched));
    const known = [...Object.keys(HANDLERS), 'key-rotation', 'origin-secret-rotation'].map(
      (name) => `portcullis-${name}`,
    );
    const handlers = values.flatMap(({ FunctionName, Region }) => (FunctionName && !Region ? [FunctionName] : []));
    expect(handlers.filter((name) => !known.includes(name))).toEqual([]);
    // It answers 5xx itself when it has no key to give, which is no error of the function.
    const [keyServer] = alarms(whole).filter(({ AlarmName }) => AlarmName === 'portcullis-key-server-failed');
    expect([keyServer?.Namespace, keyServer?.MetricName]).toEqual(['AWS/Lambda', 'Url5xxCount']);
    expect(keyServer?.Dimensions).toEqual([{ Name: 'FunctionName', Value: 'portcullis-key-server' }]);
    expect(text(whole.of('AWS::Lambda::Url'))).toContain('"TargetFunctionArn":{"Fn::GetAtt":["keyserver');
    const queues = whole.of('AWS::SQS::Queue').map(({ Properties }) => Properties.QueueName);
    const watchedQueues = values.flatMap(({ QueueName }) => QueueName ?? []);
    expect(watchedQueues.length).toBe(2);
    expect(watchedQueues.filter((name) => !queues.includes(name))).toEqual([]);
  });

  test('are in the region of their metrics, and all tell somebody', () => {
    const edge = alarms(whole).filter(({ stack }) => stack === 'portcullis-edge-monitoring');
    const region = alarms(whole).filter(({ stack }) => stack === 'portcullis-monitoring');
    expect(edge.length + region.length).toBe(alarms(whole).length);
    const parsed = v.parse(ConfigurationSchema, configuration);
    const names = (at: 'edge' | 'region') => alarmsOf(parsed, at, watched).map(([name]) => `portcullis-${name}`);
    expect(edge.map(({ AlarmName }) => AlarmName)).toEqual(names('edge'));
    expect(region.map(({ AlarmName }) => AlarmName)).toEqual(names('region'));
    expect(whole.assembly.getStackByName('portcullis-edge-monitoring').environment.region).toBe('us-east-1');
    for (const { AlarmActions } of alarms(whole)) expect(AlarmActions).toHaveLength(1);
    for (const { Properties } of whole.of('AWS::SNS::Subscription'))
      expect(Properties.Endpoint).toBe('ops@example.com');
    expect(whole.of('AWS::SNS::Subscription')).toHaveLength(2);
  });

  test('of what is left out are left out', () => {
    expect(alarms(bare).map(({ AlarmName }) => AlarmName)).toEqual([
      'portcullis-function-errors',
      'portcullis-function-validation-errors',
      'portcullis-function-throttled',
      'portcullis-function-compute',
      'portcullis-rotation-failed',
      'portcullis-key-ring-not-advanced',
    ]);
    expect(bare.of('AWS::SNS::Topic')).toHaveLength(1);
  });

  test('of logs are left out where there are none: nobody is told of a lag that nobody measures', () => {
    const names = alarms(alone).map(({ AlarmName }) => AlarmName);
    expect(names).toContain('portcullis-publications-behind');
    expect(names.filter((name) => /detection|denial/.test(name))).toEqual([]);
    expect(text(alone.of('AWS::CloudWatch::Dashboard'))).not.toMatch(/DistributionId|Portcullis\/Edge/);
  });

  test('are counted in what a deployment costs, as are keys, secrets and metrics', () => {
    for (const [templates, input] of [
      [bare, { aws: { modules: ['base'] } }],
      [alone, { aws: { modules: ['base', 'api', 'revocation'] } }],
    ] as const) {
      const { perMonth } = costOf(v.parse(ConfigurationSchema, input));
      expect(perMonth.lines.find(({ what }) => what === 'alarms')?.quantity).toBe(alarms(templates).length);
    }
    const { lines } = costOf(v.parse(ConfigurationSchema, configuration)).perMonth;
    const paid = (what: string) => lines.find((line) => line.what === what)?.quantity;
    expect(paid('alarms')).toBe(alarms(whole).length);
    expect(paid('KMS keys')).toBe(whole.of('AWS::KMS::Key').length);
    expect(paid('secrets: key ring, origin')).toBe(whole.of('AWS::SecretsManager::Secret').length);
    expect(paid('metrics of denials')).toBe(whole.of('AWS::Logs::MetricFilter').length);
  });

  const origin = { delivery: { origin: 'media.example.com' } };
  const named = { delivery: { distributionId: 'E1A2B3' } };
  const rendering = { modules: ['base', 'render'] as const, render: EVERYTHING.aws.render };
  test.each([
    ['the defaults', {}, false],
    ['an origin', { aws: origin }, true],
    ['a distribution by its id', { aws: named }, true],
    ['the same, without logs', { aws: { modules: ['base', 'api'], ...named } }, false],
    [
      'the same, with a web ACL',
      { aws: { modules: ['base'], ...named }, revocation: { waf: { publish: true } } },
      true,
    ],
    ['embedded keys', { aws: { keys: { at: 'embedded' } }, revocation: { waf: { publish: true } } }, false],
    ['no detection', { aws: origin, revocation: { detection: { mode: 'off' } } }, true],
    ['an origin without API', { aws: { modules: ['base'], ...origin } }, true],
    ['rendering', { aws: rendering }, false],
    ['rendering for nobody', { aws: { ...rendering, render: { ...rendering.render, owners: [] } } }, false],
  ])('are counted exactly: %s', (_, input, isKnown) => {
    const parsed = v.parse(ConfigurationSchema, input);
    const about = isKnown ? watched : { ...watched, distributionId: undefined };
    const made = (['edge', 'region'] as const).flatMap((at) => alarmsOf(parsed, at, about));
    const paid = costOf(parsed).perMonth.lines.find(({ what }) => what === 'alarms');
    expect(paid?.quantity).toBe(made.length);
  });

  test('go off by the settings: a ring is stale at half of what it may be, a rule group nearly full at 80 %', () => {
    const threshold = (name: string) =>
      alarms(whole).find(({ AlarmName }) => AlarmName === `portcullis-${name}`)?.Threshold;
    expect([threshold('key-ring-stale'), threshold('rule-group-near-capacity')]).toEqual([300, 1200]);
  });

  test('of shares never divide by zero, and need more than a few', () => {
    const shares = alarms(whole).filter(({ Metrics }) => Metrics);
    expect(shares).toHaveLength(5);
    for (const { Metrics = [] } of shares) {
      const [expression] = Metrics.flatMap(({ Expression }) => Expression ?? []);
      expect(expression).toBe('IF(FILL(every, 0) >= 100, 100 * FILL(counted, 0) / every, 0)');
    }
  });

  test('of detection go off too when it does not run at all', () => {
    const lag = alarms(whole).find(({ AlarmName }) => AlarmName === 'portcullis-detection-lag');
    expect(lag?.TreatMissingData).toBe('breaching');
    const off = { ...configuration, revocation: { detection: { mode: 'off' } } };
    const names = alarmsOf(v.parse(ConfigurationSchema, off), 'region', watched).map(([name]) => name);
    expect(names.filter((name) => name.startsWith('detection'))).toEqual([]);
    expect(names.filter((name) => name.startsWith('rule-group'))).toEqual([]);
  });

  test('each have a runbook, which their description names', () => {
    for (const { AlarmName, AlarmDescription } of alarms(whole)) {
      expect(AlarmDescription).toContain(`docs/operations.md#${AlarmName.replace('portcullis-', '')}`);
    }
    const runbooks = [...operations.matchAll(/^### (.+)$/gm)].map(([, title]) => title);
    expect(runbooks.filter((title) => title && title in ALARMS)).toEqual(Object.keys(ALARMS));
    for (const name of Object.keys(ALARMS)) {
      const [, runbook = ''] = operations.split(`### ${name}\n`);
      const [own = ''] = runbook.split('\n#');
      for (const part of ['**Means.**', '**Look at.**', '**Do.**', '**Clears**'])
        expect(`${name}: ${own}`).toContain(part);
    }
  });
});

describe('the dashboard', () => {
  const dashboards = whole.of('AWS::CloudWatch::Dashboard');
  const body = text(dashboards.map(({ Properties }) => Properties.DashboardBody));

  test('shows every denial reason, and every alarm with its threshold', () => {
    expect(dashboards).toHaveLength(1);
    for (const reason of Object.keys(REASON_DOCS)) expect(body).toContain(`\\"${reason}\\"`);
    for (const { AlarmName } of alarms(whole)) expect(body).toContain(AlarmName.replace('portcullis-', ''));
  });

  test('shows metrics of both regions', () => {
    expect(body).toContain('us-east-1');
    expect(body).toContain('eu-central-1');
  });
});
