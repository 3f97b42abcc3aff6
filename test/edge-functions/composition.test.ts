import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { buildEdgeFunction, type EdgeFunction, type EdgeVariant } from '../../edge-functions/build/bundle.ts';
import type { OwnModules } from '../../edge-functions/build/composition.ts';
import { runInNjs } from '../../edge-functions/runtime/njs.ts';
import type { EdgeRuntime } from '../../edge-functions/runtime/runtime.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { keyName } from '../../edge-functions/store/names.ts';
import { portcullis } from '../harness/cli.ts';
import { EDGE_DEFAULTS, EDGE_SOURCES, mintToken, outcomeOf, viewerRequest } from '../harness/edge.ts';
import { NOW, TEST_KEY } from '../harness/minting.ts';
import { describeWith } from '../harness/programs.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-own-'));
afterAll(() => rmSync(scratch, { recursive: true }));
function own(name: string, code: string): string {
  const path = join(scratch, name);
  writeFileSync(path, code);
  return path;
}

const built = new Map<string, Promise<EdgeFunction>>();
/** The function composed with these files; built once for both engines. */
function build(variant: EdgeVariant, modules: OwnModules): Promise<EdgeFunction> {
  const code = Object.values(modules).map((path) => path && readFileSync(path, 'utf8'));
  const asked = JSON.stringify([variant, modules, code]);
  const building =
    built.get(asked) ?? buildEdgeFunction(EDGE_SOURCES, variant, EDGE_DEFAULTS, { k1: TEST_KEY }, modules);
  built.set(asked, building);
  return building;
}
const store = new Map([[keyName('k1'), JSON.stringify({ sign: TEST_KEY.sign, bind: TEST_KEY.bind, before: 0 })]]);
const PATH = '/aurora/master.m3u8';
const GOOD = `/${mintToken()}${PATH}`;

const before = own(
  'before.js',
  `import settings from './settings.js';
   export default function before(event) {
     if (event.request.uri === '/old') {
       return { statusCode: 301, headers: { location: { value: settings.home } } };
     }
     event.request.headers['x-session'] = { value: event.request.cookies.session ? event.request.cookies.session.value : '' };
     return event.request;
   }`,
);
own('settings.js', `export default { home: '/new' };`);
const after = own(
  'after.js',
  `export default function after(event) {
     if (event.request.uri.endsWith('.txt')) return { statusCode: 404, headers: {} };
     event.request.uri = '/v2' + event.request.uri;
     return event.request;
   }`,
);

function suite(run: EdgeRuntime): void {
  describe.each(['store', 'embedded'] as const)('%s', (variant) => {
    const outcomes = async (modules: OwnModules, uris: string[]) => {
      const { code } = await build(variant, modules);
      const events = uris.map((uri) => viewerRequest(uri, { cookies: { session: { value: 's1' } } }));
      return run(code, events, { now: NOW, store });
    };

    test('before sees every request, and may answer it', async () => {
      const [redirect, good, bare] = await outcomes({ before }, ['/old', GOOD, PATH]);
      expect(redirect).toMatchObject({ value: { statusCode: 301, headers: { location: { value: '/new' } } } });
      expect(good).toMatchObject({ value: { uri: PATH, headers: { 'x-session': { value: 's1' } } } });
      expect(outcomeOf(bare)).toBe('denied token-missing');
    });

    test('after sees what goes on, with its token taken out, and nothing else', async () => {
      const results = await outcomes({ after }, [GOOD, PATH, GOOD.replace('.m3u8', '.txt')]);
      expect(results.map(outcomeOf).slice(0, 2)).toEqual([`allowed /v2${PATH}`, 'denied token-missing']);
      expect(results[2]).toMatchObject({ value: { statusCode: 404 } });
    });

    test('both together', async () => {
      expect((await outcomes({ before, after }, [GOOD])).map(outcomeOf)).toEqual([`allowed /v2${PATH}`]);
    });

    test('what before makes of the path is what is validated', async () => {
      const rewriting = own('rewriting.js', `export default e => { e.request.uri = '/harbour/x'; return e.request; };`);
      expect((await outcomes({ before: rewriting }, [GOOD])).map(outcomeOf)).toEqual(['denied token-missing']);
    });

    test('a check by a getter that throws stays in the code', async () => {
      const guard = own(
        'guard.js',
        `export default e => {
           try { e.request.headers['x-partner'].value; } catch (error) { return { statusCode: 403, headers: {} }; }
           return e.request;
         }`,
      );
      expect(await outcomes({ before: guard }, [GOOD])).toMatchObject([{ value: { statusCode: 403 } }]);
    });

    test('a before that returns nothing lets nothing through', async () => {
      const forgetful = own('forgetful.js', 'export default function before(event) {}');
      expect(await outcomes({ before: forgetful }, [GOOD])).toMatchObject([{ value: null }]);
    });
  });
}

describe('code of a user in node:vm', () => suite(runInVm));
describeWith('njs', 'code of a user in njs', () => suite(runInNjs));

test.each([
  ['ERR_EDGE_DIALECT', /spread at 2:/, 'export default function f(e) {\n  return { ...e.request };\n}'],
  ['ERR_EDGE_DIALECT', /async closure at 1:/, 'const f = async () => null; export default f;'],
  [
    'ERR_EDGE_DIALECT',
    /asynchronous function before or after/,
    'export default async function before(e) { return e.request; }',
  ],
  ['ERR_EDGE_DIALECT', /import of/, "import { createHmac } from 'crypto'; export default e => createHmac(e);"],
  ['ERR_EDGE_SOURCE', /lodash/, "import x from 'lodash'; export default e => x(e);"],
  ['ERR_EDGE_SOURCE', /default/, 'export const before = e => e.request;'],
  ['ERR_EDGE_CONTENT', /mint/, "export default e => { e.request.uri = '/mint/'; return e.request; };"],
  [
    'ERR_EDGE_BUDGET',
    /CloudFront takes 10240/,
    `const t = '${'x'.repeat(4000)}'; export default e => (e.request.uri === t ? null : e.request);`,
  ],
])('is held to the same checks: %s, %s', async (code, message, text) => {
  const module = own('refused.js', text);
  await expect(build('store', { before: module })).rejects.toMatchObject({
    code,
    message: expect.stringMatching(message),
  });
});

test('a refusal names the file and line of the user', async () => {
  const module = own('spread.js', 'export default function f(e) {\n  return { ...e.request };\n}');
  await expect(build('store', { after: module })).rejects.toThrow(`${module}: runtime 2.0 does not have: spread at 2:`);
});

test('on the command line, without keys: for the edge store', async () => {
  const out = join(scratch, 'viewer-request.js');
  const { code, stdout } = await portcullis(
    'edge',
    'build',
    '--before',
    before,
    '--after',
    after,
    '--out',
    out,
    '--json',
  );
  expect([code, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ kids: [], budget: 10240 })]);
  const missing = await portcullis('edge', 'build', '--before', join(scratch, 'none.js'), '--out', out);
  expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining('none.js: ENOENT')]);
});
