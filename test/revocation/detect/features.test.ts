import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DetectionEngine } from '../../../revocation/detect/detection-engine.ts';
import { openDuckDbEngine } from '../../../revocation/detect/duckdb.ts';
import type { SessionFeatures } from '../../../revocation/detect/features.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import {
  HOUR,
  type LoggedRequest,
  logFile,
  PHONE,
  SESSION,
  TV,
  tokenised,
  tsv,
  V2_FIELDS,
  watching,
} from '../../harness/access-logs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
const detection = v.parse(DetectionSettingsSchema, {});
let engine: DetectionEngine;
beforeAll(async () => {
  engine = await openDuckDbEngine({ detection, tokenPrefix: '/' }, { threads: 1, tempDirectory: folder });
});
afterAll(async () => {
  await engine.close();
  removeDirectory(folder);
});

let logs = 0;

/** The features of every session in these requests, by session. */
async function featuresOf(
  requests: LoggedRequest[],
  by = engine,
  fields?: string[],
): Promise<Record<string, SessionFeatures>> {
  const object = logFile(folder, `${logs++}.gz`, tsv(requests, fields));
  const { sessions, refused } = await by.features({
    from: HOUR,
    to: HOUR + 86400,
    objects: [object],
    everySession: true,
  });
  expect(refused).toEqual([]);
  return Object.fromEntries(sessions.map((session) => [session.sessionId, session]));
}

/** The features of the only session in these requests. */
async function only(requests: LoggedRequest[], by = engine, fields?: string[]): Promise<SessionFeatures> {
  const sessions = Object.values(await featuresOf(requests, by, fields));
  expect(sessions).toHaveLength(1);
  return sessions[0] as SessionFeatures;
}

/** A log that does not have what the function logged: the session is read from the address. */
const WITHOUT_ENTRY = V2_FIELDS.filter((field) => field !== 'viewer-request-log-data');

const HARMLESS = {
  identities: 1,
  networks: 1,
  asns: 1,
  countries: 1,
  userAgents: 1,
  concurrentIdentities: 1,
  concurrentMinutes: 0,
  handOffs: 0,
  concurrentCountries: 1,
  concurrentEdgeLocations: 1,
  sharedSegments: 0,
  sharedRatio: 0,
  playheadDivergence: 0,
  divergentMinutes: 0,
  concurrentSpeed: 0,
  fastMinutes: 0,
};

