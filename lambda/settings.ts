import * as v from 'valibot';

/** Name of the one variable that a handler reads: JSON, written by `infra/`. It holds names and settings, never a secret. */
export const SETTINGS_VARIABLE = 'PORTCULLIS_SETTINGS';

/**
 * The settings of a handler, read once when it starts. Throws when they are not of the schema, naming field and reason: the
 * function then fails at its first request, and the deployment that wrote them is wrong.
 */
export function readSettings<Schema extends v.GenericSchema>(
  schema: Schema,
  environment = process.env,
): v.InferOutput<Schema> {
  const text = environment[SETTINGS_VARIABLE];
  if (text === undefined) throw new Error(`${SETTINGS_VARIABLE} is not set: deploy with infra/`);
  const result = v.safeParse(schema, JSON.parse(text));
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new Error(`${SETTINGS_VARIABLE}: ${v.getDotPath(issue) ?? 'settings'}: ${issue.message}`);
}
