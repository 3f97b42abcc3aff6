import type { Rule } from '@aws-sdk/client-wafv2';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileRuleGroup as evaluate, type RuleGroup } from '../../../local/edge/rule-group.ts';
import { compileSessions, isOwnRule, type RuleGroupOptions } from '../../../revocation/publish/rule-group.ts';
import { checkRuleGroup } from '../../../revocation/publish/rule-group-limits.ts';
import { SESSION_ID } from '../../../token/index.ts';
import { describeEngines, mintToken, outcomes, PATH, VARIANTS, viewerRequest } from '../../harness/edge.ts';
import { TEST_CLAIMS } from '../../harness/minting.ts';

const OPTIONS: RuleGroupOptions = { tokenPrefix: '/', allowedOrigins: ['*'], capacityWcu: 1500 };
const TOKEN = '.eyJhbGciOi.eyJ.sig/aurora/master.m3u8';

/** Session ids of a length, all different. */
const sessions = (count: number, length = 12) =>
  Array.from({ length: count }, (_, i) => i.toString(36).padStart(length, 'S'));
const asksFor = (group: RuleGroup, path: string) =>
  group({ method: 'GET', path, query: '', headers: {}, country: undefined });
const blocks = (rules: Rule[], path: string) => asksFor(evaluate(rules), path) !== undefined;

function expressionsOf(rules: Rule[]): string[] {
  return rules.flatMap(({ Statement: statement }) =>
    (statement?.OrStatement?.Statements ?? [statement]).map((each) => each?.RegexMatchStatement?.RegexString ?? ''),
  );
}

