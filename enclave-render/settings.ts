import * as v from 'valibot';

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(2048));

/** Settings of mastering and packaging, docs/configuration.md. */
export const MasteringSettingsSchema = v.strictObject({
  kms: v.optional(
    v.variant('provider', [
      /** Keys in a file of this machine. */
      v.strictObject({
        provider: v.literal('embedded'),
        /** The keystore; `kms/keystore.json` in the data folder of the stack unless given. */
        keystore: v.optional(text),
        /** File whose content protects the keystore. */
        passphraseFile: v.optional(text),
      }),
      /** AWS KMS, with the credentials of the environment. */
      v.strictObject({ provider: v.literal('aws'), region: text }),
    ]),
    { provider: 'embedded' },
  ),
  /** The KMS key that data keys are encrypted with: id, ARN or alias. */
  keyId: v.optional(text, 'alias/portcullis-mastering'),
});

export type MasteringSettings = v.InferOutput<typeof MasteringSettingsSchema>;
