import * as v from 'valibot';
import { rotationStep } from '../../token-api/key-ring/rotation.ts';
import { openRotation, rotationSettings } from '../rotation.ts';
import { rotationEvent } from '../rotation-event.ts';
import { readSettings } from '../settings.ts';

const settings = readSettings(v.strictObject(rotationSettings));
const { rotation } = openRotation(settings);

/**
 * Rotates the key ring when Secrets Manager calls for a step. Whoever else calls is the schedule: then it does what is due
 * between rotations (docs/keys.md).
 */
export async function handler(event: object): Promise<void> {
  const step = rotationEvent(event, settings.keyRing);
  if (step) await rotationStep(rotation, step);
  else await rotation.advance();
}
