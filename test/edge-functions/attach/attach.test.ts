import { readFileSync } from 'node:fs';
import { CloudFrontClient } from '@aws-sdk/client-cloudfront';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { applyAttachment, undoAttachment } from '../../../edge-functions/attach/attach.ts';
import { AttachingCloudFront } from '../../../edge-functions/attach/cloudfront.ts';
import { composeBefore } from '../../../edge-functions/attach/compose.ts';
import { type Attachment, planAttachment } from '../../../edge-functions/attach/plan.ts';
import { nothingSaved, parseSaved, type Saved } from '../../../edge-functions/attach/saved.ts';
import { edgeManifest } from '../../../edge-functions/build/manifest.ts';
import { runInVm } from '../../../edge-functions/runtime/vm.ts';
import { packagePath } from '../../../local/package-root.ts';
import { CloudFrontService, element } from '../../harness/cloudfront-service.ts';
import { LONG } from '../../harness/programs.ts';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

const { settings } = JSON.parse(readFileSync(packagePath('dist', 'edge', 'manifest.json'), 'utf8'));
const OURS = readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8');
const SOURCES = packagePath('dist', 'lib', 'edge-functions', 'viewer-request');
const NAME = 'portcullis-viewer-request';
const STORE = 'arn:aws:cloudfront::123456789012:key-value-store/54947df8';
const ID = 'E1A2B3C4D5E6F7';

const none = (name: string) => `<${name}><Quantity>0</Quantity></${name}>`;
const association = (arn: string) =>
  `<FunctionAssociation><FunctionARN>${arn}</FunctionARN><EventType>viewer-request</EventType></FunctionAssociation>`;
const associations = (...arns: string[]) =>
  `<FunctionAssociations><Quantity>${arns.length}</Quantity><Items>${arns.map(association).join('')}</Items></FunctionAssociations>`;
const methods = `<AllowedMethods><Quantity>3</Quantity><Items><Method>GET</Method><Method>HEAD</Method><Method>OPTIONS</Method></Items></AllowedMethods>`;
const behaviour = (inner: string, policies = '<CachePolicyId>P-cache</CachePolicyId>') =>
  `<TargetOriginId>o</TargetOriginId><ViewerProtocolPolicy>https-only</ViewerProtocolPolicy>${methods}${policies}${inner}`;

/** A distribution of two behaviours, whose origin header is a secret. */
function distribution(
  inner = none('FunctionAssociations'),
  second = none('FunctionAssociations'),
  policies?: string,
): string {
  const header = '<HeaderName>x-origin-secret</HeaderName><HeaderValue>s3cr3t</HeaderValue>';
  const origin = `<Id>o</Id><DomainName>media.example.com</DomainName><CustomHeaders><Quantity>1</Quantity><Items><OriginCustomHeader>${header}</OriginCustomHeader></Items></CustomHeaders>`;
  return [
    `<CallerReference>c</CallerReference><Comment>theirs</Comment><Enabled>true</Enabled><Staging>false</Staging>`,
    `<Origins><Quantity>1</Quantity><Items><Origin>${origin}</Origin></Items></Origins>`,
    `<DefaultCacheBehavior>${behaviour(inner, policies)}</DefaultCacheBehavior>`,
    `<CacheBehaviors><Quantity>1</Quantity><Items><CacheBehavior><PathPattern>/live/*</PathPattern>${behaviour(second)}</CacheBehavior></Items></CacheBehaviors>`,
  ].join('');
}

const CACHE = (queries: string, maxTtl = 86_400) =>
  `<Name>theirs</Name><MinTTL>0</MinTTL><MaxTTL>${maxTtl}</MaxTTL><ParametersInCacheKeyAndForwardedToOrigin><EnableAcceptEncodingGzip>true</EnableAcceptEncodingGzip><HeadersConfig><HeaderBehavior>none</HeaderBehavior></HeadersConfig><CookiesConfig><CookieBehavior>none</CookieBehavior></CookiesConfig><QueryStringsConfig><QueryStringBehavior>${queries}</QueryStringBehavior></QueryStringsConfig></ParametersInCacheKeyAndForwardedToOrigin>`;