describe('harmless viewers', () => {
  test('one device', async () => {
    expect(await only(watching(150))).toEqual({
      ...HARMLESS,
      sessionId: SESSION,
      title: 'aurora',
      firstSeen: HOUR,
      lastSeen: HOUR + 149 * 4,
      requests: 150,
      activeMinutes: 10,
      referers: 1,
      segments: 150,
      segmentRequests: 150,
      refetchRatio: 0,
      rateOverMedian: 1,
      segmentSeconds: 4,
      mediaSpeed: 1,
      hostingRatio: 0,
      edgeLocations: 1,
    });
  });

  test('a household with IPv4 and IPv6, whose player goes from one to the other', async () => {
    const requests = watching(150).map((request, index) => ({
      ...request,
      ip: index % 3 === 0 ? '203.0.113.7' : '2001:db8:1:2::3',
    }));
    expect(await only(requests)).toMatchObject({ ...HARMLESS, networks: 1 });
  });

  test('addresses of one network', async () => {
    const requests = watching(150).map((request, index) => ({ ...request, ip: `203.0.113.${index}` }));
    expect(await only(requests)).toMatchObject(HARMLESS);
  });

  test('a telephone that goes from Wi-Fi to the mobile network', async () => {
    const requests = [
      ...watching(80, { ip: '203.0.113.7' }),
      // The request that was on its way is made again.
      ...watching(80, { at: 79 * 4 + 2, from: 78, ip: '198.51.100.9', asn: '3209' }),
    ];
    expect(await only(requests)).toMatchObject({
      identities: 2,
      handOffs: 1,
      concurrentMinutes: 0,
      concurrentIdentities: 1,
      sharedSegments: 0,
      concurrentCountries: 1,
    });
  });

  test('casting: the television goes on where the telephone stops, the telephone looks at the manifest', async () => {
    const manifest = { path: '/aurora/360p/index.m3u8', userAgent: PHONE };
    const requests = [
      ...watching(60),
      // It had fetched half a minute ahead.
      ...watching(100, { at: 60 * 4, from: 53, userAgent: TV }),
      ...Array.from({ length: 30 }, (_, index) => ({ ...manifest, at: 240 + index * 10 })),
    ];
    expect(await only(requests)).toMatchObject({
      identities: 2,
      handOffs: 1,
      concurrentMinutes: 0,
      concurrentIdentities: 1,
      sharedSegments: 0,
    });
  });

  test('an address that changes with every request: each segment is fetched once, at the speed of one viewer', async () => {
    const requests = watching(150).map((request, index) => ({ ...request, ip: `100.64.${index % 5}.1` }));
    expect(await only(requests)).toMatchObject({
      identities: 5,
      concurrentIdentities: 5,
      concurrentMinutes: 10,
      sharedSegments: 0,
      divergentMinutes: 0,
      concurrentSpeed: 1,
      mediaSpeed: 1,
    });
  });

  test('low-latency HLS: many parts and manifests are no speed', async () => {
    const requests = watching(150).flatMap((request) => [
      request,
      ...[0, 1, 2, 3].map((part) => ({
        ...request,
        path: `/aurora/360p/index.m3u8?part=${part}`,
        at: request.at + part,
      })),
    ]);
    expect(await only(requests)).toMatchObject({ ...HARMLESS, mediaSpeed: 1, requests: 750, rateOverMedian: 1 });
  });

  test('low-latency HLS through changing addresses: a segment whose parts came over two is not fetched twice', async () => {
    const requests = Array.from({ length: 600 }, (_, at) => ({
      at,
      path: `/aurora/360p/segment-${100 + Math.floor(at / 4)}.${at % 4}.m4s`,
      ip: at % 2 === 0 ? '100.64.0.1' : '100.64.9.1',
    }));
    expect(await only(requests)).toMatchObject({ concurrentMinutes: 10, concurrentSpeed: 1, mediaSpeed: 1 });
  });

  test('going back in a recording is fetching again, by one viewer', async () => {
    const requests = [...watching(75), ...watching(75, { at: 300 })];
    expect(await only(requests)).toMatchObject({ ...HARMLESS, segmentRequests: 150, mediaSpeed: 1 });
  });

  test('watching again elsewhere an hour later is no sharing', async () => {
    const requests = [...watching(100), ...watching(100, { at: 4000, ip: '198.51.100.9', asn: '3209' })];
    expect(await only(requests)).toMatchObject({ identities: 2, sharedSegments: 0, concurrentMinutes: 0 });
  });

  test('several renditions at a time are no speed', async () => {
    const requests = [...watching(150), ...watching(150, { rendition: 'audio' })];
    expect(await only(requests)).toMatchObject({ ...HARMLESS, mediaSpeed: 1, segmentRequests: 300 });
  });
});

describe('leaks', () => {
  const elsewhere = { ip: '198.51.100.9', asn: '3209', country: 'FR', userAgent: TV, edge: 'CDG50-P1' };

  test('two viewers of a live event', async () => {
    expect(await only([...watching(150), ...watching(150, elsewhere)])).toMatchObject({
      identities: 2,
      networks: 2,
      asns: 2,
      countries: 2,
      userAgents: 2,
      concurrentIdentities: 2,
      concurrentMinutes: 10,
      handOffs: 0,
      concurrentCountries: 2,
      concurrentEdgeLocations: 2,
      edgeLocations: 2,
      segments: 150,
      sharedSegments: 150,
      sharedRatio: 1,
      refetchRatio: 0,
      mediaSpeed: 1,
      concurrentSpeed: 2,
      playheadDivergence: 0,
      divergentMinutes: 0,
    });
  });

  test('two viewers of a film, one twenty minutes behind', async () => {
    const requests = [...watching(600), ...watching(300, { ...elsewhere, at: 1200 })];
    expect(await only(requests)).toMatchObject({
      sharedSegments: 0,
      concurrentMinutes: 20,
      playheadDivergence: 1200,
      divergentMinutes: 20,
      concurrentSpeed: 2,
    });
  });

  test('two viewers with the same device, of the same operator', async () => {
    const requests = [...watching(150), ...watching(150, { ip: '203.0.114.9' })];
    expect(await only(requests)).toMatchObject({ identities: 2, concurrentMinutes: 10, sharedSegments: 150 });
  });

  test('more viewers than one a minute hands over to', async () => {
    const viewers = Array.from({ length: 8 }, (_, index) => watching(150, { ip: `198.51.${index}.1` })).flat();
    expect(await only(viewers)).toMatchObject({
      identities: 8,
      concurrentIdentities: 8,
      handOffs: 0,
      concurrentSpeed: 8,
    });
  });

  test('copying at six times the speed', async () => {
    expect(await only(watching(900, { every: 2 / 3 }))).toMatchObject({
      mediaSpeed: 6,
      fastMinutes: 10,
      identities: 1,
    });
  });

  test('copying, with long pauses in which a segment a minute is fetched: the fast minutes stay', async () => {
    const pauses = Array.from({ length: 60 }, (_, index) =>
      watching(1, { at: 900 + index * 60, from: 2000 + index }),
    ).flat();
    const { mediaSpeed, fastMinutes } = await only([...watching(900, { every: 2 / 3 }), ...pauses]);
    expect(mediaSpeed).toBeLessThan(2);
    expect(fastMinutes).toBe(10);
  });

  test('through rotating exits of a VPN', async () => {
    const requests = watching(150).map((request, index) => ({ ...request, ip: `198.51.${index % 20}.1`, asn: '9009' }));
    expect(await only(requests)).toMatchObject({ identities: 20, hostingRatio: 1 });
  });
});

