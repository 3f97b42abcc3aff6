import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import type { EdgeVariant } from '../../edge-functions/build/bundle.ts';
import { type EdgeSettings, EdgeSettingsSchema } from '../../edge-functions/build/settings.ts';
import { runInNjs } from '../../edge-functions/runtime/njs.ts';
import type { EdgeRuntime, InvocationResult } from '../../edge-functions/runtime/runtime.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { FileKeyValueStore } from '../../edge-functions/store/file.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from '../../edge-functions/viewer-request/event.ts';
import type { Mode } from '../../edge-functions/viewer-request/settings.ts';
import { mint } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { builtFunction } from '../harness/edge.ts';
import { NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';
import { describeWith } from '../harness/programs.ts';
import { temporaryDirectory } from '../harness/stack.ts';

const build = (settings: Partial<EdgeSettings> = {}, variant: EdgeVariant = 'store') =>
  builtFunction(variant, v.parse(EdgeSettingsSchema, settings), { k1: TEST_KEY });

const PATH = '/aurora/360p/segment-001.m4s';
const TOKEN = mint(TEST_CLAIMS, TEST_KEY, TEST_VIEWING, nodeCrypto);
const GOOD = `/${TOKEN}${PATH}`;
const FORGED = `/${TOKEN.slice(0, -1)}${TOKEN.endsWith('A') ? 'B' : 'A'}${PATH}`;

function eventOf(uri: string, headers: Record<string, string> = {}, method = 'GET'): ViewerRequestEvent {
  const fields = Object.entries(headers).map(([name, value]) => [name, { value }]);
  return {
    version: '1.0',
    context: { distributionDomainName: 'd', distributionId: 'E', eventType: 'viewer-request', requestId: 'r' },
    viewer: { ip: '203.0.113.7' },
    request: { method, uri, querystring: {}, headers: Object.fromEntries(fields), cookies: {} },
  };
}

/** An edge store as its one writer leaves it after these commands. */
async function storeAfter(commands: (store: EdgeStore) => Promise<unknown>): Promise<Map<string, string>> {
  const file = await FileKeyValueStore.open(`${temporaryDirectory()}/store.json`);
  const store = new EdgeStore(file);
  await store.replaceKeys(async () => ({ k1: TEST_KEY }));
  await commands(store);
  return new Map((await file.list()).entries);
}
const revoke = (store: EdgeStore) =>
  store.changeRevocations(async () => ({ sessions: new Map([[TEST_CLAIMS.sid, true]]), assets: new Map() }));
const withMode = (mode: Mode, prefix = '/aurora/') => storeAfter((store) => store.setMode(prefix, mode));

/** `pass <uri>` or `<status> <reason>`. */
function outcome(result: InvocationResult | undefined): string {
  if (!result || !('value' in result)) return `error ${result?.error}`;
  const { uri, statusCode, headers } = result.value as EdgeRequest & EdgeResponse;
  return statusCode ? `${statusCode} ${headers['x-portcullis-reason']?.value ?? ''}` : `pass ${uri}`;
}

function suite(run: EdgeRuntime): void {
  const outcomes = async (code: string, events: ViewerRequestEvent[], store: Map<string, string>) =>
    (await run(code, events, { now: NOW, store })).map(outcome);

  test('enforce denies and logs, log only logs, off does neither', async () => {
    const { code } = await build();
    const events = [eventOf(GOOD), eventOf(FORGED), eventOf(PATH)];
    const enforced = await run(code, events, { now: NOW, store: await withMode('enforce') });
    expect(enforced.map(outcome)).toEqual([`pass ${PATH}`, '401 token-signature-invalid', '401 token-missing']);
    const log = ['allowed', 'token-signature-invalid', 'token-missing'];
    const lines = log.map((reason) => `${reason === 'token-missing' ? '-' : TEST_CLAIMS.sid},${reason},${PATH}`);
    expect(enforced.map((result) => result.log)).toEqual(lines);
    const logged = await run(code, events, { now: NOW, store: await withMode('log') });
    expect(logged.map(outcome)).toEqual([`pass ${PATH}`, `pass ${PATH}`, `pass ${PATH}`]);
    expect(logged.map((result) => result.log)).toEqual(lines);
    const off = await run(code, events, { now: NOW, store: await withMode('off') });
    expect(off.map(outcome)).toEqual([`pass ${PATH}`, `pass ${PATH}`, `pass ${PATH}`]);
    expect(off.map((result) => result.log)).toEqual([undefined, undefined, undefined]);
  });

  test('a mode is that of the longest prefix of the canonical path', async () => {
    const { code } = await build({ mode: 'off' });
    const store = await storeAfter(async (edge) => {
      await edge.setMode('/aurora/', 'enforce');
      await edge.setMode('/aurora/trailer/', 'off');
    });
    const paths = [
      '/aurora/x',
      '/aurora/trailer/x',
      '/auroral/x',
      '/a%75rora/x',
      '/a%75rora/tr%61iler/x',
      '/harbour/x',
    ];
    expect(
      await outcomes(
        code,
        paths.map((path) => eventOf(path)),
        store,
      ),
    ).toEqual([
      '401 token-missing',
      'pass /aurora/trailer/x',
      'pass /auroral/x',
      '401 token-missing',
      'pass /a%75rora/tr%61iler/x',
      'pass /harbour/x',
    ]);
  });

  test('every mode strips what looks like a token and refuses an unsafe path', async () => {
    const { code } = await build();
    const compact = `/${TOKEN.slice(TOKEN.indexOf('.') + 1)}${PATH}`;
    const elsewhere = `/aurora/${TOKEN}/x`;
    const expired = `/${mint({ ...TEST_CLAIMS, iat: 1, sst: 1, exp: 2 }, TEST_KEY, TEST_VIEWING, nodeCrypto)}${PATH}`;
    const unsafe = [`/${TOKEN}/aurora/../x`, '/aurora/%2e%2e/x', `/${TOKEN.slice(0, -9)}/aurora//x`];
    for (const mode of ['off', 'log'] as const) {
      const store = await withMode(mode, '/');
      const passed = await outcomes(
        code,
        [compact, elsewhere, expired].map((uri) => eventOf(uri)),
        store,
      );
      // Elsewhere it stays: whoever takes a segment out of a path chooses another path.
      expect(passed).toEqual([`pass ${PATH}`, `pass ${elsewhere}`, `pass ${PATH}`]);
      const refused = await outcomes(
        code,
        unsafe.map((uri) => eventOf(uri)),
        store,
      );
      expect(refused).toEqual(unsafe.map(() => '403 path-unsafe'));
    }
  });

  test('nobody has a segment taken out of a path without a token', async () => {
    const shaped = `eyA.${'a'.repeat(130)}.b`;
    const uris = [
      `/aurora/${'b'.repeat(60)}.${'c'.repeat(60)}.x/y`,
      `/show/${'x'.repeat(140)}/eyewitness.s01e01.m3u8`,
      `/a/${shaped}/private/x`,
    ];
    for (const settings of [{ mode: 'off' }, { mode: 'log' }, { legacyUserAgents: ['Old'] }] as const) {
      const { code } = await build(settings as Partial<EdgeSettings>);
      const events = uris.map((uri) => eventOf(uri, { 'user-agent': 'Old' }));
      expect(await outcomes(code, events, new Map())).toEqual(uris.map((uri) => `pass ${uri}`));
    }
  });

  test('text that is not ASCII beside what looks like a token is answered', async () => {
    const shaped = TOKEN.slice(TOKEN.indexOf('.') + 1);
    const uris = [
      `//aurora/x${shaped}\u7e7b\uc4c7${shaped}`,
      `/aurora/${TOKEN}\u7e7b/x`,
      `/aurora/%41\u7e7b/${TOKEN}/%42`,
      `/\u7e7b%41%42`,
    ];
    const { code } = await build();
    for (const mode of ['off', 'log', 'enforce'] as const) {
      const reasons = (
        await outcomes(
          code,
          uris.map((uri) => eventOf(uri)),
          await withMode(mode, '/'),
        )
      ).map((text) => text.slice(0, 3));
      expect(
        reasons.every((status) => status === '401' || status === '403'),
        `${mode}: ${reasons}`,
      ).toBe(true);
    }
    const bound = mint({ ...TEST_CLAIMS, bnd: ['ip'] }, TEST_KEY, TEST_VIEWING, nodeCrypto);
    const event = { ...eventOf(`/${bound}${PATH}`), viewer: { ip: 'a::\u7e7b:1::\uc4c7' } };
    expect(await outcomes(code, [event], await withMode('enforce'))).toEqual(['403 binding-missing']);
  });

  test('a refusal is logged as what it is refused for', async () => {
    const { code } = await build();
    const [result] = await run(code, [eventOf('/aurora//x')], { now: NOW, store: await withMode('log', '/') });
    expect([outcome(result), result?.log]).toEqual(['403 path-unsafe', '-,path-unsafe,/aurora//x']);
  });

  test('a session is logged only when it is proven', async () => {
    const { code } = await build();
    const store = await storeAfter(async () => undefined);
    const [result] = await run(code, [eventOf(FORGED)], { now: NOW, store, unreadable: ['r/'] });
    expect([outcome(result), result?.log]).toEqual(['403 store-unavailable', `-,store-unavailable,${PATH}`]);
  });

  test('a damaged key or mode keeps no revocation back', async () => {
    const file = await FileKeyValueStore.open(`${temporaryDirectory()}/store.json`);
    const { etag } = await file.list();
    const puts = [
      { key: 'k/k1', value: 'not JSON' },
      { key: 'modes', value: '{' },
    ];
    await file.update({ puts, deletes: [] }, etag);
    const edge = new EdgeStore(file);
    await revoke(edge);
    expect([...(await file.list()).entries.keys()]).toContain(`r/${TEST_CLAIMS.sid}`);
  });

  test('a revoked asset is 451 whatever its blocks say, a session that began before the cut-off 403', async () => {
    const { code } = await build();
    const outcomesAfter = async (commands: (edge: EdgeStore) => Promise<unknown>) =>
      outcomes(code, [eventOf(GOOD)], await storeAfter(commands));
    const revokeAsset = (edge: EdgeStore, revoked: boolean) =>
      edge.changeRevocations(async () => ({ sessions: new Map(), assets: new Map([[TEST_CLAIMS.aid, revoked]]) }));
    const cutOff = (before: number) => (edge: EdgeStore) =>
      edge.changeRevocations(async () => ({ sessions: new Map(), assets: new Map(), before }));
    expect(await outcomesAfter((edge) => revokeAsset(edge, true))).toEqual(['451 asset-withdrawn']);
    const beside = async (edge: EdgeStore) => {
      await edge.blockAsset(TEST_CLAIMS.aid, [{ countries: ['GB'], until: 1 }]);
      await revokeAsset(edge, true);
    };
    expect(await outcomesAfter(beside)).toEqual(['451 asset-withdrawn']);
    const restored = async (edge: EdgeStore) => {
      await beside(edge);
      await revokeAsset(edge, false);
    };
    expect(await outcomesAfter(restored)).toEqual([`pass ${PATH}`]);
    expect(await outcomesAfter(cutOff(TEST_CLAIMS.sst))).toEqual([`pass ${PATH}`]);
    expect(await outcomesAfter(cutOff(TEST_CLAIMS.sst + 1))).toEqual(['403 session-cutoff']);
    expect(await outcomesAfter(async (edge) => cutOff(0)(edge))).toEqual([`pass ${PATH}`]);
  });

  test('a cut-off that is no number denies', async () => {
    const { code } = await build();
    const store = new Map([['k/k1', JSON.stringify({ sign: TEST_KEY.sign, bind: TEST_KEY.bind, before: null })]]);
    expect(await outcomes(code, [eventOf(GOOD)], store)).toEqual(['403 session-cutoff']);
  });

  test('a mode does not depend on whether the token can be read', async () => {
    const { code } = await build();
    const unknownKey = mint(TEST_CLAIMS, { ...TEST_KEY, kid: 'k9' }, TEST_VIEWING, nodeCrypto);
    const events = [eventOf(`/${unknownKey}${PATH}`), eventOf('/'), eventOf('/favicon.ico')];
    expect(await outcomes(code, events, await withMode('log', '/'))).toEqual([
      `pass ${PATH}`,
      'pass /',
      'pass /favicon.ico',
    ]);
  });

  test('a line of the log has at most 800 bytes and no token, whatever was asked for', async () => {
    const { code } = await build();
    const long = `/aurora/${'x/'.repeat(3000)}`;
    const uris = [
      `/${TOKEN}${long}`,
      long,
      `/aurora/${'\u{1f332}'.repeat(2000)}`,
      `/${'é'.repeat(3000)}`,
      `/aurora/${TOKEN}/x`,
    ];
    const store = await withMode('log', '/');
    const results = await run(
      code,
      uris.map((uri) => eventOf(uri)),
      { now: NOW, store },
    );
    for (const { log = '' } of results) {
      expect(Buffer.byteLength(log)).toBeLessThanOrEqual(800);
      expect(log.split(',').length).toBeGreaterThanOrEqual(3);
      expect(log).not.toContain('eyJ');
    }
  });

  test('two reads at most, four with asset blocks about', async () => {
    const { code } = await build();
    const reads = async (uri: string, store: Map<string, string>) =>
      (await run(code, [eventOf(uri)], { now: NOW, store }))[0]?.reads;
    const plain = await withMode('enforce');
    expect(await Promise.all([GOOD, FORGED, PATH, '/x.y/z'].map((uri) => reads(uri, plain)))).toEqual([2, 2, 1, 1]);
    expect(await reads(`/${TOKEN}/aurora/../x`, plain)).toBe(1);
    expect(await reads(GOOD, await storeAfter((edge) => edge.blockAsset('harbour', [{}])))).toBe(3);
    expect(await reads(GOOD, await storeAfter((edge) => edge.blockAsset('aurora', [{ until: 1 }])))).toBe(4);
  });

  test('blocks are flagged with the keys, and the flag goes with the last block', async () => {
    const { code } = await build();
    const blocked = await storeAfter((edge) => edge.blockAsset('aurora', [{ countries: ['DE'] }]));
    const german = eventOf(GOOD, { 'cloudfront-viewer-country': 'DE' });
    const french = eventOf(GOOD, { 'cloudfront-viewer-country': 'FR' });
    expect(await outcomes(code, [german, french], blocked)).toEqual(['451 asset-withdrawn', `pass ${PATH}`]);
    const lifted = await storeAfter(async (edge) => {
      await edge.blockAsset('aurora', [{}]);
      await edge.blockAsset('aurora', []);
    });
    expect(await outcomes(code, [german], lifted)).toEqual([`pass ${PATH}`]);
    expect([...lifted.keys()]).toEqual(['k/k1']);
  });

  test('a key that is put later knows modes and blocks too', async () => {
    const { code } = await build();
    const store = await storeAfter(async (edge) => {
      await edge.setMode('/aurora/', 'log');
      await edge.replaceKeys(async () => ({ k1: TEST_KEY, k2: TEST_KEY }));
    });
    const token = mint(
      { ...TEST_CLAIMS, exp: NOW - 1, iat: NOW - 9, sst: 0 },
      { ...TEST_KEY, kid: 'k2' },
      TEST_VIEWING,
      nodeCrypto,
    );
    expect(await outcomes(code, [eventOf(`/${token}${PATH}`)], store)).toEqual([`pass ${PATH}`]);
  });

  test.each([
    ['deny', 'k/', '401 token-key-unknown'],
    ['deny', 'r/', '403 store-unavailable'],
    ['deny', 'a/', '403 store-unavailable'],
    ['deny', 'modes', `pass ${PATH}`],
    ['allow', 'k/', '401 token-key-unknown'],
    ['allow', 'r/', `pass ${PATH}`],
    ['allow', 'a/', `pass ${PATH}`],
  ] as const)('unreadableStore %s, when %s cannot be read: %s', async (unreadableStore, prefix, expected) => {
    const { code } = await build({ unreadableStore });
    const store = await storeAfter((edge) => edge.blockAsset('aurora', [{ until: 1 }]));
    const results = await run(code, [eventOf(GOOD)], { now: NOW, store, unreadable: [prefix] });
    expect(results.map(outcome)).toEqual([expected]);
  });

  test('a store that cannot be read leaves the mode that is built in', async () => {
    const events = [eventOf(GOOD), eventOf(PATH)];
    const store = await withMode('enforce', '/');
    const { code } = await build({ mode: 'log' });
    const answers = await run(code, events, { now: NOW, store, unreadable: [''] });
    expect(answers.map(outcome)).toEqual([`pass ${PATH}`, `pass ${PATH}`]);
    expect(answers.map(({ log }) => log?.split(',')[1])).toEqual(['token-key-unknown', 'token-missing']);
    const strict = await run((await build()).code, events, {
      now: NOW,
      store: await withMode('off', '/'),
      unreadable: [''],
    });
    expect(strict.map(outcome)).toEqual(['401 token-key-unknown', '401 token-missing']);
  });

  test('listed user-agents pass without a token, not with a bad one', async () => {
    const { code } = await build({ legacyUserAgents: ['OldTV/1.', 'Kiosk'] });
    const store = await storeAfter(revoke);
    const agent = { 'user-agent': 'OldTV/1.7 (x)' };
    const events = [
      eventOf(PATH, agent),
      eventOf(PATH, { 'user-agent': 'Kiosk' }),
      eventOf(PATH, { 'user-agent': 'Not OldTV/1.7' }),
      eventOf(PATH),
      eventOf(FORGED, agent),
      eventOf(GOOD, agent),
      eventOf('/aurora/../x', agent),
    ];
    expect(await outcomes(code, events, store)).toEqual([
      `pass ${PATH}`,
      `pass ${PATH}`,
      '401 token-missing',
      '401 token-missing',
      '401 token-signature-invalid',
      '403 session-revoked',
      '403 path-unsafe',
    ]);
  });

  test('the token stands where the configuration says, and the path keeps what is before it', async () => {
    const { code } = await build({ tokenPosition: '/live/eu/~TOKEN' });
    const store = await storeAfter(async () => undefined);
    const token = mint({ ...TEST_CLAIMS, paths: ['/live/eu/ch1/'] }, TEST_KEY, TEST_VIEWING, nodeCrypto);
    const uris = [
      `/live/eu/${token}/ch1/x`,
      `/live/eu/${token}/ch2/x`,
      `/${token}/live/eu/ch1/x`,
      `/live/${token}/eu/ch1/x`,
      '/live/eu/ch1/x',
    ];
    expect(
      await outcomes(
        code,
        uris.map((uri) => eventOf(uri)),
        store,
      ),
    ).toEqual([
      'pass /live/eu/ch1/x',
      '403 path-not-allowed',
      '401 token-malformed',
      '401 token-malformed',
      '401 token-missing',
    ]);
  });

  test('HEAD is answered like GET, a preflight without a token', async () => {
    const { code } = await build({ allowedOrigins: ['https://play.example.com'] });
    const store = await storeAfter(revoke);
    const [get, head] = await run(code, [eventOf(GOOD), eventOf(GOOD, {}, 'HEAD')], { now: NOW, store });
    expect(head).toEqual(get);
    const ask = { origin: 'https://play.example.com', 'access-control-request-method': 'GET' };
    const [asked, foreign] = await run(
      code,
      [eventOf(PATH, ask, 'OPTIONS'), eventOf(PATH, { ...ask, origin: 'https://evil.example' }, 'OPTIONS')],
      { now: NOW, store },
    );
    const headersOf = (result: InvocationResult | undefined) =>
      (result as { value: EdgeResponse }).value.headers['access-control-allow-origin']?.value;
    expect([headersOf(asked), headersOf(foreign)]).toEqual(['https://play.example.com', undefined]);
  });

  test('the embedded variant has the mode that is built in', async () => {
    const { code } = await build({ mode: 'log' }, 'embedded');
    const results = await run(code, [eventOf(GOOD), eventOf(PATH)], { now: NOW, store: new Map() });
    expect(results.map(outcome)).toEqual([`pass ${PATH}`, `pass ${PATH}`]);
    expect(results.map(({ log }) => log)).toEqual([`${TEST_CLAIMS.sid},allowed,${PATH}`, `-,token-missing,${PATH}`]);
  });
}

describe('modes, blocks and settings of the built function in node:vm', () => suite(runInVm));
describeWith('njs', 'modes, blocks and settings of the built function in njs', () => suite(runInNjs));

test('a mode needs a prefix that can match', async () => {
  for (const prefix of ['', 'live/', '/live', '/live/../', '//', '/l%69ve/']) {
    await expect(withMode('log', prefix)).rejects.toMatchObject({ code: 'ERR_STORE_COMMAND' });
  }
});

test('more modes than an entry of the store holds are refused, and nothing is changed', async () => {
  const store = storeAfter(async (edge) => {
    for (let i = 0; i < 60; i++) await edge.setMode(`/a-rather-long-prefix-${i}/`, 'log');
  });
  await expect(store).rejects.toMatchObject({ code: 'ERR_STORE_LIMIT' });
});
