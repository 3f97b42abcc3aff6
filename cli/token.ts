import { type Command, Option } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import { type EdgeSettings, tokenPrefix } from '../edge-functions/build/settings.ts';
import { readStoreFile } from '../edge-functions/store/file.ts';
import { assetBlockName, type EdgeKey, keyName, revocationName } from '../edge-functions/store/names.ts';
import { CompatError } from '../token/compat/mint.ts';
import {
  type AssetBlock,
  BINDING_DOCS,
  type ClaimsSet,
  isBlocked,
  type ParsedToken,
  parse,
  parseBinding,
  REASON_DOCS,
  type Reason,
  readClaims,
  statusOf,
  stripTokens,
  type VerificationKey,
  type Viewing,
  verify,
} from '../token/index.ts';
import { compatMintingKey, readCompatRing } from '../token-api/key-ring/compat.ts';
import { readKeyRing } from '../token-api/key-ring/file.ts';
import { mintingKey, verificationKeys } from '../token-api/key-ring/key-ring.ts';
import { mintCompatToken } from '../token-api/minting/compat.ts';
import { nodeCrypto } from '../token-api/minting/crypto.ts';
import { loadPolicy } from '../token-api/minting/loaded-policy.ts';
import { createMinter, edgeView } from '../token-api/minting/minter.ts';
import { parseViewer } from '../token-api/minting/policy.ts';
import { type CallOptions, callApi, type StackAccess, stackOptions } from './api.ts';
import {
  argumentOrInput,
  EXIT_NO,
  epochSeconds,
  formatTime,
  InputError,
  note,
  nowOr,
  print,
  readJson,
} from './command.ts';

const MINT_HELP = `
Policy file, for example:
  {"lifetime": "PT1H", "asset": "aurora", "paths": ["/aurora/"], "bindings": ["country", "header:x-device"]}
  lifetime  ISO 8601 (PT1H30M) or +3h; required
  asset     asset id; by default the first segment of the URL's path
  paths     what the token opens; by default the directory of the URL
  files     exact files opened beside them
  exclusions  further paths that the token opens although they are not in its scope, such as shared fonts
  countries where it may be used, ["DE", "AT"]; everywhere by default
  bindings  ip, network, country, region, city, asn, ja4, device, user-agent, referer, method, header:<name>, query:<name>;
            none by default; with a question mark (country?) a viewer without the value is let through;
            docs/token.md says what each one breaks
Viewer file, for example:
  {"ip": "203.0.113.7", "country": "DE", "userAgent": "…", "headers": {"x-device": "…"}, "query": {}, "subject": "…"}

The dialect compat mints a token of the AWS solution v1 (docs/compat.md): policy and viewer are its token_policy and
viewer_attributes, the keys one of its secrets or a key ring; without --url the token alone is printed.

With --asset the API of a running stack mints, by the policy of the asset: the session is then known there, and limits hold.

Examples:
  portcullis token mint --policy policy.json --viewer viewer.json --keys .portcullis/key-ring.json \\
    --url https://media.example.com/aurora/master.m3u8
  portcullis token mint --asset aurora --viewer viewer.json
  portcullis token mint … --json | jq -r .url
  portcullis token mint --dialect compat --policy token-policy.json --keys secret.json`;

const VERIFY_HELP = `
With - in place of the URL it is read from standard input, where neither ps nor the history of the shell shows it.

Examples:
  portcullis token mint … | portcullis token verify - --keys .portcullis/key-ring.json
  portcullis token verify "$URL" --keys .portcullis/key-ring.json
  portcullis token verify "$URL" --keys ring.json --viewer viewer.json --now 1760000000 --json
  portcullis token verify "$URL" --keys .portcullis/key-ring.json --store .portcullis/edge-store.json`;

const RENEW_HELP = `
The API of a running stack verifies the token as the edge would and mints the one that follows; its viewer is the one in
--viewer, which is needed when the token is bound to anything. With - in place of the token it is read from standard input,
where neither ps nor the history of the shell shows it.

Examples:
  portcullis token renew "$URL"
  portcullis token renew - <url.txt
  portcullis token renew "$URL" --viewer viewer.json --json`;

