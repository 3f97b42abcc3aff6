import type { Asset, AssetCatalogue } from '../token-api/assets/assets.ts';
import type { NamedPolicy, PolicyCatalogue } from '../token-api/policies/policies.ts';

/** The policy of the titles. It binds nothing, so that a playback URL can be tried from anywhere. */
export const TITLE_POLICY: NamedPolicy = { id: 'vod-2h', policy: { lifetime: 'PT2H' } };

/** The titles that a new stack serves. */
export const TITLES: Asset[] = [
  { id: 'aurora', title: 'Aurora', path: '/aurora/master.m3u8', policy: TITLE_POLICY.id },
  { id: 'harbour', title: 'Harbour', path: '/harbour/master.m3u8', policy: TITLE_POLICY.id },
];

/** Adds the titles that were not there before; what somebody made of them since stays. */
export async function addTitles({
  assets,
  policies,
}: {
  assets: AssetCatalogue;
  policies: PolicyCatalogue;
}): Promise<void> {
  if (!(await policies.get(TITLE_POLICY.id))) await policies.put(TITLE_POLICY);
  for (const title of TITLES) if (!(await assets.get(title.id))) await assets.put(title);
}
