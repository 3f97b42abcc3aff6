import { toJsonSchema } from '@valibot/to-json-schema';
import { ConfigurationSchema } from './schema.ts';

/** As much of JSON Schema (draft 7) as that of the configuration has. */
export interface JsonSchema {
  $schema?: string;
  $id?: string;
  title?: string;
  description?: string;
  default?: unknown;
  properties?: Record<string, JsonSchema>;
  oneOf?: JsonSchema[];
}

/** What docs/configuration.md says of a setting. */
export interface SettingDoc {
  /** As it is written there; `–` when there is none. */
  default: string;
  /** In plain text. */
  meaning: string;
}

/** Stands for every name in a path, `revocation.detection.weights.<signal>`. */
const ANY = /^<\w+>$/;

/**
 * The settings in the tables of docs/configuration.md, by path: rows whose first cell names one, or several with commas
 * between them, of which one that begins with a dot stands beside the one before. A section that says "Under `path`" has
 * the names below that.
 */
export function settingDocs(markdown: string): Map<string, SettingDoc> {
  const docs = new Map<string, SettingDoc>();
  for (const section of markdown.split(/^## /m)) {
    const [, under] = /^Under `([\w.]+)`/m.exec(section) ?? [];
    for (const line of section.split('\n').filter((line) => line.startsWith('| `'))) {
      const [, names = '', initial = '', meaning = ''] = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
      let previous = '';
      for (const [, name = ''] of names.matchAll(/`([^`]+)`/g)) {
        const path = name.startsWith('.') ? previous.replace(/\.\w+$/, name) : under ? `${under}.${name}` : name;
        docs.set(path, { default: initial.replaceAll('`', '').replaceAll('\\|', '|'), meaning: plain(meaning) });
        previous = path;
      }
    }
  }
  return docs;
}

/** Markdown without its links and code marks. */
function plain(markdown: string): string {
  return markdown
    .replaceAll(/\[([^\]]+)\]\([^)]+\)/g, '$1')
    .replaceAll('\\|', '|')
    .replaceAll(/\*\*|`/g, '');
}

/** Every setting of a schema by its path: what has no properties of its own, in no form that it may take. */
export function settingsOf(schema: JsonSchema, path = ''): [path: string, setting: JsonSchema][] {
  const within = [schema, ...(schema.oneOf ?? [])].flatMap((form) => Object.entries(form.properties ?? {}));
  if (within.length === 0) return [[path, schema]];
  return within
    .filter(([name]) => name !== '$schema')
    .flatMap(([name, setting]) => settingsOf(setting, path === '' ? name : `${path}.${name}`));
}

/** The row of a setting; one that ends in `<name>` is that of everything below. */
export function docOf(docs: Map<string, SettingDoc>, path: string): SettingDoc | undefined {
  const names = path.split('.');
  const [row] = [...docs.keys()].filter((row) => {
    const pattern = row.split('.');
    const reaches = ANY.test(pattern.at(-1) ?? '') ? pattern.length <= names.length : pattern.length === names.length;
    return reaches && pattern.every((name, i) => ANY.test(name) || name === names[i]);
  });
  return row === undefined ? undefined : docs.get(row);
}

/**
 * The JSON Schema (draft 7) of `portcullis.json`, each setting with its default and with what `markdown`, which is
 * docs/configuration.md, says of it. What a schema cannot say (contradictions between settings) is left to
 * `readConfiguration`.
 */
export function configurationJsonSchema(markdown: string): JsonSchema {
  const schema = toJsonSchema(ConfigurationSchema, { errorMode: 'ignore', typeMode: 'input' }) as JsonSchema;
  const docs = settingDocs(markdown);
  for (const [path, setting] of settingsOf(schema)) {
    const doc = docOf(docs, path);
    if (doc) setting.description = doc.meaning;
  }
  return { ...schema, title: 'Configuration of Portcullis' };
}