describe('every session is measured against the median of its title', () => {
  const session = (index: number) => `Session${String(index).padStart(6, '0')}`;

  test('of an odd number, and of an even one', async () => {
    const rates = [10, 20, 30];
    const requests = rates.flatMap((rate, index) => watching(rate, { session: session(index), every: 1 }));
    const features = await featuresOf(requests);
    expect(rates.map((_, index) => features[session(index)]?.rateOverMedian)).toEqual([0.5, 1, 1.5]);
    const even = await featuresOf([...requests, ...watching(40, { session: session(3), every: 1 })]);
    expect([0, 1, 2, 3].map((index) => even[session(index)]?.rateOverMedian)).toEqual([0.4, 0.8, 1.2, 1.6]);
  });

  test('a few requests for another title do not change what a session watches', async () => {
    const requests = [
      ...watching(30),
      ...watching(5, { at: 200 }).map((request) => ({ ...request, path: '/zebra/1.m4s' })),
    ];
    expect((await only(requests)).title).toBe('aurora');
  });
});

describe('segments that last otherwise than is set', () => {
  const session = (index: number) => `Session${String(index).padStart(6, '0')}`;
  /** Ordinary viewers of a title whose segments last so long, and two who share a session, one 240 s ahead of the other. */
  const viewers = (seconds: number, count: number) =>
    Array.from({ length: count }, (_, index) =>
      watching(600 / seconds, { session: session(index), every: seconds, from: index }),
    ).flat();
  const shared = (seconds: number) => [
    ...watching(600 / seconds, { every: seconds }),
    ...watching(600 / seconds, { every: seconds, from: 240 / seconds, ip: '198.51.100.9', asn: '3209', userAgent: TV }),
  ];

  test.each([1, 2, 4, 8, 12])('are taken from the viewers of the title: %d s', async (seconds) => {
    const features = await featuresOf([...viewers(seconds, 25), ...shared(seconds)]);
    expect(features[session(3)]).toMatchObject({ ...HARMLESS, segmentSeconds: seconds, mediaSpeed: 1 });
    expect(features[SESSION]).toMatchObject({
      segmentSeconds: seconds,
      concurrentSpeed: 2,
      playheadDivergence: 240,
      divergentMinutes: 10,
    });
  });

  test('of each title for itself', async () => {
    const other = viewers(2, 25).map((request) => ({
      ...request,
      session: `Other${request.session}`,
      path: request.path?.replace('aurora', 'zebra') ?? '',
    }));
    const features = await featuresOf([...viewers(8, 25), ...other]);
    expect(features[session(3)]).toMatchObject({ title: 'aurora', segmentSeconds: 8, mediaSpeed: 1 });
    expect(features[`Other${session(3)}`]).toMatchObject({ title: 'zebra', segmentSeconds: 2, mediaSpeed: 1 });
  });

  test('but not from a few viewers, or from short ones', async () => {
    const few = await featuresOf(viewers(8, 19));
    expect(few[session(3)]).toMatchObject({ segmentSeconds: 4, mediaSpeed: 0.5 });
    const short = Array.from({ length: 25 }, (_, index) =>
      watching(7, { session: session(index), every: 8, at: 30 }),
    ).flat();
    expect((await featuresOf(short))[session(3)]).toMatchObject({ segmentSeconds: 4 });
  });
});