const REQUEST = (behaviour: string, ...names: string[]) => {
  const items = names.map((name) => `<Name>${name}</Name>`).join('');
  const headers =
    names.length > 0 ? `<Headers><Quantity>${names.length}</Quantity><Items>${items}</Items></Headers>` : '';
  return `<Name>theirs</Name><HeadersConfig><HeaderBehavior>${behaviour}</HeaderBehavior>${headers}</HeadersConfig><CookiesConfig><CookieBehavior>all</CookieBehavior></CookiesConfig><QueryStringsConfig><QueryStringBehavior>all</QueryStringBehavior></QueryStringsConfig>`;
};
const CORS = `<Name>theirs</Name><CorsConfig><AccessControlAllowOrigins><Quantity>1</Quantity><Items><Origin>*</Origin></Items></AccessControlAllowOrigins><AccessControlAllowHeaders><Quantity>1</Quantity><Items><Header>*</Header></Items></AccessControlAllowHeaders><AccessControlAllowMethods><Quantity>1</Quantity><Items><Method>GET</Method></Items></AccessControlAllowMethods><AccessControlAllowCredentials>false</AccessControlAllowCredentials><OriginOverride>true</OriginOverride></CorsConfig>`;

let service: CloudFrontService;
let client: CloudFrontClient;
let cloudFront: AttachingCloudFront;
let saved: Saved;
let writes: string[];

beforeEach(async () => {
  service = new CloudFrontService();
  await service.start();
  const credentials = { accessKeyId: 'a', secretAccessKey: 's' };
  client = new CloudFrontClient({ endpoint: service.url, region: 'us-east-1', credentials, retryMode: 'standard' });
  cloudFront = new AttachingCloudFront(client);
  service.addFunction(NAME, OURS, [STORE]);
  service.addPolicy('cache-policy', 'P-cache', CACHE('all'));
  saved = nothingSaved(ID);
  writes = [];
});
afterEach(async () => {
  client.destroy();
  await service.close();
});

const composed = new Map<string, ReturnType<typeof composeBefore>>();
/** As `portcullis attach` does, but that the same is built once for all tests. */
const compose: Attachment['compose'] = (name, code, ours) => {
  const asked = JSON.stringify([name, code, ours]);
  const made = composed.get(asked) ?? composeBefore(name, code, { ours, sources: SOURCES, settings });
  composed.set(asked, made);
  return made;
};
const attachment = (patterns: string[] = []): Attachment => ({
  distribution: ID,
  patterns,
  functionName: NAME,
  generatedHeaders: edgeManifest({}, settings).generatedHeaders,
  replaces: undefined,
  api: undefined,
  compose,
});
const running = () => ({
  saved,
  async save(next: Saved) {
    writes.push(JSON.stringify(next));
    saved = parseSaved(JSON.stringify(next), ID);
  },
  report: () => {},
  sleep: async () => {},
});
const apply = (patterns?: string[], staging = false) =>
  applyAttachment(cloudFront, attachment(patterns), { ...running(), staging });
const undo = (force = false) => undoAttachment(cloudFront, { ...running(), force });
const xmlOf = (id = ID) => service.distributions.get(id)?.xml ?? '';
/** The same configuration reads the same, however its XML was written. */
const read = async (id = ID) => (await cloudFront.distribution(id)).config;
const changing = () => service.calls.filter((call) => !call.startsWith('GET'));

