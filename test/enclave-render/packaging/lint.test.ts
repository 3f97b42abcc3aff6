import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { LIMITS, type Limits } from '../../../enclave-render/packaging/lint/limits.ts';
import { lint } from '../../../enclave-render/packaging/lint/lint.ts';
import { parsePlaylist } from '../../../enclave-render/packaging/lint/playlist-parser.ts';
import { RULES } from '../../../enclave-render/packaging/lint/rules.ts';
import { packagePath } from '../../../local/package-root.ts';
import { portcullis } from '../../harness/cli.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';
import { serveFolders, type TitleServer } from '../../harness/title-server.ts';

const MASTER = `#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=1000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360
360p/index.m3u8
`;
const MEDIA = `#EXTM3U
#EXT-X-TARGETDURATION:4
#EXT-X-MAP:URI="init.mp4"
#EXT-X-KEY:METHOD=AES-128,URI="../keys/k1.key"
#EXTINF:4.4,
1.m4s
#EXTINF:4,
2.m4s
#EXT-X-ENDLIST
`;

/** What a server answers to a path. */
type HostileAnswer = (response: ServerResponse) => void;

describe('the linter of manifests', () => {
  const scratch = temporaryDirectory();
  let server: TitleServer;
  let files: Record<string, string | Uint8Array>;
  beforeAll(async () => {
    server = await serveFolders({}, (path) => {
      const body = files[path];
      return body === undefined ? { status: 404, body: '' } : { status: 200, body };
    });
  });
  beforeEach(() => {
    files = {
      '/t/master.m3u8': MASTER,
      '/t/360p/index.m3u8': MEDIA,
      '/t/360p/init.mp4': 'init',
      '/t/360p/1.m4s': 'one',
      '/t/360p/2.m4s': 'two',
      '/t/keys/k1.key': new Uint8Array(16),
    };
  });
  afterAll(async () => {
    await server.close();
    removeDirectory(scratch);
  });

  const rules = async (target = `${server.url}/t/master.m3u8`) => (await lint(target)).findings.map(({ rule }) => rule);
  const media = (from: string, to: string) => {
    files['/t/360p/index.m3u8'] = MEDIA.replace(from, to);
    return rules();
  };
  const master = (from: string, to: string) => {
    files['/t/master.m3u8'] = MASTER.replace(from, to);
    files['/t/360p/index.m3u8'] = MEDIA;
    return rules();
  };
  /** A second rendition, as the first but for a change. */
  const second = (from: string, to: string) => {
    files['/t/180p/index.m3u8'] = MEDIA.replaceAll('URI="', 'URI="../360p/')
      .replaceAll(/^(\d.m4s)/gm, '../360p/$1')
      .replace('../360p/../keys', '../keys')
      .replace(from, to);
    return master('360p/index.m3u8\n', `360p/index.m3u8\n${MASTER.split('\n')[1]}\n180p/index.m3u8\n`);
  };

  test('has nothing to say where all is well, and fetches what players would', async () => {
    expect(await rules()).toEqual([]);
    const report = await lint(`${server.url}/t/master.m3u8`);
    expect(report).toEqual({ findings: [], fetched: 6, kind: 'multivariant' });
    expect((await lint(`${server.url}/t/360p/index.m3u8`)).kind).toBe('media');
    expect(await second('', '')).toEqual([]);
  });

  test('has nothing to say of the titles that come with this', async () => {
    for (const title of ['aurora', 'harbour']) {
      expect(await rules(packagePath('local', 'titles', title, 'master.m3u8'))).toEqual([]);
    }
  });

  test('every rule is breached by somebody here', async () => {
    const clear = '#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,';
    const found = {
      'limit-reached': (await lint(`${server.url}/t/master.m3u8`, { ...LIMITS, fetches: 1 })).findings.map(
        (finding) => finding.rule,
      ),
      'absolute-uri': await media('1.m4s', `${server.url}/t/360p/1.m4s`),
      'root-relative-uri': await media('1.m4s', '/t/360p/1.m4s'),
      'cross-domain': await media('"../keys/', '"http://127.0.0.2:9/keys/'),
      'query-uri': await media('1.m4s', '1.m4s?x=1').then((found) => found.filter((rule) => rule !== 'unreachable')),
      unreachable: await media('2.m4s', '3.m4s'),
      'key-missing': await media('k1.key', 'k2.key'),
      'key-without-uri': await media(',URI="../keys/k1.key"', ''),
      'key-method': await media('AES-128', 'SAMPLE-AES'),
      'iv-invalid': await media('k1.key"', 'k1.key",IV=0x12'),
      'mixed-encryption': await media('#EXTINF:4,', clear),
      'init-encrypted-without-iv': await media(
        /#EXT-X-MAP.*\n#EXT-X-KEY.*/.exec(MEDIA)?.[0] ?? '',
        '#EXT-X-KEY:METHOD=AES-128,URI="../keys/k1.key"\n#EXT-X-MAP:URI="init.mp4"',
      ),
      'map-missing': await media('#EXT-X-MAP:URI="init.mp4"\n', ''),
      'target-duration-missing': await media('#EXT-X-TARGETDURATION:4\n', ''),
      'target-duration-exceeded': await media('4.4', '4.6'),
      'duration-missing': await media('#EXTINF:4,\n', ''),
      'media-sequence-late': await media('2.m4s', '2.m4s\n#EXT-X-MEDIA-SEQUENCE:4'),
      'not-a-manifest': await media('#EXTM3U', '<html>'),
      'attribute-missing': await master('BANDWIDTH=1000,', ''),
      'codecs-missing': await master('CODECS="avc1.64001e,mp4a.40.2",', ''),
      'group-missing': await master('RESOLUTION', 'AUDIO="a",RESOLUTION'),
      'renditions-out-of-step': await second('#EXTINF:4,\n', '#EXT-X-DISCONTINUITY\n#EXTINF:4,\n'),
    };
    for (const [rule, rules] of Object.entries(found)) expect({ rule, rules }).toEqual({ rule, rules: [rule] });
    expect(Object.keys(found).sort()).toEqual(Object.keys(RULES).sort());
  });

  test('encrypted and clear renditions do not mix, and a second key tag does not', async () => {
    expect(await second('#EXT-X-KEY:METHOD=AES-128,URI="../keys/k1.key"\n', '')).toEqual(['mixed-encryption']);
    files['/t/keys/k1.key'] = new Uint8Array(17);
    expect(await rules()).toContain('key-missing');
  });

  test('an MPD is looked through for what leads away', async () => {
    const mpd = (base: string, more = '') =>
      `<MPD><Period><AdaptationSet>${more}<BaseURL>${base}</BaseURL><SegmentTemplate media="$Number$.m4s" initialization="init.mp4"/></AdaptationSet><AdaptationSet/></Period></MPD>`;
    files['/t/manifest.mpd'] = mpd('360p/');
    expect(await rules(`${server.url}/t/manifest.mpd`)).toEqual([]);
    files['/t/manifest.mpd'] = mpd('/t/360p/');
    expect(await rules(`${server.url}/t/manifest.mpd`)).toEqual(['root-relative-uri']);
    files['/t/manifest.mpd'] = mpd('http://127.0.0.2:9/360p/');
    expect((await rules(`${server.url}/t/manifest.mpd`))[0]).toBe('cross-domain');
    files['/t/manifest.mpd'] = mpd('nowhere/');
    expect(await rules(`${server.url}/t/manifest.mpd`)).toEqual(['unreachable']);
  });

  test('a URL leads to no file, no other host and no redirect; a file leads to no file outside its folder', async () => {
    for (const uri of ['file:///etc/passwd', 'http://127.0.0.2:9/x', '//127.0.0.2:9/x']) {
      const { findings, fetched } = await lint(`${server.url}/t/master.m3u8`).then(() => {
        files['/t/360p/index.m3u8'] = MEDIA.replace('1.m4s', uri);
        return lint(`${server.url}/t/master.m3u8`);
      });
      expect(findings.map((finding) => finding.rule)).toEqual(['cross-domain']);
      expect(fetched).toBe(5);
    }
    await expect(lint('file:///etc/passwd')).rejects.toMatchObject({ code: 'ERR_PACKAGE_LINT' });
    await expect(lint('ftp://127.0.0.1/x.m3u8')).rejects.toMatchObject({ code: 'ERR_PACKAGE_LINT' });
    for (const [path, body] of Object.entries(files)) {
      mkdirSync(dirname(join(scratch, path)), { recursive: true });
      writeFileSync(join(scratch, path), body);
    }
    writeFileSync(join(scratch, 'outside.m4s'), 'x');
    writeFileSync(join(scratch, 't/360p/index.m3u8'), MEDIA.replace('1.m4s', '../../outside.m4s'));
    const found = (await lint(join(scratch, 't/master.m3u8'))).findings;
    expect(found.map(({ rule, detail }) => [rule, detail])).toEqual([['unreachable', 'it is outside the folder']]);
  });

  test('no token gets into a finding', async () => {
    const token = 'AbCdEf012345.eyJhbGciOiJIUzI1NiJ9.eyJzaWQiOiJB.c2lnbmF0dXJl';
    const moved = Object.entries(files).map(([path, body]) => [`/${token}${path}`, body] as const);
    files = Object.fromEntries(moved);
    files[`/${token}/t/360p/index.m3u8`] = MEDIA.replace('1.m4s', `/${token}/t/360p/1.m4s`).replace(
      '2.m4s',
      '9.m4s?secret=1',
    );
    const { findings } = await lint(`${server.url}/${token}/t/master.m3u8`);
    expect(findings.map(({ rule }) => rule).sort()).toEqual(['query-uri', 'root-relative-uri', 'unreachable']);
    expect(JSON.stringify(findings)).not.toMatch(/eyJ|secret=/);
    expect(findings[0]?.where).toContain('/<token>/t/360p/index.m3u8:');
    files[`/${token}/t/360p/index.m3u8`] = MEDIA.replace('#EXTINF:4,\n2.m4s', `/${token}/t/360p/2.m4s?secret=1`);
    const report = await lint(`${server.url}/${token}/t/master.m3u8`);
    expect(report.findings.map(({ rule }) => rule)).toContain('duration-missing');
    expect(JSON.stringify(report)).not.toMatch(/eyJ|secret=/);
  });

  test('a URI that is no path is a finding, and ends nothing', async () => {
    const file = join(scratch, 'percent.m3u8');
    writeFileSync(file, '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nseg%zz.ts\n#EXT-X-ENDLIST\n');
    expect(await rules(file)).toEqual(['unreachable']);
  });

  test('an MPD that opens sets and closes none is done with as fast as any', async () => {
    const file = join(scratch, 'open.mpd');
    writeFileSync(file, `<MPD><ContentProtection/>${'<AdaptationSet '.repeat(100_000)}`);
    expect(await rules(file)).toEqual(['mixed-encryption']);
  });

  test('numbers that are none are missing', async () => {
    expect(await media('4.4', 'long')).toEqual(['duration-missing']);
    expect(await media('4.4', '-1')).toEqual(['duration-missing']);
    expect(await media('DURATION:4', 'DURATION:x')).toEqual(['target-duration-missing']);
  });

  test('a folder behind a link is checked as any; a link in it that leads out of it is not followed', async () => {
    const folder = join(scratch, 'linked');
    for (const [path, body] of Object.entries(files).filter(([name]) => !name.endsWith('.key'))) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), body);
    }
    const entry = { name: 'k1', encryptedKey: 'AAAA', keyId: 'k', context: {} };
    writeFileSync(join(folder, 't/keys.json'), JSON.stringify({ format: 'portcullis-content-keys/1', keys: [entry] }));
    symlinkSync(join(folder, 't'), join(scratch, 'link'));
    expect(await rules(join(scratch, 'link/master.m3u8'))).toEqual([]);
    expect(await rules(join(scratch, 'link/360p/index.m3u8'))).toEqual([]);
    rmSync(join(folder, 't/360p/1.m4s'));
    symlinkSync('/etc/hostname', join(folder, 't/360p/1.m4s'));
    const { findings } = await lint(join(scratch, 'link/master.m3u8'));
    expect(findings.map(({ rule, detail }) => [rule, detail])).toEqual([['unreachable', 'it is outside the folder']]);
  });

  test('a pipe in a folder, to which nobody writes, is no file', async () => {
    const folder = join(scratch, 'pipes');
    mkdirSync(folder);
    execFileSync('mkfifo', [join(folder, '1.ts')]);
    writeFileSync(join(folder, 'index.m3u8'), '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n1.ts\n');
    expect(await rules(join(folder, 'index.m3u8'))).toEqual(['unreachable']);
    await expect(lint(join(folder, '1.ts'))).rejects.toMatchObject({ code: 'ERR_PACKAGE_LINT' });
  });

  test('reads playlists as they are written elsewhere', () => {
    expect(parsePlaylist('#EXTM3U8\n')).toBeUndefined();
    const lines = parsePlaylist(
      '\ufeff#EXTM3U\r\n# comment\r\n#EXT-X-KEY:METHOD=AES-128,URI="a,b=c",IV=0x1\r\n\r\na b.ts\r\n',
    );
    expect(lines?.map(({ line, ...rest }) => [line, 'attributes' in rest ? [...rest.attributes] : rest])).toEqual([
      [1, []],
      [
        3,
        [
          ['METHOD', 'AES-128'],
          ['URI', 'a,b=c'],
          ['IV', '0x1'],
        ],
      ],
      [5, { type: 'uri', uri: 'a b.ts' }],
    ]);
  });
});

