import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { configurationJsonSchema, docOf, type JsonSchema, settingDocs, settingsOf } from '../../config/json-schema.ts';
import { ConfigurationSchema } from '../../config/schema.ts';
import { packagePath } from '../../local/package-root.ts';

const markdown = readFileSync(packagePath('docs', 'configuration.md'), 'utf8');
const schema = configurationJsonSchema(markdown);
const settings = settingsOf(schema);
const docs = settingDocs(markdown);

/** Too long for a table, or said in words there. */
const IN_WORDS = ['revocation.detection.segmentPattern', 'revocation.detection.hostingAsns'];

/** A default as the tables write it. */
function written({ default: value }: JsonSchema): string {
  return value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value);
}

test('every setting is in the tables of docs/configuration.md', () => {
  expect(settings.map(([path]) => path).filter((path) => !docOf(docs, path)?.meaning)).toEqual([]);
  expect(settings.length).toBeGreaterThan(60);
});

test('every row of these tables is a setting, or says where its settings are', () => {
  const paths = settings.map(([path]) => path);
  const rows = [...docs.keys()].filter((row) => !row.endsWith('<signal>') && row !== 'revocation.detection');
  expect(rows.filter((row) => !paths.includes(row))).toEqual([]);
});

test('the tables have the defaults of the code', () => {
  const plain = settings.filter(([path]) => docs.has(path) && !IN_WORDS.includes(path));
  const kms = v.parse(ConfigurationSchema, {}).mastering.kms;
  for (const [path, setting] of plain) {
    const initial = path === 'mastering.kms.provider' ? kms.provider : written(setting);
    expect([path, docs.get(path)?.default]).toEqual([path, initial]);
  }
});

test('descriptions are plain text', () => {
  for (const [path, { description }] of settings)
    expect([path, description]).toEqual([path, expect.stringMatching(/^[^`[\]]+$/)]);
});

test('the schema that ships is the one of the code', () => {
  const built = createRequire(import.meta.url).resolve('portcullis/portcullis.schema.json');
  expect(JSON.parse(readFileSync(built, 'utf8'))).toEqual(JSON.parse(JSON.stringify(schema)));
});

test('it knows $schema, and no unknown field anywhere', () => {
  expect(schema.properties).toHaveProperty('$schema');
  const open: string[] = [];
  const walk = (at: JsonSchema & { additionalProperties?: unknown }, path: string) => {
    if (at.properties && at.additionalProperties !== false) open.push(path);
    for (const form of at.oneOf ?? []) walk(form, path);
    for (const [name, below] of Object.entries(at.properties ?? {})) walk(below, `${path}.${name}`);
  };
  walk(schema, '');
  expect(open).toEqual([]);
});

test('the example in docs/configuration.md is a configuration', () => {
  const [, example = ''] = /```json\n([\s\S]*?)```/.exec(markdown) ?? [];
  expect(() => v.parse(ConfigurationSchema, JSON.parse(example))).not.toThrow();
});
