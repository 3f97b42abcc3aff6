import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { type Answers, contentOf, defaultOf, problemWith, QUESTIONS } from '../../cli/init/questions.ts';
import { examineConfiguration, readConfiguration } from '../../config/configuration.ts';
import { MODULE_NAMES, MODULES, type ModuleName } from '../../config/deployment.ts';
import { packagePath } from '../../local/package-root.ts';
import { portcullis } from '../harness/cli.ts';
import { isOnPath } from '../harness/programs.ts';
import { CLI } from '../harness/stack.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-init-'));
afterAll(() => rmSync(scratch, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());
let files = 0;
const fresh = () => join(scratch, `portcullis-${++files}.json`);
const written = (file: string) => JSON.parse(readFileSync(file, 'utf8'));

describe('init --yes', () => {
  test('writes a valid file that shows what people look for, and says what to do next', async () => {
    const file = fresh();
    const { code, stdout } = await portcullis('init', file, '--yes');
    expect(code).toBe(0);
    expect(written(file)).toEqual({
      aws: { modules: ['base', 'api', 'revocation'], region: 'us-east-1' },
      edge: { mode: 'enforce' },
      revocation: { detection: { mode: 'log' } },
    });
    expect(stdout).toContain(`portcullis doctor --config ${file}`);
    expect(stdout).toContain(`npm run synth -- --config ${file}`);
    await expect(readConfiguration(file)).resolves.toEqual(await readConfiguration());
  });

  test('says the command as it was given by npm, where no other is installed', async () => {
    vi.stubEnv('npm_lifecycle_event', 'portcullis');
    const { stdout } = await portcullis('init', fresh(), '--yes');
    expect(stdout).toContain('npm run -s portcullis -- doctor --config');
  });

  test('as JSON', async () => {
    const file = fresh();
    const { stdout } = await portcullis('init', file, '--yes', '--json');
    expect(JSON.parse(stdout)).toEqual({
      file,
      configuration: written(file),
      next: [expect.any(String), expect.any(String)],
    });
  });

  test('names the schema, and the short command, where the checkout is', async () => {
    const file = packagePath(`portcullis-test-${process.pid}.json`);
    try {
      await portcullis('init', file, '--yes');
      expect(written(file).$schema).toBe('./dist/portcullis.schema.json');
      await readConfiguration(file);
    } finally {
      rmSync(file, { force: true });
    }
  });
});

describe('what is there is not lost', () => {
  test('without --force', async () => {
    const file = fresh();
    writeFileSync(file, 'mine');
    const { code, stderr } = await portcullis('init', file, '--yes');
    expect([code, stderr]).toEqual([
      2,
      `portcullis: ${file} is there already: give --force to replace it, or another name\n`,
    ]);
    expect(readFileSync(file, 'utf8')).toBe('mine');
    expect((await portcullis('init', file, '--yes', '--force')).code).toBe(0);
    expect(written(file).aws.region).toBe('us-east-1');
  });

  test('a link that leads nowhere is something too', async () => {
    const [file, target] = [fresh(), fresh()];
    symlinkSync(target, file);
    expect((await portcullis('init', file, '--yes')).code).toBe(2);
    expect(existsSync(target)).toBe(false);
  });
});

test.each([
  ['no terminal', [fresh()], /no terminal.*--yes/],
  ['no folder', [join(scratch, 'none', 'a.json'), '--yes'], /cannot write .*ENOENT/],
])('%s: 2', async (_, args, why) => {
  const { code, stderr } = await portcullis('init', ...args);
  expect([code, stderr]).toEqual([2, expect.stringMatching(why)]);
});

describe('answers', () => {
  const question = (path: string) => QUESTIONS.find((row) => row.path === path) as (typeof QUESTIONS)[number];
  const all = { 'aws.modules': ['base', 'api', 'revocation', 'render'] };

  test.each([
    ['aws.modules', ['console'], {}, /needs 'base'/],
    ['aws.region', 'moon-1', all, /region of AWS/],
    ['aws.delivery.origin', 'https://origin.example.com', all, /domain name/],
    ['aws.delivery.origin', 'packages', all, /module 'mastering'/],
    ['aws.delivery.domainNames', 'media', { ...all, 'aws.delivery.origin': 'o.example.com' }, /domain name/],
    [
      'aws.delivery.certificateArn',
      '',
      { ...all, 'aws.delivery.origin': 'o.example.com', 'aws.delivery.domainNames': 'm.example.com' },
      /need a certificate/,
    ],
    ['aws.alarmEmail', 'nobody', all, /email/],
    ['aws.identity.issuer', 'http://login.example.com', all, /https URL/],
    ['aws.render.imageId', '', all, /needs pcrs and imageId/],
    [
      'aws.render.pcrs.1',
      '',
      { ...all, 'aws.render.imageId': 'ami-0123456789', 'aws.render.pcrs.0': 'a'.repeat(96) },
      /"1"/,
    ],
    ['aws.render.pcrs.0', '0'.repeat(96), { ...all, 'aws.render.imageId': 'ami-0123456789' }, /not all zero/],
  ])('%s: %j is not taken', (path, answer, before, why) => {
    expect(problemWith(question(path), answer, before)).toMatch(why);
  });

  test.each([
    ['aws.delivery.origin', ''],
    ['aws.delivery.origin', 'origin.example.com'],
    ['aws.alarmEmail', ''],
    ['aws.identity.issuer', ''],
    ['aws.region', 'eu-central-1'],
    ['aws.render.imageId', 'ami-0123456789abcdef0'],
  ])('%s: %j is', (path, answer) => {
    expect(problemWith(question(path), answer, all)).toBeUndefined();
  });
});

describe('every way through the questions', () => {
  /** Answers to a text, of which the first is given that is taken; others have a default. */
  const TEXTS: Record<string, string[]> = {
    'aws.delivery.origin': ['', 'origin.example.com'],
    'aws.delivery.distributionId': ['E1A2B3C4D5E6F7'],
    'aws.delivery.domainNames': ['media.example.com'],
    'aws.delivery.certificateArn': ['', 'arn:aws:acm:us-east-1:123456789012:certificate/abc'],
    'aws.identity.issuer': ['https://login.example.com'],
    'aws.console.clientId': ['', 'portcullis-console'],
    'aws.render.imageId': ['', 'ami-0123456789abcdef0'],
    ...Object.fromEntries(['0', '1', '2'].map((register) => [`aws.render.pcrs.${register}`, ['', 'a'.repeat(96)]])),
    'aws.render.owners': ['MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE='],
  };
  const subsets = (names: readonly ModuleName[]): ModuleName[][] =>
    names.reduce<ModuleName[][]>((sets, name) => sets.concat(sets.map((set) => set.concat(name))), [[]]);
  const sets = subsets(MODULE_NAMES).filter((modules) =>
    modules.every((name) => MODULES[name].needs.every((needed) => modules.includes(needed))),
  );

  test.each(['', 'origin.example.com', 'packages'])('from origin %j ends in what can be deployed', (origin) => {
    for (const modules of sets.filter(({ length }) => length > 0)) {
      const answers: Answers = {};
      for (const question of QUESTIONS.filter(({ path }) => path !== 'aws.alarmEmail')) {
        const { path, when = () => true } = question;
        if (!when(answers)) continue;
        const preferred = path === 'aws.modules' ? [modules] : path === 'aws.delivery.origin' ? [origin] : [];
        const tried = [...preferred, ...(TEXTS[path] ?? [defaultOf(path)])];
        const taken = tried.find((answer) => problemWith(question, answer, answers) === undefined);
        expect([modules, path, taken]).not.toEqual([modules, path, undefined]);
        answers[path] = taken;
      }
      expect([modules, examineConfiguration(contentOf(answers)).problems]).toEqual([modules, []]);
    }
  });
});

/** A terminal (script(1), util-linux) on which the command asks, and somebody who answers what it asks. */
function answering(
  file: string,
  answers: [asked: RegExp, keys: string][],
): Promise<{ code: number | null; output: string }> {
  const child = spawn(
    'script',
    ['-qec', `stty cols 200 rows 60; ${process.execPath} ${CLI} init ${file}`, '/dev/null'],
    {
      env: { ...process.env, TERM: 'xterm' },
    },
  );
  let output = '';
  let seen = 0;
  const left = [...answers];
  child.stdout.on('data', (chunk) => {
    output += chunk;
    const match = left[0]?.[0].exec(output.slice(seen));
    if (!match || !left[0]) return;
    seen += match.index + match[0].length;
    child.stdin.write(left.shift()?.[1] ?? '');
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
}

const ENTER = '\r';
const DOWN = '\u001b[B';

describe.skipIf(!isOnPath('script'))('init on a terminal (needs script)', () => {
  test('asks what matters, and writes what was answered', async () => {
    const file = fresh();
    const { code, output } = await answering(file, [
      [/What is deployed/, ENTER],
      [/In which region/, `\u0015eu-central-1${ENTER}`],
      [/Where are the media/, `https://x${ENTER}`],
      [/must be a domain name/, `\u0015origin.example.com${ENTER}`],
      [/A name of its own/, ENTER],
      [/Who issues the bearer/, ENTER],
      [/Who is told of alarms/, `oncall@example.com${ENTER}`],
      [/What does the edge do/, `${DOWN}${ENTER}`],
      [/What becomes of sessions/, ENTER],
      [/Should WAF block/, ENTER],
    ]);
    expect(output).toMatch(/next:\s+portcullis doctor/);
    expect(code).toBe(0);
    expect(written(file)).toEqual({
      aws: {
        modules: ['base', 'api', 'revocation'],
        region: 'eu-central-1',
        delivery: { origin: 'origin.example.com' },
        alarmEmail: 'oncall@example.com',
      },
      edge: { mode: 'log' },
      revocation: { detection: { mode: 'log' } },
    });
  });

  test('writes nothing for somebody who gives up', async () => {
    const file = fresh();
    const { code, output } = await answering(file, [
      [/What is deployed/, ENTER],
      [/In which region/, '\u0003'],
    ]);
    expect(output).toContain('nothing was written');
    expect(code).toBe(1);
    expect(existsSync(file)).toBe(false);
  });
});

test('portcullis init --yes && npm run synth leads to templates, in a region of its own too', async () => {
  const file = fresh();
  await portcullis('init', file, '--yes');
  writeFileSync(file, JSON.stringify({ ...written(file), aws: { ...written(file).aws, region: 'eu-central-1' } }));
  const out = join(scratch, 'cdk.out');
  const child = spawn(process.execPath, [packagePath('dist', 'infra', 'app.mjs')], {
    cwd: packagePath(),
    env: { ...process.env, PORTCULLIS_CONFIG: file, CDK_OUTDIR: out },
    stdio: 'ignore',
  });
  const code = await new Promise((resolve) => child.once('close', resolve));
  expect(code).toBe(0);
  expect(existsSync(join(out, 'portcullis-edge.template.json'))).toBe(true);
});
