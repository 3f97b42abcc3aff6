import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { contradictions } from '../../config/contradictions.ts';
import { costOf } from '../../config/cost.ts';
import { MODULE_NAMES, MODULES, type ModuleName } from '../../config/deployment.ts';
import { ConfigurationSchema } from '../../config/schema.ts';
import { REGION_OUTPUT, stacksOf } from '../../config/stacks.ts';
import { packagePath } from '../../local/package-root.ts';
// @ts-expect-error: a script, without types.
import { EVERYTHING, stackDiagram, stacksWithTypes } from '../../scripts/stack-diagram.mjs';
import { builtArtefacts } from '../harness/artefacts.ts';
import { LONG } from '../harness/programs.ts';
import { synthesise } from '../harness/templates.ts';

const artefacts = builtArtefacts();
const register = (digit: string) => digit.repeat(96);
const render = { pcrs: { 0: register('a'), 1: register('b'), 2: register('c') }, imageId: 'ami-0123456789abcdef0' };

/** Every set of modules. */
const SETS = Array.from({ length: 2 ** MODULE_NAMES.length - 1 }, (_, index) =>
  MODULE_NAMES.filter((_name, bit) => ((index + 1) >> bit) & 1),
);
const isComplete = (modules: ModuleName[]) =>
  modules.every((name) => MODULES[name].needs.every((needed) => modules.includes(needed)));
const EVERY_DAY: ModuleName[][] = [['base'], ['render'], ['base', 'api', 'revocation']];
// The console is a behaviour of the distribution, and so needs an origin.
const configurationOf = (modules: ModuleName[], more = {}) => ({
  aws: { modules, render, ...(modules.includes('console') && { delivery: { origin: 'media.example.com' } }), ...more },
});

describe('modules, each of which can be left out', () => {
  const sets = LONG ? SETS.filter(isComplete) : EVERY_DAY;
  test.each(sets.map((modules) => [modules.join(', '), modules] as const))(
    '%s: synthesises, and has its stacks alone',
    (_, modules) => {
      const made = synthesise(configurationOf(modules), artefacts);
      const { assembly } = made;
      const { lines } = costOf(v.parse(ConfigurationSchema, configurationOf(modules))).perMonth;
      const paid = (what: string) => lines.find((line) => line.what === what)?.quantity ?? 0;
      expect(paid('KMS keys')).toBe(made.of('AWS::KMS::Key').length);
      expect(paid('secrets: key ring, origin')).toBe(made.of('AWS::SecretsManager::Secret').length);
      expect(paid('dashboards')).toBe(made.of('AWS::CloudWatch::Dashboard').length);
      expect(paid('alarms')).toBe(made.of('AWS::CloudWatch::Alarm').length);
      const names = assembly.stacks.map(({ stackName }) => stackName);
      // What doctor looks for.
      const expected = stacksOf(v.parse(ConfigurationSchema, configurationOf(modules)));
      expect(new Set(names)).toEqual(new Set(expected.keys()));
      expect(names.includes('portcullis-edge')).toBe(modules.includes('base'));
      for (const module of ['base', 'api'] as const) {
        expect(names.includes(`portcullis-${module}`)).toBe(modules.includes(module));
      }
      // Without an origin of media nothing is delivered.
      expect(names.includes('portcullis-delivery')).toBe(modules.includes('console'));
    },
  );

  test.each(MODULE_NAMES)('%s: has the stacks that docs/deployment.md gives it and what it needs', (name) => {
    const modules = [...MODULES[name].needs, name];
    const more = { region: 'eu-central-1', delivery: { origin: 'media.example.com' } };
    const table = readFileSync(packagePath('docs', 'deployment.md'), 'utf8').split('\n');
    const rows = table.filter((line) => modules.some((module) => line.startsWith(`| \`${module}\` | `)));
    expect(rows.length).toBe(modules.length);
    const documented = [...rows.join('\n').matchAll(/`(portcullis-[a-z-]+)`/g)].map(([, stack]) => stack);
    const stacks = stacksOf(v.parse(ConfigurationSchema, configurationOf(modules, more)));
    expect(new Set(documented)).toEqual(new Set(stacks.keys()));
  });

  test('are refused without those that they need, by name', () => {
    const sentences = SETS.filter((modules) => !isComplete(modules)).map((modules) => {
      try {
        synthesise(configurationOf(modules), artefacts);
        return 'synthesised';
      } catch (error) {
        return (error as Error).message;
      }
    });
    expect(sentences.length).toBeGreaterThan(10);
    for (const sentence of sentences) expect(sentence).toMatch(/^aws\.modules: '\w+' needs '\w+': name that too/);
  });
});

