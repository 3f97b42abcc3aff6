import type { RotationEvent } from '../token-api/key-ring/rotation.ts';

/** What a rotation function was called with is not for it. */
export class RotationEventError extends Error {
  readonly code = 'ERR_ROTATION_EVENT';
  constructor(message: string) {
    super(message);
    this.name = 'RotationEventError';
  }
}

/**
 * The event of a step, of the secret that the function is for (AWS Secrets Manager User Guide, "Lambda rotation functions");
 * null when it is none, such as that of a schedule. Throws `RotationEventError` for another secret.
 */
export function rotationEvent(event: object, secretArn: string): RotationEvent | null {
  if (!('Step' in event)) return null;
  const { Step, SecretId, ClientRequestToken } = event as RotationEvent;
  if (SecretId !== secretArn || typeof ClientRequestToken !== 'string') {
    throw new RotationEventError(
      `this function rotates ${secretArn} and no other secret: give that one its own function`,
    );
  }
  return { Step, SecretId, ClientRequestToken };
}
