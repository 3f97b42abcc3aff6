import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cruise, type ICruiseResult, type IForbiddenRuleType } from 'dependency-cruiser';
import { describe, expect, test } from 'vitest';
import { packagePath } from '../local/package-root.ts';
import { LONG } from './harness/programs.ts';
import { removeDirectory, temporaryDirectory } from './harness/stack.ts';

const CAPABILITIES = ['token-api', 'revocation', 'enclave-render'];
const COMPOSERS = '^(?:local|cli|lambda)/';
const VERIFYING =
  '^token/(?:asset-block|bindings|claims|crypto|ip|keys|parse|path-scope|reasons|verify|viewer|compat/(?:bindings|claims|parse|verify))\\.ts$';
const SDK = '@aws-sdk/|@smithy/';

/** The import rules of the house (CONTRIBUTING.md); each says what a breach of it would cost. */
const RULES: IForbiddenRuleType[] = [
  {
    name: 'token imports nothing',
    comment: 'The token is the same at the edge, in a CMS and in a browser only as long as it needs no platform.',
    from: { path: '^token/' },
    to: { pathNot: '^token/' },
  },
  {
    name: 'the edge function holds the verifying half of the token only',
    comment: 'Whatever it imports may reach the bundle.',
    from: { path: '^edge-functions/viewer-request/' },
    to: {
      pathNot: [
        `^edge-functions/viewer-request/`,
        '^edge-functions/store/names\\.ts$',
        VERIFYING,
        '^cloudfront$',
        '^crypto$',
      ],
    },
  },
  ...CAPABILITIES.map((capability) => ({
    name: `${capability} imports no other capability`,
    comment: 'What one needs to know of another is passed in as a function.',
    from: { path: `^${capability}/` },
    to: { path: `^(?:${CAPABILITIES.filter((other) => other !== capability).join('|')}|api|config|infra)/` },
  })),
  {
    name: 'the player needs a browser and no more',
    comment: 'Pages import it as one small file.',
    from: { path: '^token-api/player/' },
    to: { pathNot: '^(?:token|token-api/player)/' },
  },
  {
    name: 'capabilities see of the edge the store only',
    from: { path: `^(?:token-api|revocation)/` },
    to: { path: '^edge-functions/', pathNot: '^edge-functions/store/' },
  },
  {
    name: 'enclave-render knows no tokens',
    from: { path: '^enclave-render/' },
    to: { path: '^(?:token|edge-functions)/' },
  },
  {
    name: 'the edge imports no capability',
    from: { path: '^edge-functions/' },
    to: { path: `^(?:${CAPABILITIES.join('|')}|api|config|infra)/` },
  },
  {
    name: 'nothing imports what composes',
    from: { pathNot: [COMPOSERS, '^test/'] },
    to: { path: COMPOSERS, dependencyTypesNot: ['type-only'] },
  },
  {
    name: 'the API is composed for those who serve it',
    from: { pathNot: [COMPOSERS, '^test/', '^api/'] },
    to: { path: '^api/', dependencyTypesNot: ['type-only'] },
  },
  {
    name: 'infra takes what was built, and the configuration',
    comment: 'What is deployed is what was tested.',
    from: { path: '^infra/' },
    to: {
      pathNot: ['^infra/', '^config/', 'node_modules', '^(?:fs|module|path|crypto|url)$'],
      dependencyTypesNot: ['type-only'],
    },
  },
  {
    name: 'AWS clients stay in files named for the service',
    comment: 'Importing the minting library must pull none of them.',
    from: {
      pathNot:
        '/(?:dynamodb|athena|cloudformation|cloudfront|cloudwatch-logs|kms|s3|secrets-manager|sqs|ssm|step-functions|sts|waf|key-value-store-aws)\\.ts$',
    },
    to: { path: SDK, dependencyTypesNot: ['type-only'] },
  },
  { name: 'no circles', from: {}, to: { circular: true, dependencyTypesNot: ['type-only'] } },
];

