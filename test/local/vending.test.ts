import { beforeAll, describe, expect, test } from 'vitest';
import { ROLES } from '../../token-api/http/authorize.ts';
import { type ApiCall, callApi } from '../harness/api.ts';
import { laterThan, rawRequest, requestPlayback, revocation, useStack } from '../harness/stack.ts';

const stack = useStack();

const call = (method: string, path: string, options?: ApiCall) => callApi(stack, method, path, options);
const renew = (token: string, options: ApiCall = {}) =>
  call('POST', '/v1/tokens/renewal', { ...options, body: { token, ...(options.body as object) } });
/** What the edge answers to a request for a playback URL. */
const opened = async (url: string, headers: Record<string, string> = {}, from = '127.0.0.1') => {
  const path = url.slice(new URL(url).origin.length);
  const answer = await rawRequest(stack.edge, path, { headers, localAddress: from });
  return [answer.status, answer.headers['x-portcullis-reason'] ?? ''];
};
const BERLIN = { ip: '127.0.0.1', country: 'DE', region: 'BE', city: 'Berlin', asn: '3320', userAgent: 'Player/1.0' };

/** A token for a viewer in Berlin, minted by a backend. */
const mintFor = (asset: string, viewer: object, more: object = {}) =>
  call('POST', '/v1/tokens', { role: 'backend', direct: true, body: { asset, viewer, ...more } });
const put = (path: string, body: object) => call('PUT', path, { role: 'backend', body });
const code = ({ status, body }: { status: number; body: { code?: string } }) => [status, body?.code];