describe('a behaviour without function', () => {
  beforeEach(() => service.addDistribution(ID, distribution()));

  test('the plan shows function and headers, and changes nothing', async () => {
    const [plan] = await planAttachment(cloudFront, attachment());
    expect(plan).toMatchObject({ pattern: '*', obstacles: [], remarks: [] });
    expect(plan?.changes).toEqual([
      { setting: 'viewerRequest', from: null, to: NAME },
      expect.objectContaining({ setting: 'originRequestPolicy', from: null, adds: attachment().generatedHeaders }),
    ]);
    expect(changing()).toEqual([]);
  });

  test('applied, only that behaviour has it; applied again, nothing changes', async () => {
    expect((await apply()).isChanged).toBe(true);
    const config = await read();
    expect(config.DefaultCacheBehavior?.FunctionAssociations?.Items).toEqual([
      { EventType: 'viewer-request', FunctionARN: service.arn(NAME) },
    ]);
    const policy = service.policies.get(config.DefaultCacheBehavior?.OriginRequestPolicyId ?? '');
    expect(element(policy?.xml ?? '', 'HeaderBehavior')).toBe('whitelist');
    expect(policy?.xml).toContain('<Name>cloudfront-viewer-country</Name>');
    expect(config.CacheBehaviors?.Items?.[0]?.FunctionAssociations?.Items ?? []).toEqual([]);
    expect(config.Origins?.Items?.[0]?.CustomHeaders?.Items?.[0]?.HeaderValue).toBe('s3cr3t');
    const earlier = JSON.stringify(saved);
    service.calls.length = 0;
    expect((await apply()).isChanged).toBe(false);
    expect(changing()).toEqual([]);
    expect(JSON.stringify(saved)).toBe(earlier);
  });

  test('what was there is saved before it is changed, and holds no secret of the origin', async () => {
    service.before = (call) => {
      if (call === 'PUT distribution/config') expect(saved.behaviours['*']?.before.viewerRequest).toBeNull();
      return undefined;
    };
    await apply();
    expect(writes.join()).not.toContain('s3cr3t');
  });

  test('undone, the distribution is as it was and our policies are gone', async () => {
    const before = await read();
    await apply(['*', '/live/*']);
    expect(await undo()).toEqual({ behaviours: ['/live/*', '*'], isChanged: true, left: [] });
    expect(JSON.stringify(await read())).toBe(JSON.stringify({ ...before }));
    expect([...service.policies.keys()]).toEqual(['P-cache']);
    expect((await undo()).isChanged).toBe(false);
  });

  test('undo keeps what somebody else changed elsewhere, and refuses where it was attached', async () => {
    await apply();
    service.edit(ID, (xml) => xml.replace('<Comment>theirs<', '<Comment>changed<'));
    await undo();
    expect((await read()).Comment).toBe('changed');
    await apply();
    service.edit(ID, (xml) => xml.replace(service.arn(NAME), service.addFunction('their-new-one', 'x')));
    await expect(undo()).rejects.toMatchObject({ code: 'ERR_ATTACH_CHANGED' });
    expect(xmlOf()).toContain('their-new-one');
    await undo(true);
    expect(xmlOf()).not.toContain('function/');
  });

  test('undo refuses when the behaviour is gone, and goes on without it when it is forced', async () => {
    await apply(['/live/*']);
    service.edit(ID, (xml) => xml.replace('<PathPattern>/live/*<', '<PathPattern>/other/*<'));
    await expect(undo()).rejects.toMatchObject({
      code: 'ERR_ATTACH_CHANGED',
      message: expect.stringContaining("'/live/*' is gone"),
    });
    expect((await undo(true)).left).toEqual([expect.stringMatching(/^originRequestPolicy P/)]);
    expect(xmlOf()).toContain(service.arn(NAME));
  });

  test('a second behaviour later is undone with the first', async () => {
    await apply();
    await apply(['/live/*']);
    expect(Object.keys(saved.behaviours)).toEqual(['*', '/live/*']);
    await undo();
    expect(xmlOf()).not.toContain('function/');
  });

  test('behaviours that are not there are named', async () => {
    const refused = planAttachment(cloudFront, attachment(['/vod/*']));
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_ATTACH_MISSING',
      message: expect.stringContaining("'/live/*'"),
    });
  });

  test('a function that was not deployed is said to be missing', async () => {
    service.functions.clear();
    await expect(apply()).rejects.toMatchObject({ code: 'ERR_ATTACH_MISSING' });
    expect(changing()).toEqual([]);
  });

  test('it waits until the distribution is deployed', async () => {
    service.pollsPerDeployment = 3;
    await apply();
    expect(service.calls.filter((call) => call === 'GET distribution').length).toBeGreaterThan(2);
  });

  test('at a lost reply of any call the next attempt ends where an undisturbed one does', async () => {
    await apply();
    const [wanted, count] = [xmlOf(), service.calls.length];
    expect(count).toBeGreaterThan(6);
    const isChange = service.calls.map((call) => !call.startsWith('GET'));
    for (const fault of LONG ? (['before', 'after'] as const) : (['after'] as const)) {
      for (let nth = 1; nth <= count; nth++) {
        if (!LONG && !isChange[nth - 1]) continue;
        await undo();
        service.calls.length = 0;
        saved = nothingSaved(ID);
        // Three attempts of the SDK fail, so that the command does, and is run again.
        service.before = (_, call) => (call >= nth && call < nth + 3 ? fault : undefined);
        await apply().catch((error) => expect(error.code).toMatch(/^ERR_ATTACH_/));
        service.before = () => undefined;
        await apply();
        expect(xmlOf()).toBe(wanted);
        expect(saved.behaviours['*']?.before.viewerRequest).toBeNull();
      }
    }
  });

  test('an update between reading and writing is not overwritten', async () => {
    let edits = 0;
    service.before = (call) => {
      if (call === 'PUT distribution/config' && edits++ === 0) {
        service.edit(ID, (xml) => xml.replace('<Comment>theirs<', '<Comment>changed<'));
      }
      return undefined;
    };
    await apply();
    expect((await read()).Comment).toBe('changed');
    expect(xmlOf()).toContain(service.arn(NAME));
  });

  test('an update at every attempt is a conflict', async () => {
    service.before = (call) => {
      if (call === 'PUT distribution/config') service.edit(ID, (xml) => `${xml} `);
      return undefined;
    };
    await expect(apply()).rejects.toMatchObject({ code: 'ERR_ATTACH_CONFLICT' });
  });
});