const INSPECT_HELP = `
With - in place of the token it is read from standard input, where neither ps nor the history of the shell shows it.

Examples:
  portcullis token inspect "$URL"
  portcullis token inspect - <url.txt`;

/** Codes by which the API says that there is no later token for this one. */
const NOT_RENEWED = [
  'ERR_TOKEN_REFUSED',
  'ERR_SESSION_REVOKED',
  'ERR_SESSION_CUTOFF',
  'ERR_SUBJECT_REVOKED',
  'ERR_ASSET_WITHDRAWN',
  'ERR_SESSION_ENDED',
  'ERR_SESSION_LIMIT',
  'ERR_RENEWAL_NOT_LATER',
];

export function registerToken(program: Command): void {
  const token = program.command('token').description('mint, renew, verify and read playback tokens');

  stackOptions(token.command('mint'))
    .description('mint a tokenised playback URL')
    .option('--policy <file>', 'what the token says (JSON); required without --asset')
    .option('--viewer <file>', 'what is known of the viewer (JSON); needed when the policy binds anything')
    .option('--keys <file>', 'key ring (mode 0600); required without --asset')
    .option('--url <url>', 'playback URL without a token; required, except with --asset or --dialect compat')
    .addOption(
      new Option('--asset <id>', 'let the API of a running stack mint for an asset').conflicts([
        'policy',
        'keys',
        'dialect',
        'config',
        'now',
      ]),
    )
    .addOption(new Option('--dialect <dialect>', 'token to mint').choices(['strict', 'compat']).default('strict'))
    .option('--config <file>', 'configuration (docs/configuration.md): maximum lifetime, place of the token')
    .option('--now <seconds>', 'time of minting, seconds since the epoch', epochSeconds)
    .option('--json', 'print JSON')
    .addHelpText('after', MINT_HELP)
    .action(async (options: MintOptions) => {
      if (options.asset !== undefined) return mintThroughApi(options, options.asset);
      if (options.dialect === 'compat') return mintInCompat(options);
      const url = required(options, 'url', '--url <url>');
      const { edge } = await readConfiguration(options.config);
      const maxLifetimeSeconds = edge.maxTokenLifetimeSeconds;
      const policyFile = required(options, 'policy', '--policy <file>');
      const policy = loadPolicy(await readJson(policyFile), { maxLifetimeSeconds });
      const viewer = parseViewer(options.viewer ? await readJson(options.viewer) : {});
      const key = mintingKey(await readKeyRing(required(options, 'keys', '--keys <file>')));
      const now = nowOr(options.now);
      const minter = createMinter({
        // A time that is asked for is no clock that is wrong.
        key: () => (options.now === undefined ? key : { ...key, notBefore: 0 }),
        maxLifetimeSeconds,
        tokenPrefix: tokenPrefix(edge),
        now: () => now,
      });
      const minted = minter.mint({ policy, viewer, url });
      for (const binding of policy.policy.bindings ?? []) warnOf(binding);
      print(options.json, minted, [minted.url]);
    });

  stackOptions(token.command('renew'))
    .description('renew a token through the API of a running stack; exit 1 and the reason when it is refused')
    .argument('<url-or-token>', 'tokenised URL, or the token alone; - reads it from standard input')
    .option('--viewer <file>', 'what is known of the viewer (JSON)')
    .option('--json', 'print JSON')
    .addHelpText('after', RENEW_HELP)
    .action(async (argument: string, options: StackAccess & { viewer?: string }) => {
      const presented = await argumentOrInput(argument);
      const viewer = options.viewer ? await readJson(options.viewer) : {};
      const call = { role: 'backend', answers: NOT_RENEWED } satisfies CallOptions;
      const { status, body } = await callApi(options, 'POST', '/v1/tokens/renewal', { token: presented, viewer }, call);
      if (status !== 200) process.exitCode = EXIT_NO;
      const line = status === 200 ? (body.playbackUrl ?? body.token) : `refused: ${body.detail} (${status})`;
      print(options.json, body, [String(line)]);
    });

  token
    .command('verify')
    .description('say whether the edge lets a request through where it enforces; exit 1 and the reason when not')
    .argument('<url>', 'tokenised URL; - reads it from standard input')
    .requiredOption('--keys <file>', 'key ring (mode 0600); required')
    .option('--store <file>', 'content of the edge store: its keys, revocations and blocks, in place of the ring alone')
    .option('--viewer <file>', 'what the request shows of the viewer (JSON), for tokens with bindings')
    .option('--config <file>', 'configuration of the edge (docs/configuration.md)')
    .option('--now <seconds>', 'time of the request, seconds since the epoch', epochSeconds)
    .option('--json', 'print JSON')
    .addHelpText('after', VERIFY_HELP)
    .action(async (argument: string, options: VerifyOptions) => {
      const url = await argumentOrInput(argument);
      const { edge } = await readConfiguration(options.config);
      const keys = verificationKeys(await readKeyRing(options.keys));
      const viewer = parseViewer(options.viewer ? await readJson(options.viewer) : {});
      const { path: uri, query } = pathOf(url);
      const viewing = edgeView(viewer, query);
      const parsed = parse(uri, tokenPrefix(edge), nodeCrypto);
      const store = options.store ? await readStoreFile(options.store) : undefined;
      const claims = typeof parsed === 'string' ? null : readClaims(nodeCrypto.decode(parsed.payload));
      const decision =
        typeof parsed === 'string' ? parsed : decide(parsed, keys, store, viewing, nowOr(options.now), edge);
      if (typeof decision === 'string') {
        const status = statusOf(decision);
        const lines = [`denied: ${decision} (${status})`, REASON_DOCS[decision].meaning];
        print(options.json, { allowed: false, status, reason: decision, claims }, lines);
        process.exitCode = EXIT_NO;
      } else {
        const path = typeof parsed === 'string' ? '' : parsed.path;
        const unless = options.store ? '' : ', unless revoked (--store tells)';
        print(options.json, { allowed: true, status: 200, reason: '', claims: decision }, [
          `allowed: ${path}, until ${formatTime(decision.exp)}${unless}`,
        ]);
      }
    });

  token
    .command('inspect')
    .description('decode a token without verifying it')
    .argument('<url-or-token>', 'tokenised URL, or the token alone, with or without its session id; - reads it')
    .option('--json', 'print JSON')
    .addHelpText('after', INSPECT_HELP)
    .action(async (argument: string, options: { json?: boolean }) => {
      const text = await argumentOrInput(argument);
      // A plain JWT lacks the session id in front; which one is in the claims.
      const segment = text.includes('/') ? (pathOf(text).path.split('/').find(isTokenSegment) ?? '') : text;
      const parsed = parse(`/${segment.split('.').length === 3 ? 'unknownsession.' : ''}${segment}/`, '/', nodeCrypto);
      const claims = typeof parsed === 'string' ? null : readClaims(nodeCrypto.decode(parsed.payload));
      if (typeof parsed === 'string' || !claims) {
        const reason = typeof parsed === 'string' ? parsed : 'token-claims-invalid';
        print(options.json, { reason }, [`not a token: ${reason}`, REASON_DOCS[reason].meaning]);
        process.exitCode = EXIT_NO;
        return;
      }
      const { kid } = parsed;
      const { sid } = claims;
      print(
        options.json,
        { kid, sessionId: sid, path: stripTokens(text.includes('/') ? pathOf(text).path : '/'), claims },
        [
          `session  ${sid}`,
          `asset    ${claims.aid}`,
          `key      ${kid}`,
          ...(claims.sub ? [`subject  ${claims.sub}`] : []),
          `opens    ${[...claims.paths, ...(claims.files ?? []).map((file) => `${file} alone`)].join(', ')}`,
          `bound to ${[...(claims.bnd ?? []), ...tolerantBindings(claims)].join(', ') || 'nothing'}`,
          ...(claims.cty ? [`only in  ${claims.cty.join(', ')}`] : []),
          `issued   ${formatTime(claims.iat)}`,
          `expires  ${formatTime(claims.exp)}`,
          'The signature was not checked; portcullis token verify does that.',
        ],
      );
    });
}

