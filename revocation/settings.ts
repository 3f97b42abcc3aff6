import * as v from 'valibot';
import { DetectionSettingsSchema } from './detect/settings.ts';

/** What can be configured of revocation. */
export const RevocationSettingsSchema = v.strictObject({
  detection: v.optional(DetectionSettingsSchema, {}),
});

export type RevocationSettings = v.InferOutput<typeof RevocationSettingsSchema>;
