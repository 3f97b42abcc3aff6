import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { lint } from '../../../enclave-render/packaging/lint/lint.ts';
import { parsePlaylist } from '../../../enclave-render/packaging/lint/playlist-parser.ts';
import { RULES } from '../../../enclave-render/packaging/lint/rules.ts';
import { packagePath } from '../../../local/package-root.ts';
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
      expect(findings.map(({ rule }) => rule)).toEqual(['cross-domain']);
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
