import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { contradictions } from './contradictions.ts';
import { type Configuration, ConfigurationSchema } from './schema.ts';

/** Why a configuration cannot be used. */
export class ConfigurationError extends Error {
  readonly code = 'ERR_CONFIGURATION';
  constructor(message: string) {
    super(message);
    this.name = 'ConfigurationError';
  }
}

/** The defaults, or the configuration in a JSON file. Throws `ConfigurationError` with the path of the offending field. */
export async function readConfiguration(path?: string): Promise<Configuration> {
  if (path === undefined) return v.parse(ConfigurationSchema, {});
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const missing = 'there is no such file; name one that is there, or none for the defaults (docs/configuration.md)';
    const why = error instanceof SyntaxError ? 'it is not JSON' : code === 'ENOENT' ? missing : code;
    throw new ConfigurationError(`cannot read configuration ${path}: ${why}`);
  }
  const result = v.safeParse(ConfigurationSchema, content);
  if (result.success) {
    const [contradiction] = contradictions(result.output);
    if (!contradiction) return result.output;
    throw new ConfigurationError(`${path}: ${contradiction.path}: ${contradiction.why}`);
  }
  const [issue] = result.issues;
  const why =
    issue.expected === 'never' ? 'unknown field; docs/configuration.md has those that there are' : issue.message;
  throw new ConfigurationError(`${path}: ${v.getDotPath(issue) ?? 'configuration'}: ${why}`);
}
