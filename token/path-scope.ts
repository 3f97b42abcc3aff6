/**
 * What may not be in a path, in one expression: a character outside RFC 3986 `pchar` and `/`; an empty segment; a
 * dot segment, also with a path parameter (`/..;x`); and escapes that decode to a control character, `%`, `.`, `/`
 * or `\`, also in overlong UTF-8 (RFC 3629 §3), or that are not escapes at all. Refused, never repaired: an origin or cache may repair differently.
 */
const UNSAFE =
  /[^!-~]|["#<>?[\\\]^`{|}]|\/\/|\/\.\.?(?:[/;]|%3b|$)|%(?:[01]|2[5ef]|5c|7f|c[01]|e0%[89]|f[08c]%8|.?$|[^\da-f]|.[^\da-f])/i;

/** Whether `path` must be refused whatever the token says; every path that is not absolute is unsafe. */
export function isUnsafePath(path: string): boolean {
  return path[0] !== '/' || path.search(UNSAFE) >= 0;
}

/** Whether `path` is one of `scopes` or lies below one, on a segment boundary: `/ch1` opens `/ch1/a`, not `/ch10`. */
export function isInScope(path: string, scopes: string[]): boolean {
  for (let i = 0; i < scopes.length; i++) {
    const scope = scopes[i] as string;
    const end = scope.length;
    if (path.startsWith(scope) && (scope[end - 1] === '/' || path.length === end || path[end] === '/')) return true;
  }
  return false;
}
