import { templateError } from './template-schema.ts';

/** What a variable stands for. */
export interface Variable {
  value: string | number;
  /** Text that a person gave, and that may be anything: it never becomes an option, a path or a filter. */
  isFreeText: boolean;
}

/** Variables by their names in format strings, such as `Param.Frame`. */
export type Variables = ReadonlyMap<string, Variable>;

/** A format string in pieces: text as it stands in the template, and variables. */
export type Piece =
  | { text: string; name?: undefined; variable?: undefined }
  | { text?: undefined; name: string; variable: Variable };

const EXPRESSION = /\{\{\s*([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\s*\}\}/y;

/**
 * Reads a format string (Template Schemas §7.3). Throws `ERR_RENDER_TEMPLATE`, naming `path`, for a variable that is not there and
 * for braces that are no expression.
 */
export function parseFormatString(text: string, variables: Variables, path: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  while (at < text.length) {
    const begin = text.indexOf('{{', at);
    const end = begin < 0 ? text.length : begin;
    if (end > at) pieces.push({ text: text.slice(at, end) });
    if (begin < 0) break;
    EXPRESSION.lastIndex = begin;
    const [whole, name] = EXPRESSION.exec(text) ?? [];
    if (whole === undefined || name === undefined) {
      throw templateError(path, `has {{ without the name of a variable and }} at character ${begin + 1}`);
    }
    const variable = variables.get(name);
    if (!variable) {
      throw templateError(path, `asks for ${name.slice(0, 80)}, which is none of ${[...variables.keys()].join(', ')}`);
    }
    pieces.push({ name, variable });
    at = begin + whole.length;
  }
  return pieces;
}

/** A format string with its variables replaced. */
export function formatText(text: string, variables: Variables, path: string): string {
  return parseFormatString(text, variables, path)
    .map((piece) => piece.text ?? String(piece.variable.value))
    .join('');
}
