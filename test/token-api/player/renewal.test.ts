import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { createRenewal, type Refusal, type Renewal } from '../../../token-api/player/renewal.ts';
import { NOW, TEST_CLAIMS } from '../../harness/minting.ts';
import { LONG } from '../../harness/programs.ts';
import { type Behaviour, EDGE, SimulatedPlayback } from '../../harness/simulated-playback.ts';

const running: SimulatedPlayback[] = [];
afterEach(() => {
  for (const playback of running.splice(0)) playback.stop();
});

interface Begun {
  playback: SimulatedPlayback;
  renewal: Renewal;
  /** URL of the first segment, with the first token. */
  segment: string;
  refusals: Refusal[];
  renewed: { playbackUrl: string; expiresAt: number }[];
}

async function begin(options: ConstructorParameters<typeof SimulatedPlayback>[0] & { age?: number }): Promise<Begun> {
  const playback = await new SimulatedPlayback(options).start();
  running.push(playback);
  const playbackUrl = playback.mint({}, options.age);
  const refusals: Refusal[] = [];
  const renewed: Begun['renewed'] = [];
  const renewal = createRenewal(
    {
      playbackUrl,
      renew: playback.renew,
      onRenewed: (each) => renewed.push(each),
      onRefused: (refusal) => refusals.push(refusal),
    },
    playback.clock,
  );
  return { playback, renewal, refusals, renewed, segment: playbackUrl.replace('master.m3u8', '360p/segment-000.m4s') };
}

/** Asks the edge for the first segment at every second; the denials. */
async function play({ playback, renewal, segment }: Begun, seconds: number): Promise<string[]> {
  const denials: string[] = [];
  for (let i = 0; i < seconds; i++) {
    const denial = playback.ask(renewal.rewrite(segment));
    if (denial !== '') denials.push(denial);
    await playback.clock.advance(1);
  }
  return denials;
}

