import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packagePath } from '../../local/package-root.ts';
import { mint } from '../../token/index.ts';
import { readKeyRing } from '../../token-api/key-ring/file.ts';
import { mintingKey } from '../../token-api/key-ring/key-ring.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { edgeView } from '../../token-api/minting/minter.ts';
import { CHROMIUM_ARGUMENTS, CHROMIUM_PATH } from '../harness/chromium.ts';
import { describeWith, LONG } from '../harness/programs.ts';
import { type Playback, requestPlayback, revocation, useStack } from '../harness/stack.ts';

/** How long a token lives, and how much is played with such tokens, in seconds: the whole title in the long tests. */
const [LIFETIME, PLAYED] = LONG ? [20, 59] : [10, 20];

/** What the page tells of its playback. */
interface Seen {
  time: number;
  ended: boolean;
  /** Playing time of each `waiting` event after the first picture. */
  waiting: number[];
  /** Errors of hls.js, fatal or not. */
  errors: { details: string; reason: string | null }[];
  renewed: { playbackUrl: string; expiresAt: number }[];
  refusals: object[];
}

/** How the page plays: `renewalUrl` is where it renews, null for not at all; `isLate`: only what was denied. */
interface Way {
  loader?: 'xhr' | 'fetch';
  renewalUrl: string | null;
  isLate?: boolean;
}

/**
 * The page of somebody who plays with hls.js, on an origin of its own. Its buffer is short, so that segments are asked for
 * all along.
 */
const PAGE = `<!doctype html>
<video muted playsinline width="160"></video>
<script type="module">
  import Hls, { FetchLoader } from './hls.mjs';
  import { createRenewal, renewingLoader } from './renewal.js';

  const video = document.querySelector('video');
  const told = { waiting: [], errors: [], renewed: [], refusals: [] };
  let hasPlayed = false;
  video.addEventListener('playing', () => { hasPlayed = true; });
  video.addEventListener('waiting', () => { if (hasPlayed && !video.ended) told.waiting.push(video.currentTime); });

  const stopped = { epochSeconds: () => 0, elapsed: () => 0, setTimeout: () => 0, clearTimeout: () => {} };

  window.seen = () => ({ ...told, time: video.currentTime, ended: video.ended });
  window.play = (playback, { loader: name, renewalUrl, isLate }, bearer) => {
    let loader = name === 'fetch' ? FetchLoader : Hls.DefaultConfig.loader;
    if (renewalUrl !== null) {
      const renewal = createRenewal({
        ...playback,
        renew: (token, signal) => fetch(renewalUrl, {
          method: 'POST',
          headers: { authorization: 'Bearer ' + bearer, 'content-type': 'application/json' },
          body: JSON.stringify({ token }),
          signal,
        }),
        onRenewed: (renewed) => told.renewed.push(renewed),
        onRefused: (refusal) => told.refusals.push(refusal),
      }, isLate ? stopped : undefined);
      loader = renewingLoader(loader, renewal);
    }
    const hls = new Hls({ loader, maxBufferLength: 6, maxMaxBufferLength: 6, maxBufferSize: 0 });
    hls.on(Hls.Events.ERROR, (_, { details, networkDetails }) => {
      const reason = networkDetails?.getResponseHeader?.('x-portcullis-reason') ?? null;
      told.errors.push({ details, reason });
    });
    // What is seen of it does not matter, and costs.
    hls.autoLevelCapping = 0;
    hls.loadSource(playback.playbackUrl);
    hls.attachMedia(video);
    video.play();
  };
</script>`;

const [, DOCUMENTED = ''] = /```js\n(.*?)```/s.exec(readFileSync(packagePath('docs', 'player.md'), 'utf8')) ?? [];

/** A page that runs the example of docs/player.md as it stands there. */
const DOCUMENTED_PAGE = `<!doctype html>
<script type="importmap">{ "imports": { "hls.js": "./hls.mjs", "portcullis/player": "./renewal.js" } }</script>
<video muted playsinline autoplay></video>
<script type="module">
  import { play } from './documented.js';
  const refusals = [];
  window.seen = () => ({ time: document.querySelector('video').currentTime, refusals });
  window.play = (edge, bearer) => play(document.querySelector('video'), {
    edge, asset: 'aurora', bearer: () => bearer, onRefused: (refusal) => refusals.push(refusal),
  });
</script>`;

const FILES: Record<string, { type: string; content: string | Buffer }> = {
  '/': { type: 'text/html', content: PAGE },
  '/documented': { type: 'text/html', content: DOCUMENTED_PAGE },
  '/documented.js': { type: 'text/javascript', content: DOCUMENTED },
  '/hls.mjs': {
    type: 'text/javascript',
    content: readFileSync(packagePath('node_modules', 'hls.js', 'dist', 'hls.mjs')),
  },
  '/renewal.js': { type: 'text/javascript', content: readFileSync(packagePath('dist', 'player', 'renewal.js')) },
};

