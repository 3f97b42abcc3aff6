import * as v from 'valibot';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const path = v.pipe(v.string(), v.startsWith('/'));

/** What an enclave is told by its image, and nobody can tell it otherwise: it is measured (PCR1 of the simulated module). */
export const RunnerConfigurationSchema = v.strictObject({
  format: v.literal('portcullis-runner/1'),
  /** Ed25519 keys of the owners whose manifests it takes, SPKI in PEM. */
  owners: v.pipe(v.array(v.string()), v.minLength(1), v.maxLength(16)),
  isolation: v.picklist(['bubblewrap', 'none']),
  /** Programs of the image by the name that templates call them. */
  renderers: v.strictObject({ ffmpeg: v.exactOptional(path), blender: v.exactOptional(path) }),
  limits: v.strictObject({ memoryBytes: count, cpuSeconds: count, wallSeconds: count, outputBytes: count }),
});

export type RunnerConfiguration = v.InferOutput<typeof RunnerConfigurationSchema>;
