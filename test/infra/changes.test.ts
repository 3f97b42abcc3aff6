import { describe, expect, test } from 'vitest';
import { builtArtefacts } from '../harness/artefacts.ts';
import { synthesise, type Templates } from '../harness/templates.ts';

const artefacts = builtArtefacts();
const text = (value: unknown) => JSON.stringify(value);

const PRESENT = {
  aws: { modules: ['base', 'api', 'revocation'], delivery: { origin: 'media.example.com' } },
  revocation: { waf: { publish: true } },
};
const { aws, revocation } = PRESENT;
/** What a configuration becomes. */
const CHANGES: Record<string, object> = {
  'another capacity of the rule group': { ...PRESENT, revocation: { waf: { publish: true, capacityWcu: 3000 } } },
  'another name of the rule group': { ...PRESENT, revocation: { waf: { publish: true, name: 'other' } } },
  'no rule group': { ...PRESENT, revocation: {} },
  'keys in the function': { aws: { ...aws, keys: { at: 'embedded' } }, revocation },
  'no revocation': { aws: { ...aws, modules: ['base', 'api'] }, revocation },
  'no API': { aws: { ...aws, modules: ['base'] }, revocation },
  'no origin': { aws: { ...aws, delivery: {} }, revocation },
};
/** These stacks are destroyed or deployed before the others then (docs/deployment.md, "Leaving something out"). */
const FIRST: Record<string, string[]> = {
  'no revocation': ['portcullis-revocation'],
  'no API': ['portcullis-api', 'portcullis-delivery', 'portcullis-revocation'],
  'no origin': [
    'portcullis-api',
    'portcullis-delivery',
    'portcullis-edge-monitoring',
    'portcullis-monitoring',
    'portcullis-revocation',
  ],
};

interface Value {
  stack: string;
  name: string;
  value: string;
}

/** What stacks give to others: exports, and parameters in another region. */
function given({ assembly, of }: Templates): Value[] {
  const exports = assembly.stacks.flatMap(({ stackName: stack, template }) =>
    Object.values<{ Export?: { Name: string }; Value: unknown }>(template.Outputs ?? {}).flatMap((output) =>
      output.Export ? [{ stack, name: output.Export.Name, value: text(output.Value) }] : [],
    ),
  );
  const parameters = of('Custom::CrossRegionExportWriter').flatMap(({ stack, Properties }) =>
    Object.entries(Properties.WriterProps.exports).map(([name, value]) => ({ stack, name, value: text(value) })),
  );
  return [...exports, ...parameters];
}

/** Names of what each stack takes from others. */
function taken({ assembly, of }: Templates): { stack: string; name: string }[] {
  const imports = assembly.stacks.flatMap(({ stackName: stack, template }) =>
    [...text(template).matchAll(/"Fn::ImportValue":"([^"]+)"/g)].map(([, name = '']) => ({ stack, name })),
  );
  const parameters = of('Custom::CrossRegionExportReader').flatMap(({ stack, Properties }) =>
    Object.keys(Properties.ReaderProps.imports).map((name) => ({ stack, name })),
  );
  return [...imports, ...parameters];
}

describe.each(['us-east-1', 'eu-central-1'])('a change of the configuration, in %s', (region) => {
  const inRegion = ({ aws, ...others }: { aws?: object }) =>
    synthesise({ aws: { ...aws, region }, ...others }, artefacts);
  const present = inRegion(PRESENT);
  const embedded = inRegion(CHANGES['keys in the function'] as object);

  /** Stacks that use what another would stop giving, or give with another value, before they are deployed themselves. */
  const blocked = (before: Templates, after: Templates) => {
    const [was, will] = [given(before), given(after)];
    const isKept = ({ name }: { name: string }) =>
      will.find((value) => value.name === name)?.value === was.find((value) => value.name === name)?.value;
    return [...new Set(taken(before).flatMap((use) => (isKept(use) ? [] : [use.stack])))].sort();
  };

  test.each(Object.keys(CHANGES))('%s: takes nothing from a stack that still uses it', (change) => {
    expect(taken(present).length).toBeGreaterThan(10);
    const found = blocked(present, inRegion(CHANGES[change] as object));
    expect(found.filter((stack) => !FIRST[change]?.includes(stack))).toEqual([]);
  });

  test('keys in the store: takes nothing from a stack that still uses it', () => {
    expect(blocked(embedded, present)).toEqual([]);
  });

  test('no stack uses what a live resource answers: it may be another after the change', () => {
    for (const templates of [present, embedded]) {
      expect(given(templates).filter(({ value }) => value.includes('"Live'))).toEqual([]);
    }
  });

  test('the web ACL refers to its rule group by the name that has the capacity in it', () => {
    const { Rules } = present.one('AWS::WAFv2::WebACL').Properties;
    expect(Rules[0].Statement.RuleGroupReferenceStatement.Arn).toBe(
      '{{resolve:ssm:/portcullis/rule-group/portcullis-revoked-sessions-1500}}',
    );
  });
});
