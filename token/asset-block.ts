import { countryOf } from './bindings.ts';
import type { Viewing } from './viewer.ts';

/** When and where nobody may have an asset: a blackout window, or a withdrawal when nothing limits it. */
export interface AssetBlock {
  /** Seconds since the epoch; from the beginning unless given. */
  from?: number | undefined;
  /** Seconds since the epoch, not included; for good unless given. */
  until?: number | undefined;
  /** ISO 3166-1 alpha-2, upper case; everywhere unless given. A viewer of whom no country is known is in all of them. */
  countries?: string[] | undefined;
}

/** Whether one of `blocks` holds for this viewer at `now` (seconds since the epoch). What is no list blocks. */
export function isBlocked(blocks: AssetBlock[], viewing: Viewing, now: number): boolean {
  if (!Array.isArray(blocks)) return true;
  const country = countryOf(viewing);
  for (let i = 0; i < blocks.length; i++) {
    const block = blocks[i] as AssetBlock;
    const isNow = !(now < (block.from as number)) && !(now >= (block.until as number));
    if (isNow && (!block.countries || country === '' || block.countries.indexOf(country) >= 0)) return true;
  }
  return false;
}
