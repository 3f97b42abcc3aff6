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

/** What a JSON file holds. Throws `ConfigurationError`. */
export async function readConfigurationFile(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const missing = 'there is no such file; name one that is there, or none for the defaults (docs/configuration.md)';
    const why = error instanceof SyntaxError ? 'it is not JSON' : code === 'ENOENT' ? missing : code;
    throw new ConfigurationError(`cannot read configuration ${path}: ${why}`);
  }
}

/** The defaults, or the configuration in a JSON file. Throws `ConfigurationError` with the path of the offending field. */
export async function readConfiguration(path?: string): Promise<Configuration> {
  if (path === undefined) return v.parse(ConfigurationSchema, {});
  const examined = examineConfiguration(await readConfigurationFile(path));
  if ('configuration' in examined) return examined.configuration;
  const [problem] = examined.problems;
  throw new ConfigurationError(`${path}: ${problem.path}: ${problem.why}`);
}