describeWith('chromium', 'the renewal of tokens in a real browser', () => {
  const stack = useStack({ api: { allowedOrigins: ['*'] } });
  const { data } = stack;
  let browser: Browser;
  let site: http.Server;

  beforeAll(async () => {
    await put('/v1/policies/short', { lifetime: `PT${LIFETIME}S` });
    await put('/v1/assets/aurora', { path: '/aurora/master.m3u8', policy: 'short' });
    // Time to begin, on a busy machine, before anything is renewed.
    await put('/v1/policies/longer', { lifetime: 'PT20S' });
    await put('/v1/assets/slow', { path: '/aurora/master.m3u8', policy: 'longer' });
    site = http.createServer((request, response) => {
      const file = FILES[request.url ?? ''];
      if (file) response.writeHead(200, { 'content-type': file.type }).end(file.content);
      else if (request.url === '/late-renewal') void renewLate(response);
      else response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
    browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGUMENTS });
  });
  afterAll(async () => {
    await browser?.close();
    site?.close();
  });

  async function put(path: string, body: object): Promise<void> {
    const { ok, status } = await fetch(`${stack.edge}${path}`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${stack.tokens.backend}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!ok) throw new Error(`${path}: ${status}`);
  }

  /** A playback URL with a token of 20 seconds, as the API would have given it out at `iat`. */
  async function mintedAt(iat: number): Promise<string> {
    const claims = { sid: 'AbCdEf012345', aid: 'aurora', sst: iat, iat, exp: iat + 20, paths: ['/aurora/'] };
    const key = mintingKey(await readKeyRing(join(data, 'key-ring.json')));
    return `${stack.edge}/${mint(claims, key, edgeView({}, ''), nodeCrypto)}/aurora/master.m3u8`;
  }

  /** Renews also what has expired: not as the API does, but as one with another clock would. */
  async function renewLate(response: http.ServerResponse): Promise<void> {
    response.end(JSON.stringify({ playbackUrl: await mintedAt(now()) }));
  }

  const now = () => Math.floor(Date.now() / 1000);
  const tokenOf = (url: string) => new URL(url).pathname.split('/')[1] ?? '';

  /** Opens the page and begins to play in it. */
  async function play(playbackUrl: string, way: Way) {
    const page = await browser.newPage();
    const began = Date.now();
    const asked: { url: string; status: number; at: number }[] = [];
    page.on('response', (answer) => {
      const url = answer.url();
      if (url.startsWith(`${stack.edge}/`) && !url.includes('/v1/')) {
        asked.push({ url, status: answer.status(), at: (Date.now() - began) / 1000 });
      }
    });
    await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/`);
    const [playback, plan, bearer] = [{ playbackUrl }, way, stack.tokens.player].map((each) => JSON.stringify(each));
    await page.evaluate(`window.play(${playback}, ${plan}, ${bearer})`);
    const seen = (): Promise<Seen> => page.evaluate('window.seen()');
    return { page, asked, seen };
  }

  /** Plays aurora, whose policy is one of `LIFETIME`, or another asset, as the API gives it out. */
  async function playAsset(isRenewing: boolean, asset = 'aurora') {
    const playback: Playback = await requestPlayback(stack, asset);
    expect(playback.expiresAt).toBeLessThanOrEqual(now() + (asset === 'aurora' ? LIFETIME : 20));
    const renewalUrl = isRenewing ? `${stack.edge}/v1/tokens/renewal` : null;
    return { playback, ...(await play(playback.playbackUrl, { renewalUrl })) };
  }

  test.concurrent('what is longer than its tokens live plays, and nobody notices', async ({ expect }) => {
    const { page, playback, asked, seen } = await playAsset(true);
    const isOver = async () => {
      const { time, ended } = await seen();
      return LONG ? ended : time > PLAYED;
    };
    await expect.poll(isOver, { timeout: 100_000, interval: 1000 }).toBe(true);
    const { time, waiting, errors, renewed, refusals } = await seen();
    expect(time).toBeGreaterThan(PLAYED);
    expect({ waiting, errors, refusals }).toEqual({ waiting: [], errors: [], refusals: [] });
    expect(asked.filter(({ status }) => status !== 200)).toEqual([]);

    expect(renewed.length).toBeGreaterThanOrEqual(2);
    const sessions = asked.map(({ url }) => tokenOf(url).split('.')[0]);
    expect([...new Set(sessions)]).toEqual([playback.sessionId]);
    // Segments were asked for all along, none with a token that had expired by then.
    const late = asked.filter(({ at }) => at > LIFETIME);
    expect(late.length).toBeGreaterThanOrEqual((PLAYED - LIFETIME) / 3);
    expect(late.filter(({ url }) => tokenOf(url) === tokenOf(playback.playbackUrl))).toEqual([]);
    expect(new Set(asked.map(({ url }) => tokenOf(url))).size).toBeGreaterThanOrEqual(3);
    await page.close();
  }, 120_000);

  test.concurrent('without renewal it stops when the token has expired', async ({ expect }) => {
    const { page, asked, seen } = await playAsset(false);
    const reasons = async () => (await seen()).errors.map(({ reason }) => reason);
    await expect.poll(reasons, { timeout: 60_000, interval: 1000 }).toContain('token-expired');
    await expect
      .poll(async () => (await seen()).waiting.length, { timeout: 30_000, interval: 1000 })
      .toBeGreaterThan(0);
    const { time, ended } = await seen();
    expect(ended).toBe(false);
    expect(time).toBeLessThan(LIFETIME + 15);
    expect(asked.some(({ status }) => status === 401)).toBe(true);
    await page.close();
  }, 120_000);

  test.concurrent('the example of docs/player.md plays and renews', async ({ expect }) => {
    const page = await browser.newPage();
    const asked: { path: string; status: number }[] = [];
    page.on('response', (answer) => {
      const { origin, pathname } = new URL(answer.url());
      const method = answer.request().method();
      if (origin === stack.edge && method !== 'OPTIONS') asked.push({ path: pathname, status: answer.status() });
    });
    await page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}/documented`);
    await page.evaluate(`void window.play('${stack.edge}', '${stack.tokens.player}')`);
    const renewals = () => asked.filter(({ path }) => path === '/v1/tokens/renewal').length;
    await expect.poll(renewals, { timeout: 40_000 }).toBeGreaterThanOrEqual(1);
    const seen = () => page.evaluate<Pick<Seen, 'time' | 'refusals'>>('window.seen()');
    await expect.poll(async () => (await seen()).time, { timeout: 20_000 }).toBeGreaterThan(4);
    expect((await seen()).refusals).toEqual([]);
    expect(asked.filter(({ status }) => status !== 200)).toEqual([]);
    await page.close();
  }, 60_000);

  test.concurrent('a revoked session is not renewed, and the page is told why', async ({ expect }) => {
    const { page, playback, seen } = await playAsset(true, 'slow');
    await expect.poll(async () => (await seen()).time, { timeout: 20_000 }).toBeGreaterThan(1);
    expect((await revocation(stack, playback.sessionId, 'POST')).status).toBe(201);
    const refusals = async () => (await seen()).refusals;
    await expect
      .poll(refusals, { timeout: 30_000, interval: 500 })
      .toEqual([{ status: 403, code: 'ERR_SESSION_REVOKED', reason: 'session-revoked' }]);
    const { errors, renewed } = await seen();
    expect(errors.map(({ reason }) => reason)).toContain('session-revoked');
    expect(renewed).toEqual([]);
    await page.close();
  });

  test.concurrent.for([
    ['the first request', 'fetch', 30],
    ['a segment', 'xhr', 15],
  ] as const)('%s that is denied as expired is asked for once more (%s)', async ([, loader, age], { expect }) => {
    const playbackUrl = await mintedAt(now() - age);
    const { page, asked, seen } = await play(playbackUrl, { loader, renewalUrl: './late-renewal', isLate: true });
    await expect.poll(async () => (await seen()).time, { timeout: 30_000 }).toBeGreaterThan(age > 20 ? 4 : 8);
    const { errors, waiting, renewed } = await seen();
    expect({ errors, waiting }).toEqual({ errors: [], waiting: [] });
    expect(renewed).toHaveLength(1);
    const at = asked.findIndex(({ status }) => status === 401);
    expect(age > 20 ? at === 0 : at > 3).toBe(true);
    const [first, newest] = [tokenOf(playbackUrl), tokenOf(renewed[0]?.playbackUrl ?? '')];
    const [denied, rest] = [401, 200].map((wanted) => asked.slice(at).filter(({ status }) => status === wanted));
    // A segment and its key are asked for at the same time.
    expect(new Set(denied?.map(({ url }) => tokenOf(url)))).toEqual(new Set([first]));
    const again = denied?.map(({ url }) => url.replace(first, newest));
    expect(rest?.map(({ url }) => url)).toEqual(expect.arrayContaining(again ?? []));
    expect(asked.length - at).toBe((denied?.length ?? 0) + (rest?.length ?? 0));
    expect(new Set(rest?.map(({ url }) => tokenOf(url)))).toEqual(new Set([newest]));
    await page.close();
  });

  test.concurrent.for(['xhr', 'fetch'] as const)(
    'what nobody renews is an error of hls.js as ever (%s)',
    async (loader, { expect }) => {
      const playbackUrl = await mintedAt(now() - 30);
      const { page, asked, seen } = await play(playbackUrl, { loader, renewalUrl: `${stack.edge}/v1/tokens/renewal` });
      const details = async () => (await seen()).errors.map((error) => error.details);
      await expect.poll(details, { timeout: 20_000 }).toEqual(['manifestLoadError']);
      expect((await seen()).refusals).toHaveLength(1);
      expect(asked.map(({ status }) => status)).toEqual([401]);
      await page.close();
    },
  );
});
