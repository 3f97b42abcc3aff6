/** `<session id>.<header>.<payload>.<signature>` as a segment of a path. */
const TOKEN = /\/[\w-]+\.[\w-]+\.[\w-]+\.[\w-]+(?=\/)/g;

/** A URL or path without the token that may be in it: findings are logged and sent around. */
export function withoutToken(path: string): string {
  return path.replace(TOKEN, '/<token>');
}
