/**
 * The Content-Security-Policy (CSP Level 3) of the console page, wherever it is served: its own scripts and styles, video from
 * memory, and connections to itself and `connect`, which are origins.
 */
export function consoleContentSecurityPolicy(connect: readonly string[]): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    'media-src blob:',
    'worker-src blob:',
    ["connect-src 'self'", ...connect].join(' '),
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
}
