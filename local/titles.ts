import type { Asset } from '../token-api/assets/assets.ts';

/** The titles that a new stack serves. Their policy binds nothing, so that a playback URL can be tried from anywhere. */
export const TITLES: Asset[] = [
  { id: 'aurora', title: 'Aurora', path: '/aurora/master.m3u8', policy: { lifetime: 'PT2H', paths: ['/aurora/'] } },
  { id: 'harbour', title: 'Harbour', path: '/harbour/master.m3u8', policy: { lifetime: 'PT2H', paths: ['/harbour/'] } },
];
