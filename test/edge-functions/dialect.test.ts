import { describe, expect, test } from 'vitest';
import { checkDialect } from '../../edge-functions/build/dialect.ts';

describe('what runtime 2.0 does not have is found', () => {
  test.each([
    ['spread', 'f(...a)'],
    ['spread', 'const a = [...b]'],
    ['destructuring', 'const { a: b } = c'],
    ['destructuring', 'const [a] = c'],
    ['default parameter', 'function f(a = 1) {}'],
    ['for-of', 'for (const a of b) {}'],
    ['class', 'class A {}'],
    ['class', 'const A = class {}'],
    ['generator', 'function* f() {}'],
    ['?.', 'a?.b'],
    ['??', 'a ?? b'],
    ['??=', 'a ??= b'],
    ['||=', 'a ||= b'],
    ['optional catch binding', 'try {} catch {}'],
    ['object shorthand', 'const a = 1; const b = { a }'],
    ['computed key', 'const b = { [a]: 1 }'],
    ['method or accessor in an object literal', 'const b = { f() {} }'],
    ['method or accessor in an object literal', 'const b = { get f() { return 1 } }'],
    ['async closure', 'const f = async () => {}'],
    ['async closure', 'const f = async function () {}'],
    ['await as a call argument', 'async function f() { g(await h()) }'],
    ['async closure', 'function f() { async function g() {} return g; }'],
    ['await as a call argument', 'async function f() { g(1 + await h()) }'],
    ['await as a call argument', 'async function f() { new G([await h()]) }'],
    ["global 'setTimeout'", 'setTimeout(f, 1)'],
    ["global 'globalThis'", 'globalThis.a'],
    ["global 'require'", "require('fs')"],
    ["global 'arguments'", 'function f() { return arguments.length }'],
    ['this', 'function f() { return this }'],
    ['.replaceAll', "'a'['replaceAll']('a', 'b')"],
    ['.subtle', "import crypto from 'crypto'; crypto.subtle"],
    ['.constructor', "'a'.constructor('b')"],
    ['flags of new RegExp', "new RegExp('a', 's')"],
    ['lookbehind', 'const a = /(?<=a)b/'],
    ['import of', "import { a } from 'crypto'"],
    ['import of', "import fs from 'fs'"],
    ['import()', "import('crypto')"],
    ['call of a member by its number', 'const a = [b]; a[0](1)'],
    ['call of a member by its number', 'const a = [b]; (0, a[1])(1)'],
    ['export', 'export const a = 1'],
    ['BigInt', 'const a = 1n'],
    ["global 'Map'", 'new Map()'],
    ["global 'eval'", "eval('1')"],
    ["global 'Function'", "new Function('')"],
    ['regular expression flag', 'const a = /a/s'],
    ['regular expression flag', 'const a = /a/u'],
    ['.replaceAll', "'a'.replaceAll('a', 'b')"],
    ['.bytesFrom', "String.bytesFrom('a')"],
    ['does not parse', 'const = 1'],
  ])('%s in %s', (what, code) => {
    expect(() => checkDialect(code)).toThrow(what);
  });

  test('the place is named', () => {
    expect(() => checkDialect('var a;\nvar b = a ?? 1;')).toThrow('?? at 2:8');
  });
});

test('what it documents passes', () => {
  const code = `import cf from 'cloudfront';
    import crypto from 'crypto';
    const store = cf.kvs();
    function rest(...args) { return args.length ** 2; }
    const arrow = (a) => \`\${a}\`;
    async function handler(event) {
      try { const a = await store.get('k', { format: 'json' }); return arrow(a); } catch (e) { return rest(1_000); }
    }`;
  expect(() => checkDialect(code)).not.toThrow();
});
