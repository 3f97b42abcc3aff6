import { describe, expect, test } from 'vitest';
import { describeCorpus, readCorpusFiles } from '../harness/corpora.ts';
import { HEADER, outcomes, PATH, signRaw, tokenUri, VARIANTS, viewerRequest } from '../harness/edge.ts';
import { ENGINE_DIFFERENCES, expectNothingWrong } from '../harness/engine-differences.ts';
import { TEST_CLAIMS } from '../harness/minting.ts';
import { describeWith } from '../harness/programs.ts';

const CORPUS = 'json/test_parsing';

const header = JSON.stringify(HEADER);
const claims = JSON.stringify(TEST_CLAIMS);

/** What is too long to be a token is none, whatever is in it. */
const isTooLong = (uri: string) => uri.length - PATH.length > 2048;

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString());
    return true;
  } catch {
    return false;
  }
}

/** The claims set, and the header, with one more member, which holds the text of a file. */
const claimsWith = (bytes: Buffer) =>
  Buffer.concat([Buffer.from(`${claims.slice(0, -1)},"x":`), bytes, Buffer.from('}')]);
const headerWith = (bytes: Buffer) => Buffer.concat([Buffer.from('{"x":'), bytes, Buffer.from(`,${header.slice(1)}`)]);

/** Where a file stands in a correctly signed token, and what the answer must match. */
const PLACES: Record<
  string,
  { token: (bytes: Buffer) => string; expected: (name: string, bytes: Buffer) => RegExp; open?: string[] }
> = {
  'as the claims set': {
    // White space around it changes nothing about JSON, and makes it long enough to be looked at.
    token: (bytes) => signRaw(header, Buffer.concat([bytes, Buffer.alloc(80, ' ')])),
    expected: () => /^denied token-claims-invalid$/,
  },
  'as the header': {
    token: (bytes) => signRaw(bytes, claims),
    expected: () => /^denied token-malformed$/,
  },
  'as a member of the claims set': {
    token: (bytes) => signRaw(header, claimsWith(bytes)),
    expected: (name, bytes) => {
      if (!isJson(claimsWith(bytes))) return /^denied token-claims-invalid$/;
      // Only a `y_` file has to be read; for an `i_` file either is right.
      return name.startsWith('i_')
        ? /^(?:allowed \/aurora\/master\.m3u8|denied token-claims-invalid)$/
        : /^allowed \/aurora\/master\.m3u8$/;
    },
    open: ENGINE_DIFFERENCES.jsonMembers,
  },
  'as a member of the header': {
    token: (bytes) => signRaw(headerWith(bytes), claims),
    expected: () => /^denied token-malformed$/,
  },
};

describeCorpus(CORPUS, 'JSON parsing suite', () => {
  const files = readCorpusFiles(CORPUS);

  test('is complete', () => {
    const count = (prefix: string) => files.filter(({ name }) => name.startsWith(prefix)).length;
    expect([count('y_'), count('n_'), count('i_')]).toEqual([95, 188, 35]);
  });

  describeWith('njs', 'each file is answered, and the same in both engines', () => {
    describe.each(VARIANTS)('%s', (variant) => {
      test.each(Object.entries(PLACES))('%s', async (_, { token, expected, open }) => {
        const uris = files.map(({ bytes }) => tokenUri(token(bytes)));
        const events = uris.map((uri) => viewerRequest(uri));
        const inVm = await outcomes('node:vm', events, { variant });
        const inNjs = await outcomes('njs', events, { variant });
        const wrong: Record<string, unknown> = {};
        for (const [i, { name, bytes }] of files.entries()) {
          const answers = [inVm[i] as string, inNjs[i] as string];
          const right = isTooLong(uris[i] as string) ? /^denied token-malformed$/ : expected(name, bytes);
          if (!right.test(answers[0] as string) || answers[0] !== answers[1]) wrong[name] = answers;
        }
        expectNothingWrong(wrong, open);
      });
    });
  });
});
