import * as v from 'valibot';
import { DetectionSettingsSchema } from './detect/settings.ts';
import { WafSettingsSchema } from './publish/settings.ts';

/** What can be configured of revocation. */
export const RevocationSettingsSchema = v.strictObject({
  detection: v.optional(DetectionSettingsSchema, {}),
  waf: v.optional(WafSettingsSchema, {}),
});

export type RevocationSettings = v.InferOutput<typeof RevocationSettingsSchema>;
