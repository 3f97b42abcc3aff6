import { expect, test } from 'vitest';
import type { VerificationKey } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { describeCorpus, readCorpus } from '../harness/corpora.ts';
import {
  describeEngines,
  HEADER,
  outcomes,
  PATH,
  signRaw,
  TEST_KEYS,
  tokenUri,
  VARIANTS,
  viewerRequest,
} from '../harness/edge.ts';
import { describeVerifiers, type MacQuestion, type Verifier, verdicts } from '../harness/edge-crypto.ts';
import { expectNothingWrong } from '../harness/engine-differences.ts';
import { TEST_CLAIMS, TEST_KEY } from '../harness/minting.ts';

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

interface Jwk {
  kty: string;
  alg?: string;
  kid?: string;
  k?: string;
}

interface JwsFile {
  testGroups: {
    type: string;
    comment: string;
    private?: Jwk | { keys: Jwk[] };
    public?: Jwk | { keys: Jwk[] };
    tests: { tcId: number; comment: string; jws?: unknown; jwe?: unknown; result: 'valid' | 'invalid' }[];
  }[];
}

interface JwsCase {
  name: string;
  jws: string;
  keys: Jwk[];
  isValid: boolean;
}

/** Labels of json_web_signature_test.json that are wrong, and the right ones. */
const OVERRULED: Record<string, { isValid: boolean; because: string }> = {
  'base64 367 invalidBase64Padding': { isValid: true, because: 'byte for byte the valid token 357' },
  'base64 370 invalidBase64PaddingInPayload': { isValid: true, because: 'byte for byte the valid token 357' },
  'base64 372 InvalidCharacterInsertedInHeader': { isValid: false, because: '? is no base64url (RFC 7515 §2)' },
  'base64 373 InvalidCharacterInsertedInPayload': { isValid: false, because: '? is no base64url (RFC 7515 §2)' },
};

/**
 * Left out at the signature layer: a key set with keys of several kinds is wrong whatever the signature, and the edge has
 * keys of one kind only.
 */
const KEY_SET_LAYER = 'jws_mixedSymmetryKeyset 47 rejectsValid';

function readJws(file: string): JwsCase[] {
  return readCorpus<JwsFile>(`wycheproof/${file}`).testGroups.flatMap((group) => {
    const key = group.private ?? group.public ?? { keys: [] };
    const keys = 'keys' in key ? key.keys : [key];
    return group.tests.flatMap(({ tcId, comment, jws, result }): JwsCase[] => {
      if (jws === undefined) return [];
      const name = `${group.comment} ${tcId} ${comment}`;
      const text = typeof jws === 'string' ? jws : JSON.stringify(jws);
      return [{ name, jws: text, keys, isValid: OVERRULED[name]?.isValid ?? result === 'valid' }];
    });
  });
}

/** Every key that is a secret, the way the edge holds keys. */
function symmetricKeys(cases: JwsCase[]): Record<string, VerificationKey> {
  const secrets = cases.flatMap(({ keys }) => keys.filter((key) => key.kty === 'oct' && key.kid));
  return Object.fromEntries(secrets.map(({ kid = '', k = '' }) => [kid, { sign: k, bind: k }]));
}

const isHs256 = ({ keys }: JwsCase) => keys.every(({ kty, alg }) => kty === 'oct' && alg === 'HS256');

/** Whether one of the keys of each case verifies it. */
async function verified(verifier: Verifier, cases: JwsCase[]): Promise<boolean[]> {
  const questions = cases.flatMap(({ jws, keys }) => keys.map(({ k = '' }) => ({ jws, key: k })));
  const answers = await verdicts(verifier, questions);
  expect(answers.every((answer) => typeof answer === 'boolean')).toBe(true);
  return cases.map(({ keys }) => answers.splice(0, keys.length).includes(true));
}

