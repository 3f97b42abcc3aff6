/** A header or query parameter as CloudFront Functions deliver it; `multiValue` only when it occurs more than once. */
export interface Field {
  value: string;
  multiValue?: { value: string }[];
}

/** Fields by name: header names in lower case, query parameter names as sent. */
export type Fields = { [name: string]: Field };

/** What bindings can see of a request: as much of a CloudFront viewer-request event as they need. */
export interface Viewing {
  viewer: { ip: string };
  request: { method: string; headers: Fields; querystring: Fields };
}

/**
 * The value of the field `name`; '' when it is absent, not text, or ambiguous because it occurs more than once. What an
 * object inherits has no `value` that is text, so it counts as absent.
 */
export function fieldValue(fields: Fields, name: string): string {
  const field = (fields || {})[name];
  if (!field || (field.multiValue && field.multiValue.length > 1)) return '';
  const value = field.value;
  return typeof value === 'string' ? value : '';
}

/**
 * A query string (without `?`) as CloudFront Functions deliver it: names and values as sent, escapes untouched, a
 * repeated parameter as `multiValue` with its last value as `value`.
 */
export function parseQuerystring(text: string): Fields {
  const fields: Fields = {};
  if (text === '') return fields;
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = equals < 0 ? pair : pair.slice(0, equals);
    addField(fields, name, equals < 0 ? '' : pair.slice(equals + 1));
  }
  return fields;
}

/** Adds a value of a header or parameter to `fields`, the way CloudFront represents repetition. */
export function addField(fields: Fields, name: string, value: string): void {
  const present = Object.hasOwn(fields, name) ? fields[name] : undefined;
  const field: Field = present
    ? { value, multiValue: [...(present.multiValue ?? [{ value: present.value }]), { value }] }
    : { value };
  Object.defineProperty(fields, name, { value: field, enumerable: true, configurable: true, writable: true });
}