describe('the catalogue', () => {
  test('an asset refers to a policy, is played by it, and both can be read and taken out', async () => {
    const policy = await put('/v1/policies/binding', { lifetime: 'PT10M', bindings: ['country', 'user-agent'] });
    expect([policy.status, policy.body]).toEqual([
      201,
      { id: 'binding', policy: { lifetime: 'PT10M', bindings: ['country', 'user-agent'] } },
    ]);
    expect((await put('/v1/policies/binding', policy.body.policy)).status).toBe(200);
    const asset = await put('/v1/assets/bound', { title: 'Bound', path: '/aurora/master.m3u8', policy: 'binding' });
    const expected = { id: 'bound', title: 'Bound', path: '/aurora/master.m3u8', policy: 'binding' };
    expect([asset.status, asset.body]).toEqual([201, expected]);
    expect((await put('/v1/assets/bound', { ...expected, id: undefined })).status).toBe(200);
    for (const role of ROLES) {
      expect((await call('GET', '/v1/assets/bound', { role })).body).toEqual(expected);
      const { body } = await call('GET', '/v1/assets', { role });
      expect(body.assets.map(({ id }: { id: string }) => id)).toEqual(['aurora', 'bound', 'harbour']);
    }
    const { body: listed } = await call('GET', '/v1/policies', { role: 'security' });
    expect(listed.policies.map(({ id }: { id: string }) => id)).toEqual(['binding', 'vod-2h']);
    expect((await call('GET', '/v1/policies/binding', { role: 'backend' })).body).toEqual(policy.body);

    const { playbackUrl } = (await call('POST', '/v1/playback', { body: { asset: 'bound' } })).body;
    expect(await opened(playbackUrl, { 'user-agent': 'Player/1.0' })).toEqual([200, '']);
    expect(await opened(playbackUrl, { 'user-agent': 'Other/2' })).toEqual([403, 'binding-mismatch']);
    // Straight to the API nothing is known of the viewer, whatever it says.
    const claimed = { 'cloudfront-viewer-country': 'DE', 'x-origin-secret': 'guess' };
    const direct = await call('POST', '/v1/playback', { body: { asset: 'bound' }, direct: true, headers: claimed });
    expect(code(direct)).toEqual([422, 'ERR_TOKEN_BINDING_MISSING']);

    const inUse = await call('DELETE', '/v1/policies/binding', { role: 'backend' });
    expect([code(inUse), inUse.body.detail]).toEqual([[409, 'ERR_POLICY_IN_USE'], expect.stringContaining('bound')]);
    expect((await call('DELETE', '/v1/assets/bound', { role: 'backend' })).status).toBe(204);
    expect((await call('DELETE', '/v1/policies/binding', { role: 'backend' })).status).toBe(204);
    expect(code(await call('DELETE', '/v1/assets/bound', { role: 'backend' }))).toEqual([404, 'ERR_ASSET_UNKNOWN']);
    expect(code(await call('DELETE', '/v1/policies/binding', { role: 'backend' }))).toEqual([
      404,
      'ERR_POLICY_UNKNOWN',
    ]);
    expect(code(await call('GET', '/v1/assets/bound'))).toEqual([404, 'ERR_ASSET_UNKNOWN']);
    expect(code(await call('GET', '/v1/policies/binding', { role: 'backend' }))).toEqual([404, 'ERR_POLICY_UNKNOWN']);
  });

  test.each([
    ['a policy nobody knows', 422, 'ERR_POLICY_UNKNOWN', { path: '/aurora/master.m3u8', policy: 'none' }],
    ['an embedded policy', 400, 'ERR_BODY_INVALID', { path: '/aurora/master.m3u8', policy: { lifetime: 'PT1H' } }],
    ['a path that is none', 400, 'ERR_BODY_INVALID', { path: 'aurora', policy: 'vod-2h' }],
    ['dot segments', 400, 'ERR_BODY_INVALID', { path: '/aurora/../x', policy: 'vod-2h' }],
    ['a query', 400, 'ERR_BODY_INVALID', { path: '/aurora/x?y', policy: 'vod-2h' }],
    ['a path at the root', 422, 'ERR_POLICY_FIELD_MISSING', { path: '/master.m3u8', policy: 'vod-2h' }],
    ['no policy', 400, 'ERR_BODY_INVALID', { path: '/aurora/master.m3u8' }],
    ['a member nobody knows', 400, 'ERR_BODY_INVALID', { path: '/aurora/x', policy: 'vod-2h', bindings: [] }],
  ])('an asset with %s is refused', async (_, status, expected, body) => {
    expect(code(await put('/v1/assets/wrong', body))).toEqual([status, expected]);
    expect((await call('GET', '/v1/assets/wrong')).status).toBe(404);
  });

  test.each([
    [{ lifetime: 'soon' }, 422],
    [{ lifetime: 'P2D' }, 422],
    [{ lifetime: 'PT1H', bindings: ['shoe-size'] }, 422],
    [{ lifetime: 'PT1H', asset: 'aurora' }, 422],
    [[], 422],
    ['PT1H', 400],
  ])('a policy %j is refused when it is stored', async (policy, status) => {
    const answer = await put('/v1/policies/wrong', policy as object);
    expect([answer.status, answer.body.code]).toEqual([status, expect.stringMatching(/^ERR_(?:POLICY|BODY)_/)]);
    expect((await call('GET', '/v1/policies/wrong', { role: 'backend' })).status).toBe(404);
  });

  test.each(['/v1/assets/', '/v1/policies/'])('%s takes no id that would be odd in a URL', async (path) => {
    for (const id of ['.x', 'a%20b', 'a%2Fb', '%C3%BC', 'x'.repeat(129)]) {
      const body = { path: '/aurora/x', policy: 'vod-2h' };
      expect(code(await put(path + id, body))).toEqual([400, 'ERR_ID_INVALID']);
    }
  });

  test('lists come in pages', async () => {
    const first = await call('GET', '/v1/assets?limit=1');
    expect([first.body.assets.length, typeof first.body.next]).toEqual([1, 'string']);
    const second = await call('GET', `/v1/assets?limit=1000&cursor=${first.body.next}`);
    const ids = [...first.body.assets, ...second.body.assets].map(({ id }) => id);
    expect([ids.sort(), second.body.next]).toEqual([['aurora', 'harbour'], undefined]);
    for (const limit of ['0', '1001', '-1', 'ten', '1e3', '', '5&limit=6']) {
      expect(code(await call('GET', `/v1/assets?limit=${limit}`))).toEqual([400, 'ERR_QUERY_INVALID']);
    }
    for (const path of ['/v1/policies', '/v1/sessions']) {
      const foreign = await call('GET', `${path}?cursor=${first.body.next}`, { role: 'security' });
      expect(code(foreign)).toEqual([400, 'ERR_CURSOR_INVALID']);
    }
  });
});

