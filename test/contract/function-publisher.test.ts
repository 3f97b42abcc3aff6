import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { readKeys } from '../../edge-functions/store/keys-line.ts';
import { packagePath } from '../../local/package-root.ts';
import { mint, type VerificationKey } from '../../token/index.ts';
import { type FunctionPublisherOptions, functionPublisher } from '../../token-api/key-ring/cloudfront.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { buildCompat } from '../harness/compat.ts';
import { edgeFunction, outcomeOf, PATH, viewerRequest } from '../harness/edge.ts';
import { type Fault, FUNCTION_CONFIG, FUNCTION_NAME, FunctionService } from '../harness/function-service.ts';
import { NOW, TEST_CLAIMS, TEST_RING, TEST_VIEWING } from '../harness/minting.ts';

type Keys = Record<string, VerificationKey>;

const keyOf = (byte: number): VerificationKey => ({
  sign: Buffer.alloc(32, byte).toString('base64url'),
  bind: Buffer.alloc(32, byte + 100).toString('base64url'),
});
const [OLD, NEW, LATER, STRANGE] = [1, 2, 3, 4].map(keyOf) as [
  VerificationKey,
  VerificationKey,
  VerificationKey,
  VerificationKey,
];
const BEFORE: Keys = { k1: OLD };
const BOTH: Keys = { k1: OLD, k2: NEW };

const tokenEvent = (kid: string, key: VerificationKey) =>
  viewerRequest(`/${mint(TEST_CLAIMS, { kid, ...key }, TEST_VIEWING, nodeCrypto)}${PATH}`);

/** A token of each key must open; one of a key that the function does not have must not. */
const events = (keys: Keys) => ({
  allowed: Object.entries(keys).map(([kid, key]) => tokenEvent(kid, key)),
  denied: [tokenEvent('k1', STRANGE)],
});

let built = '';
beforeAll(async () => {
  built = await edgeFunction('embedded', BEFORE);
});
const messages: string[] = [];
afterEach(() => {
  // Whatever failed in whatever way: no key and no code in what was said about it.
  const secrets = [OLD, NEW, LATER].flatMap(({ sign, bind }) => [sign.slice(0, 12), bind.slice(0, 12)]);
  for (const message of messages.splice(0)) {
    for (const secret of [...secrets, 'KEYS=', 'handler']) expect(message).not.toContain(secret);
  }
});

function published(service: FunctionService, keys: Keys, options: Partial<FunctionPublisherOptions> = {}) {
  const publisher = functionPublisher(service.client, { name: FUNCTION_NAME, events, ...options });
  return publisher
    .publish(async () => keys)
    .catch((error: Error) => {
      messages.push(`${error.stack}`);
      throw error;
    });
}

/** What LIVE makes of a token of this key. */
async function liveOutcome(service: FunctionService, kid: string, key: VerificationKey): Promise<string> {
  const [result] = await runInVm(service.live?.code ?? '', [tokenEvent(kid, key)], { now: NOW, store: new Map() });
  return outcomeOf(result);
}

const writes = ({ calls }: FunctionService) => calls.filter((call) => call === 'Update' || call === 'Publish');

