import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { packagePath } from '../../../local/package-root.ts';
import { migrateTables } from '../../../token-api/migration/assets.ts';
import { FINDING_CODES } from '../../../token-api/migration/policy-findings.ts';
import { readSolutionConfiguration } from '../../../token-api/migration/solution-configuration.ts';
import { readTableExport } from '../../../token-api/migration/table-export.ts';
import { loadPolicy } from '../../../token-api/minting/loaded-policy.ts';

const NOW = 1_790_000_000;
const GOOD = { paths: ['/video/1/'], exc: [], exp: '+3h', ssn: true, co: true };
const asset = (token_policy: unknown, more: object = {}) => ({
  id: '1',
  endpoint_hostname: 'https://d123.cloudfront.net',
  url_path: '/video/1/index.m3u8',
  token_policy,
  ...more,
});
const migrated = (policy: unknown, more?: object) => migrateTables([asset(policy, more)], NOW).assets[0];
const codes = (policy: unknown, more?: object) => migrated(policy, more)?.findings.map(({ code }) => code);

describe('a configuration', () => {
  const main = {
    stack_name: 'MYSTREAM',
    rotate_secrets_frequency: '1w',
    rotate_secrets_pattern: 'P',
    wcu: '100',
    retention: '5',
    metrics: true,
  };

  test('of its wizard', () => {
    expect(readSolutionConfiguration({ main, api: { demo: true } })).toEqual({
      stackName: 'MYSTREAM',
      rotationDays: 7,
      capacityWcu: 100,
      hasDetection: false,
    });
    const { hasDetection } = readSolutionConfiguration({ main, api: {}, sessionRevocation: {} });
    expect(hasDetection).toBe(true);
  });

  test('of its stack', () => {
    const Parameters = [
      { ParameterKey: 'InputParametersWcu0A1B2C3D', ParameterValue: '1500' },
      { ParameterKey: 'InputParametersHours0A1B2C3D', ParameterValue: '03' },
    ];
    const read = (more: object) => readSolutionConfiguration({ Stacks: [{ StackName: 'video', ...more }] });
    expect(read({ Parameters })).toMatchObject({ stackName: 'video', capacityWcu: 1500 });
    expect(read({}).capacityWcu).toBe(100);
  });

  test.each([
    ['nothing', {}, 'main'],
    ['a list', [], 'main'],
    ['another name', { main: { ...main, stack_name: "x'; rm -rf /" } }, 'main.stack_name'],
    ['another rotation', { main: { ...main, rotate_secrets_frequency: '2d' } }, 'main.rotate_secrets_frequency'],
    ['a capacity that is none', { main: { ...main, wcu: 'many' } }, 'main.wcu'],
    ['two stacks', { Stacks: [] }, 'main'],
  ])('%s is refused with the field', (_, content, field) => {
    expect(() => readSolutionConfiguration(content)).toThrow(
      expect.objectContaining({ code: 'ERR_MIGRATION_CONFIGURATION', message: expect.stringContaining(`${field}:`) }),
    );
  });
});

describe('an export of a table', () => {
  const item = {
    id: { S: '1' },
    ttl: { N: '12' },
    flags: { M: { ip: { BOOL: true }, none: { NULL: true } } },
    l: { L: [{ S: 'a' }] },
    s: { SS: ['b'] },
  };
  const plain = { id: '1', ttl: 12, flags: { ip: true, none: null }, l: ['a'], s: ['b'] };

  test('as it is scanned, and as it is exported to S3', () => {
    expect(readTableExport(JSON.stringify({ Items: [item], Count: 1 }, null, 2))).toEqual([plain]);
    expect(readTableExport(`${JSON.stringify({ Item: item })}\n\n${JSON.stringify({ Item: item })}\n`)).toEqual([
      plain,
      plain,
    ]);
    expect(readTableExport('{"Items":[]}')).toEqual([]);
  });

  test.each([
    ['a page of it', '{"Items":[],"NextToken":"x"}', 'only part'],
    ['a page of the API', '{"Items":[],"LastEvaluatedKey":{"id":{"S":"1"}}}', 'only part'],
    ['plain values', '{"Items":[{"id":"s3cr3t"}]}', 'item 1'],
    ['no JSON', '{"Item":{"id":{"S":"1"}}}\ns3cr3t', 'line 2'],
    ['two types', '{"Items":[{"id":{"S":"s3cr3t","N":"1"}}]}', 'item 1'],
    ['a number that is none', '{"Items":[{"id":{"N":"s3cr3t"}}]}', 'item 1'],
    [
      'deep nesting',
      JSON.stringify({
        Items: [{ a: Array.from({ length: 40 }).reduce((inner) => ({ L: [inner] }), { S: 's3cr3t' }) }],
      }),
      'item 1',
    ],
  ])('%s is refused with its place, and without its content', (_, text, place) => {
    const refused = expect.objectContaining({ code: 'ERR_MIGRATION_TABLE', message: expect.stringContaining(place) });
    expect(() => readTableExport(text)).toThrow(refused);
    expect(() => readTableExport(text)).not.toThrow(/s3cr3t/);
  });
});

