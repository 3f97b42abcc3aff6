/** A part of a list. Lists are in no order that would hold from one page to the next. */
export interface Page<Item> {
  /** At most as many as were asked for, perhaps none although others follow. */
  items: Item[];
  /** Where the next page begins; undefined after the last. */
  next: string | undefined;
}

/** Which part of a list is asked for. */
export interface PageRequest {
  limit: number;
  /** `next` of the page before; none for the first. */
  cursor?: string | undefined;
}

/** Why a cursor cannot be used. */
export class CursorError extends Error {
  readonly code = 'ERR_CURSOR_INVALID';
  constructor() {
    super('The cursor is not one of this list; begin again without a cursor.');
    this.name = 'CursorError';
  }
}

/** The attributes of a key, as DynamoDB gives it in `LastEvaluatedKey`, and what each of them is; numbers are integers. */
export type KeyShape = Record<string, 'string' | 'number'>;

/** A cursor of `list` that stands for a key: opaque to whoever gets it, and no secret. */
export function encodeCursor(list: string, key: Record<string, unknown> | undefined): string | undefined {
  return key && Buffer.from(JSON.stringify([list, key])).toString('base64url');
}

/** The key in a cursor of `list`; undefined without a cursor. Throws `ERR_CURSOR_INVALID` for one of another list, or none at all. */
export function decodeCursor(
  list: string,
  shape: KeyShape,
  cursor: string | undefined,
): Record<string, string | number> | undefined {
  if (cursor === undefined) return undefined;
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(cursor, 'base64url').toString());
  } catch {
    throw new CursorError();
  }
  const [name, key] = Array.isArray(content) ? content : [];
  const names = Object.keys(shape);
  const isKey =
    name === list &&
    typeof key === 'object' &&
    key !== null &&
    Object.keys(key).length === names.length &&
    names.every((attribute) => typeof key[attribute] === shape[attribute] && isKeyValue(key[attribute]));
  if (!isKey) throw new CursorError();
  return key;
}

/** Whether DynamoDB takes a value in a key: no empty text, and no number beyond its range, such as 1e999. */
function isKeyValue(value: string | number): boolean {
  return typeof value === 'number' ? Number.isSafeInteger(value) : value !== '';
}