describe('all modules', () => {
  const { assembly, resources } = synthesise(EVERYTHING, artefacts);

  test('are in docs/stacks.svg (node scripts/make-stack-diagram.mjs)', () => {
    expect(readFileSync(packagePath('docs', 'stacks.svg'), 'utf8')).toBe(
      stackDiagram(stacksWithTypes(assembly.directory)),
    );
  });

  test('have the alarms that are paid for', () => {
    const { lines } = costOf(v.parse(ConfigurationSchema, EVERYTHING)).perMonth;
    const made = resources.filter(({ Type }) => Type === 'AWS::CloudWatch::Alarm');
    expect(lines.find(({ what }) => what === 'alarms')?.quantity).toBe(made.length);
  });

  test('leave behind what docs/deployment.md deletes by its name', () => {
    const [, docs = ''] = readFileSync(packagePath('docs', 'deployment.md'), 'utf8').split('### Deleting it');
    const [, loop = ''] = /^for bucket in ([\w -]+);/m.exec(docs) ?? [];
    /** How the name of what stays is in a command; without one another of the same name may be made. */
    const isDeleted: Record<string, (properties: Record<string, unknown>) => boolean> = {
      'AWS::SecretsManager::Secret': ({ Name }) => docs.includes(`--secret-id ${Name} `),
      'AWS::DynamoDB::Table': ({ TableName }) => `${TableName}`.startsWith('portcullis-'),
      'AWS::S3::Bucket': ({ BucketName }) => {
        const [, name = ''] = /portcullis-([a-z-]+)-"/.exec(JSON.stringify(BucketName)) ?? [];
        return loop.split(' ').includes(name) || docs.includes(`portcullis-${name}-$ACCOUNT-us-east-1`);
      },
      'AWS::Cognito::UserPool': () => docs.includes('aws cognito-idp delete-user-pool '),
      'AWS::KMS::Key': () => docs.includes('aws kms schedule-key-deletion '),
    };
    const kept = resources.filter(({ DeletionPolicy }) => DeletionPolicy === 'Retain');
    expect(kept.length).toBeGreaterThan(20);
    expect(kept.filter(({ Type, Properties }) => !isDeleted[Type]?.(Properties)).map(({ id }) => id)).toEqual([]);
  });
});

test('what CloudFront wants is in us-east-1, all else in the region of the configuration', () => {
  const more = { region: 'ap-southeast-2', delivery: { origin: 'media.example.com' } };
  const { assembly } = synthesise(configurationOf(['base', 'api'], more), artefacts);
  const regions = Object.fromEntries(
    assembly.stacks.map(({ stackName, environment }) => [stackName, environment.region]),
  );
  const configuration = v.parse(ConfigurationSchema, configurationOf(['base', 'api'], more));
  expect(regions).toEqual(Object.fromEntries(stacksOf(configuration)));
  const { template } = assembly.getStackByName('portcullis-edge');
  expect(template.Outputs[REGION_OUTPUT].Value).toBe('ap-southeast-2');
  expect(regions).toEqual({
    'portcullis-edge': 'us-east-1',
    'portcullis-delivery': 'us-east-1',
    'portcullis-base': 'ap-southeast-2',
    'portcullis-api': 'ap-southeast-2',
    'portcullis-monitoring': 'ap-southeast-2',
    'portcullis-edge-monitoring': 'us-east-1',
  });
});

test('names of the distribution need a certificate where the distribution is made, and only there', () => {
  const refused = (delivery: object) =>
    contradictions(v.parse(ConfigurationSchema, { aws: { delivery } })).map(({ path }) => path);
  const domainNames = ['play.example.com'];
  expect(refused({ domainNames })).toEqual([]);
  expect(refused({ domainNames, origin: 'media.example.com' })).toEqual(['aws.delivery.certificateArn']);
});

test('a handler that was not built is named', () => {
  const { deployment: _, ...handlers } = artefacts.handlers;
  expect(() => synthesise(configurationOf(['base']), { ...artefacts, handlers })).toThrow(
    "the handler 'deployment' was not built: npm run build",
  );
});