describe('POST /v1/tokens', () => {
  beforeAll(async () => {
    await put('/v1/policies/strict', { lifetime: 'PT10M', bindings: ['country', 'asn', 'user-agent', 'header:x-app'] });
    await put('/v1/assets/strict', { path: '/aurora/master.m3u8', policy: 'strict' });
  });
  const viewer = { ...BERLIN, headers: { 'x-app': '7' }, subject: 'viewer-1' };

  test('mints for the viewer in the body, whoever asks from wherever', async () => {
    const { status, body, headers } = await mintFor('strict', viewer);
    expect([status, headers['cache-control']]).toEqual([200, 'no-store']);
    expect(body).toEqual({
      token: expect.stringMatching(/^[A-Za-z0-9]{12}\./),
      playbackUrl: `${stack.edge}/${body.token}/aurora/master.m3u8`,
      sessionId: body.token.slice(0, 12),
      expiresAt: expect.any(Number),
    });
    expect(await opened(body.playbackUrl, { 'user-agent': 'Player/1.0', 'x-app': '7' })).toEqual([200, '']);
    const inspected = JSON.parse(Buffer.from(body.token.split('.')[2], 'base64url').toString());
    expect(inspected).toMatchObject({ aid: 'strict', sub: 'viewer-1', paths: ['/aurora/'] });
  });

  test('takes a playback URL within what the policy opens, and no other', async () => {
    const url = 'https://cdn.example.com/aurora/360p/index.m3u8';
    const { body } = await mintFor('aurora', {}, { url });
    expect(body.playbackUrl).toBe(`https://cdn.example.com/${body.token}/aurora/360p/index.m3u8`);
    for (const [other, expected] of [
      ['https://cdn.example.com/harbour/master.m3u8', 'ERR_URL_OUT_OF_SCOPE'],
      ['ftp://cdn.example.com/aurora/master.m3u8', 'ERR_URL_INVALID'],
      [body.playbackUrl, 'ERR_URL_INVALID'],
    ]) {
      expect(code(await mintFor('aurora', {}, { url: other }))).toEqual([422, expected]);
    }
  });

  test.each([
    ['an unknown asset', 404, 'ERR_ASSET_UNKNOWN', { asset: 'none', viewer: {} }],
    ['no viewer', 400, 'ERR_BODY_INVALID', { asset: 'aurora' }],
    ['an attribute that is none', 400, 'ERR_BODY_INVALID', { asset: 'aurora', viewer: { shoe: 42 } }],
    ['a policy of its own', 400, 'ERR_BODY_INVALID', { asset: 'aurora', viewer: {}, policy: { lifetime: 'P1D' } }],
    ['a value missing', 422, 'ERR_TOKEN_BINDING_MISSING', { asset: 'strict', viewer: { country: 'DE' } }],
  ])('%s', async (_, status, expected, body) => {
    expect(code(await call('POST', '/v1/tokens', { role: 'backend', body }))).toEqual([status, expected]);
  });
});

