import { STORE_LIMITS } from '../../edge-functions/store/key-value-store.ts';
import { revocationName } from '../../edge-functions/store/names.ts';
import { SESSION_ID } from '../../token/index.ts';

/** Entries that revoke sessions in an edge store of their own. */
export interface CompiledEntries {
  entries: { key: string; value: string }[];
  /** Session ids that they revoke. */
  included: string[];
  /** Those that they do not: for want of room, or because they are no session ids. */
  dropped: string[];
}

/** The entries of these sessions, as many as a KeyValueStore holds, in their order: callers give the most important first. */
export function compileEntries(sessionIds: string[]): CompiledEntries {
  const result: CompiledEntries = { entries: [], included: [], dropped: [] };
  let room: number = STORE_LIMITS.totalBytes;
  for (const id of new Set(sessionIds)) {
    const entry = { key: revocationName(id), value: '1' };
    const bytes = Buffer.byteLength(entry.key) + entry.value.length;
    if (!SESSION_ID.test(id) || bytes > room) {
      result.dropped.push(id);
      continue;
    }
    room -= bytes;
    result.entries.push(entry);
    result.included.push(id);
  }
  return result;
}