describe('policies that are there', () => {
  const policies = (...ids: string[]) => ids.join('');
  const applied = async (request: string, ids = '<OriginRequestPolicyId>P-request</OriginRequestPolicyId>') => {
    service.addPolicy('origin-request-policy', 'P-request', request);
    service.addDistribution(
      ID,
      distribution(undefined, undefined, policies('<CachePolicyId>P-cache</CachePolicyId>', ids)),
    );
    return (await planAttachment(cloudFront, attachment()))[0];
  };

  test('all viewer headers stay, and those of CloudFront are added', async () => {
    await applied(REQUEST('allViewer'));
    await apply();
    const made = [...service.policies.values()].find(({ xml }) => xml.includes('portcullis-attach-'));
    expect(element(made?.xml ?? '', 'HeaderBehavior')).toBe('allViewerAndWhitelistCloudFront');
    expect(element(made?.xml ?? '', 'CookieBehavior')).toBe('all');
  });

  test('a list keeps what it has; over ten it is refused', async () => {
    expect((await applied(REQUEST('whitelist', 'CloudFront-Viewer-Country')))?.changes[1]?.adds).not.toContain(
      'cloudfront-viewer-country',
    );
    const full = await applied(REQUEST('whitelist', 'x-a', 'x-b'));
    expect(full?.obstacles).toEqual([expect.stringContaining('would have 11 headers')]);
    expect((await apply()).isChanged).toBe(false);
    expect(changing()).toEqual([]);
  });

  test('all but some headers cannot be added to', async () => {
    expect((await applied(REQUEST('allExcept', 'host')))?.obstacles).toEqual([
      expect.stringContaining('all headers but'),
    ]);
  });

  test.each([
    ['none', 86_400, ['_HLS_msn', '_HLS_part', '_HLS_skip']],
    ['all', 86_400, undefined],
    ['none', 0, undefined],
  ])('query %s, at most %i seconds: %j', async (queries, ttl, adds) => {
    service.addPolicy('cache-policy', 'P-cache', CACHE(queries, ttl));
    service.addDistribution(ID, distribution());
    const [plan] = await planAttachment(cloudFront, attachment());
    expect(plan?.changes.find(({ setting }) => setting === 'cachePolicy')?.adds).toEqual(adds);
  });

  test('pages may read the reason, where a policy says what they may read', async () => {
    service.addPolicy('response-headers-policy', 'P-response', CORS);
    const ids = '<CachePolicyId>P-cache</CachePolicyId><ResponseHeadersPolicyId>P-response</ResponseHeadersPolicyId>';
    service.addDistribution(ID, distribution(undefined, undefined, ids));
    const [plan] = await planAttachment(cloudFront, attachment());
    expect(plan?.changes.at(-1)).toMatchObject({ setting: 'responseHeadersPolicy', adds: ['x-portcullis-reason'] });
    await apply();
    await undo();
    expect((await read()).DefaultCacheBehavior?.ResponseHeadersPolicyId).toBe('P-response');
  });
});

