import * as v from 'valibot';
import { AttachError } from './attach-error.ts';
import { type AttachedSettings, AttachedSettingsSchema, SETTING_NAMES } from './behaviours.ts';

/** What attaching made, to be taken away again. */
export type MadeKind = 'function' | 'originRequestPolicy' | 'cachePolicy' | 'responseHeadersPolicy';

const SavedSchema = v.strictObject({
  version: v.literal(1),
  distribution: v.string(),
  /** By path pattern: what was there, and what is there since. */
  behaviours: v.record(v.string(), v.strictObject({ before: AttachedSettingsSchema, after: AttachedSettingsSchema })),
  /** Policies and functions of our own, by id or name. */
  made: v.array(
    v.strictObject({
      kind: v.picklist(['function', 'originRequestPolicy', 'cachePolicy', 'responseHeadersPolicy']),
      id: v.string(),
    }),
  ),
  /** Whether the API has a behaviour of our own. */
  api: v.optional(v.boolean()),
  /** The staging distribution and its continuous deployment policy, by id. */
  staging: v.optional(v.strictObject({ id: v.string(), policy: v.optional(v.string()) })),
});

/** What was there before, enough to go back and nothing else: no origin, no header with a secret in it. */
export type Saved = v.InferOutput<typeof SavedSchema>;

/** Nothing attached yet. */
export function nothingSaved(distribution: string): Saved {
  return { version: 1, distribution, behaviours: {}, made: [] };
}

/** What a file says about a distribution. Throws `ERR_ATTACH_SAVED`. */
export function parseSaved(text: string, distribution: string): Saved {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw new AttachError('ERR_ATTACH_SAVED', 'the file of what was there is not JSON');
  }
  const result = v.safeParse(SavedSchema, content);
  if (!result.success) {
    const where = v.getDotPath(result.issues[0]) ?? 'it';
    throw new AttachError('ERR_ATTACH_SAVED', `the file of what was there is not one of ours: ${where} is wrong`);
  }
  if (result.output.distribution === distribution) return result.output;
  const other = `it is about distribution ${result.output.distribution}`;
  throw new AttachError('ERR_ATTACH_SAVED', `the file of what was there is another's: ${other}`);
}

/**
 * Adds what is about to be changed at a behaviour. What an earlier run set itself is not what was there: of that, the earlier
 * `before` stays.
 */
export function remember(saved: Saved, pattern: string, now: AttachedSettings, after: AttachedSettings): Saved {
  const earlier = saved.behaviours[pattern];
  const before = { ...now };
  for (const name of SETTING_NAMES)
    if (earlier && now[name] === earlier.after[name]) before[name] = earlier.before[name];
  return { ...saved, behaviours: { ...saved.behaviours, [pattern]: { before, after } } };
}

/** Adds what was made, once. */
export function rememberMade(saved: Saved, kind: MadeKind, id: string): Saved {
  const isThere = saved.made.some((made) => made.kind === kind && made.id === id);
  return isThere ? saved : { ...saved, made: [...saved.made, { kind, id }] };
}
