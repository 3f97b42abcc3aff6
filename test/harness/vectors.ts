import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ViewerRequestEvent } from '../../edge-functions/viewer-request/event.ts';
import { packagePath } from '../../local/package-root.ts';
import type { AssetBlock, Reason, VerificationKey } from '../../token/index.ts';

export interface Vector {
  name: string;
  rule: string;
  now: number;
  store: { revoked: string[]; before: number; blocks: Record<string, AssetBlock[]> };
  event: ViewerRequestEvent;
  expected: { reason: Reason } | { uri: string };
}

/** The conformance vectors by group, each with the keys it uses. */
export function readVectors(): { group: string; keys: Record<string, VerificationKey>; vectors: Vector[] }[] {
  const folder = packagePath('token', 'vectors');
  return readdirSync(folder).map((file) => ({
    group: file.replace('.json', ''),
    ...JSON.parse(readFileSync(join(folder, file), 'utf8')),
  }));
}