for (const { file, hs256, others } of [
  { file: 'json_web_signature_test.json', hs256: 40, others: 361 },
  { file: 'json_web_crypto_test.json', hs256: 19, others: 29 },
]) {
  describeCorpus(`wycheproof/${file}`, `Wycheproof ${file}`, () => {
    const cases = readJws(file);
    const labelled = cases.filter((item) => isHs256(item) && item.name !== KEY_SET_LAYER);
    const foreign = cases.filter((item) => !isHs256(item) && item.name !== KEY_SET_LAYER);
    const keys = symmetricKeys(cases);

    test('is complete', () => {
      expect([labelled.length, foreign.length]).toEqual([hs256, others]);
    });

    describeVerifiers('the signature layer', (verifier) => {
      test(`${labelled.length} tokens with HS256 keys`, async () => {
        const answers = await verified(verifier, labelled);
        expect(labelled.map(({ name }, i) => [name, answers[i]])).toEqual(
          labelled.map(({ name, isValid }) => [name, isValid]),
        );
      });

      test(`${foreign.length} tokens of other algorithms, none verified by a key of ours or by the text of their own`, async () => {
        const secrets = Object.values(keys).map(({ sign }) => ({ kty: 'oct', k: sign }));
        const confused = foreign.map((item) => {
          const texts = item.keys.map((key) => Buffer.from(JSON.stringify(key)).toString('base64url'));
          return { ...item, keys: [...secrets, ...texts.map((k) => ({ kty: 'oct', k }))] };
        });
        const answers = await verified(verifier, confused);
        expect(foreign.filter((_, i) => answers[i])).toEqual([]);
      });
    });

    describeEngines('the complete function', (engine) => {
      test.each(VARIANTS)(`denies all ${cases.length} tokens, %s`, async (variant) => {
        const options = { variant, keys: { ...TEST_KEYS, ...keys } };
        const events = cases.map(({ jws }) => viewerRequest(tokenUri(jws)));
        const answers = await outcomes(engine, events, options);
        expect(answers.filter((answer) => !answer.startsWith('denied '))).toEqual([]);
        // Not for want of the key: what says it is ours is accepted under each of them that is as long as ours.
        const usable = Object.entries(keys).filter(([, { sign }]) => sign.length === TEST_KEY.sign.length);
        expect(usable.length).toBeGreaterThan(0);
        const ours = usable.map(([kid, { sign }]) =>
          signRaw(JSON.stringify({ ...HEADER, kid }), JSON.stringify(TEST_CLAIMS), sign),
        );
        const accepted = await outcomes(
          engine,
          ours.map((jws) => viewerRequest(tokenUri(jws))),
          options,
        );
        expect(new Set(accepted)).toEqual(new Set([`allowed ${PATH}`]));
      });
    });
  });
}

interface MacFile {
  testGroups: {
    keySize: number;
    tagSize: number;
    tests: { tcId: number; comment: string; key: string; msg: string; tag: string; result: 'valid' | 'invalid' }[];
  }[];
}

const HMAC = 'wycheproof/hmac_sha256_test.json';

describeCorpus(HMAC, 'Wycheproof hmac_sha256_test.json', () => {
  const cases = readCorpus<MacFile>(HMAC).testGroups.flatMap(({ tagSize, tests }) =>
    tests.map(({ tcId, comment, key, msg, tag, result }) => ({
      name: `${tcId} ${comment}`,
      // What is cut short is no MAC for us, valid or not.
      isValid: result === 'valid' && tagSize === 256,
      isCut: tagSize < 256,
      key: Buffer.from(key, 'hex').toString('base64url'),
      mac: Buffer.from(tag, 'hex').toString('base64url'),
      bytes: Buffer.from(msg, 'hex'),
    })),
  );

  test('is complete', () => {
    expect([
      cases.length,
      cases.filter(({ isCut }) => isCut).length,
      cases.filter(({ isValid }) => isValid).length,
    ]).toEqual([174, 87, 33]);
  });

  describeVerifiers('the MAC', (verifier) => {
    const expectVerdicts = async (some: typeof cases, ask: (item: (typeof cases)[number]) => MacQuestion) => {
      const answers = await verdicts(verifier, some.map(ask));
      expect(some.map(({ name }, i) => [name, answers[i]])).toEqual(some.map(({ name, isValid }) => [name, isValid]));
    };

    test(`${cases.length} messages as bytes`, () =>
      expectVerdicts(cases, ({ key, mac, bytes }) => ({ key, mac, hex: bytes.toString('hex') })));

    const texts = cases.filter(({ bytes }) => Buffer.from(bytes.toString()).equals(bytes));
    test(`${texts.length} messages that are text, as text`, () =>
      expectVerdicts(texts, ({ key, mac, bytes }) => ({ key, mac, text: bytes.toString() })));

    test('no other spelling of a valid MAC', async () => {
      const valid = cases.filter(({ isValid }) => isValid);
      const spellings = valid.flatMap(({ key, mac, bytes }) => {
        const last = BASE64URL.indexOf(mac.at(-1) as string);
        const macs = [
          `${mac}=`,
          ` ${mac}`,
          `${mac}\n`,
          `${mac}.`,
          mac.slice(0, -1),
          `${mac.slice(0, -1)}${BASE64URL[last + 1]}`,
          `${mac.slice(0, -1)}${BASE64URL[last + 3]}`,
          Buffer.from(mac, 'base64url').toString('hex'),
          mac.toLowerCase(),
          '',
        ];
        return macs.map((spelling) => ({ key, mac: spelling, hex: bytes.toString('hex') }));
      });
      const answers = await verdicts(verifier, spellings);
      expect(spellings.filter((_, i) => answers[i] !== false)).toEqual([]);
    });

    test('nor the standard alphabet in place of that for URLs', async () => {
      const valid = cases.filter(({ isValid, mac }) => isValid && /[-_]/.test(mac));
      const spellings = valid.map(({ name, key, mac, bytes }) => ({
        name,
        key,
        mac: mac.replaceAll('-', '+').replaceAll('_', '/'),
        hex: bytes.toString('hex'),
      }));
      const answers = await verdicts(verifier, spellings);
      const wrong = Object.fromEntries(
        spellings.flatMap(({ name }, i) => (answers[i] === false ? [] : [[name, answers[i]]])),
      );
      expectNothingWrong(wrong);
    });
  });
});

