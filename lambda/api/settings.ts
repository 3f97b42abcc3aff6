import * as v from 'valibot';
import { EdgeSettingsSchema } from '../../edge-functions/build/settings.ts';
import { ApiSettingsSchema } from '../../token-api/http/settings.ts';
import { KeySettingsSchema } from '../../token-api/key-ring/settings.ts';

const arn = v.pipe(v.string(), v.startsWith('arn:'));
const url = v.pipe(v.string(), v.regex(/^https?:\/\/[\w.:-]+$/, 'must be a URL without path'));

/** Settings of the handler `api`: sections of the configuration, and what it acts on. */
export const ApiHandlerSettings = v.strictObject({
  edge: EdgeSettingsSchema,
  keys: KeySettingsSchema,
  api: ApiSettingsSchema,
  /** URL of the distribution, which playback URLs begin with. */
  edgeUrl: url,
  /** Where the edge answers, for a new key to be tried; undefined where nobody knows. */
  probeUrl: v.optional(url),
  /** ARN of the KeyValueStore; absent where the function has its keys embedded, and reads no store. */
  edgeStore: v.optional(arn),
  /** ARNs of the two secrets. */
  keyRing: arn,
  originSecret: arn,
  /** Absent in a deployment without the module `revocation`. */
  revocation: v.optional(
    v.strictObject({
      mode: v.picklist(['off', 'log', 'enforce']),
      /** URL of the queue of the reconciler. */
      publications: v.pipe(v.string(), v.url()),
      /** ARN of the state machine. */
      detectionMachine: arn,
    }),
  ),
});

export type ApiHandlerSettings = v.InferOutput<typeof ApiHandlerSettings>;