describe('nobody makes a session of somebody else look shared', () => {
  const victim = watching(150);
  const attacker = { ip: '198.51.100.9', asn: '9009', country: 'FR', userAgent: TV };
  const attack = (changes: Partial<LoggedRequest>) => watching(150, { ...attacker, ...changes });

  test.each([
    ['with tokens that the edge refuses', { status: '403' }],
    ['and goes away before the answer', { status: '000' }],
    ['with preflights, which need no token', { method: 'OPTIONS', status: '204' }],
    ['over plain HTTP, which is redirected before a look at the token', { status: '301' }],
    [
      'with tokens that are let through unverified in mode log',
      { logData: `${SESSION},token-signature-invalid,/aurora/` },
    ],
    ['in mode off, in which nothing is verified or logged', { logData: '-' }],
    ['and the field is empty', { logData: '' }],
    ['before a token of the compatibility dialect, for which it means nothing', { logData: '-,allowed,/aurora/x.m4s' }],
    ['and the path in the entry looks like one', { logData: `-,token-missing,/${SESSION},allowed,/aurora/` }],
    ['and the entry is percent-encoded', { logData: `${SESSION}%2Ctoken-signature-invalid%2C%2Faurora%2F` }],
  ])('%s', async (_, changes) => {
    expect(await only([...victim, ...attack(changes)])).toMatchObject({ ...HARMLESS, requests: 150 });
  });

  test.each([
    ['with the session in a place of no token', { uri: `/aurora/${tokenised(SESSION, '/x.m4s')}` }],
    ['with a session and no token', { uri: `/${SESSION}.m4s` }],
  ])('%s, in logs without what the function logged', async (_, changes) => {
    const requests = [...victim, ...attack(changes)];
    expect(await only(requests, engine, WITHOUT_ENTRY)).toMatchObject({ ...HARMLESS, requests: 150 });
  });

  test.each([['with', undefined] as const, ['without', WITHOUT_ENTRY] as const])(
    '%s what the function logged, with another session whose name begins alike',
    async (_, fields) => {
      const requests = [...victim, ...attack({ session: `${SESSION}6` })];
      const features = await featuresOf(requests, engine, fields);
      expect(Object.keys(features).sort()).toEqual([SESSION, `${SESSION}6`]);
      expect(features[SESSION]).toMatchObject(HARMLESS);
    },
  );

  test('what the function logged counts, whatever the address looks like', async () => {
    const requests = [...victim, ...attack({ uri: tokenised(SESSION, '/x.m4s'), session: 'ZzZzZz987654' })];
    const features = await featuresOf(requests);
    expect(features[SESSION]).toMatchObject({ ...HARMLESS, requests: 150 });
    expect(features.ZzZzZz987654).toMatchObject({ ...HARMLESS, requests: 150 });
  });
});

describe('escapes that the edge lets through and the origin undoes hide nothing', () => {
  const elsewhere = { ip: '198.51.100.9', asn: '3209', country: 'FR', userAgent: TV };
  const escaped = (change: (path: string) => string) =>
    watching(150, elsewhere).map((request) => ({ ...request, path: change(request.path ?? '') }));

  test.each<[string, (path: string) => string]>([
    ['of a letter of the extension', (path) => path.replace('m4s', 'm4%73')],
    ['of a digit', (path) => path.replace('segment-0', 'segment-%30')],
    ['of the title', (path) => path.replace('aurora', '%61uror%61')],
    ['of everything', (path) => path.replaceAll(/[a-z0-9]/g, (c) => `%${c.charCodeAt(0).toString(16)}`)],
    ['that CloudFront has escaped again', (path) => path.replace('m4s', '%256d4%2573')],
  ])('%s', async (_, change) => {
    for (const fields of [V2_FIELDS, WITHOUT_ENTRY]) {
      const found = await only([...watching(150), ...escaped(change)], engine, fields);
      expect(found).toMatchObject({ title: 'aurora', segments: 150, sharedSegments: 150, segmentRequests: 300 });
    }
  });

  test.each([
    ['/caf%C3%A9/1.m4s', 'café'],
    ['/%e0%b8%81/1.m4%73', 'ก'],
    ['/a+b%2B/1.m4s', 'a+b+'],
    ['/%ff/1.m4s', '%ff'],
    ['/%C3/1.m4s', '%C3'],
    ['/%ED%A0%80/1.m4s', '%ED%A0%80'],
    ['/%zz%/1.m4s', '%zz%'],
  ])('%s is of the title %s, whether it can be undone or not', async (path, title) => {
    for (const fields of [V2_FIELDS, WITHOUT_ENTRY]) {
      expect(await only([{ at: 0, path }], engine, fields)).toMatchObject({ title, segmentRequests: 1 });
    }
  });
});

