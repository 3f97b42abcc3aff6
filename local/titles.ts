import type { Asset } from '../token-api/assets/assets.ts';
import type { NamedPolicy } from '../token-api/policies/policies.ts';

/** The policy of the titles. It binds nothing, so that a playback URL can be tried from anywhere. */
export const TITLE_POLICY: NamedPolicy = { id: 'vod-2h', policy: { lifetime: 'PT2H' } };

/** The titles that a new stack serves. */
export const TITLES: Asset[] = [
  { id: 'aurora', title: 'Aurora', path: '/aurora/master.m3u8', policy: TITLE_POLICY.id },
  { id: 'harbour', title: 'Harbour', path: '/harbour/master.m3u8', policy: TITLE_POLICY.id },
];