describe('renewal', () => {
  test('of a playback URL: the same session, a later expiry, and it opens', async () => {
    const first = await requestPlayback(stack);
    await laterThan(Date.now() / 1000);
    const { status, body, headers } = await renew(first.playbackUrl);
    expect([status, headers['cache-control']]).toEqual([200, 'no-store']);
    expect(Object.keys(body).sort()).toEqual(['expiresAt', 'playbackUrl', 'sessionId', 'token']);
    expect(body.sessionId).toBe(first.sessionId);
    expect(body.expiresAt).toBeGreaterThan(first.expiresAt);
    expect(body.playbackUrl).not.toBe(first.playbackUrl);
    expect(await opened(body.playbackUrl)).toEqual([200, '']);
    // Unless the next second began between the two.
    const twice = async () => code(await renew((await renew(first.playbackUrl)).body.token, { role: 'backend' }));
    await expect.poll(twice).toEqual([409, 'ERR_RENEWAL_NOT_LATER']);
  });

  test('of a token alone leads to where its asset lies now', async () => {
    const { token, sessionId } = (await mintFor('harbour', { subject: 'local-player' })).body;
    await laterThan(Date.now() / 1000);
    const { body } = await renew(token);
    expect(body).toMatchObject({ sessionId, playbackUrl: `${stack.edge}/${body.token}/harbour/master.m3u8` });
  });

  test('by a player: only where it is, and only of its own', async () => {
    const viewer = { ...BERLIN, headers: { 'x-app': '7' }, subject: 'local-player' };
    const { playbackUrl } = (await mintFor('strict', viewer)).body;
    await laterThan(Date.now() / 1000);
    const refused = async (options: ApiCall, status: number, reason: string) => {
      const answer = await renew(playbackUrl, options);
      expect([code(answer), answer.body.reason]).toEqual([[status, 'ERR_TOKEN_REFUSED'], reason]);
    };
    await refused({ headers: { 'x-app': '7' }, from: '127.0.0.2' }, 403, 'binding-mismatch');
    await refused({ headers: { 'x-app': '8' } }, 403, 'binding-mismatch');
    await refused({}, 403, 'binding-missing');
    // Past the edge, with everything that it would add but its secret.
    const claimed = { 'x-app': '7', 'cloudfront-viewer-country': 'DE', 'cloudfront-viewer-asn': '3320' };
    await refused({ direct: true, headers: claimed }, 403, 'binding-missing');
    await refused({ direct: true, headers: { ...claimed, 'x-origin-secret': 'guess' } }, 403, 'binding-missing');
    const { status, body } = await renew(playbackUrl, { headers: { 'x-app': '7' } });
    expect(status).toBe(200);
    expect(await opened(body.playbackUrl, { 'user-agent': 'Player/1.0', 'x-app': '7' })).toEqual([200, '']);
    expect(await opened(body.playbackUrl, { 'user-agent': 'Other/2', 'x-app': '7' })).toEqual([
      403,
      'binding-mismatch',
    ]);

    for (const subject of ['somebody', undefined]) {
      const other = (await mintFor('strict', { ...viewer, subject })).body;
      const answer = await renew(other.playbackUrl, { headers: { 'x-app': '7' } });
      expect(code(answer)).toEqual([403, 'ERR_TOKEN_SUBJECT']);
    }
    const posing = await renew(playbackUrl, { body: { viewer } });
    expect(code(posing)).toEqual([403, 'ERR_ROLE']);
  });

  test('by a backend: for the viewer that it names', async () => {
    const viewer = { ...BERLIN, headers: { 'x-app': '7' }, subject: 'viewer-9' };
    const { playbackUrl } = (await mintFor('strict', viewer)).body;
    await laterThan(Date.now() / 1000);
    const options: ApiCall = { role: 'backend', direct: true };
    expect((await renew(playbackUrl, { ...options, body: { viewer } })).status).toBe(200);
    const paris = await renew(playbackUrl, { ...options, body: { viewer: { ...viewer, country: 'FR' } } });
    expect([code(paris), paris.body.reason]).toEqual([[403, 'ERR_TOKEN_REFUSED'], 'binding-mismatch']);
    expect((await renew(playbackUrl, options)).body.reason).toBe('binding-missing');
  });

  test('of what is no good is refused with the reason of the edge', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    for (const [presented, status, reason] of [
      ['nonsense', 401, 'token-missing'],
      [playbackUrl.replace('.ey', '.xx'), 401, 'token-malformed'],
      [playbackUrl.replace(/.(?=.\/aurora)/, (last) => (last === 'A' ? 'B' : 'A')), 401, 'token-signature-invalid'],
      [playbackUrl.replace('/aurora/', '/harbour/'), 403, 'path-not-allowed'],
    ] as const) {
      const answer = await renew(presented);
      expect([code(answer), answer.body.reason]).toEqual([[status, 'ERR_TOKEN_REFUSED'], reason]);
      expect(JSON.stringify(answer.body)).not.toContain('.ey');
    }
    expect(code(await renew('x'.repeat(8193)))).toEqual([400, 'ERR_BODY_INVALID']);
    expect(code(await call('POST', '/v1/tokens/renewal', { body: {} }))).toEqual([400, 'ERR_BODY_INVALID']);
  });

  test('is refused once the session, its subject or its asset is revoked, and vending too', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    await laterThan(Date.now() / 1000);
    await revocation(stack, sessionId, 'POST');
    const cut = await renew(playbackUrl);
    expect([code(cut), cut.body.reason]).toEqual([[403, 'ERR_SESSION_REVOKED'], 'session-revoked']);
    await revocation(stack, sessionId, 'DELETE');
    expect((await renew(playbackUrl)).status).toBe(200);

    const blocks = (list: object[]) =>
      call('PUT', '/v1/assets/aurora/blocks', { role: 'security', body: { blocks: list } });
    await blocks([{ countries: ['DE'] }]);
    for (const answer of [
      await renew(playbackUrl),
      await call('POST', '/v1/playback', { body: { asset: 'aurora' } }),
      await mintFor('aurora', { country: 'DE' }),
      await mintFor('aurora', {}),
    ]) {
      expect([code(answer), answer.body.reason]).toEqual([[451, 'ERR_ASSET_WITHDRAWN'], 'asset-withdrawn']);
    }
    expect((await mintFor('aurora', { country: 'FR' })).status).toBe(200);
    await blocks([]);
    expect((await renew(playbackUrl)).status).toBe(200);
  });
});

