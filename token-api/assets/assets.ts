import type { Page, PageRequest } from '../pages/page.ts';

/** A title that can be played. */
export interface Asset {
  id: string;
  title: string;
  /** Path of its manifest at the edge, `/aurora/master.m3u8`. */
  path: string;
  /** Id of the policy that its tokens are minted with. */
  policy: string;
}

/** The asset catalogue. */
export interface AssetCatalogue {
  /** Adds an asset or replaces it; resolves to whether it is new. */
  put(asset: Asset): Promise<boolean>;
  get(id: string): Promise<Asset | undefined>;
  /** Takes an asset out; resolves to whether it was there. */
  remove(id: string): Promise<boolean>;
  /** Part of the assets. Rejects with `ERR_CURSOR_INVALID`. */
  page(request: PageRequest): Promise<Page<Asset>>;
  /** Ids of assets that refer to a policy: `limit` of them at most. */
  withPolicy(policyId: string, limit: number): Promise<string[]>;
}
