import cf from 'cloudfront';
import { parse } from '../../token/parse.ts';
import { type EdgeKey, keyName, revocationName } from '../store/names.ts';
import { edgeCrypto } from './crypto.ts';
import { answerPreflight, decide, deny, isPreflight } from './decide.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';

const store = cf.kvs();

/**
 * The viewer-request function with keys and revocations in the edge store: at most two reads, one after the other, and
 * nothing that throws an Error after the first (facts of the runtime: a rejected read is cheap, a throw is not).
 */
export async function handler(event: ViewerRequestEvent): Promise<EdgeRequest | EdgeResponse> {
  if (isPreflight(event.request)) return answerPreflight(event.request);
  const parsed = parse(event.request.uri, edgeCrypto);
  if (typeof parsed === 'string') return deny(event.request, parsed);

  let key = null;
  try {
    key = (await store.get(keyName(parsed.kid), { format: 'json' })) as EdgeKey;
  } catch (e) {
    // A missing key and an unreadable store reject alike: both fail closed.
    return deny(event.request, 'token-key-unknown');
  }
  let revoked = true;
  try {
    revoked = await store.exists(revocationName(parsed.sid));
  } catch (e) {
    return deny(event.request, 'store-unavailable');
  }
  return decide(event, parsed, key, { session: revoked, before: key ? key.before : 0 });
}