describe('publishing', () => {
  test('replaces the last line, tests the result and makes it LIVE', async () => {
    const service = new FunctionService(built);
    await published(service, BOTH);
    expect(service.calls).toEqual([
      ...['Describe', 'Get', 'Describe', 'Get', 'Update'],
      ...['Test', 'Test', 'Test', 'Publish'],
    ]);
    expect(service.live?.code).toBe(await edgeFunction('embedded', BOTH));
    expect(service.live?.config).toEqual(FUNCTION_CONFIG);
    expect(await liveOutcome(service, 'k2', NEW)).toBe(`allowed ${PATH}`);
    expect(await liveOutcome(service, 'k1', OLD)).toBe(`allowed ${PATH}`);
  });

  test('does nothing when LIVE has exactly these keys, in any order, and whatever is in the draft', async () => {
    const service = new FunctionService(await edgeFunction('embedded', BOTH));
    await published(service, { k2: NEW, k1: OLD });
    service.draft('function handler(event) { return event.request; }\n');
    await published(service, BOTH);
    expect(service.calls).toEqual(['Describe', 'Get', 'Describe', 'Get', 'Describe', 'Get', 'Describe', 'Get']);
  });

  test('a key that is no longer in the ring is refused from then on, and one that changed is the new one', async () => {
    const service = new FunctionService(await edgeFunction('embedded', BOTH));
    await published(service, { k2: LATER });
    expect(await liveOutcome(service, 'k1', OLD)).toBe('denied token-key-unknown');
    expect(await liveOutcome(service, 'k2', NEW)).toBe('denied token-signature-invalid');
    expect(await liveOutcome(service, 'k2', LATER)).toBe(`allowed ${PATH}`);
  });

  test('keys of the other dialect stay, also beside a key of ours that comes or goes', async () => {
    const secrets = { k2: 'f'.repeat(128), theirs: 'e'.repeat(128) };
    const service = new FunctionService(await buildCompat(secrets, TEST_RING.keys));
    const before = readKeys(service.live?.code ?? '')?.keys;
    await published(service, { k2: NEW });
    expect(readKeys(service.live?.code ?? '')?.keys).toEqual({
      k2: { ...NEW, compat: before?.k2?.compat },
      theirs: before?.theirs,
    });
    await published(service, { k3: LATER });
    expect(readKeys(service.live?.code ?? '')?.keys).toEqual({ k3: LATER, k2: before?.k2, theirs: before?.theirs });
    expect(before?.k2?.compat).toMatch(/^[\w-]{43}$/);
  });

  test('a draft that differs in its keys alone, which a run left behind, is overwritten', async () => {
    const service = new FunctionService(built);
    service.draft(await edgeFunction('embedded', { k1: OLD, k3: LATER }));
    await published(service, BOTH);
    expect(service.live?.code).toBe(await edgeFunction('embedded', BOTH));
  });

  test('an editor may have taken the line feed from the end', async () => {
    const service = new FunctionService(built.trimEnd());
    await published(service, BEFORE);
    expect(writes(service)).toEqual([]);
    await published(service, BOTH);
    expect(service.live?.code).toBe(await edgeFunction('embedded', BOTH));
  });
});

describe('what is not touched', () => {
  test.each<[string, (code: string) => [string, typeof FUNCTION_CONFIG?]]>([
    ['code', (code) => [`// mine\n${code}`]],
    ['code without keys', () => ['function handler(event) { return event.request; }\n']],
    ['comment', (code) => [code, { ...FUNCTION_CONFIG, Comment: 'other' }]],
    ['runtime', (code) => [code, { ...FUNCTION_CONFIG, Runtime: 'cloudfront-js-1.0' }]],
    ['store', (code) => [code, { Comment: 'checks tokens', Runtime: 'cloudfront-js-2.0' }]],
  ])('unpublished changes of the %s', async (_, change) => {
    const service = new FunctionService(built);
    service.draft(...change(built));
    await expect(published(service, BOTH)).rejects.toMatchObject({
      code: 'ERR_FUNCTION_DRAFT',
      message: expect.stringContaining('publish or revert'),
    });
    expect(writes(service)).toEqual([]);
  });

  test.each<[string, (code: string) => string]>([
    ['the function with an edge store', () => readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8')],
    ['a line after the keys', (code) => `${code}// mine\n`],
    ['a line that is cut', (code) => code.slice(0, -3)],
    ['a member that we do not know', (code) => code.replace('"bind":', '"more":1,"bind":')],
    ['a key that is none', (code) => code.replace(OLD.sign, 'PLACEHOLDER')],
    ['a name that is no key id', (code) => code.replace('"k1":', '"__proto__":')],
  ])('what ends with %s', async (_, change) => {
    const service = new FunctionService(change(built));
    await expect(published(service, BOTH)).rejects.toMatchObject({
      code: 'ERR_FUNCTION_NOT_EMBEDDED',
      message: expect.stringContaining('portcullis edge build --keys'),
    });
    expect(writes(service)).toEqual([]);
  });

  test('a function that was never published, or is not there', async () => {
    const service = new FunctionService(built);
    service.live = null;
    await expect(published(service, BOTH)).rejects.toMatchObject({ code: 'ERR_FUNCTION_MISSING' });
    await expect(published(new FunctionService(built), BOTH, { name: 'other' })).rejects.toMatchObject({
      code: 'ERR_FUNCTION_MISSING',
      message: expect.stringMatching(/^function other: .*list-functions/),
    });
  });

  test.each<[string, Keys, string]>([
    [
      'more keys than fit',
      Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`key${i}`, NEW])),
      'ERR_FUNCTION_BUDGET',
    ],
    ['a placeholder', { k1: OLD, k2: { sign: 'PLACEHOLDER', bind: NEW.bind } }, 'ERR_FUNCTION_KEYS'],
    ['a key id of other characters', { k1: OLD, 'k 2': NEW }, 'ERR_FUNCTION_KEYS'],
    ['a key id that an object has already', JSON.parse(`{"__proto__":${JSON.stringify(NEW)}}`), 'ERR_FUNCTION_KEYS'],
  ])('a ring with %s', async (_, keys, code) => {
    const service = new FunctionService(built);
    await expect(published(service, keys)).rejects.toMatchObject({ code });
    expect(writes(service)).toEqual([]);
  });

  test('without an event for either outcome', async () => {
    const service = new FunctionService(built);
    for (const lack of [{ allowed: [] }, { denied: [] }]) {
      const given = { ...events(BOTH), ...lack };
      await expect(published(service, BOTH, { events: () => given })).rejects.toMatchObject({
        code: 'ERR_FUNCTION_EVENTS',
      });
    }
    expect(writes(service)).toEqual([]);
  });

  test('when the ring cannot be read', async () => {
    const service = new FunctionService(built);
    const publisher = functionPublisher(service.client, { name: FUNCTION_NAME, events });
    await expect(publisher.publish(() => Promise.reject(new RangeError('ring')))).rejects.toThrow(RangeError);
    expect(writes(service)).toEqual([]);
  });
});

