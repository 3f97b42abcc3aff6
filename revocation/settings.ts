import * as v from 'valibot';
import { AthenaSettingsSchema } from './detect/athena-settings.ts';
import { DetectionSettingsSchema } from './detect/settings.ts';
import { WafSettingsSchema } from './publish/settings.ts';

/** What can be configured of revocation. */
export const RevocationSettingsSchema = v.strictObject({
  detection: v.optional(DetectionSettingsSchema, {}),
  /** Where Athena finds the logs, for those who ask it: `portcullis session detect --athena`. */
  athena: v.optional(AthenaSettingsSchema),
  waf: v.optional(WafSettingsSchema, {}),
});

export type RevocationSettings = v.InferOutput<typeof RevocationSettingsSchema>;