/** The value of an option that this way of minting needs. */
function required(options: MintOptions, name: 'url' | 'policy' | 'keys', flag: string): string {
  const value = options[name];
  if (value === undefined) throw new InputError(`required option '${flag}' not specified`);
  return value;
}

/** Has the API of a running stack mint, and prints what it answers. */
async function mintThroughApi(options: MintOptions, asset: string): Promise<void> {
  const viewer = options.viewer ? await readJson(options.viewer) : {};
  const { url } = options;
  const { body } = await callApi(options, 'POST', '/v1/tokens', { asset, viewer, url }, { role: 'backend' });
  // `url` as when it is minted here, beside what the API calls it.
  print(options.json, { ...body, url: body.playbackUrl }, [String(body.playbackUrl)]);
}

/** Mints and prints a token of the AWS solution v1. */
async function mintInCompat(options: MintOptions): Promise<void> {
  const policy = await readJson(required(options, 'policy', '--policy <file>'));
  const viewer = options.viewer ? await readJson(options.viewer) : {};
  const key = compatMintingKey(await readCompatRing(required(options, 'keys', '--keys <file>')));
  try {
    const minted = mintCompatToken({ policy, viewer, url: options.url ?? null }, key, nowOr(options.now));
    print(options.json, minted, [minted.url ?? minted.token]);
  } catch (error) {
    // Whoever moves many policies sorts those that are refused by their code.
    if (error instanceof CompatError) error.message += ` (${error.code})`;
    throw error;
  }
}

