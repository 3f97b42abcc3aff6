/** How many requests callers made, in windows of time. */
export interface RequestCounts {
  /**
   * Adds a request to a bucket and resolves to how many it has now, this one included; no two requests get the same
   * number. A bucket may be forgotten after `expiresAt`, seconds since the epoch.
   */
  add(bucket: string, expiresAt: number): Promise<number>;
}
