import { describe, expect, test } from 'vitest';
import { runInNjs } from '../../edge-functions/runtime/njs.ts';
import type { EdgeRuntime } from '../../edge-functions/runtime/runtime.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { describeWith } from '../harness/programs.ts';

const code = `import cf from 'cloudfront';
import crypto from 'crypto';
const store = cf.kvs();
async function handler(event) {
  if (event.fail) throw 'refused';
  const found = await store.exists(event.key);
  let value = null;
  try { value = await store.get(event.key, { format: event.format }); } catch (e) { value = 'rejected: ' + e; }
  return { found: found, value: event.format === 'bytes' && found ? value.toString('hex') : value, now: Date.now(),
    year: new Date().getUTCFullYear(), hash: crypto.createHash('sha256').update('a').digest('hex').slice(0, 8) };
}
`;
const options = {
  now: 1_760_000_000,
  store: new Map([
    ['a', '{"b":1}'],
    ['t', 'text'],
    ['', 'empty'],
  ]),
};
const common = { now: 1_760_000_000_000, hash: 'ca978112' };

function suite(run: EdgeRuntime): void {
  test('the store answers as CloudFront does, the clock stands', async () => {
    const events = [
      { key: 'a', format: 'json' },
      { key: 'a', format: 'string' },
      { key: 't', format: 'bytes' },
      { key: 't', format: 'json' },
      { key: 'missing', format: 'string' },
      { key: 'x'.repeat(513), format: 'string' },
      { key: '', format: 'string' },
    ];
    const results = await run(code, events, options);
    expect(results).toMatchObject([
      { value: { found: true, value: { b: 1 }, ...common } },
      { value: { found: true, value: '{"b":1}' } },
      { value: { found: true, value: '74657874' } },
      { value: { found: true, value: 'rejected: ValueNotJson' } },
      { value: { found: false, value: 'rejected: KeyNotFound' } },
      { value: { found: false } },
      { value: { found: false } },
    ]);
  });

  test('a throwing handler is told from one that returns, and the others still run', async () => {
    const results = await run(code, [{ fail: true }, { key: 'a', format: 'string' }], options);
    expect(results).toMatchObject([{ error: 'refused' }, { value: { found: true } }]);
  });

  test('a handler that returns nothing returns null', async () => {
    expect(await run('function handler(event) {}', [{}], options)).toMatchObject([{ value: null }]);
  });

  test('a function that does not load is refused', async () => {
    await expect(run('function handler( {', [{}], options)).rejects.toMatchObject({ code: 'ERR_RUNTIME_FUNCTION' });
  });

  test('a function without a handler runs no event', async () => {
    expect(await run('var a = 1;', [{}], options)).toMatchObject([{ error: expect.stringContaining('handler') }]);
  });
}

describe('node:vm', () => suite(runInVm));
describeWith('njs', 'njs', () => suite(runInNjs));