describe('rules that block sessions', () => {
  test('an empty list gives no rules, which clears the group', () => {
    expect(compileSessions([], OPTIONS)).toEqual({ rules: [], capacityWcu: 0, included: [], dropped: [] });
  });

  test('one session stands alone: an Or statement would need two', () => {
    const { rules, capacityWcu } = compileSessions(['AbCdEf123456'], OPTIONS);
    expect(rules).toEqual([
      {
        Name: 'portcullis-sessions-0',
        Priority: 0,
        Statement: {
          RegexMatchStatement: {
            RegexString: '^/(?:AbCdEf123456)\\.',
            FieldToMatch: { UriPath: {} },
            TextTransformations: [{ Priority: 0, Type: 'NONE' }],
          },
        },
        Action: {
          Block: {
            CustomResponse: {
              ResponseCode: 403,
              ResponseHeaders: [
                { Name: 'access-control-allow-origin', Value: '*' },
                { Name: 'access-control-expose-headers', Value: 'x-portcullis-reason' },
                { Name: 'cache-control', Value: 'no-store' },
                { Name: 'x-portcullis-reason', Value: 'session-revoked' },
              ],
            },
          },
        },
        VisibilityConfig: {
          SampledRequestsEnabled: false,
          CloudWatchMetricsEnabled: true,
          MetricName: 'portcullis-sessions-0',
        },
      },
    ]);
    expect(capacityWcu).toBe(3);
  });

  test.each([
    [1500, 7000],
    [5000, 23324],
  ])('%i WCU hold %i sessions of 12 characters, and the rest is dropped from the end', (capacityWcu, capacity) => {
    const ids = sessions(capacity + 10);
    const compiled = compileSessions(ids, { ...OPTIONS, capacityWcu });
    expect(compiled.included).toEqual(ids.slice(0, capacity));
    expect(compiled.dropped).toEqual(ids.slice(capacity));
    expect(compiled.capacityWcu).toBeLessThanOrEqual(capacityWcu);
    expect(() => checkRuleGroup(compiled.rules, capacityWcu)).not.toThrow();
  });

  test('an origin that may read denials is named; of several WAF could name one only, so none is', () => {
    const origins = (allowedOrigins: string[]) => {
      const [rule] = compileSessions(sessions(1), { ...OPTIONS, allowedOrigins }).rules;
      const headers = rule?.Action?.Block?.CustomResponse?.ResponseHeaders ?? [];
      return headers.filter(({ Name }) => Name === 'access-control-allow-origin').map(({ Value }) => Value);
    };
    expect(origins(['https://play.example.com'])).toEqual(['https://play.example.com']);
    expect(origins(['https://play.example.com', '*'])).toEqual(['*']);
    expect(origins(['https://play.example.com', 'https://tv.example.com'])).toEqual([]);
    expect(origins([])).toEqual([]);
  });

  test('a session is blocked, one that begins with its id or ends with it is not', () => {
    const { rules } = compileSessions(['AbCdEf123456', 'ZZZZZZ123456'], OPTIONS);
    expect(blocks(rules, `/AbCdEf123456${TOKEN}`)).toBe(true);
    expect(blocks(rules, `/ZZZZZZ123456${TOKEN}`)).toBe(true);
    expect(blocks(rules, `/AbCdEf1234567${TOKEN}`)).toBe(false);
    expect(blocks(rules, `/xAbCdEf123456${TOKEN}`)).toBe(false);
    expect(blocks(rules, `/live/AbCdEf123456${TOKEN}`)).toBe(false);
    expect(blocks(rules, '/AbCdEf123456/x')).toBe(false);
  });

  test('the place of the token is part of the expression, and nothing in it is read as one', () => {
    const { rules } = compileSessions(['AbCdEf123456'], { ...OPTIONS, tokenPrefix: '/live/a-b/' });
    expect(blocks(rules, `/live/a-b/AbCdEf123456${TOKEN}`)).toBe(true);
    expect(blocks(rules, `/AbCdEf123456${TOKEN}`)).toBe(false);
    const odd = compileSessions(['AbCdEf123456'], { ...OPTIONS, tokenPrefix: '/v1.0/(x)/' });
    expect(blocks(odd.rules, `/v1.0/(x)/AbCdEf123456${TOKEN}`)).toBe(true);
    expect(blocks(odd.rules, `/v1x0/x/AbCdEf123456${TOKEN}`)).toBe(false);
  });

  test.each(['.*', 'short', 'a'.repeat(65), 'AbCdEf12345|', 'AbCdEf123456\n', '', 'AbCdEf12345é', '../../../../..'])(
    '%j is no session id and gets into no expression',
    (odd) => {
      const compiled = compileSessions(['AbCdEf123456', odd, 'ZZZZZZ123456'], OPTIONS);
      expect(compiled.included).toEqual(['AbCdEf123456', 'ZZZZZZ123456']);
      expect(compiled.dropped).toEqual([odd]);
      expect(expressionsOf(compiled.rules)).toEqual(['^/(?:AbCdEf123456|ZZZZZZ123456)\\.']);
    },
  );

  test('an id for which the place of the token leaves no room is dropped, and those behind it are not', () => {
    const long = 'L'.repeat(64);
    const { included, dropped } = compileSessions([long, 'AbCdEf123456'], {
      ...OPTIONS,
      tokenPrefix: `/${'p'.repeat(130)}/`,
    });
    expect([included, dropped]).toEqual([['AbCdEf123456'], [long]]);
  });

  test('whatever the list: every included session is blocked, no other one, within the quotas of WAF', () => {
    const id = fc.string({
      unit: fc.constantFrom(...'aB1'),
      minLength: 12,
      maxLength: 64,
      size: 'max',
    });
    fc.assert(
      fc.property(
        fc.array(fc.oneof(id, id, fc.string()), { maxLength: 60 }),
        fc.integer({ min: 1, max: 60 }),
        (ids, wcu) => {
          const compiled = compileSessions(ids, { ...OPTIONS, capacityWcu: wcu });
          const { rules, included, dropped } = compiled;
          expect(() => checkRuleGroup(rules, wcu)).not.toThrow();
          expect(rules.every(isOwnRule)).toBe(true);
          // The first ones, in their order.
          const valid = [...new Set(ids)].filter((each) => SESSION_ID.test(each));
          expect(included).toEqual(valid.slice(0, included.length));
          expect(new Set([...included, ...dropped])).toEqual(new Set(ids));
          const group = evaluate(rules);
          for (const each of included) expect(asksFor(group, `/${each}${TOKEN}`)).toBeDefined();
          for (const each of valid.slice(included.length)) expect(asksFor(group, `/${each}${TOKEN}`)).toBeUndefined();
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('quotas of WAF', () => {
  const [rule] = compileSessions(['AbCdEf123456'], OPTIONS).rules as [Rule];
  const withExpression = (RegexString: string): Rule => ({
    ...rule,
    Statement: { RegexMatchStatement: { ...rule.Statement?.RegexMatchStatement, RegexString } as never },
  });
  const response = (ResponseCode: number, headers: [string, string][]): Rule => ({
    ...rule,
    Action: {
      Block: {
        CustomResponse: { ResponseCode, ResponseHeaders: headers.map(([Name, Value]) => ({ Name, Value })) },
      },
    },
  });
  const named = (index: number): Rule => ({ ...rule, Name: `r${index}`, Priority: index });

  test.each<[string, Rule[], number?]>([
    ['an expression of 201 characters', [withExpression('a'.repeat(201))]],
    ['a capture group', [withExpression('^/(a|b)\\.')]],
    ['a named group', [withExpression('^/(?<sid>a)\\.')]],
    ['a reference', [withExpression('^/a\\1')]],
    ['two rules of one name', [rule, { ...rule, Priority: 1 }]],
    ['two rules of one priority', [rule, { ...rule, Name: 'other' }]],
    ['a name that is none', [{ ...rule, Name: 'a b' }]],
    [
      'an Or statement with one statement',
      [{ ...rule, Statement: { OrStatement: { Statements: [rule.Statement as never] } } }],
    ],
    ['a status that WAF does not answer', [response(451, [])]],
    ['a content type', [response(403, [['Content-Type', 'text/plain']])]],
    [
      'eleven headers',
      [
        response(
          403,
          Array.from({ length: 11 }, (_, i) => [`h${i}`, 'x']),
        ),
      ],
    ],
    ['104 headers in all', Array.from({ length: 26 }, (_, i) => named(i))],
    ['a header of 256 characters', [response(403, [['x', 'y'.repeat(256)]])]],
    ['more than the capacity', [rule], 2],
    ['a statement without a price', [{ ...rule, Statement: { SqliMatchStatement: {} as never } }]],
  ])('%s is refused', (_, rules, capacityWcu = 1500) => {
    expect(() => checkRuleGroup(rules, capacityWcu)).toThrow(
      expect.objectContaining({ name: 'RuleGroupError', code: 'ERR_RULE_GROUP_LIMIT' }),
    );
  });

  test.each(['^/(?:a|b)\\.', '\\(a\\)', '[(]a', '(?!a)(?=b)(?<!c)d', '\\\\1'])(
    '%s has no capture group',
    (expression) => {
      expect(() => checkRuleGroup([withExpression(expression)], 1500)).not.toThrow();
    },
  );
});

describeEngines('what WAF does not match the function refuses', (engine) => {
  const { sid } = TEST_CLAIMS;
  const { rules } = compileSessions([sid], OPTIONS);
  const tokenised = `/${mintToken()}${PATH}`;
  const escapedFirst = `%${sid.charCodeAt(0).toString(16)}${sid.slice(1)}`;
  const swapped = [...sid].map((c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())).join('');
  const spellings: [string, string][] = [
    ['an escaped character of the id', tokenised.replace(sid, escapedFirst)],
    ['an escaped dot', tokenised.replace('.', '%2e')],
    ['an escaped dot in capitals', tokenised.replace('.', '%2E')],
    ['two slashes', `/${tokenised}`],
    ['a dot segment', `/.${tokenised}`],
    ['a dot segment that goes back', `/x/..${tokenised}`],
    ['an escaped slash', tokenised.replace('/', '/%2f')],
    ['a backslash', tokenised.replace('/', '/\\')],
    ['other casing', tokenised.replace(sid, swapped)],
    ['a path before', `/x${tokenised}`],
    ['a path parameter', `/;a${tokenised}`],
    ['no session id', tokenised.replace(`${sid}.`, '')],
    ['an empty session id', tokenised.replace(sid, '')],
    ['a shorter session id', tokenised.replace(sid, sid.slice(0, -1))],
    ['another session id', tokenised.replace(sid, 'Z'.repeat(sid.length))],
    ['a space before', tokenised.replace('/', '/%20')],
    ['a NUL before', tokenised.replace('/', '/%00')],
  ];

  test('as sent it is WAF that refuses it', async () => {
    expect(blocks(rules, tokenised)).toBe(true);
    expect(await outcomes(engine, [viewerRequest(tokenised)])).toEqual([`allowed ${PATH}`]);
  });

  test.each(VARIANTS)('in any other spelling it is the function, %s', async (variant) => {
    const events = spellings.map(([, uri]) => viewerRequest(uri));
    const answers = await outcomes(engine, events, { variant });
    for (const [i, [name, uri]] of spellings.entries()) {
      expect(uri, name).not.toBe(tokenised);
      expect(blocks(rules, uri), name).toBe(false);
      expect(answers[i], name).toMatch(/^denied /);
    }
  });
});
