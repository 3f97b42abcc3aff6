import { expect, test } from 'vitest';
import { describeCorpus, readCorpus } from '../harness/corpora.ts';
import { describeEngines, HEADER, outcomes, signRaw, tokenUri, viewerRequest } from '../harness/edge.ts';
import { TEST_CLAIMS } from '../harness/minting.ts';

/** A path as a viewer may send it behind the token; `canonical` is what someone else makes of it, if they have said. */
interface PathCase {
  path: string;
  canonical?: string;
}

/**
 * What others normalise and we forward as sent: an escape of a character that needs none. Scope, cache and origin are
 * given the same text, and a scope opens no other spelling of itself.
 */
const LEFT_AS_SENT = ['/%53omething/Here'];

/** A token that opens every path. */
const ANYWHERE = signRaw(JSON.stringify(HEADER), JSON.stringify({ ...TEST_CLAIMS, paths: ['/'] }));

/** The path of a URL text, as it stands there; null when it is no URL with an authority. */
function rawPath(url: string): string | null {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#\\]*([^?#]*)/i.exec(url)?.[1] ?? null;
}

/** HTTP carries bytes: a lone surrogate cannot be sent. */
const wellFormed = (text: string) => text.replaceAll(/\p{Cs}/gu, '\ufffd');

/** What a text could be sent as: it, and it without what would be query and fragment. */
function asPaths(text: string): string[] {
  const absolute = text.startsWith('/') ? text : `/${text}`;
  return [...new Set([absolute, absolute.replace(/[?#].*$/s, '')])].map(wellFormed);
}

/**
 * The property: a path is refused, or it is forwarded exactly as it was sent and there is nothing left to normalise, be it
 * by the URL standard or by whoever said what is canonical.
 */
async function expectRefusedOrCanonical(
  engine: 'node:vm' | 'njs',
  cases: PathCase[],
): Promise<{ forwarded: string[]; refused: string[] }> {
  const answers = await outcomes(
    engine,
    cases.map(({ path }) => viewerRequest(tokenUri(ANYWHERE, path))),
  );
  const forwarded: string[] = [];
  const refused: string[] = [];
  const wrong: unknown[] = [];
  for (const [i, { path, canonical }] of cases.entries()) {
    const answer = answers[i] as string;
    if (answer === 'denied path-unsafe') refused.push(path);
    else if (answer !== `allowed ${path}`) wrong.push({ path, answer });
    else {
      forwarded.push(path);
      const byUrl = new URL(`http://h${path}`).pathname;
      if (byUrl !== path) wrong.push({ path, byUrl });
      if (canonical !== undefined && canonical !== path && !LEFT_AS_SENT.includes(path))
        wrong.push({ path, canonical });
    }
  }
  expect(wrong).toEqual([]);
  return { forwarded, refused };
}

interface AtsFile {
  vectors: Record<'dot_segments' | 'normalize', { name: string; input: string; expected: string | null }[]> & {
    token_strip: { name: string; uri: string; stripped: string | null }[];
  };
  gold: { name: string; curl: string }[];
}

const ATS = 'cdni-ats/ats_uri_signing_vectors.json';

describeCorpus(ATS, 'URI signing of Apache Traffic Server', () => {
  const { vectors, gold } = readCorpus<AtsFile>(ATS);
  const withSlash = (path: string) => (path.startsWith('/') ? path : `/${path}`);
  const dotSegments = vectors.dot_segments.map(({ input, expected }) => ({
    path: withSlash(input),
    canonical: withSlash(expected ?? ''),
  }));
  const normalised = vectors.normalize.flatMap(({ input, expected }): PathCase[] => {
    const path = rawPath(input);
    const canonical = rawPath(expected ?? '');
    return path && canonical !== null ? [{ path, canonical }] : [];
  });
  const texts = vectors.normalize.flatMap(({ input }) => asPaths(input)).map((path) => ({ path }));
  const stripped = vectors.token_strip
    .flatMap(({ uri, stripped }) => [...asPaths(uri), ...asPaths(stripped ?? '')])
    .map((path) => ({ path }));
  const foreign = [
    ...vectors.token_strip.map(({ uri }) => uri),
    ...gold.map(({ curl }) => curl.replaceAll('"', '').split(' ')[0] as string),
  ];

  test('is complete', () => {
    expect([vectors.dot_segments.length, vectors.normalize.length, vectors.token_strip.length, gold.length]).toEqual([
      18, 36, 18, 13,
    ]);
  });

  describeEngines('a path is refused, or canonical already', (engine) => {
    test(`${dotSegments.length} paths with dot segments`, async () => {
      const { forwarded, refused } = await expectRefusedOrCanonical(engine, dotSegments);
      expect(forwarded).toEqual(['/']);
      expect(refused).toHaveLength(17);
    });

    test(`${normalised.length} paths that are normalised there, ${texts.length} texts`, async () => {
      const { forwarded, refused } = await expectRefusedOrCanonical(engine, [...normalised, ...texts]);
      expect(forwarded).toContain('/Something/Here');
      expect(refused).toContain('/%53omething/.././here');
      expect(refused).toContain('/http://www.foobar.co%4psomethin/Path');
    });

    test(`${stripped.length} paths around tokens of theirs`, async () => {
      const { forwarded, refused } = await expectRefusedOrCanonical(engine, stripped);
      expect(forwarded).toContain('/www.foo.com/hellothere/Something/Else');
      expect(refused).toContain('/www.foobar.com//Something/Else');
    });
  });

  describeEngines('tokens of theirs', (engine) => {
    const uris = foreign.flatMap((uri) => [...asPaths(uri), rawPath(uri) ?? '/', rawPath(`http://${uri}`) ?? '/']);
    test(`none of ${uris.length} opens anything`, async () => {
      const answers = await outcomes(
        engine,
        uris.map((uri) => viewerRequest(uri)),
      );
      expect(
        answers.filter((answer) => !/^denied (?:token-missing|token-malformed|path-unsafe)$/.test(answer)),
      ).toEqual([]);
    });
  });
});

interface UrlCase {
  input: string;
  pathname?: string;
  protocol?: string;
}

const URLS = 'url/wpt_urltestdata.json';
const isHttp = (protocol = '') => protocol === 'http:' || protocol === 'https:';

describeCorpus(URLS, 'URL tests of the web platform', () => {
  const urls = readCorpus<(string | UrlCase)[]>(URLS).filter((item): item is UrlCase => typeof item === 'object');
  // A path that stands in the input, with the path that the tests say comes out of it.
  const expected = urls.flatMap(({ input, pathname, protocol }): PathCase[] => {
    const path = rawPath(input) ?? (/^\/(?![/\\])/.test(input) ? input.replace(/[?#].*$/s, '') : null);
    return path?.startsWith('/') && pathname !== undefined && isHttp(protocol)
      ? [{ path: wellFormed(path), canonical: pathname }]
      : [];
  });
  const texts = urls
    .flatMap(({ input, pathname = '' }) => [...asPaths(input), ...asPaths(rawPath(input) ?? ''), ...asPaths(pathname)])
    .map((path) => ({ path }));

  test('is complete', () => {
    expect(urls.length).toBe(891);
  });

  describeEngines('a path is refused, or canonical already', (engine) => {
    test(`${expected.length} paths with the path that comes out`, async () => {
      const { forwarded, refused } = await expectRefusedOrCanonical(engine, expected);
      expect(forwarded).toEqual(expect.arrayContaining(['/foo/..bar', '/foo%41%7a', '/(%28:%3A%29)']));
      expect(refused).toEqual(
        expect.arrayContaining([
          '/./.foo',
          '/foo/%2e',
          '/foo/%2e./%2e%2e/.%2e/%2e.bar',
          '////../..',
          '/foo%',
          '/foo%00%51',
          '/\\@',
          '/你好你好',
          '/foo\tbar',
        ]),
      );
    });

    test(`${texts.length} texts`, async () => {
      const { forwarded, refused } = await expectRefusedOrCanonical(engine, texts);
      expect(forwarded.length).toBeGreaterThan(100);
      expect(refused.length).toBeGreaterThan(100);
    });
  });
});

const ESCAPES = 'url/wpt_percent-encoding.json';

describeCorpus(ESCAPES, 'percent-encoding tests of the web platform', () => {
  const cases = readCorpus<(string | { input: string; output: Record<string, string> })[]>(ESCAPES).flatMap((item) =>
    typeof item === 'string' ? [] : [item],
  );

  describeEngines('a path is refused, or canonical already', (engine) => {
    test(`${cases.length} texts, as they are and in each encoding`, async () => {
      const paths = cases
        .flatMap(({ input, output }) => [input, ...Object.values(output)])
        .map((text) => ({ path: `/${text}` }));
      const { forwarded, refused } = await expectRefusedOrCanonical(engine, paths);
      expect(forwarded.length).toBeGreaterThan(0);
      // What is not ASCII has to be escaped.
      expect(refused).toEqual(
        expect.arrayContaining(cases.filter(({ input }) => /[^!-~]/.test(input)).map(({ input }) => `/${input}`)),
      );
    });
  });
});