/** The bindings that are skipped when a request lacks the value, as a policy names them. */
function tolerantBindings({ btol = [] }: ClaimsSet): string[] {
  return btol.map((entry) => `${entry.slice(0, entry.lastIndexOf('='))}?`);
}

/** Tells on stderr what a binding breaks, for those that break ordinary viewers. */
function warnOf(binding: string): void {
  const doc = BINDING_DOCS[parseBinding(binding).name];
  if (doc.warns) note(`binding '${binding}' breaks ${doc.breaks}`);
}

interface MintOptions extends StackAccess {
  policy?: string;
  viewer?: string;
  keys?: string;
  url?: string;
  asset?: string;
  dialect: string;
  config?: string;
  now?: number;
}

interface VerifyOptions {
  keys: string;
  store?: string;
  viewer?: string;
  config?: string;
  now?: number;
  json?: boolean;
}

/** What the function decides about a token where it enforces: with the keys of the ring, or all that is in the edge store. */
function decide(
  parsed: ParsedToken,
  keys: Record<string, VerificationKey>,
  store: Map<string, string> | undefined,
  viewing: Viewing,
  now: number,
  { maxTokenLifetimeSeconds, leewaySeconds }: EdgeSettings,
): ClaimsSet | Reason {
  const published = JSON.parse(store?.get(keyName(parsed.kid)) ?? 'null') as EdgeKey | null;
  const ringKey = Object.hasOwn(keys, parsed.kid) ? (keys[parsed.kid] ?? null) : null;
  const revoked = store?.has(revocationName(parsed.sid)) ?? false;
  const revocation = { session: revoked, before: published?.before ?? 0 };
  const rules = { crypto: nodeCrypto, maxLifetimeSeconds: maxTokenLifetimeSeconds, leewaySeconds };
  const decision = verify(parsed, store ? published : ringKey, revocation, viewing, now, rules);
  if (typeof decision === 'string' || !published?.blocks) return decision;
  const blocks = JSON.parse(store?.get(assetBlockName(decision.aid)) ?? '[]') as AssetBlock[];
  return isBlocked(blocks, viewing, now) ? 'asset-withdrawn' : decision;
}

/** Whether a path segment is a token, wherever the configuration puts it. */
function isTokenSegment(segment: string): boolean {
  return stripTokens(`/${segment}`) === '';
}

/** Path and query of a URL or an absolute path, exactly as written. */
function pathOf(url: string): { path: string; query: string } {
  const [, path, query = ''] = /^(?:https?:\/\/[^/?#]+)?(\/[^?#]*)(?:\?([^#]*))?/i.exec(url) ?? [];
  if (path === undefined) throw new InputError('the URL must be http(s)://host/path, or an absolute path');
  return { path, query };
}