describe('the revocation of an asset and the cut-off', () => {
  const security = (method: string, path: string, body?: object) => call(method, path, { role: 'security', body });

  test('a revoked asset is neither vended nor renewed nor played, and its blocks stay', async () => {
    const { playbackUrl } = (await mintFor('harbour', {})).body;
    await laterThan(Date.now() / 1000);
    expect((await security('POST', '/v1/assets/harbour/blocks', { countries: ['FR'] })).status).toBe(200);
    expect((await security('POST', '/v1/assets/harbour/revocation', { reason: 'withdrawn' })).status).toBe(201);
    for (const answer of [
      await mintFor('harbour', { country: 'DE' }),
      await renew(playbackUrl, { role: 'backend' }),
      await call('POST', '/v1/playback', { body: { asset: 'harbour' } }),
    ]) {
      expect([code(answer), answer.body.reason]).toEqual([[451, 'ERR_ASSET_WITHDRAWN'], 'asset-withdrawn']);
    }
    expect(await opened(playbackUrl)).toEqual([451, 'asset-withdrawn']);
    expect((await mintFor('aurora', {})).status).toBe(200);
    const { body } = await security('GET', '/v1/edge/blocks');
    expect(body.assets).toEqual([{ asset: 'harbour', blocks: [{ countries: ['FR'] }] }]);
    expect((await security('DELETE', '/v1/assets/harbour/blocks')).status).toBe(204);
    expect(await opened(playbackUrl)).toEqual([451, 'asset-withdrawn']);
    expect((await security('DELETE', '/v1/assets/harbour/revocation')).status).toBe(204);
    expect(await opened(playbackUrl)).toEqual([200, '']);
    expect((await renew(playbackUrl, { role: 'backend' })).status).toBe(200);
  });

  test('a session that began before the cut-off is neither renewed nor handed over nor played, one that begins later is', async () => {
    const { playbackUrl } = (await mintFor('aurora', {})).body;
    await laterThan(Date.now() / 1000);
    const before = Math.floor(Date.now() / 1000);
    expect((await security('PUT', '/v1/sessions/cutoff', { before, reason: 'leak' })).status).toBe(201);
    for (const answer of [
      await renew(playbackUrl, { role: 'backend' }),
      await call('POST', '/v1/tokens/handoff', { role: 'backend', body: { token: playbackUrl, viewer: {} } }),
    ]) {
      expect([code(answer), answer.body.reason]).toEqual([[403, 'ERR_SESSION_CUTOFF'], 'session-cutoff']);
    }
    expect(await opened(playbackUrl)).toEqual([403, 'session-cutoff']);
    const later = (await mintFor('aurora', {})).body;
    expect(await opened(later.playbackUrl)).toEqual([200, '']);
    expect((await security('DELETE', '/v1/sessions/cutoff')).status).toBe(204);
    expect(await opened(playbackUrl)).toEqual([200, '']);
  });
});

