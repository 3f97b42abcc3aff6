import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { InvocationResult } from '../../edge-functions/runtime/runtime.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from '../../edge-functions/viewer-request/event.ts';
import { packagePath } from '../../local/package-root.ts';
import type { Reason } from '../../token/index.ts';
import { edgeKeys } from '../../token-api/key-ring/compat.ts';
import { parseKeyRing } from '../../token-api/key-ring/key-ring.ts';
import { builtFunction, EDGE_DEFAULTS } from './edge.ts';

/** Secrets of the AWS solution v1 by key id. */
export type Secrets = Record<string, string>;

export interface CompatVector {
  name: string;
  rule: string;
  now: number;
  event: ViewerRequestEvent;
  expected: { reason: Reason } | { uri: string };
}

/** Our own vectors of the compatibility dialect by group, each with the secrets it uses. */
export function readCompatVectors(): { group: string; secrets: Secrets; vectors: CompatVector[] }[] {
  const folder = packagePath('token', 'compat', 'vectors');
  return readdirSync(folder).map((file) => ({
    group: file.replace('.json', ''),
    ...JSON.parse(readFileSync(join(folder, file), 'utf8')),
  }));
}

/** The ring keys of secrets of the AWS solution v1; the first is current. */
export function compatRingKeys(secrets: Secrets): object[] {
  return Object.entries(secrets).map(([kid, secret], i) => ({
    ...{ kid, secret, use: 'compat', createdAt: 0 },
    state: i === 0 ? 'current' : 'previous',
  }));
}

/** The function of the compatibility dialect with these secrets, and `keys` of ours, built as the command does. */
export async function buildCompat(secrets: Secrets, keys: readonly object[] = []): Promise<string> {
  const ring = parseKeyRing({ version: 1, keys: [...keys, ...compatRingKeys(secrets)] });
  return (await builtFunction('compat', EDGE_DEFAULTS, edgeKeys(ring))).code;
}

/** What an invocation decided: the forwarded URI, the reason of a denial, or the text of an error. */
export function decisionOf(
  result: InvocationResult | undefined,
): { uri: string } | { reason: string } | { error: string } {
  if (!result || 'error' in result) return { error: result?.error ?? 'no result' };
  const answer = result.value as EdgeRequest & EdgeResponse;
  if (answer.statusCode === undefined) return { uri: answer.uri };
  return { reason: answer.headers['x-portcullis-reason']?.value ?? `none, status ${answer.statusCode}` };
}
