import type { PackagedTitle } from './title.ts';
export function manifestMpd(_title: PackagedTitle): string {
  return '';
}