test('the plan remarks on what is allowed and may surprise', async () => {
  const request =
    '<HeadersConfig><HeaderBehavior>whitelist</HeaderBehavior><Headers><Quantity>1</Quantity><Items><Name>CloudFront-Viewer-Country</Name></Items></Headers></HeadersConfig>';
  const splitting = CACHE('none').replace(/<HeadersConfig>.*?<\/HeadersConfig>/, request);
  service.addPolicy('cache-policy', 'P-cache', splitting);
  const open = distribution('<RealtimeLogConfigArn>arn:aws:kinesis:x</RealtimeLogConfigArn>')
    .replace('https-only', 'allow-all')
    .replace('<Method>OPTIONS</Method>', '<Method>POST</Method>');
  service.addDistribution(ID, open);
  const [plan] = await planAttachment(cloudFront, attachment());
  expect(plan?.remarks).toEqual([
    expect.stringContaining('it takes HTTP too'),
    expect.stringContaining('it refuses OPTIONS'),
    expect.stringContaining('real-time logs may hold tokens'),
    expect.stringContaining('fetched from the origin anew'),
    expect.stringContaining('apart by CloudFront-Viewer-Country'),
  ]);
});

describe('what cannot work', () => {
  const lambda = (event: string) =>
    `<LambdaFunctionAssociations><Quantity>1</Quantity><Items><LambdaFunctionAssociation><LambdaFunctionARN>arn:aws:lambda:us-east-1:1:function:auth:3</LambdaFunctionARN><EventType>${event}</EventType></LambdaFunctionAssociation></Items></LambdaFunctionAssociations>`;
  test.each([
    ['Lambda@Edge at viewer-request', lambda('viewer-request'), "Lambda@Edge 'auth'"],
    ['Lambda@Edge at viewer-response', lambda('viewer-response'), "Lambda@Edge 'auth'"],
    ['key groups', '<TrustedKeyGroups><Enabled>true</Enabled><Quantity>1</Quantity></TrustedKeyGroups>', 'signed URLs'],
    ['signers', '<TrustedSigners><Enabled>true</Enabled><Quantity>1</Quantity></TrustedSigners>', 'signed URLs'],
  ])('%s', async (_, inner, why) => {
    service.addDistribution(ID, distribution(inner));
    const { behaviours, isChanged } = await apply();
    expect([behaviours[0]?.obstacles, isChanged]).toEqual([[expect.stringContaining(why)], false]);
    expect(changing()).toEqual([]);
  });

  test('legacy cache settings', async () => {
    service.addDistribution(ID, distribution(undefined, undefined, '<MinTTL>0</MinTTL>'));
    expect((await apply()).behaviours[0]?.obstacles).toEqual([expect.stringContaining('legacy cache settings')]);
  });

  test('one behaviour of two: neither is changed', async () => {
    service.addDistribution(ID, distribution(undefined, lambda('viewer-request')));
    expect((await apply(['*', '/live/*'])).isChanged).toBe(false);
    expect(xmlOf()).not.toContain('CloudFront::Function');
    expect(changing()).toEqual([]);
  });

  test('Lambda@Edge at the origin is no hindrance', async () => {
    service.addDistribution(ID, distribution(lambda('origin-request') + none('FunctionAssociations')));
    expect((await apply()).isChanged).toBe(true);
    expect(xmlOf()).toContain('function:auth:3');
  });
});