describe('a policy', () => {
  test('that is safe has no findings, and can be minted with', () => {
    const { policy, findings, asset: taken } = migrated(GOOD) ?? {};
    expect(findings).toEqual([]);
    expect(policy).toEqual({ lifetime: 'PT180M', asset: '1', paths: ['/video/1/'], bindings: ['country'] });
    expect(taken).toEqual({ id: '1', title: '1', path: '/video/1/index.m3u8', policy: '1' });
    expect(() => loadPolicy(policy, { maxLifetimeSeconds: 86_400 })).not.toThrow();
  });

  test.each([
    ['nothing bound', { ...GOOD, co: false, ssn: false }, ['binds-nothing', 'session-unbound']],
    ['the exact address', { ...GOOD, ip: true }, ['exact-address']],
    ['a header that viewers choose', { ...GOOD, headers: ['user-agent'] }, ['forgeable-header']],
    [
      'a header alone',
      { paths: ['/v/'], exc: [], exp: '+1h', headers: ['user-agent'] },
      ['forgeable-header', 'header-signs', 'session-unbound'],
    ],
    ['a header with capitals', { ...GOOD, headers: ['User-Agent'] }, ['header-never-found', 'refused-at-minting']],
    ['a header of CloudFront', { ...GOOD, headers: ['cloudfront-viewer-asn'] }, []],
    ['a parameter', { ...GOOD, querystrings: ['user'] }, ['forgeable-parameter']],
    ['no expiry', { ...GOOD, exp: undefined }, ['never-expires', 'refused-at-minting']],
    ['a fixed expiry', { ...GOOD, exp: '4102444800' }, ['fixed-expiry']],
    ['a long lifetime', { ...GOOD, exp: '+48h' }, ['long-lifetime']],
    ['a lifetime that is none', { ...GOOD, exp: '+3d' }, ['long-lifetime', 'refused-at-minting']],
    ['an exclusion', { ...GOOD, exc: ['/ads/'] }, ['exclusions-unbound']],
    ['an exclusion of all', { ...GOOD, exc: ['/'] }, ['exclusion-of-all', 'exclusions-unbound', 'refused-at-minting']],
    ['a fallback', { ...GOOD, co_fallback: true }, ['fallback-drops-all']],
    ['a fallback of the region', { ...GOOD, reg: true, reg_fallback: true }, ['fallback-drops-all']],
    ['a city', { ...GOOD, cty: true }, ['city-unchecked']],
    ['no session', { ...GOOD, ssn: false }, ['session-unbound']],
    ['neighbours', { ...GOOD, paths: ['/video/1'] }, ['neighbour-paths', 'refused-at-minting']],
    ['an unsafe path', { ...GOOD, paths: ['/video/../'] }, ['unsafe-path', 'refused-at-minting']],
    ['no path', { ...GOOD, paths: [] }, ['opens-nothing', 'refused-at-minting']],
    ['an unknown field', { ...GOOD, asn: true }, ['unknown-field', 'refused-at-minting']],
    ['a flag as text', { ...GOOD, ip: 'true' }, ['wrong-type', 'refused-at-minting']],
    ['a start', { ...GOOD, nbf: '1645000000' }, ['not-before-dropped']],
    [
      'no policy',
      'none',
      ['wrong-type', 'binds-nothing', 'session-unbound', 'never-expires', 'opens-nothing', 'refused-at-minting'],
    ],
    ['a cookie', { ...GOOD, headers: ['cookie'] }, ['forgeable-header', 'refused-at-minting', 'not-bound']],
  ])('%s', (_, policy, wanted) => {
    expect(codes(policy)).toEqual(wanted);
  });

  test('an endpoint without TLS', () => {
    expect(codes(GOOD, { endpoint_hostname: 'http://d123.cloudfront.net' })).toEqual(['http-endpoint']);
  });

  test.each([
    [{ ...GOOD, ip: true, co_fallback: true, reg: true, cty: true }, ['network', 'country?', 'region', 'city']],
    [
      { ...GOOD, headers: ['Referer', 'x-device', 'cloudfront-viewer-asn', 'cloudfront-viewer-country'] },
      ['country', 'referer', 'header:x-device', 'asn'],
    ],
    [{ ...GOOD, querystrings: ['user', 'a b'] }, ['country', 'query:user']],
  ])('binds %j as %j', (policy, bindings) => {
    expect(migrated(policy)?.policy.bindings).toEqual(bindings);
  });

  test.each([
    ['+30m', 'PT30M'],
    ['+24h', 'PT1440M'],
    ['+25h', 'P1D'],
    ['+3d', 'PT1H'],
    ['4102444800', 'PT1H'],
    [undefined, 'PT1H'],
  ])('that expires at %s gives tokens for %s', (exp, lifetime) => {
    expect(migrated({ ...GOOD, exp })?.policy.lifetime).toBe(lifetime);
  });

  test('opens no more than it says, and never everything', () => {
    const policy = { ...GOOD, paths: ['/video', '/a/clip.mp4', '', '/x/..%2f'], exc: ['/', '/ads'] };
    expect(migrated(policy)?.policy).toMatchObject({
      paths: ['/video/'],
      files: ['/a/clip.mp4'],
      exclusions: ['/ads/'],
    });
    expect(migrated({ ...GOOD, paths: [] })?.policy.paths).toEqual(['/video/1/']);
  });

  test('that the solution itself loads as an example is found unsafe', () => {
    const example = {
      ...{
        headers: ['user-agent', 'referer'],
        exc: ['/ads/'],
        nbf: '1645000000',
        session_auto_generate: 12,
        ssn: true,
      },
      ...{ cty_fallback: true, paths: ['/video/1/'], ip: false, cty: false, co_fallback: true, co: false, exp: '+30m' },
    };
    expect(codes(example)).toEqual([
      'forgeable-header',
      'forgeable-header',
      'not-before-dropped',
      'exclusions-unbound',
    ]);
  });
});