describe('a token is renewed', () => {
  test('after half to seven tenths of its lifetime, again and again, and no request is denied', async () => {
    const begun = await begin({ lifetime: 100 });
    expect(await play(begun, 1000)).toEqual([]);
    const { attempts } = begun.playback;
    expect(attempts.length).toBeGreaterThanOrEqual(14);
    expect(attempts.length).toBeLessThanOrEqual(20);
    const gaps = attempts.map((at, i) => at - (attempts[i - 1] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(50);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(70);
    expect(new Set(gaps).size).toBeGreaterThan(5);
  });

  test('and the page is told of it', async () => {
    const { playback, renewal, renewed } = await begin({ lifetime: 20 });
    await playback.clock.advance(15);
    expect(renewed).toHaveLength(1);
    expect(renewed[0]?.playbackUrl).toBe(renewal.playbackUrl);
    expect(renewed[0]?.expiresAt).toBe(Math.floor(playback.clock.now() - 15 + (playback.attempts[0] ?? 0)) + 20);
    expect(new URL(renewal.playbackUrl).pathname).toContain(`/${TEST_CLAIMS.sid}.`);
  });

  test.each([
    ['an hour ahead', 3600],
    ['an hour behind', -3600],
    ['seven seconds ahead', 7],
  ])('although the clock of the device is %s', async (_name, clockError) => {
    const begun = await begin({ lifetime: 20, clockError });
    expect(await play(begun, 200)).toEqual([]);
    // At most one more than with the right time: the first, whose age the device cannot tell.
    expect(begun.playback.attempts.length).toBeLessThanOrEqual(21);
    expect(begun.refusals).toEqual([]);
  });

  test('early when most of its time was gone before the page had it', async () => {
    const begun = await begin({ lifetime: 100, age: 90 });
    expect(await play(begun, 300)).toEqual([]);
    expect(begun.playback.attempts[0]).toBeLessThanOrEqual(7);
  });

  test('once, however many ask at the same time', async () => {
    const { playback, renewal, segment } = await begin({ lifetime: 20 });
    await playback.clock.advance(5);
    const retries = await Promise.all(Array.from({ length: 20 }, () => renewal.retryUrl(segment)));
    expect(playback.attempts).toHaveLength(1);
    expect(new Set(retries).size).toBe(1);
    expect(playback.ask(retries[0] ?? '')).toBe('');
  });
});

describe('a token that is too young to be renewed', () => {
  test('stays, and is renewed when it has aged', async () => {
    const begun = await begin({ lifetime: 20 });
    expect(await begun.renewal.retryUrl(begun.segment)).toBeNull();
    expect(begun.playback.attempts).toHaveLength(1);
    expect(await play(begun, 60)).toEqual([]);
    expect(begun.refusals).toEqual([]);
  });
});

describe('after sleep', () => {
  test('the first request finds the renewal overdue, and it is asked for at once', async () => {
    const { playback, renewal, segment } = await begin({ lifetime: 100 });
    playback.clock.sleep(80);
    expect(playback.ask(renewal.rewrite(segment))).toBe('');
    await playback.clock.advance(0);
    expect(playback.attempts).toEqual([80]);
    expect(renewal.rewrite(segment)).not.toBe(segment);
  });

  test('without a request it is asked for within ten seconds', async () => {
    const { playback } = await begin({ lifetime: 1000 });
    playback.clock.sleep(900);
    await playback.clock.advance(10);
    expect(playback.attempts).toHaveLength(1);
  });

  test('longer than the token lives, the page is told why nothing plays', async () => {
    const { playback, renewal, segment, refusals } = await begin({ lifetime: 100 });
    playback.clock.sleep(8 * 3600);
    expect(playback.ask(renewal.rewrite(segment))).toBe('token-expired');
    expect(await renewal.retryUrl(segment)).toBeNull();
    await playback.clock.advance(1);
    expect(refusals).toEqual([{ status: 401, code: 'ERR_TOKEN_REFUSED', reason: 'token-expired' }]);
  });
});

describe('while nobody answers', () => {
  test.each<[string, Behaviour]>([
    ['a broken connection', 'break'],
    ['an error of the server', { status: 503 }],
    ['too many requests', { status: 429, body: { code: 'ERR_RATE_LIMITED' } }],
    ['an answer that is no JSON', { status: 200, headers: { 'content-length': '0' } }],
    ['an answer without a URL', { status: 200, body: { token: 'x' } }],
  ])('%s is tried again, with growing pauses', async (_name, behaviour) => {
    const begun = await begin({ lifetime: 1000 });
    begun.playback.behaviour = behaviour;
    await begun.playback.clock.advance(720);
    const { attempts } = begun.playback;
    const gaps = attempts.slice(1).map((at, i) => at - (attempts[i] ?? 0));
    expect(gaps.length).toBeGreaterThanOrEqual(4);
    for (const [i, gap] of gaps.entries()) {
      expect(gap).toBeGreaterThanOrEqual(Math.min(2 ** i, 30) / 2);
      expect(gap).toBeLessThanOrEqual(Math.min(2 ** i, 30));
    }
    begun.playback.behaviour = 'answer';
    expect(await play(begun, 1000)).toEqual([]);
    begun.playback.behaviour = behaviour;
    const before = attempts.length;
    while (attempts.length < before + 2) await begun.playback.clock.advance(1);
    // The pauses begin to grow anew.
    expect((attempts[before + 1] ?? 0) - (attempts[before] ?? 0)).toBeLessThanOrEqual(1);
    expect(begun.refusals).toEqual([]);
  });

  test('an attempt ends after ten seconds, also when renew does not heed its signal', async () => {
    for (const heeds of [true, false]) {
      const { playback } = await begin({ lifetime: 100 });
      const never = new AbortController().signal;
      const renew = (url: string, signal: AbortSignal) => playback.renew(url, heeds ? signal : never);
      playback.attempts = [];
      playback.behaviour = 'hang';
      createRenewal({ playbackUrl: playback.mint(), renew }, playback.clock);
      await playback.clock.advance(99);
      expect(playback.attempts.length).toBeGreaterThanOrEqual(3);
    }
  });

  describe('Retry-After says when to ask again', () => {
    const date = (seconds: number) => new Date((NOW + seconds) * 1000).toUTCString();

    /** Times of the attempts while the API refuses with these headers, of which the page does not see those in `hidden`. */
    async function attemptsWith(headers: Record<string, string>, hidden: string[] = []): Promise<number[]> {
      const playback = await new SimulatedPlayback({ lifetime: 1000 }).start();
      running.push(playback);
      playback.behaviour = { status: 429, body: { code: 'ERR_RATE_LIMITED' }, headers };
      const renew = async (url: string, signal: AbortSignal) => {
        const answer = await playback.renew(url, signal);
        for (const name of hidden) answer.headers.delete(name);
        return answer;
      };
      createRenewal({ playbackUrl: playback.mint(), renew }, playback.clock);
      await playback.clock.advance(999);
      return playback.attempts;
    }

    test.each([
      ['in seconds', { 'retry-after': '40' }],
      ['as a date, by the clock of the API', { 'retry-after': date(7240), date: date(7200) }],
    ])('%s', async (_name, headers) => {
      const attempts = await attemptsWith(headers);
      const gaps = attempts.slice(1, 5).map((at, i) => at - (attempts[i] ?? 0));
      expect(gaps).toHaveLength(4);
      for (const [i, gap] of gaps.entries()) {
        // The pause of one's own comes on top: players that were refused together come back apart.
        expect(gap).toBeGreaterThanOrEqual(40 + Math.min(2 ** i, 30) / 2);
        expect(gap).toBeLessThanOrEqual(40 + Math.min(2 ** i, 30));
      }
    });

    test('as a date, by the clock of the device where the page does not see that of the API', async () => {
      const [, second] = await attemptsWith({ 'retry-after': date(750) }, ['date']);
      expect(second).toBeGreaterThanOrEqual(750.5);
      expect(second).toBeLessThanOrEqual(751);
    });

    test.each(['soon', '-5', '1.5', '', date(-60)])('but not %j', async (value) => {
      const [first = 0, second = 0] = await attemptsWith({ 'retry-after': value, date: date(0) });
      expect(second - first).toBeLessThanOrEqual(1);
    });

    test('but not beyond the time that is left', async () => {
      const { playback, refusals } = await begin({ lifetime: 100 });
      playback.behaviour = { status: 503, headers: { 'retry-after': '86400' } };
      await playback.clock.advance(99);
      const { attempts } = playback;
      // Two or three: where in the lifetime the first one falls is left to chance.
      expect(attempts.length).toBeGreaterThanOrEqual(2);
      for (const [i, at] of attempts.slice(0, -1).entries()) {
        expect((attempts[i + 1] ?? 0) - at).toBeGreaterThanOrEqual((100 - at) * 0.75);
      }
      expect(refusals).toEqual([]);
    });

    test('also when a request was denied as expired', async () => {
      const { playback, renewal, segment } = await begin({ lifetime: 100 });
      playback.behaviour = { status: 503, headers: { 'retry-after': '20' } };
      expect(await renewal.retryUrl(segment)).toBeNull();
      playback.behaviour = 'answer';
      await playback.clock.advance(19);
      expect(await renewal.retryUrl(segment)).toBeNull();
      expect(playback.attempts).toEqual([0]);
      await playback.clock.advance(3);
      expect(playback.attempts).toHaveLength(2);
    });
  });

  test('until the token has expired, that is the end, and the page is told', async () => {
    const { playback, refusals } = await begin({ lifetime: 100 });
    playback.behaviour = 'break';
    await playback.clock.advance(99);
    expect(refusals).toEqual([]);
    await playback.clock.advance(60);
    expect(refusals).toEqual([{ status: 0, code: 'ERR_PLAYER_RENEWAL_UNREACHABLE', reason: '' }]);
    const { attempts } = playback;
    const last = attempts.length;
    for (const [i, at] of attempts.slice(0, -1).entries()) {
      // No pause goes over what is left, or there would be no attempt in the last seconds.
      expect((attempts[i + 1] ?? 0) - at).toBeLessThanOrEqual(Math.max((100 - at) / 4, 1));
    }
    await playback.clock.advance(1000);
    expect(attempts).toHaveLength(last);
    expect(playback.clock.timers).toBe(0);
  });

  test('a request that was denied as expired does not wait for the next pause', async () => {
    const { playback, renewal, segment } = await begin({ lifetime: 100 });
    playback.behaviour = 'break';
    await playback.clock.advance(75);
    const { length } = playback.attempts;
    playback.behaviour = 'answer';
    const retry = await renewal.retryUrl(segment);
    expect(playback.attempts).toHaveLength(length + 1);
    expect(playback.ask(retry ?? '')).toBe('');
  });
});

describe('a refusal ends it', () => {
  test.each<[string, Behaviour, Refusal]>([
    [
      'for a reason of the edge',
      { status: 403, body: { code: 'ERR_TOKEN_REFUSED', reason: 'session-revoked' } },
      { status: 403, code: 'ERR_TOKEN_REFUSED', reason: 'session-revoked' },
    ],
    [
      'of a withdrawn asset',
      { status: 451, body: { code: 'ERR_TOKEN_REFUSED', reason: 'asset-withdrawn' } },
      { status: 451, code: 'ERR_TOKEN_REFUSED', reason: 'asset-withdrawn' },
    ],
    [
      'that comes from the edge itself',
      { status: 403, headers: { 'x-portcullis-reason': 'waf-blocked' } },
      { status: 403, code: 'ERR_PLAYER_RENEWAL_REFUSED', reason: 'waf-blocked' },
    ],
    [
      'of the bearer token',
      { status: 401, body: { code: 'ERR_UNAUTHENTICATED' } },
      { status: 401, code: 'ERR_UNAUTHENTICATED', reason: '' },
    ],
    ['without a body', { status: 404 }, { status: 404, code: 'ERR_PLAYER_RENEWAL_REFUSED', reason: '' }],
    [
      'of another type than text',
      { status: 400, body: { code: 7, reason: {} } },
      { status: 400, code: 'ERR_PLAYER_RENEWAL_REFUSED', reason: '' },
    ],
  ])('%s', async (_name, behaviour, refusal) => {
    const { playback, renewal, segment, refusals } = await begin({ lifetime: 100 });
    playback.behaviour = behaviour;
    await playback.clock.advance(75);
    expect(refusals).toEqual([refusal]);
    await playback.clock.advance(1000);
    expect(renewal.rewrite(segment)).toBe(segment);
    expect(await renewal.retryUrl(segment)).toBeNull();
    await playback.clock.advance(1);
    expect(refusals).toHaveLength(1);
    expect(playback.attempts).toHaveLength(1);
    expect(playback.clock.timers).toBe(0);
  });

  test('the latest token stays in use', async () => {
    const { playback, renewal, segment, refusals } = await begin({ lifetime: 100 });
    await playback.clock.advance(75);
    playback.behaviour = { status: 403 };
    await playback.clock.advance(75);
    expect(refusals).toHaveLength(1);
    expect(renewal.rewrite(segment)).toBe(renewal.playbackUrl.replace('master.m3u8', '360p/segment-000.m4s'));
  });

  test('as does an answer for another session, origin or place, which is never used', async () => {
    const answers = (url: string, other: string) => [
      other,
      url.replace(EDGE, 'https://evil.example'),
      url.replace(`${EDGE}/`, `${EDGE}/live/`),
      `${EDGE}/aurora/master.m3u8`,
    ];
    for (const index of [0, 1, 2, 3]) {
      const { playback, renewal, segment, refusals } = await begin({ lifetime: 100 });
      const wrong = answers(playback.mint(), playback.mint({ sid: 'OtherSession1' }))[index];
      playback.behaviour = { status: 200, body: { playbackUrl: wrong } };
      await playback.clock.advance(75);
      expect(refusals).toEqual([{ status: 200, code: 'ERR_PLAYER_RENEWAL_ANSWER', reason: '' }]);
      expect(renewal.rewrite(segment)).toBe(segment);
    }
  });

  test('when the session may not be longer, told while the last token is still good', async () => {
    const begun = await begin({ lifetime: 100, sessionSeconds: 500 });
    expect(await play(begun, 499)).toEqual([]);
    await begun.playback.clock.advance(60);
    expect(begun.refusals).toEqual([{ status: 403, code: 'ERR_SESSION_ENDED', reason: '' }]);
    expect(begun.playback.attempts.length).toBeLessThan(15);
  });
});

describe('the page', () => {
  test('may end it: nothing is asked for, and nobody told', async () => {
    const { playback, renewal, refusals, renewed } = await begin({ lifetime: 100 });
    renewal.stop();
    await playback.clock.advance(1000);
    expect(playback.attempts).toEqual([]);
    expect([...refusals, ...renewed]).toEqual([]);
    expect(playback.clock.timers).toBe(0);
  });

  test('may end it while an attempt is under way, which is given up', async () => {
    const { playback, renewal, segment, renewed } = await begin({ lifetime: 100 });
    playback.behaviour = 'hang';
    const retry = renewal.retryUrl(segment);
    renewal.stop();
    expect(await retry).toBeNull();
    expect(renewed).toEqual([]);
    expect(playback.clock.timers).toBe(0);
  });

  test('is not asked about URLs that are none of this session', async () => {
    const { playback, renewal } = await begin({ lifetime: 100 });
    for (const url of ['https://ads.example/a.mp4', `${EDGE}/aurora/a.m4s`, '/a', '']) {
      expect(await renewal.retryUrl(url)).toBeNull();
    }
    expect(playback.attempts).toEqual([]);
  });

  test('is told what is wrong with a URL without a token', () => {
    expect(() => createRenewal({ playbackUrl: `${EDGE}/aurora/master.m3u8`, renew: () => Promise.reject() })).toThrow(
      expect.objectContaining({
        code: 'ERR_PLAYER_RENEWAL_URL',
        message: expect.stringContaining('POST /v1/playback'),
      }),
    );
  });
});

test('whatever happens, a request is denied only when nobody could have renewed in time', async () => {
  const event = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ type: fc.constant('play' as const), seconds: fc.integer({ min: 1, max: 40 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('sleep' as const), seconds: fc.integer({ min: 1, max: 90 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ type: fc.constant('outage' as const), seconds: fc.integer({ min: 1, max: 90 }) }),
    },
  );
  const course = fc.record({
    lifetime: fc.integer({ min: 10, max: 120 }),
    clockError: fc.constantFrom(0, 0, 5, -5, 3600, -3600),
    events: fc.array(event, { maxLength: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(course, async ({ lifetime, clockError, events }) => {
      const begun = await begin({ lifetime, clockError });
      const { playback, refusals } = begun;
      let isSpared = true;
      let seconds = 0;
      let outage = 0;
      for (const { type, seconds: duration } of events) {
        // What is left to renew in is three tenths of the lifetime; a pause before the next attempt takes its share.
        if (type !== 'play' && duration >= lifetime * 0.3 - 5) isSpared = false;
        if (type === 'outage') outage += duration;
        playback.behaviour = type === 'outage' ? 'break' : 'answer';
        if (type === 'sleep') playback.clock.sleep(duration);
        const denials = type === 'sleep' ? [] : await play(begun, duration);
        playback.behaviour = 'answer';
        // Time to catch up, so that each event stands for itself.
        denials.push(...(await play(begun, 35)));
        seconds += duration + 35;
        if (isSpared) expect([...denials, ...refusals]).toEqual([]);
      }
      expect(refusals.length).toBeLessThanOrEqual(1);
      // Never a storm: one a half lifetime, and in an outage one a second at most.
      expect(playback.attempts.length).toBeLessThanOrEqual(2 + seconds / (lifetime / 2) + outage);
      begun.renewal.stop();
      playback.stop();
    }),
    { numRuns: LONG ? 60 : 15 },
  );
});