describe('a function that is there', () => {
  const REDIRECT = `function handler(event) {
    var request = event.request;
    if (request.uri === '/old') return { statusCode: 301, headers: { location: { value: '/new' } } };
    return request;
  }`;
  const there = (code: string, stores: string[] = []) =>
    service.addDistribution(ID, distribution(associations(service.addFunction('their-redirect', code, stores))));
  const run = async (uri: string) => {
    const [, name = ''] = /function\/(portcullis-with-[^<]+)</.exec(xmlOf()) ?? [];
    const event = {
      version: '1.0',
      context: {},
      viewer: { ip: '203.0.113.7' },
      request: { method: 'GET', uri, headers: {}, querystring: {}, cookies: {} },
    };
    const [result] = await runInVm(service.functions.get(name)?.code ?? '', [event], { now: 1, store: new Map() });
    return result && 'value' in result ? (result.value as { statusCode?: number }).statusCode : undefined;
  };

  test('runs before ours, and comes back when it is undone', async () => {
    there(REDIRECT);
    expect((await apply()).behaviours[0]?.changes[0]).toMatchObject({ from: 'their-redirect' });
    expect([await run('/old'), await run('/title/a.mp4')]).toEqual([301, 401]);
    expect((await apply()).isChanged).toBe(false);
    await undo();
    expect(xmlOf()).toContain(service.arn('their-redirect'));
    expect([...service.functions.keys()]).toEqual([NAME, 'their-redirect']);
  });

  test('is composed once when it changes, and not upon itself', async () => {
    there(REDIRECT);
    await apply();
    const first = xmlOf();
    service.addFunction('their-redirect', REDIRECT.replace('/new', '/newer'));
    expect((await apply()).isChanged).toBe(true);
    expect(xmlOf()).not.toBe(first);
    await undo();
    expect(xmlOf()).toContain(service.arn('their-redirect'));
    expect([...service.functions.keys()]).toEqual([NAME, 'their-redirect']);
  });

  test.each([
    ['async', 'async function handler(event) { return event.request; }', 'asynchronous'],
    ['not in the dialect', 'function handler(event) { for (const a of []) {} return event.request; }', 'for-of'],
    ['without a handler', 'const x = 1;', 'no top-level handler'],
    [
      'that imports a file of this machine',
      `import x from '${packagePath('dist', 'edge', 'viewer-request.js')}'; function handler(event) { return x; }`,
      'imports what',
    ],
    [
      'that exports one',
      `export * from '/etc/hostname'; function handler(event) { return event.request; }`,
      'imports what',
    ],
    ['no JavaScript', 'function handler(', 'no top-level handler'],
    [
      'too large',
      `function handler(event) { if (event.request.uri === '${'x'.repeat(4000)}') return null; return event.request; }`,
      '10240',
    ],
    [
      'that signs',
      "import c from 'crypto'; function handler(event) { event.mintToken = c; return event.request; }",
      'mint',
    ],
  ])('%s: is refused', async (_, code, why) => {
    there(code);
    const { behaviours, isChanged } = await apply();
    expect([behaviours[0]?.obstacles, isChanged]).toEqual([[expect.stringContaining(why)], false]);
    expect(behaviours[0]?.obstacles.join()).not.toContain('/tmp/');
    expect(changing()).toEqual([]);
  });

  test('that is to be replaced does not run any more, and comes back when it is undone', async () => {
    there(REDIRECT);
    const replacing = { ...attachment(), replaces: 'their-redirect' };
    await applyAttachment(cloudFront, replacing, { ...running(), staging: false });
    expect(xmlOf()).toContain(service.arn(NAME));
    await undo();
    expect(xmlOf()).toContain(service.arn('their-redirect'));
  });

  test('with a KeyValueStore of its own: is refused', async () => {
    there(REDIRECT, ['arn:aws:cloudfront::123456789012:key-value-store/other']);
    expect((await apply()).behaviours[0]?.obstacles).toEqual([expect.stringContaining('KeyValueStore')]);
  });

  test('beside one of ours that was built otherwise: is refused', async () => {
    service.addFunction(NAME, `${OURS}// other`, [STORE]);
    there(REDIRECT);
    expect((await apply()).behaviours[0]?.obstacles).toEqual([expect.stringContaining('built otherwise')]);
  });

  test('that fails once composed is neither published nor associated', async () => {
    service.testError = 'TypeError';
    there(REDIRECT);
    await expect(apply()).rejects.toMatchObject({ code: 'ERR_ATTACH_IMPOSSIBLE' });
    expect([...service.functions.keys()]).toEqual([NAME, 'their-redirect']);
    expect(xmlOf()).toContain(service.arn('their-redirect'));
  });
});

