import * as v from 'valibot';
import { EdgeSettingsSchema } from '../edge-functions/build/settings.ts';
import { MasteringSettingsSchema } from '../enclave-render/settings.ts';
import { RevocationSettingsSchema } from '../revocation/settings.ts';
import { ApiSettingsSchema } from '../token-api/http/settings.ts';
import { KeySettingsSchema } from '../token-api/key-ring/settings.ts';
import { DeploymentSettingsSchema } from './deployment.ts';

/** Everything that can be configured, composed of each capability's settings. */
export const ConfigurationSchema = v.strictObject({
  /** Where editors find the JSON Schema; read by them alone. */
  $schema: v.optional(v.string()),
  edge: v.optional(EdgeSettingsSchema, {}),
  keys: v.optional(KeySettingsSchema, {}),
  api: v.optional(ApiSettingsSchema, {}),
  revocation: v.optional(RevocationSettingsSchema, {}),
  mastering: v.optional(MasteringSettingsSchema, {}),
  aws: v.optional(DeploymentSettingsSchema, {}),
});

export type Configuration = v.InferOutput<typeof ConfigurationSchema>;