interface CookbookFile {
  input: { payload: string; key: Jwk | Jwk[] };
  output: {
    compact?: string;
    json?: { payload?: string; signatures: { protected?: string; signature: string }[] };
    json_flat?: { payload?: string; protected?: string; signature: string };
  };
}

const COOKBOOK = [
  'rfc7520_4_1.rsa_v15_signature.json',
  'rfc7520_4_2.rsa-pss_signature.json',
  'rfc7520_4_3.ecdsa_signature.json',
  'rfc7520_4_4.hmac-sha2_integrity_protection.json',
  'rfc7520_4_5.signature_with_detached_content.json',
  'rfc7520_4_6.protecting_specific_header_fields.json',
  'rfc7520_4_7.protecting_content_only.json',
  'rfc7520_4_8.multiple_signatures.json',
  'rfc7520_jws.json',
  'rfc7797_4.2.hmac-sha2_b64_false.json',
];

describeCorpus('rfc', 'RFC 7520 and RFC 7797', () => {
  const files = COOKBOOK.map((file) => readCorpus<CookbookFile>(`rfc/${file}`));
  /** Every serialisation, as it is and put together as a compact one. */
  const tokens = files.flatMap(({ output: { compact, json, json_flat } }) => {
    const signatures = [json, json_flat].flatMap((form) => {
      if (!form) return [];
      const { payload = '' } = form;
      const parts = 'signatures' in form ? form.signatures : [form];
      return [JSON.stringify(form), ...parts.map((part) => `${part.protected ?? ''}.${payload}.${part.signature}`)];
    });
    return [...new Set([...(compact ? [compact] : []), ...signatures])];
  });
  const secrets = files.flatMap(({ input }) => input.key).filter(({ kty }) => kty === 'oct');
  const keys = Object.fromEntries(secrets.map(({ kid = 'k7797', k = '' }) => [kid, { sign: k, bind: k }]));

  describeEngines('the complete function', (engine) => {
    test.each(VARIANTS)(`denies all ${tokens.length} serialisations, %s`, async (variant) => {
      const events = tokens.map((jws) => viewerRequest(tokenUri(jws)));
      const answers = await outcomes(engine, events, { variant, keys: { ...TEST_KEYS, ...keys } });
      expect(answers.filter((answer) => !/^denied token-(?:missing|malformed)$/.test(answer))).toEqual([]);
    });

    test('denies tokens of ours with the headers of RFC 7797', async () => {
      const claims = JSON.stringify(TEST_CLAIMS);
      const headers = [
        { b64: false, crit: ['b64'] },
        { b64: true, crit: ['b64'] },
        { crit: ['b64'] },
        { b64: false },
        { b64: true },
      ];
      const encoded = headers.map((more) => signRaw(JSON.stringify({ ...HEADER, ...more }), claims));
      // The payload as it is, unencoded: what a verifier that heeds `b64` would read (RFC 7797 §3).
      const unencoded = headers.map((more) => {
        const signed = `${Buffer.from(JSON.stringify({ ...HEADER, ...more })).toString('base64url')}.${claims}`;
        return `${signed}.${nodeCrypto.hmac(TEST_KEY.sign)(signed)}`;
      });
      const events = [...encoded, ...unencoded].map((jws) => viewerRequest(tokenUri(jws)));
      expect(new Set(await outcomes(engine, events))).toEqual(new Set(['denied token-malformed']));
    });
  });
});