test('the document has every finding', () => {
  const document = readFileSync(packagePath('docs', 'migration.md'), 'utf8');
  expect(FINDING_CODES.filter((code) => !document.includes(`\`${code}\``))).toEqual([]);
});

describe('other items', () => {
  test('revoked sessions that hold still are carried on', () => {
    const sessions = [
      { session_id: 'AbCdEf123456', ttl: NOW + 1 },
      { session_id: 'AbCdEf123457', ttl: NOW },
      { session_id: 'AbCdEf123458' },
    ];
    expect(migrateTables(sessions, NOW).sessions).toEqual(['AbCdEf123456', 'AbCdEf123458']);
  });

  test.each([
    ['a session id that is none', { session_id: 'a; rm -rf /' }],
    ['an asset that climbs', asset(GOOD, { id: '../../x' })],
    ['an asset without a path', asset(GOOD, { url_path: 'video' })],
    ['neither', { name: 'x' }],
    ['more than a policy may say', asset({ ...GOOD, paths: Array.from({ length: 65 }, (_, i) => `/v${i}/`) })],
  ])('%s is left out, with its place', (_, item) => {
    const { assets, sessions, skipped } = migrateTables([asset(GOOD), item], NOW);
    expect([assets.length, sessions.length, skipped.map(({ item }) => item)]).toEqual([1, 0, [2]]);
  });

  test('two assets of one id: the first is taken', () => {
    expect(migrateTables([asset(GOOD), asset(GOOD)], NOW).skipped).toEqual([
      { item: 2, why: 'another asset has the same id' },
    ]);
  });
});
