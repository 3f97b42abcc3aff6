import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { packagePath } from '../local/package-root.ts';
import { DetectionSettingsSchema } from '../revocation/detect/settings.ts';
import { REVOCATION_PROBLEMS } from '../revocation/http/problem-docs.ts';
import { PROBLEMS, type ProblemDoc } from '../token-api/http/problem-docs.ts';
import { deriveKeys } from '../token-api/key-ring/key-ring.ts';

test('the tables of docs/token.md are those of the code', () => {
  execFileSync(process.execPath, [packagePath('scripts', 'make-docs.mjs'), '--check']);
});

test('docs/minting.md explains every code that minting may answer with', () => {
  const codes = ['token-api/minting/policy.ts', 'token/mint.ts'].flatMap((file) =>
    [...readFileSync(packagePath(file), 'utf8').matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map(([, code]) => code),
  );
  const text = readFileSync(packagePath('docs', 'minting.md'), 'utf8');
  // A loaded policy has safe scopes and known bindings, so that those two cannot come from the minter.
  const unexplained = codes.filter((code) => !text.includes(`\`${code}\``));
  expect(codes.length).toBeGreaterThan(20);
  expect(unexplained).toEqual(['ERR_TOKEN_SCOPE', 'ERR_TOKEN_BINDING_UNKNOWN']);
});

test('docs/api.md has every problem code in its table of errors, with its status', () => {
  const [, errors = ''] = readFileSync(packagePath('docs', 'api.md'), 'utf8').split('\n## ');
  const rows = errors.split('\n').map((line) => line.split('|'));
  const problems: [string, ProblemDoc][] = [...Object.entries(PROBLEMS), ...Object.entries(REVOCATION_PROBLEMS)];
  const missing = problems.filter(
    ([code, { status }]) =>
      !rows.some(([, statuses = '', codes = '']) => codes.includes(`\`${code}\``) && statuses.includes(`${status}`)),
  );
  expect(missing).toEqual([]);
});

test('a problem code that both sides have means the same on both', () => {
  const shared = Object.entries(REVOCATION_PROBLEMS).filter(([code]) => code in PROBLEMS);
  for (const [code, row] of shared) expect(PROBLEMS).toHaveProperty(code, row);
});

const PROSE = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md'];
const DOCS = readdirSync(packagePath('docs')).filter((name) => name.endsWith('.md'));
const documents = [...PROSE, ...DOCS.map((name) => `docs/${name}`)].map((name) => packagePath(name));

/** The anchors of headings, as GitHub makes them. */
const anchorsOf = (path: string) =>
  [...readFileSync(path, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

test('links in the documents lead somewhere', () => {
  const broken = documents.flatMap((document) => {
    const text = readFileSync(document, 'utf8').replaceAll(/```[\s\S]*?```|`[^`\n]*`/g, '');
    const links = [...text.matchAll(/\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)/g)];
    return links.flatMap(([link, path = '', anchor]) => {
      const target = path === '' ? document : resolve(dirname(document), path);
      const leads = existsSync(target) && (anchor === undefined || anchorsOf(target).includes(anchor));
      return leads ? [] : `${document}: ${link}`;
    });
  });
  expect(broken).toEqual([]);
});

test('every code of revocation is said in a document, or in the help of a command', () => {
  const textOf = (folder: string, end: string) =>
    readdirSync(packagePath(folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith(end))
      .map((name) => readFileSync(packagePath(folder, name), 'utf8'))
      .join('\n');
  const codes = new Set(textOf('revocation', '.ts').match(/\bERR_[A-Z_]+/g));
  const said = [...documents.map((path) => readFileSync(path, 'utf8')), textOf('cli', '.ts')].join('\n');
  expect(codes.size).toBeGreaterThan(30);
  expect([...codes].filter((code) => !new RegExp(`\\b${code}\\b`).test(said))).toEqual([]);
});

test('docs/configuration.md and docs/detection.md have every setting of detection, with its default', () => {
  const { weights, hostingAsns, segmentPattern: _, allow: __, ...plain } = v.parse(DetectionSettingsSchema, {});
  const [, configuration = ''] = readFileSync(packagePath('docs', 'configuration.md'), 'utf8').split(
    '\n## Detection\n',
  );
  for (const [name, value] of Object.entries(plain)) {
    expect(configuration).toMatch(new RegExp(`\\n\\| \`${name}\` \\| \`?${value}\`? \\|`));
  }
  expect(configuration).toContain(`| ${hostingAsns.length} operators |`);
  const detection = readFileSync(packagePath('docs', 'detection.md'), 'utf8');
  const rows = Object.entries(weights).map(([name, { from, to, points }]) => {
    const [row = ''] = new RegExp(`\\| \`${name}\` \\|.*`).exec(detection) ?? [];
    expect(row).toMatch(new RegExp(` \\| ${from} \\| ${to} \\| ${points} \\|$`));
    return row;
  });
  expect(detection.match(/^\| `\w+` \|/gm)).toHaveLength(rows.length);
});

test('the derived keys in docs/token.md are right', () => {
  const text = readFileSync(packagePath('docs', 'token.md'), 'utf8');
  const [, secret = ''] = /For the secret `([\w-]{43})`/.exec(text) ?? [];
  const { sign, bind } = deriveKeys(secret);
  for (const key of [sign, bind]) expect(text).toContain(Buffer.from(key, 'base64url').toString('hex'));
});
