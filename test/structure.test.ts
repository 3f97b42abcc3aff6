import { cruise, type ICruiseResult, type IForbiddenRuleType } from 'dependency-cruiser';
import { describe, expect, test } from 'vitest';

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
    to: { path: `^(?:${CAPABILITIES.filter((other) => other !== capability).join('|')}|config|infra)/` },
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
    to: { path: `^(?:${CAPABILITIES.join('|')}|config|infra)/` },
  },
  {
    name: 'nothing imports what composes',
    from: { pathNot: [COMPOSERS, '^test/'] },
    to: { path: COMPOSERS },
  },
  {
    name: 'AWS clients stay in files named for the service',
    comment: 'Importing the minting library must pull none of them.',
    from: { pathNot: '/(?:dynamodb|athena|cloudfront|kms|s3|secrets-manager|waf|key-value-store-aws)\\.ts$' },
    to: { path: SDK, dependencyTypesNot: ['type-only'] },
  },
  { name: 'no circles', from: {}, to: { circular: true, dependencyTypesNot: ['type-only'] } },
];

const FOLDERS = ['token', 'edge-functions', 'token-api', 'revocation', 'config', 'local', 'cli'];

async function breaches(folders: string[], rules: IForbiddenRuleType[]): Promise<string[]> {
  const { output } = await cruise(
    folders,
    {
      ruleSet: { forbidden: rules.map((rule) => ({ severity: 'error' as const, ...rule })) },
      validate: true,
      tsPreCompilationDeps: 'specify',
      doNotFollow: { path: 'node_modules' },
      exclude: { path: '^local/console/' },
    },
    { extensions: ['.ts', '.js', '.mjs', '.json'] },
    { tsConfig: undefined },
  );
  return (output as ICruiseResult).summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`);
}

describe('import rules', () => {
  test('are kept', async () => {
    expect(await breaches(FOLDERS, RULES)).toEqual([]);
  });

  test('would be noticed: each rule bites when it is turned round', async () => {
    // The check itself could be broken and find nothing: a rule that many files breach must find them.
    const found = await breaches(FOLDERS, [{ name: 'probe', from: { path: '^cli/' }, to: { path: '^token-api/' } }]);
    expect(found.length).toBeGreaterThan(3);
    const sdk = await breaches(FOLDERS, [{ name: 'probe', from: {}, to: { path: SDK } }]);
    expect(sdk.some((line) => line.includes('local/dynamodb.ts'))).toBe(true);
  });
});
