import * as v from 'valibot';

/** Why a cursor cannot be used. */
export class CursorError extends Error {
  readonly code = 'ERR_CURSOR_INVALID';
  constructor() {
    super('The cursor is not one of this list; begin again without a cursor.');
    this.name = 'CursorError';
  }
}

/** A cursor of `list` that stands for a place in it: opaque to whoever gets it, and no secret. */
export function encodeCursor(list: string, place: unknown): string {
  return Buffer.from(JSON.stringify([list, place])).toString('base64url');
}

/** The place in a cursor of `list`. Throws `ERR_CURSOR_INVALID` for one of another list, or what is no cursor at all. */
export function decodeCursor<Schema extends v.GenericSchema>(
  list: string,
  place: Schema,
  cursor: string,
): v.InferOutput<Schema> {
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    throw new CursorError();
  }
  const result = v.safeParse(v.strictTuple([v.literal(list), place]), content);
  if (!result.success) throw new CursorError();
  return result.output[1] as v.InferOutput<Schema>;
}