describe('a test that fails', () => {
  const cut = (code: string) => code.replace(NEW.sign, NEW.sign.slice(1));
  test.each<[string, RegExp, Partial<FunctionPublisherOptions>, ((code: string) => string)?]>([
    ['a token of a new key is denied', /event 2 of 3 is to be allowed, but: denied/, {}, cut],
    [
      'the line does not parse',
      /event 1 of 3 is to be allowed, but: could not be run/,
      {},
      (code) => code.slice(0, -4),
    ],
    ['the line is missing', /but: failed with an error/, {}, (code) => code.slice(0, code.lastIndexOf('const KEYS'))],
    [
      'what must be denied goes on',
      /event 3 of 3 is to be denied, but: allowed/,
      { events: (keys) => ({ ...events(keys), denied: [tokenEvent('k1', OLD)] }) },
    ],
    [
      'what must be denied is answered otherwise',
      /event 3 of 3 is to be denied, but: answered 204/,
      {
        events: (keys) => ({
          ...events(keys),
          denied: [
            viewerRequest(PATH, {
              method: 'OPTIONS',
              headers: { origin: { value: 'https://a.example' }, 'access-control-request-method': { value: 'GET' } },
            }),
          ],
        }),
      },
    ],
  ])('%s: not published, and the draft is LIVE again', async (_, message, options, upload) => {
    const service = new FunctionService(built);
    service.upload = (code) => (upload && code !== built ? upload(code) : code);
    await expect(published(service, BOTH, options)).rejects.toMatchObject({
      code: 'ERR_FUNCTION_TEST',
      message: expect.stringMatching(message),
    });
    expect(writes(service)).toEqual(['Update', 'Update']);
    expect([service.live?.code, service.development.code]).toEqual([built, built]);
    expect(service.development.config).toEqual(FUNCTION_CONFIG);
  });

  test('says so when the draft could not be put back, and the next run tests it again', async () => {
    const service = new FunctionService(built);
    const wrong = () => ({ ...events({ k1: STRANGE }), denied: [tokenEvent('k1', STRANGE)] });
    service.before = (call, nth) => (call === 'Update' && nth > 5 ? 'before' : undefined);
    await expect(published(service, BOTH, { events: wrong })).rejects.toMatchObject({
      code: 'ERR_FUNCTION_TEST',
      message: expect.stringContaining('DEVELOPMENT still has it'),
    });
    service.before = () => undefined;
    await expect(published(service, BOTH, { events: wrong })).rejects.toMatchObject({ code: 'ERR_FUNCTION_TEST' });
    expect([service.live?.code, service.development.code]).toEqual([built, built]);
  });
});