describe('the revocation of a subject', () => {
  const revoke = (method: 'POST' | 'DELETE', id: string, role: ApiCall['role'] = 'security') =>
    call(method, `/v1/subjects/${encodeURIComponent(id)}/revocation`, {
      role,
      ...(method === 'POST' && { body: { reason: 'chargeback' } }),
    });

  test('holds at vend and renewal until it is taken back, and leaves the edge store alone', async () => {
    const subject = 'user/7 ü@example.com';
    const { playbackUrl } = (await mintFor('aurora', { subject })).body;
    await laterThan(Date.now() / 1000);
    const first = await revoke('POST', subject);
    const told = { reason: 'chargeback', reasons: ['chargeback'], source: 'manual', by: 'local-security' };
    const entry = { subject, ...told, revokedAt: expect.any(Number) };
    expect([first.status, first.body]).toEqual([201, { ...entry, outcome: 'added' }]);
    const second = await revoke('POST', subject);
    expect([second.status, second.body]).toEqual([200, { ...first.body, outcome: 'kept' }]);
    for (const answer of [
      await mintFor('aurora', { subject }),
      await renew(playbackUrl, { role: 'backend' }),
      await call('POST', '/v1/tokens/handoff', { role: 'backend', body: { token: playbackUrl, viewer: {} } }),
    ]) {
      expect([code(answer), answer.body.reason]).toEqual([[403, 'ERR_SUBJECT_REVOKED'], 'subject-revoked']);
    }
    expect((await mintFor('aurora', { subject: 'user/8' })).status).toBe(200);
    // Tokens that are out know nothing of it: their sessions have to be revoked.
    expect(await opened(playbackUrl)).toEqual([200, '']);
    expect((await revoke('DELETE', subject)).status).toBe(204);
    expect(code(await revoke('DELETE', subject))).toEqual([404, 'ERR_NOT_REVOKED']);
    expect((await renew(playbackUrl, { role: 'backend' })).status).toBe(200);
  });

  test('also of one who asks for playback itself', async () => {
    await revoke('POST', 'local-player');
    const answer = await call('POST', '/v1/playback', { body: { asset: 'aurora' } });
    await revoke('DELETE', 'local-player');
    expect(code(answer)).toEqual([403, 'ERR_SUBJECT_REVOKED']);
  });

  test('takes no subject that no token could have', async () => {
    expect(code(await revoke('POST', 'x'.repeat(129)))).toEqual([400, 'ERR_SUBJECT_INVALID']);
  });
});

