import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { FileKeyValueStore } from '../../edge-functions/store/file.ts';
import { replaceRevocations } from '../../edge-functions/store/revocations.ts';
import { portcullis, portcullisWithInput } from '../harness/cli.ts';
import { isOnPath } from '../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

let files = 0;
function file(content: string): string {
  const path = join(scratch, `sessions-${++files}`);
  writeFileSync(path, content);
  return path;
}
const compile = (...args: string[]) => portcullis('revocation', 'compile', ...args);
const ids = (count: number) => Array.from({ length: count }, (_, i) => i.toString(36).padStart(12, 'S'));

describe('portcullis revocation compile', () => {
  test('--target waf prints rules, what they cost, who is in them and who is not', async () => {
    const list = ids(100);
    const { code, stdout, stderr } = await compile(
      '--target',
      'waf',
      '--sessions',
      file(list.join('\n')),
      '--wcu',
      '20',
      '--json',
    );
    const answer = JSON.parse(stdout);
    expect(Object.keys(answer)).toEqual(['rules', 'capacityWcu', 'included', 'dropped']);
    expect(answer).toMatchObject({ capacityWcu: 18, included: list.slice(0, 84), dropped: list.slice(84) });
    expect(answer.rules).toHaveLength(1);
    expect(stderr).toContain(`dropped for want of room: 16 sessions: ${list.slice(84, 94).join(', ')}, …\n`);
    expect(code).toBe(0);
  });

  test('1,500 WCU unless told otherwise', async () => {
    const list = ids(7001);
    const { stdout } = await compile('--target', 'waf', '--sessions', file(JSON.stringify(list)), '--json');
    const { capacityWcu, included, dropped } = JSON.parse(stdout);
    expect([capacityWcu, included.length, dropped]).toEqual([1500, 7000, list.slice(7000)]);
  });

  test('--target store prints entries', async () => {
    const { stdout, code } = await compile(
      '--target',
      'store',
      '--sessions',
      file('AbCdEf123456\n\nZZZZZZ123456\n'),
      '--json',
    );
    expect(JSON.parse(stdout)).toEqual({
      rules: [
        { key: 'r/AbCdEf123456', value: '1' },
        { key: 'r/ZZZZZZ123456', value: '1' },
      ],
      capacityWcu: 0,
      included: ['AbCdEf123456', 'ZZZZZZ123456'],
      dropped: [],
    });
    expect(code).toBe(0);
  });

  test.skipIf(!isOnPath('jq'))('what its help makes of the entries with jq is what CloudFront imports', async () => {
    const { stdout: help } = await compile('--help');
    const [, filter = ''] = /--target store .*--json \| jq '([^']+)' >import\.json/.exec(help) ?? [];
    const { stdout } = await compile('--target', 'store', '--sessions', file('AbCdEf123456'), '--json');
    const imported = execFileSync('jq', [filter], { input: stdout, encoding: 'utf8' });
    // The same format as that of the file which stands for the store on this machine.
    writeFileSync(join(scratch, 'import.json'), imported, { mode: 0o600 });
    const { entries } = await (await FileKeyValueStore.open(join(scratch, 'import.json'))).list();
    expect([...entries]).toEqual([['r/AbCdEf123456', '1']]);
  });

  test('--target store takes as many as the edge store itself, in their order, and drops odd ids', async () => {
    const list = ids(345_200);
    const entries = new Map<string, string>();
    const omitted = replaceRevocations(entries, { sessions: list, assets: [], before: 0 }).sessions;
    const { stdout, stderr } = await compile('--target', 'store', '--sessions', file(['short', ...list].join('\n')));
    expect(stdout).toBe(`sessions  ${entries.size}\ndropped   ${omitted.length + 1}\nentries   ${entries.size}\n`);
    expect(omitted.length).toBeGreaterThan(0);
    expect(stderr).toContain(`dropped for want of room: ${omitted.length} sessions`);
  });

  test('reads standard input, lines as Windows ends them, and says it in words', async () => {
    const run = await portcullisWithInput(
      '\r\nAbCdEf123456\r\n  \r\nAbCdEf123456\r\nshort\r\n',
      ...['revocation', 'compile', '--target', 'waf', '--sessions', '-'],
    );
    expect(run.stdout).toBe('sessions  1\ndropped   1\nWCU       3 of 1500\n');
    expect(run.stderr).toContain('dropped what is no session id (12–64 letters and digits): 1: short\n');
    expect(run.code).toBe(0);
  });

  test.each(['waf', 'store'])('an empty list gives no rules for %s', async (target) => {
    for (const content of ['', '\n\n', '[]']) {
      const { stdout, code } = await compile('--target', target, '--sessions', file(content), '--json');
      expect([JSON.parse(stdout), code]).toEqual([{ rules: [], capacityWcu: 0, included: [], dropped: [] }, 0]);
    }
  });

  test('the place of the token and the origins come from the configuration', async () => {
    const config = file(
      JSON.stringify({ edge: { tokenPosition: '/live/~TOKEN', allowedOrigins: ['https://play.example.com'] } }),
    );
    const { stdout } = await compile(
      '--target',
      'waf',
      '--sessions',
      file('AbCdEf123456'),
      '--config',
      config,
      '--json',
    );
    const [rule] = JSON.parse(stdout).rules;
    expect(rule.Statement.RegexMatchStatement.RegexString).toBe('^/live/(?:AbCdEf123456)\\.');
    expect(rule.Action.Block.CustomResponse.ResponseHeaders[0]).toEqual({
      Name: 'access-control-allow-origin',
      Value: 'https://play.example.com',
    });
  });

  test('a signature that got into the list is not printed', async () => {
    const url = `/AbCdEf123456.${'h'.repeat(70)}.${'p'.repeat(90)}.${'s'.repeat(43)}/a`;
    const { stdout, stderr } = await compile('--target', 'waf', '--sessions', file(url), '--json');
    expect(JSON.parse(stdout).dropped).toHaveLength(1);
    expect(stdout + stderr).not.toContain('sss');
  });

  test.each([
    ['an object', '{"sessions":[]}'],
    ['a text', '"AbCdEf123456"'],
    ['an array of other things', '[1,2]'],
    ['half an array', '["AbCdEf123456"'],
    ['bytes', 'AbCdEf123456\0'],
  ])('%s is no list', async (_, content) => {
    const { code, stdout, stderr } = await compile('--target', 'waf', '--sessions', file(content), '--json');
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('one id a line');
  });

  test.each([
    ['no target', ['--sessions', '-']],
    ['another target', ['--target', 'nginx', '--sessions', '-']],
    ['no sessions', ['--target', 'waf']],
    ['a file that is not there', ['--target', 'waf', '--sessions', '/nowhere/at/all']],
    ['no capacity', ['--target', 'waf', '--sessions', '-', '--wcu', '0']],
    ['more capacity than there is', ['--target', 'waf', '--sessions', '-', '--wcu', '5001']],
  ])('%s is bad usage', async (_, args) => {
    expect((await compile(...args)).code).toBe(2);
  });
});
