import * as v from 'valibot';
import { type RotationEvent, rotationStep } from '../../token-api/key-ring/rotation.ts';
import { countFailedRotation, openRotation, rotationSettings } from '../rotation.ts';
import { rotationEvent } from '../rotation-event.ts';
import { readSettings } from '../settings.ts';

const settings = readSettings(v.strictObject(rotationSettings));
const { store, rotation } = openRotation(settings);

/**
 * Rotates the key ring when Secrets Manager calls for a step. Whoever else calls is the schedule: then it does what is due
 * between rotations (docs/keys.md).
 */
export async function handler(event: object): Promise<void> {
  const step = rotationEvent(event, settings.keyRing);
  if (step) await doStep(step);
  else await rotation.advance();
}

/** A step that fails is counted by itself: a rotation is tried so seldom that errors of the handler would hide it. */
async function doStep(step: RotationEvent): Promise<void> {
  try {
    if (await isRehearsal(step)) await store.current();
    else await rotationStep(rotation, step);
  } catch (error) {
    countFailedRotation();
    throw error;
  }
}

/**
 * Whether Secrets Manager only tries the function, as it does when a schedule is made: it calls for testSecret of a version that
 * nobody prepared, and removes that (API Reference, RotateSecret, `RotateImmediately`). There may be no edge yet to ask.
 */
async function isRehearsal({ Step, ClientRequestToken }: RotationEvent): Promise<boolean> {
  if (Step !== 'testSecret') return false;
  const pending = await store.pending();
  return pending?.run === ClientRequestToken && pending.ring === null;
}
