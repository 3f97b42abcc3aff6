import type { Policy } from '../minting/policy.ts';

/** A title that can be played. */
export interface Asset {
  id: string;
  title: string;
  /** Path of its manifest at the edge, `/aurora/master.m3u8`. */
  path: string;
  policy: Policy;
}

/** The asset catalogue. */
export interface AssetCatalogue {
  put(asset: Asset): Promise<void>;
  get(id: string): Promise<Asset | undefined>;
  /** All assets, by id. */
  list(): Promise<Asset[]>;
}