describe('the API', () => {
  const api = { domainName: 'a1b2.execute-api.eu-central-1.amazonaws.com', secret: 'o'.repeat(48) };
  const withIt = (staging = false, secret = api.secret) =>
    applyAttachment(cloudFront, { ...attachment(), api: { ...api, secret } }, { ...running(), staging });
  const named = '<Name>portcullis-api</Name>';
  beforeEach(() => {
    service.addDistribution(ID, distribution());
    service.addPolicy('cache-policy', 'P-api-cache', named);
    service.addPolicy('origin-request-policy', 'P-api-request', named);
  });

  test('is before all other behaviours, with its secret, which is neither shown nor saved', async () => {
    const done = await withIt();
    expect(done.behaviours[0]).toMatchObject({
      pattern: '/v1/*',
      changes: [{ setting: 'origin', to: api.domainName }],
    });
    const { CacheBehaviors, Origins } = await read();
    expect(CacheBehaviors?.Items?.map(({ PathPattern }) => PathPattern)).toEqual(['/v1/*', '/live/*']);
    expect(CacheBehaviors?.Items?.[0]).toMatchObject({
      ViewerProtocolPolicy: 'https-only',
      CachePolicyId: 'P-api-cache',
      OriginRequestPolicyId: 'P-api-request',
    });
    expect(Origins?.Items?.[1]?.CustomHeaders?.Items).toEqual([
      { HeaderName: 'x-origin-secret', HeaderValue: api.secret },
    ]);
    expect(JSON.stringify([done, writes])).not.toContain(api.secret);
    expect((await withIt()).isChanged).toBe(false);
  });

  test('gets another secret when that was changed, and goes away when it is undone', async () => {
    const before = await read();
    await withIt();
    expect((await withIt(false, 'p'.repeat(48))).isChanged).toBe(true);
    expect(xmlOf()).not.toContain(api.secret);
    expect((await undo()).isChanged).toBe(true);
    expect(await read()).toEqual(before);
    expect((await undo()).isChanged).toBe(false);
  });

  test("leaves somebody else's behaviour at its origin alone, and the origin with it", async () => {
    const behaviours = () => read().then(({ CacheBehaviors }) => CacheBehaviors?.Items?.map((b) => b.PathPattern));
    const origins = () => read().then(({ Origins }) => Origins?.Items?.map(({ Id }) => Id));
    await withIt();
    service.edit(ID, (xml) => xml.replace(/(\/live\/\*.*?<TargetOriginId>)o</, '$1portcullis-api<'));
    await withIt(false, 'p'.repeat(48));
    expect([await behaviours(), await origins()]).toEqual([
      ['/v1/*', '/live/*'],
      ['o', 'portcullis-api'],
    ]);
    await undo();
    expect([await behaviours(), await origins()]).toEqual([['/live/*'], ['o', 'portcullis-api']]);
    expect((await undo()).isChanged).toBe(false);
  });

  test("does not take a path that is somebody else's", async () => {
    service.edit(ID, (xml) => xml.replace('/live/*', '/v1/*'));
    const { behaviours, isChanged } = await withIt();
    expect([behaviours[0]?.obstacles, isChanged]).toEqual([[expect.stringContaining("'/v1/*'")], false]);
    expect(changing()).toEqual([]);
  });

  test('without its policies it was not deployed', async () => {
    service.policies.delete('P-api-cache');
    await expect(withIt()).rejects.toMatchObject({ code: 'ERR_ATTACH_MISSING' });
  });

  test('is in a staging distribution when that is asked for', async () => {
    const { staging } = await withIt(true);
    expect(xmlOf(staging?.id)).toContain('/v1/*');
    expect(xmlOf()).not.toContain('/v1/*');
  });
});

