import * as v from 'valibot';
import { RULE_GROUP_LIMITS } from './rule-group-limits.ts';

/** What can be configured of publishing revoked sessions to a WAF rule group. */
export const WafSettingsSchema = v.strictObject({
  /** Whether they are; WAF is charged for every request. */
  publish: v.optional(v.boolean(), false),
  /** Name of the rule group on AWS, which takes 128 characters: a deployment appends its capacity, like `-1500`. This machine keeps it in a file, and reads neither this nor its scope. */
  name: v.optional(
    v.pipe(v.string(), v.regex(/^[\w-]{1,123}$/, 'must be 1–123 letters, digits, - and _')),
    'portcullis-revoked-sessions',
  ),
  /** `CLOUDFRONT` for a distribution. */
  scope: v.optional(v.picklist(['CLOUDFRONT', 'REGIONAL']), 'CLOUDFRONT'),
  /** Capacity that the group is created with, in WCU. */
  capacityWcu: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(RULE_GROUP_LIMITS.capacityWcu)),
    1500,
  ),
});

export type WafSettings = v.InferOutput<typeof WafSettingsSchema>;

/** Name of the rule group of a deployment: a capacity is for good, so a group of another one is another group. */
export function ruleGroupName({ name, capacityWcu }: Pick<WafSettings, 'name' | 'capacityWcu'>): string {
  return `${name}-${capacityWcu}`;
}
