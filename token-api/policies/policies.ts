import type { Policy } from '../minting/policy.ts';
import type { Page, PageRequest } from '../pages/page.ts';

/** A policy that assets refer to by its id. */
export interface NamedPolicy {
  id: string;
  policy: Policy;
}

/** The policies by id. What is in it was checked when it was stored. */
export interface PolicyCatalogue {
  /** Adds a policy or replaces it; resolves to whether it is new. */
  put(policy: NamedPolicy): Promise<boolean>;
  get(id: string): Promise<Policy | undefined>;
  /** Takes a policy out; resolves to whether it was there. */
  remove(id: string): Promise<boolean>;
  /** Part of the policies. Rejects with `ERR_CURSOR_INVALID`. */
  page(request: PageRequest): Promise<Page<NamedPolicy>>;
}