describe('a staging distribution', () => {
  const STAGING = `${ID}STAGING`;
  beforeEach(() => service.addDistribution(ID, distribution()));

  test('has it alone, and marked requests go there', async () => {
    const { staging } = await apply([], true);
    expect(staging?.id).toBe(STAGING);
    expect(xmlOf(STAGING)).toContain(service.arn(NAME));
    expect(xmlOf()).not.toContain(service.arn(NAME));
    const policy = service.policies.get((await read()).ContinuousDeploymentPolicyId ?? '');
    expect(policy?.xml).toContain('<Header>aws-cf-cd-portcullis</Header>');
    expect((await apply([], true)).isChanged).toBe(false);
    expect(service.distributions.size).toBe(2);
  });

  test('goes away when it is undone, and when the distribution itself gets it', async () => {
    const before = await read();
    await apply([], true);
    await undo();
    expect([[...service.distributions.keys()], await read()]).toEqual([
      [ID],
      { ...before, ContinuousDeploymentPolicyId: '' },
    ]);
    saved = nothingSaved(ID);
    await apply([], true);
    await apply();
    expect([...service.distributions.keys()]).toEqual([ID]);
    expect(xmlOf()).toContain(service.arn(NAME));
    expect(saved.staging).toBeUndefined();
  });

  test("somebody else's is left alone", async () => {
    service.addPolicy('continuous-deployment-policy', 'P-theirs', '');
    service.edit(ID, (xml) => `${xml}<ContinuousDeploymentPolicyId>P-theirs</ContinuousDeploymentPolicyId>`);
    await expect(apply([], true)).rejects.toMatchObject({ code: 'ERR_ATTACH_IMPOSSIBLE' });
    expect(changing()).toEqual([]);
  });

  test('at a lost reply of any changing call the next attempt goes on', async () => {
    await apply([], true);
    const calls = [...service.calls];
    for (const [index, call] of calls.entries()) {
      if (call.startsWith('GET')) continue;
      await undo();
      saved = nothingSaved(ID);
      service.calls.length = 0;
      service.before = (_, nth) => (nth > index && nth <= index + 3 ? 'after' : undefined);
      await apply([], true).catch((error) => expect(error.code).toMatch(/^ERR_ATTACH_/));
      service.before = () => undefined;
      await apply([], true);
      expect(xmlOf(STAGING)).toContain(service.arn(NAME));
      expect(service.distributions.size).toBe(2);
    }
  });
});

describe('a file of what was there that somebody else wrote', () => {
  const refused = expect.objectContaining({
    code: 'ERR_ATTACH_SAVED',
    message: expect.stringContaining('not made here'),
  });

  test('has no distribution disabled or deleted that is no copy of this one', async () => {
    service.addDistribution(ID, distribution());
    service.addDistribution('E9THEIRS', distribution());
    const theirs = xmlOf('E9THEIRS');
    saved = { ...nothingSaved(ID), staging: { id: 'E9THEIRS' } };
    await expect(undo()).rejects.toEqual(refused);
    await expect(apply([], true)).rejects.toEqual(refused);
    await expect(apply()).rejects.toEqual(refused);
    expect([xmlOf('E9THEIRS'), changing()]).toEqual([theirs, []]);
  });

  test('has no continuous deployment policy detached or deleted that is of another copy', async () => {
    service.addDistribution(ID, distribution());
    const names =
      '<StagingDistributionDnsNames><Quantity>1</Quantity><Items><DnsName>theirs.example.com</DnsName></Items>';
    service.addPolicy('continuous-deployment-policy', 'P-theirs', `${names}</StagingDistributionDnsNames>`);
    service.edit(ID, (xml) => `${xml}<ContinuousDeploymentPolicyId>P-theirs</ContinuousDeploymentPolicyId>`);
    saved = { ...nothingSaved(ID), staging: { id: 'E9GONE', policy: 'P-theirs' } };
    await expect(undo()).rejects.toEqual(refused);
    await expect(apply([], true)).rejects.toEqual(refused);
    expect([changing(), service.policies.has('P-theirs')]).toEqual([[], true]);
  });

  test.each([
    ['function', 'their-function'],
    ['responseHeadersPolicy', 'P-theirs'],
  ] as const)('has no %s deleted that is not ours', async (kind, id) => {
    service.addDistribution(ID, distribution());
    service.addFunction('their-function', 'x');
    service.addPolicy('response-headers-policy', 'P-theirs', CORS);
    saved = { ...nothingSaved(ID), made: [{ kind, id }] };
    await expect(undo()).rejects.toEqual(refused);
    expect([service.functions.has('their-function'), service.policies.has('P-theirs')]).toEqual([true, true]);
  });
});

test.each([
  ['not JSON', 'x'],
  ['another form', '{"version":2}'],
  ["another distribution's", JSON.stringify(nothingSaved('E9'))],
])('a file of what was there that is %s is refused', (_, text) => {
  expect(() => parseSaved(text, ID)).toThrow(expect.objectContaining({ code: 'ERR_ATTACH_SAVED' }));
});