describe('others at the same time', () => {
  test.each(Array.from({ length: 9 }, (_, i) => i + 1))(
    'whoever publishes a later ring before call %i is not undone',
    async (moment) => {
      const service = new FunctionService(built);
      let ring = BOTH;
      const read = async () => ring;
      const [first, second] = [0, 1].map(() => functionPublisher(service.client, { name: FUNCTION_NAME, events }));
      service.before = async (_, nth) => {
        if (nth !== moment) return undefined;
        ring = { k2: NEW, k3: LATER };
        await second?.publish(read);
        return undefined;
      };
      await first?.publish(read);
      expect(readKeys(service.live?.code ?? '')?.keys).toEqual({ k2: NEW, k3: LATER });
    },
  );

  test('gives up on a function that changes all the time', async () => {
    const service = new FunctionService(built);
    service.before = (call) => {
      if (call === 'Update') service.draft(built);
      return undefined;
    };
    await expect(published(service, BOTH)).rejects.toMatchObject({
      code: 'ERR_FUNCTION_CONFLICT',
      message: expect.stringContaining('publish again'),
    });
    expect(writes(service)).toHaveLength(5);
    expect(service.live?.code).toBe(built);
  });
});

describe('faults', () => {
  const CALLS = ['Describe', 'Get', 'Describe', 'Get', 'Update', 'Test', 'Test', 'Test', 'Publish'];
  const cases = CALLS.flatMap((call, i) =>
    (['before', 'after'] as const).flatMap((fault) =>
      [false, true].map((dies) => [i + 1, call, fault, dies] as [number, string, Fault, boolean]),
    ),
  );

  test.each(cases)('call %i (%s) fails %s it took effect, the process dies: %s', async (nth, call, fault, dies) => {
    const service = new FunctionService(built);
    let running = true;
    const seen: string[] = [];
    service.before = (_, number) => {
      if (number === nth) {
        running = !dies;
        return fault;
      }
      return running ? undefined : 'before';
    };
    service.after = async () => seen.push(await liveOutcome(service, 'k1', OLD));
    await expect(published(service, BOTH)).rejects.toMatchObject({ code: 'ERR_FUNCTION_UNAVAILABLE' });
    expect(service.calls[nth - 1]).toBe(call);

    service.before = () => undefined;
    await published(service, BOTH);
    expect(service.live?.code).toBe(await edgeFunction('embedded', BOTH));
    // The draft that the first run left behind is what the second one publishes.
    expect(writes(service).filter((name) => name === 'Update')).toHaveLength(
      call === 'Update' && fault === 'before' ? 2 : 1,
    );

    // Told to drop the old key: accepted up to that moment, and at none after it.
    const kept = seen.length;
    await published(service, { k2: NEW });
    expect(new Set(seen.slice(0, kept))).toEqual(new Set([`allowed ${PATH}`]));
    expect(new Set(seen.slice(kept, -1))).toEqual(new Set([`allowed ${PATH}`]));
    expect(seen.at(-1)).toBe('denied token-key-unknown');
  });

  const about = (name: string, $fault: 'client' | 'server', httpStatusCode = 400) =>
    Object.assign(new Error(`about ${OLD.sign} and handler`), {
      name,
      $fault,
      $metadata: { requestId: 'r-1', httpStatusCode },
    });
  test.each<[string, Error, string, RegExp]>([
    [
      'no permission',
      about('AccessDenied', 'client'),
      'ERR_FUNCTION_DENIED',
      /need cloudfront:DescribeFunction, cloudfront:GetFunction, .*cloudfront:PublishFunction on the function/,
    ],
    ['throttling', about('Throttling', 'client'), 'ERR_FUNCTION_THROTTLED', /wait a minute/],
    ['a fault', about('InternalError', 'server', 500), 'ERR_FUNCTION_UNAVAILABLE', /try again/],
    [
      'an argument that is refused',
      about('InvalidArgument', 'client'),
      'ERR_FUNCTION_REFUSED',
      /InvalidArgument, request r-1/,
    ],
    ['expired credentials', about('ExpiredToken', 'client'), 'ERR_FUNCTION_CREDENTIALS', /renew/],
    ['the size', about('FunctionSizeLimitExceeded', 'client'), 'ERR_FUNCTION_BUDGET', /retire keys/],
  ])('%s is told with what to do, at every call', async (_, error, code, message) => {
    for (const call of ['Describe', 'Get', 'Update', 'Test', 'Publish']) {
      const service = new FunctionService(built);
      service.before = (name) => {
        if (name === call) throw error;
        return undefined;
      };
      await expect(published(service, BOTH)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
      expect(service.live?.code).toBe(built);
    }
  });
});