describe('what a viewer can put into a log line breaks nothing', () => {
  test('nothing at all in a field is the same whether it is written as - or as nothing', async () => {
    const some = { asn: '-', country: '-', userAgent: '-', referer: '-' };
    const none = { asn: '', country: '', userAgent: '', referer: '' };
    const requests = watching(40).map((request, index) => ({ ...request, ...(index % 2 ? some : none) }));
    expect(await only(requests)).toMatchObject(HARMLESS);
  });

  test.each([
    ['a quote', { userAgent: "x';DROP%20TABLE%20requests;--" }],
    ['escapes', { userAgent: '%09%0A%00%F0%9F%92%A9%', referer: 'https://x/%0d%0a%ff' }],
    ['a hash', { userAgent: '#Fields:%20date', referer: '#' }],
    ['double quotes and backslashes', { userAgent: '"\\"x\\', referer: '"' }],
    ['characters beyond ASCII', { userAgent: 'Плеер/1.0 – 播放器', referer: 'https://é' }],
    ['twenty thousand characters', { userAgent: 'x'.repeat(20_000) }],
    ['nothing', { userAgent: '', referer: '', asn: '', country: '', edge: '' }],
    ['an address that is none', { ip: 'unknown' }],
  ])('%s', async (_, changes) => {
    expect(await only(watching(20, changes))).toMatchObject({ ...HARMLESS, requests: 20 });
  });

  test('numbers that are too large are no segments', async () => {
    const paths = [
      '/aurora/9223372036854775808.m4s',
      `/aurora/${'9'.repeat(300)}.m4s`,
      '/aurora/9223372036854775807.m4s',
      '/aurora/999999999999999.m4s',
      '/aurora/0.m4s',
    ];
    const features = await only(paths.map((path, at) => ({ at, path })));
    expect(features).toMatchObject({ requests: 5, segmentRequests: 3, segments: 3 });
  });

  test('a user-agent for each request is a viewer each, of the one who sends it', async () => {
    const features = await only(watching(150).map((request, index) => ({ ...request, userAgent: `x${index}` })));
    expect(features).toMatchObject({ identities: 150, sharedSegments: 0, concurrentSpeed: 1 });
  });
});

/** What Trino gives by its documentation, written down, because there is none here. */
describe('edge cases have the result that Trino gives', () => {
  test('a single request', async () => {
    expect(await only([{ at: 0 }])).toMatchObject({
      ...HARMLESS,
      requests: 1,
      activeMinutes: 1,
      rateOverMedian: 1,
      segments: 0,
      mediaSpeed: 0,
    });
  });

  test('everything in the same second', async () => {
    expect(await only(watching(50, { every: 0 }))).toMatchObject({ requests: 50, activeMinutes: 1, fastMinutes: 1 });
  });

  test('no title', async () => {
    expect(
      await only([
        { at: 0, path: '' },
        { at: 1, path: '/' },
      ]),
    ).toMatchObject({ title: '', requests: 2 });
  });

  test('two viewers without a segment are no concurrent viewers', async () => {
    expect(await only([{ at: 0 }, { at: 1, userAgent: TV }])).toMatchObject({
      identities: 2,
      concurrentMinutes: 0,
      refetchRatio: 0,
      sharedRatio: 0,
    });
  });

  test('no session at all', async () => {
    const object = logFile(folder, 'none.gz', tsv([{ at: 0, status: '403' }]));
    const request = { from: HOUR, to: HOUR + 3600, objects: [object] };
    for (const everySession of [true, false]) {
      expect(await engine.features({ ...request, everySession })).toEqual({
        sessions: [],
        sessionCount: 0,
        rows: 1,
        refused: [],
        odd: 0,
        proven: true,
        located: true,
      });
    }
  });

  test('IPv6 addresses are one network however zeroes are written', async () => {
    const addresses = ['2001:db8::1', '2001:0db8::2', '2001:DB8:0:5::6', '2001:db8:0000:0:0:0:0:9'];
    expect(
      await only(watching(40).map((request, index) => ({ ...request, ip: addresses[index % 4] as string }))),
    ).toMatchObject(HARMLESS);
    const others = ['2001::1', '2002:0:0:1::', '::1'];
    const features = await only(
      watching(30).map((request, index) => ({ ...request, ip: others[index % 3] as string })),
    );
    expect(features).toMatchObject({ networks: 3, identities: 3 });
  });

  test('requests count from the first second of the window to the last before its end', async () => {
    const object = logFile(folder, 'window.gz', tsv([{ at: 0 }, { at: 10 }, { at: 59 }, { at: 60 }, { at: 36_000 }]));
    const { sessions, rows } = await engine.features({
      from: HOUR + 10,
      to: HOUR + 60,
      objects: [object],
      everySession: true,
    });
    expect(sessions.map(({ requests }) => requests)).toEqual([2]);
    expect(rows).toBe(5);
  });
});

