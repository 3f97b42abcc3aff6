import cf from 'cloudfront';
import { type AssetBlock, isBlocked } from '../../token/asset-block.ts';
import { parse, stripTokens } from '../../token/parse.ts';
import type { Reason } from '../../token/reasons.ts';
import { verify } from '../../token/verify.ts';
import { assetBlockName, type EdgeKey, keyName, MODES, revocationName } from '../store/names.ts';
import { answerPreflight, conclude, pass } from './answer.ts';
import { edgeCrypto } from './crypto.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';
import { type ModeRule, modeOf } from './mode.ts';
import { RULES } from './rules.ts';
import { DENY_UNREADABLE, TOKEN_PREFIX } from './settings.ts';

const store = cf.kvs();
const JSON_VALUE = { format: 'json' } as const;

/**
 * The viewer-request function with keys, modes and revocations in the edge store: two reads, one after the other, and
 * nothing that throws an Error after the first (facts of the runtime: a rejected read is cheap, a throw is not). What is
 * missing and what cannot be read reject alike: without a key the request is refused, without a mode the one built in holds.
 */
export async function handler(event: ViewerRequestEvent): Promise<EdgeRequest | EdgeResponse> {
  const request = event.request;
  // Text, whatever it is: nothing below may throw.
  const uri = '' + request.uri;
  const preflight = answerPreflight(request);
  if (preflight) return preflight;

  const parsed = parse(uri, TOKEN_PREFIX, edgeCrypto);
  let key: EdgeKey | null = null;
  if (typeof parsed !== 'string') {
    try {
      key = (await store.get(keyName(parsed.kid), JSON_VALUE)) as EdgeKey;
    } catch (e) {}
  }
  if (typeof parsed === 'string' || !key) {
    let rules: ModeRule[] | undefined;
    try {
      rules = (await store.get(MODES, JSON_VALUE)) as ModeRule[];
    } catch (e) {}
    const reason = typeof parsed === 'string' ? parsed : 'token-key-unknown';
    const path = stripTokens(uri, TOKEN_PREFIX.length - 1);
    return conclude(request, path, '', reason, modeOf(path, rules));
  }
  const path = parsed.path;
  const mode = modeOf(path, key.modes);
  if (mode === 'off') return pass(request, path);

  let revoked = false;
  try {
    revoked = await store.exists(revocationName(parsed.sid));
  } catch (e) {
    if (DENY_UNREADABLE) return conclude(request, path, '', 'store-unavailable', mode);
  }
  const now = Date.now() / 1000;
  const decision = verify(
    parsed,
    key,
    { session: revoked, before: typeof key.before === 'number' ? key.before : Infinity },
    event,
    now,
    RULES,
  );
  let reason: Reason | '' = typeof decision === 'string' ? decision : '';
  if (typeof decision !== 'string' && key.blocks) {
    try {
      const name = assetBlockName(decision.aid);
      let blocks: AssetBlock[] = [];
      if (await store.exists(name)) blocks = (await store.get(name, JSON_VALUE)) as AssetBlock[];
      if (isBlocked(blocks, event, now)) reason = 'asset-withdrawn';
    } catch (e) {
      if (DENY_UNREADABLE) reason = 'store-unavailable';
    }
  }
  return conclude(request, path, parsed.sid, reason, mode);
}
