import { isUnsafePath } from '../../token/path-scope.ts';
import { MODE, type Mode } from './settings.ts';

/** The mode of the paths below a prefix, which ends with a slash. */
export type ModeRule = [prefix: string, mode: Mode];

/**
 * The mode of a path: that of the first rule whose prefix it begins with, else the one built in. Escapes of ordinary
 * characters are undone first, as an origin would: `/l%69ve/` is `/live/`.
 */
export function modeOf(path: string, rules: ModeRule[] | undefined): Mode {
  if (!rules) return MODE;
  // Not of an unsafe path, which may hold anything and is refused in every mode.
  const canonical = isUnsafePath(path) ? path : path.replace(/%[2-7][\da-f]/gi, decodeURIComponent);
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i] as ModeRule;
    if (canonical.startsWith(rule[0])) return rule[1];
  }
  return MODE;
}