describe('the linter of manifests, given what has no end,', () => {
  const scratch = temporaryDirectory();
  const HEAD = '#EXTM3U\n#EXT-X-TARGETDURATION:4\n';
  let answers: Record<string, HostileAnswer>;
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(`http://loopback${request.url}`);
    asked.push(pathname);
    const answer = answers[pathname] ?? answers['*'];
    if (answer) answer(response);
    else response.writeHead(404).end();
  });
  let url: string;
  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    asked.length = 0;
  });
  afterAll(async () => {
    server.closeAllConnections();
    server.close();
    removeDirectory(scratch);
  });

  const text =
    (body: string): HostileAnswer =>
    (response) =>
      void response.end(body);
  /** The head of a playlist, and then a line again and again as fast as it is taken. */
  const forever =
    (head: string, line: string): HostileAnswer =>
    (response) => {
      const piece = line.repeat(Math.ceil(65536 / line.length));
      response.write(head);
      const more = () => {
        while (!response.destroyed && response.write(piece));
      };
      response.on('drain', more);
      more();
    };
  /** Begins an answer and says no more. */
  const silent: HostileAnswer = (response) => void response.write(HEAD);

  async function found(path = '/index.m3u8', limits: Partial<Limits> = {}) {
    const { findings, ...report } = await lint(`${url}${path}`, { ...LIMITS, ...limits });
    return { ...report, findings: findings.map(({ rule, detail }) => `${rule}: ${detail}`) };
  }

  test('a playlist that never ends is a finding after as many bytes as a manifest may have', async () => {
    answers = { '/index.m3u8': forever(HEAD, '#EXTINF:4,\n1.ts\n') };
    expect(await found()).toEqual({
      findings: [`limit-reached: it has more than ${LIMITS.manifestBytes} bytes`],
      fetched: 1,
      kind: 'media',
    });
    answers = {
      '/index.m3u8': text(`${HEAD}#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="x"\n1.m3u8\n`),
      '/1.m3u8': answers['/index.m3u8'] as HostileAnswer,
    };
    expect((await found()).findings).toEqual([`limit-reached: it has more than ${LIMITS.manifestBytes} bytes`]);
    answers = { '/index.m3u8': forever('', 'no playlist at all ') };
    await expect(found()).rejects.toMatchObject({ code: 'ERR_PACKAGE_LINT' });
  });

  test('a segment and a key that never end are not read on', async () => {
    const lines = '#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:4,\n1.ts\n#EXT-X-ENDLIST\n';
    answers = { '/index.m3u8': text(HEAD + lines), '*': forever('', 'x') };
    expect((await found()).findings).toEqual(['key-missing: it is not 16 bytes']);
  });

  test('an answer that is begun and never finished is given up', async () => {
    answers = {
      '/index.m3u8': text(`${HEAD}#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:4,\n1.ts\n`),
      '/k': (response) => void response.write('k'),
      '/1.ts': () => {},
    };
    expect((await found('/index.m3u8', { answerSeconds: 0.3 })).findings).toEqual([
      'key-missing: no answer in time',
      'unreachable: no answer in time',
    ]);
    answers = { '/index.m3u8': silent };
    await expect(found('/index.m3u8', { answerSeconds: 0.3 })).rejects.toMatchObject({
      code: 'ERR_PACKAGE_LINT',
      message: expect.stringContaining('no answer in time'),
    });
  });

  test('all of it together takes no longer than it may', async () => {
    const keys = Array.from({ length: 100 }, (_, i) => `#EXT-X-KEY:METHOD=AES-128,URI="${i}.key"`).join('\n');
    answers = { '/index.m3u8': text(`${HEAD}${keys}\n#EXTINF:4,\n1.ts\n`), '*': () => {} };
    const { findings, fetched } = await found('/index.m3u8', { answerSeconds: 0.2, totalSeconds: 1 });
    expect(findings.at(-1)).toBe('limit-reached: it took longer than 1 s so far');
    expect(fetched).toBeLessThan(100);
  });

  test('redirects that go round are a finding, and a refusal when there is no manifest', async () => {
    const round: HostileAnswer = (response) => void response.writeHead(302, { location: '/round.ts' }).end();
    answers = { '/index.m3u8': text(`${HEAD}#EXTINF:4,\nround.ts\n`), '/round.ts': round };
    expect((await found()).findings).toEqual(['unreachable: status 302, and redirects are not followed']);
    expect(asked).toEqual(['/index.m3u8', '/round.ts']);
    await expect(found('/round.ts')).rejects.toMatchObject({ code: 'ERR_PACKAGE_LINT' });
  });

  test('playlists that name one another, or one of them again and again, are fetched once', async () => {
    const infs = (names: string[]) =>
      `#EXTM3U\n${names.map((name) => `#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="x"\n${name}\n`).join('')}`;
    answers = {
      '/index.m3u8': text(infs(['index.m3u8', ...Array.from({ length: 5000 }, () => 'media.m3u8')])),
      '/media.m3u8': text(`${HEAD}${'#EXTINF:4,\nmedia.m3u8\n'.repeat(5000)}`),
    };
    await found();
    expect(asked.filter((path) => path === '/media.m3u8').length).toBeLessThanOrEqual(2);
    expect(asked.length).toBeLessThan(6);
  });

  test('more files than it may fetch, and more bytes, end with a finding', async () => {
    const variants = Array.from({ length: 6000 }, (_, i) => `#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="x"\n${i}.m3u8\n`);
    answers = { '/index.m3u8': text(`#EXTM3U\n${variants.join('')}`), '*': text(`${HEAD}#EXT-X-ENDLIST\n`) };
    expect(await found()).toEqual({
      findings: [`limit-reached: there are more than ${LIMITS.fetches} files`],
      fetched: LIMITS.fetches,
      kind: 'multivariant',
    });
    expect(asked).toHaveLength(LIMITS.fetches);
    const large = text(`${HEAD}#${' '.repeat(10_000)}\n`);
    answers = { ...answers, '*': large };
    const { findings } = await found('/index.m3u8', { totalBytes: 1_000_000 });
    expect(findings).toEqual(['limit-reached: all files have more than 1000000 bytes']);
  });

  test('more findings than anybody reads end with one that says so', async () => {
    answers = { '/index.m3u8': text(`${HEAD}${'1.ts\n'.repeat(5000)}`) };
    const { findings } = await found();
    expect(findings).toHaveLength(LIMITS.findings + 1);
    expect(findings.at(-1)).toBe(`limit-reached: there are more than ${LIMITS.findings} findings`);
  });

  test('findings are short, whatever is in the manifest', async () => {
    const long = 'x'.repeat(1 << 20);
    const lines = [`#EXT-X-KEY:METHOD=${long},URI="k"`, `#EXTINF:4,`, `/${long}`, long, `/${long.slice(0, 8000)}`];
    answers = { '/index.m3u8': text(`${HEAD}${lines.join('\n')}\n`) };
    const { findings } = await lint(`${url}/index.m3u8`);
    expect(findings.length).toBeGreaterThan(3);
    expect(JSON.stringify(findings).length).toBeLessThan(5000);
    expect(findings.map(({ detail }) => detail)).toContain('a URI of more than 8192 characters');
  });

  test.each([
    ['a tag without an attribute', `#EXTM3U\n#EXT-X-KEY:${'A'.repeat(1 << 23)}\n`],
    ['quotes that are not closed', `#EXTM3U\n#EXT-X-KEY:${'A="'.repeat(1 << 21)}\n`],
    ['lines without anything', `#EXTM3U${'\n'.repeat(150_000)}`],
    ['spaces', `#EXTM3U\n${' '.repeat(1 << 23)}`],
    ['elements that are not closed', `<MPD>${'<BaseURL '.repeat(1 << 20)}`],
    ['elements that are not ended', `<MPD>${'<BaseURL>'.repeat(1 << 20)}`],
    ['attributes', `<MPD>${'media=" index="'.repeat(100_000)}`],
    ['a line each for a million templates', `<MPD>${'\nmedia="$a"'.repeat(1_000_000)}`],
    ['slashes', `#EXTM3U\n#EXT-X-KEY:METHOD=${'/a.a.a.a'.repeat(1 << 20)}\n`],
  ])('%s in megabytes take no longer than others', async (_, body) => {
    answers = { '/index.m3u8': text(body) };
    await found();
  });

  test('a million lines, and a file larger than a manifest, end the command with exit code 1', async () => {
    const million = join(scratch, 'million.m3u8');
    writeFileSync(million, `${HEAD}${'#EXTINF:4,\n1.ts\n'.repeat(500_000)}`);
    const large = join(scratch, 'large.m3u8');
    writeFileSync(large, HEAD);
    // Of which most is a hole.
    truncateSync(large, 2 ** 40);
    answers = { '/index.m3u8': forever(HEAD, '1.ts\n') };
    for (const [target, detail] of [
      [million, `it has more than ${LIMITS.manifestLines} lines`],
      [large, `it has more than ${LIMITS.manifestBytes} bytes`],
      [`${url}/index.m3u8`, `it has more than ${LIMITS.manifestBytes} bytes`],
    ] as const) {
      const { code, stdout } = await portcullis('package', 'lint', target, '--json');
      expect({ code, ...JSON.parse(stdout) }).toMatchObject({ code: 1, errors: 1, findings: [{ detail }] });
    }
  });
});