describe('hand-off', () => {
  const television = { userAgent: 'TV/1.0', headers: { 'X-App': '9' } };
  const handOff = (token: string, body: object = { viewer: television }, options: ApiCall = {}) =>
    call('POST', '/v1/tokens/handoff', { headers: { 'x-app': '7' }, ...options, body: { token, ...body } });
  const start = async (subject = 'local-player') =>
    (await mintFor('strict', { ...BERLIN, headers: { 'x-app': '7' }, subject })).body;

  test('gives another device a token of the session, where the first one is', async () => {
    const { playbackUrl, sessionId } = await start();
    const { status, body } = await handOff(playbackUrl);
    expect([status, body.sessionId]).toEqual([200, sessionId]);
    const asTelevision = { 'user-agent': 'TV/1.0', 'x-app': '9' };
    expect(await opened(body.playbackUrl, asTelevision)).toEqual([200, '']);
    expect(await opened(body.playbackUrl, asTelevision, '127.0.0.2')).toEqual([403, 'binding-mismatch']);
    expect(await opened(body.playbackUrl, { 'user-agent': 'Player/1.0', 'x-app': '7' })).toEqual([
      403,
      'binding-mismatch',
    ]);
    await revocation(stack, sessionId, 'POST');
    expect(await opened(body.playbackUrl, asTelevision)).toEqual([403, 'session-revoked']);
  });

  test('by a backend, which says who hands over', async () => {
    const { playbackUrl } = await start('viewer-2');
    const presenter = { ...BERLIN, headers: { 'x-app': '7' } };
    const options: ApiCall = { role: 'backend', direct: true };
    expect((await handOff(playbackUrl, { viewer: television, presenter }, options)).status).toBe(200);
    const elsewhere = await handOff(
      playbackUrl,
      { viewer: television, presenter: { ...presenter, asn: '1' } },
      options,
    );
    expect(elsewhere.body.reason).toBe('binding-mismatch');
    expect(code(await handOff(playbackUrl, { viewer: television, presenter }))).toEqual([403, 'ERR_ROLE']);
  });

  test('is refused as a renewal is, and when the other device is not known well enough or said to be elsewhere', async () => {
    const { playbackUrl } = await start();
    const lacking = await handOff(playbackUrl, { viewer: { userAgent: 'TV/1.0' } });
    expect([code(lacking), lacking.body.detail]).toEqual([
      [422, 'ERR_TOKEN_BINDING_MISSING'],
      expect.stringContaining("'header:x-app'"),
    ]);
    for (const place of [{ country: 'FR' }, { ip: '198.51.100.7' }, { asn: '1' }, { city: 'X' }, { subject: 'x' }]) {
      const answer = await handOff(playbackUrl, { viewer: { ...television, ...place } });
      expect(code(answer)).toEqual([400, 'ERR_BODY_INVALID']);
    }
    const away = await handOff(playbackUrl, undefined, { from: '127.0.0.2' });
    expect([code(away), away.body.reason]).toEqual([[403, 'ERR_TOKEN_REFUSED'], 'binding-mismatch']);
    const direct = await handOff(playbackUrl, undefined, { direct: true });
    expect([code(direct), direct.body.reason]).toEqual([[403, 'ERR_TOKEN_REFUSED'], 'binding-missing']);
    const { playbackUrl: foreign } = await start('somebody');
    expect(code(await handOff(foreign))).toEqual([403, 'ERR_TOKEN_SUBJECT']);
    expect(code(await handOff('nonsense'))).toEqual([401, 'ERR_TOKEN_REFUSED']);
  });
});

describe('roles', () => {
  test.each<[string, string, ApiCall['role'][]]>([
    ['POST', '/v1/tokens', ['backend']],
    ['POST', '/v1/tokens/renewal', ['player', 'backend']],
    ['POST', '/v1/tokens/handoff', ['player', 'backend']],
    ['GET', '/v1/assets/aurora', ['player', 'backend', 'security']],
    ['PUT', '/v1/assets/aurora', ['backend']],
    ['DELETE', '/v1/assets/none', ['backend']],
    ['GET', '/v1/policies', ['backend', 'security']],
    ['GET', '/v1/policies/none', ['backend', 'security']],
    ['PUT', '/v1/policies/none', ['backend']],
    ['DELETE', '/v1/policies/none', ['backend']],
    ['POST', '/v1/subjects/nobody/revocation', ['security']],
    ['DELETE', '/v1/subjects/nobody/revocation', ['security']],
  ])('%s %s', async (method, path, allowed) => {
    for (const role of ROLES) {
      const { status, body } = await call(method, path, { role });
      expect([role, status === 403 && body.code === 'ERR_ROLE']).toEqual([role, !allowed.includes(role)]);
    }
    const anonymous = await rawRequest(stack.api, path, { method });
    expect(anonymous.status).toBe(401);
  });
});
