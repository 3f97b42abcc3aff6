import * as v from 'valibot';

const seconds = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));

/** What can be configured of the key ring. */
export const KeySettingsSchema = v.pipe(
  v.strictObject({
    /** How long a new key has to be published before it is minted with, in seconds. */
    bakeSeconds: v.optional(seconds(0, 86400), 600),
    /** How old a ring may be before a minter reads it again, in seconds. */
    refreshSeconds: v.optional(seconds(1, 3600), 60),
    /** How old a ring may be and still be minted with when it cannot be read, in seconds. */
    maxStaleSeconds: v.optional(seconds(1, 86400), 900),
  }),
  v.check(
    ({ refreshSeconds, maxStaleSeconds }) => refreshSeconds <= maxStaleSeconds,
    'refreshSeconds must not be above maxStaleSeconds: the ring would be too old before it is read again',
  ),
);

export type KeySettings = v.InferOutput<typeof KeySettingsSchema>;
