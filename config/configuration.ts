import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { type ConfigurationProblem, contradictions } from './contradictions.ts';
import { type Configuration, ConfigurationSchema } from './schema.ts';

/** Where a configuration is unless told otherwise: `npm run synth` takes it from there. */
export const CONFIGURATION_FILE = 'portcullis.json';

/** Why a configuration cannot be used. */
export class ConfigurationError extends Error {
  readonly code = 'ERR_CONFIGURATION';
  constructor(message: string) {
    super(message);
    this.name = 'ConfigurationError';
  }
}

/** A configuration with its defaults, or all that is wrong with it. */
export type Examined =
  | { configuration: Configuration; problems: [] }
  | { problems: [ConfigurationProblem, ...ConfigurationProblem[]] };

/** Checks what a configuration file holds, parsed. Contradictions are looked for once every field is good by itself. */
export function examineConfiguration(content: unknown): Examined {
  // To valibot an array is an object as well.
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    return { problems: [{ path: 'configuration', why: 'must be an object, {…}' }] };
  }
  const result = v.safeParse(ConfigurationSchema, content);
  if (result.success) {
    const [first, ...others] = contradictions(result.output);
    return first ? { problems: [first, ...others] } : { configuration: result.output, problems: [] };
  }
  const [first, ...others] = result.issues;
  return { problems: [problemOf(first), ...others.map(problemOf)] };
}

function problemOf(issue: v.InferIssue<typeof ConfigurationSchema>): ConfigurationProblem {
  const path = v.getDotPath(issue) ?? 'configuration';
  if (issue.expected === 'never') return { path, why: 'unknown field; docs/configuration.md has those that there are' };
  return { path, why: issue.message };
}

/** Why a file cannot be read, by the code of the system. */
const UNREADABLE: Record<string, string> = {
  ENOENT: 'there is no such file; name one that is there, or none for the defaults (docs/configuration.md)',
  EISDIR: 'it is a folder; name a file in it',
};

/** What a JSON file holds. Throws `ConfigurationError`. */
export async function readConfigurationFile(path: string): Promise<unknown> {
  const refused = (why: string) => new ConfigurationError(`cannot read configuration ${path}: ${why}`);
  const text = await readFile(path, 'utf8').catch(({ code = '' }: NodeJS.ErrnoException) => {
    throw refused(UNREADABLE[code] ?? code);
  });
  // A parser may pass over a byte order mark (RFC 8259, section 8.1), which editors on Windows write.
  const json = text.replace(/^\uFEFF/, '');
  if (json.trim() === '') throw refused('it is empty; {} is a configuration of defaults');
  try {
    return JSON.parse(json);
  } catch (error) {
    throw refused(`it is not JSON${whereIn(json, error as SyntaxError)}`);
  }
}

/** Where a text stops being JSON, as far as V8 says: its own message would quote the text. */
function whereIn(text: string, { message }: SyntaxError): string {
  if (message.includes('end of JSON')) return ': it ends too early';
  const [, position] = / at position (\d+)/.exec(message) ?? [];
  const line = position === undefined ? '' : `, see line ${text.slice(0, Number(position)).split('\n').length}`;
  return `${line}: names stand in quotes, the last field has no comma, and there are no comments`;
}

/** The defaults, or the configuration in a JSON file. Throws `ConfigurationError` with the path of the offending field. */
export async function readConfiguration(path?: string): Promise<Configuration> {
  if (path === undefined) return v.parse(ConfigurationSchema, {});
  const examined = examineConfiguration(await readConfigurationFile(path));
  if ('configuration' in examined) return examined.configuration;
  const [problem] = examined.problems;
  throw new ConfigurationError(`${path}: ${problem.path}: ${problem.why}`);
}