/** Folders of the house that are still to come. */
const NOT_YET: string[] = [];
const FOLDERS = [
  'token',
  'edge-functions',
  'token-api',
  'revocation',
  'enclave-render',
  'api',
  'config',
  'lambda',
  'infra',
  'local',
  'cli',
];

async function breaches(folders: string[], rules: IForbiddenRuleType[], baseDir = packagePath()) {
  const { output } = await cruise(
    folders,
    {
      baseDir,
      ruleSet: { forbidden: rules.map((rule) => ({ severity: 'error' as const, ...rule })) },
      validate: true,
      // As written, types too (verbatimModuleSyntax: nothing else is left out): compiling it takes four times as long.
      tsPreCompilationDeps: true,
      doNotFollow: { path: 'node_modules' },
      exclude: { path: '^local/console/' },
    },
    { extensions: ['.ts', '.js', '.mjs', '.json'] },
    { tsConfig: undefined },
  );
  return (output as ICruiseResult).summary.violations;
}

const isAwaited = ({ from }: IForbiddenRuleType) => NOT_YET.some((folder) => from.path === `^${folder}/`);

/** Rules that are broken on purpose, under names that say which of them it is. */
const variant = (kind: string, rules: IForbiddenRuleType[], change: object) =>
  rules.map((rule) => ({ ...rule, ...change, name: `${kind}: ${rule.name}` }));
const EVERYTHING_FORBIDDEN = variant(
  'everything',
  RULES.filter((rule) => !isAwaited(rule)),
  { to: {} },
);
const ABOUT_EVERYBODY = variant(
  'everybody',
  RULES.filter(({ name }) => name !== 'no circles'),
  { from: {} },
);

describe('import rules', () => {
  // One reading of all sources for all three. That every rule can bite takes ten times as long as that all are kept.
  const found = breaches(FOLDERS, LONG ? [...RULES, ...EVERYTHING_FORBIDDEN, ...ABOUT_EVERYBODY] : RULES);
  const namesOf = (rules: IForbiddenRuleType[]) => rules.map(({ name }) => name).sort();
  const bitten = async (rules: IForbiddenRuleType[]) => {
    const names = new Set((await found).map(({ rule }) => rule.name));
    return namesOf(rules).filter((name) => names.has(name ?? ''));
  };

  test('are kept', async () => {
    const names = namesOf(RULES);
    const lines = (await found)
      .filter(({ rule }) => names.includes(rule.name))
      .map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`);
    expect(lines).toEqual([]);
  }, 180_000);

  test('know every folder: one that has come leaves NOT_YET, joins FOLDERS, and its rules have to bite', () => {
    expect([...FOLDERS, ...NOT_YET].filter((folder) => existsSync(packagePath(folder)))).toEqual(FOLDERS);
    const named = [...JSON.stringify(RULES).matchAll(/"\^(?:\(\?:)?([\w|-]+)\)?\//g)].flatMap(([, names = '']) =>
      names.split('|'),
    );
    expect([...FOLDERS, ...NOT_YET, 'test']).toEqual(expect.arrayContaining(named));
  });

  // A rule that nothing can breach, such as one with a typo in a path, would be kept for ever.
  test.runIf(LONG)('bite when they forbid everything: each is about files that are there', async () => {
    expect(await bitten(EVERYTHING_FORBIDDEN)).toEqual(namesOf(EVERYTHING_FORBIDDEN));
  });

  test.runIf(LONG)(
    'bite when they are about everybody: what each forbids is there, and imported by somebody',
    async () => {
      expect(await bitten(ABOUT_EVERYBODY)).toEqual(namesOf(ABOUT_EVERYBODY));
    },
  );

  test('notice a circle', async () => {
    const scratch = temporaryDirectory();
    writeFileSync(join(scratch, 'a.ts'), "import { b } from './b.ts';\nexport const a = () => b;\n");
    writeFileSync(join(scratch, 'b.ts'), "import { a } from './a.ts';\nexport const b = () => a;\n");
    const names = (await breaches(['a.ts', 'b.ts'], RULES, scratch)).map(({ rule }) => rule.name);
    removeDirectory(scratch);
    expect(new Set(names)).toEqual(new Set(['no circles']));
  });
});