describe('screening', () => {
  test('leaves out what is harmless, and counts it', async () => {
    const object = logFile(
      folder,
      'screened.gz',
      tsv([...watching(150), ...watching(300, { session: 'ZzZzZz987654', every: 0.5 })]),
    );
    const found = await engine.features({ from: HOUR, to: HOUR + 3600, objects: [object], everySession: false });
    expect(found.sessions.map(({ sessionId }) => sessionId)).toEqual(['ZzZzZz987654']);
    expect(found).toMatchObject({ sessionCount: 2, rows: 450 });
  });
});

describe('timelines', () => {
  test('say who fetched in which minute, the busiest first eight', async () => {
    const viewers = Array.from({ length: 9 }, (_, index) =>
      watching(15 + index, { ip: `198.51.${index}.1`, country: 'FR' }),
    );
    const request = {
      from: HOUR,
      to: HOUR + 3600,
      objects: [
        logFile(
          folder,
          'timeline.gz',
          tsv([...viewers.flat(), ...watching(20, { session: 'ZzZzZz987654', ip: '2001:db8:1::1' })]),
        ),
      ],
      everySession: false,
    };
    await engine.features(request);
    const timelines = await engine.timelines(request, [SESSION, 'ZzZzZz987654', 'NotInTheLogs1']);
    expect([...timelines.keys()].sort()).toEqual([SESSION, 'ZzZzZz987654']);
    expect(timelines.get('ZzZzZz987654')).toEqual([
      {
        label: '2001:db8:1::/48, AS3320, DE',
        minutes: [
          [HOUR, 15],
          [HOUR + 60, 5],
        ],
      },
    ]);
    const labels = timelines.get(SESSION)?.map(({ label }) => label) ?? [];
    expect(labels).toHaveLength(8);
    expect(labels).not.toContain('198.51.0.0/24, AS3320, FR');
  });

  test('are asked for by session ids alone', async () => {
    const request = { from: HOUR, to: HOUR + 3600, objects: [], everySession: false };
    await expect(engine.timelines(request, ["x' OR 1=1 --"])).rejects.toMatchObject({
      name: 'DetectionError',
      code: 'ERR_DETECTION_QUERY',
    });
    expect(await engine.timelines(request, [])).toEqual(new Map());
  });
});

describe('other settings', () => {
  test('the token stands after a path', async () => {
    const live = await openDuckDbEngine(
      { detection, tokenPrefix: '/live/event/' },
      { threads: 1, tempDirectory: folder },
    );
    const requests = watching(20).map(({ at, path }) => ({ at, uri: tokenised(SESSION, path ?? '', '/live/event/') }));
    const others = watching(5, { session: 'ZzZzZz987654' });
    expect(await only([...requests, ...others], live, WITHOUT_ENTRY)).toMatchObject({
      ...HARMLESS,
      sessionId: SESSION,
      title: 'aurora',
      segments: 20,
    });
    await live.close();
  });

  test.each([
    ['as it is', (text: string) => text],
    ['percent-encoded', encodeURIComponent],
  ])('the session is what the function logged, %s', async (_, encode) => {
    const logged = (entry: string, at: number) => ({ at, uri: '-', logData: encode(entry) });
    const requests = [
      ...watching(20).map(({ at, path }) => logged(`${SESSION},allowed,${path}`, at)),
      logged(`${SESSION},token-expired,/aurora/360p/segment-000.m4s`, 1),
      logged(`-,allowed,/aurora/360p/segment-000.m4s`, 2),
      logged(`-,token-missing,/x,${SESSION},allowed,/`, 3),
    ];
    expect(await only(requests)).toMatchObject({
      ...HARMLESS,
      sessionId: SESSION,
      title: 'aurora',
      segments: 20,
      requests: 20,
    });
  });
});
