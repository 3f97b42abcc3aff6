import type { Viewing } from '../../token/index.ts';
import type { Asset, AssetCatalogue } from '../assets/assets.ts';
import type { ConcurrencyLimit } from '../concurrency/concurrency.ts';
import { directoryOf, edgeView, type Minter } from '../minting/minter.ts';
import type { Policy, ViewerAttributes } from '../minting/policy.ts';
import type { DeviceAttributes, PresentedToken, RenewedToken, Renewer } from '../minting/renewal.ts';
import type { PolicyCatalogue } from '../policies/policies.ts';
import type { Session, Sessions } from '../sessions/sessions.ts';

/** What was revoked or withdrawn: denial reasons of the edge, but for subjects, which are unknown there. */
export type Refusal = 'session-revoked' | 'session-cutoff' | 'subject-revoked' | 'asset-withdrawn';

/** What is asked about before a token is minted. */
export interface VendingQuestion {
  /** The session and when it began, in seconds since the epoch; undefined when it is only about to start. */
  session: { id: string; startedAt: number } | undefined;
  asset: string;
  subject: string | undefined;
}

export type VendingErrorCode =
  | 'ERR_ASSET_UNKNOWN'
  | 'ERR_POLICY_UNKNOWN'
  | 'ERR_TOKEN_SUBJECT'
  | 'ERR_SESSION_REVOKED'
  | 'ERR_SESSION_CUTOFF'
  | 'ERR_SUBJECT_REVOKED'
  | 'ERR_ASSET_WITHDRAWN'
  | 'ERR_SESSION_LIMIT';

/** Why a viewer gets no token although the request is well-formed. */
export class VendingError extends Error {
  readonly code: VendingErrorCode;
  /** What was revoked or withdrawn, if that is why. */
  readonly reason: Refusal | undefined;
  constructor(code: VendingErrorCode, message: string, reason?: Refusal) {
    super(message);
    this.name = 'VendingError';
    this.code = code;
    this.reason = reason;
  }
}

/** The code and the words of each refusal. */
export const REFUSALS: Record<Refusal, [code: VendingErrorCode, message: string]> = {
  'session-revoked': ['ERR_SESSION_REVOKED', 'The session is revoked.'],
  'session-cutoff': [
    'ERR_SESSION_CUTOFF',
    'The session began before the time up to which all sessions are revoked; start another.',
  ],
  'subject-revoked': ['ERR_SUBJECT_REVOKED', 'The subject is revoked: it gets no tokens.'],
  'asset-withdrawn': [
    'ERR_ASSET_WITHDRAWN',
    'The asset is withdrawn where the viewer is; a viewer of whom no country is known counts as being everywhere.',
  ],
};

/** What vending is made of. */
export interface VendingOptions {
  assets: AssetCatalogue;
  policies: PolicyCatalogue;
  sessions: Sessions;
  concurrency: ConcurrencyLimit;
  minter: Minter;
  renewer: Renewer;
  /** Resolves when the key ring may be used; rejects with a `KeyRingError`. */
  ready: () => Promise<void>;
  /** Reads the key ring now; rejects when it cannot be read. */
  refreshKeys: () => Promise<void>;
  /** Base URL of the edge, `https://media.example.com`. */
  edgeUrl: string;
  /** Path before the token in a URL, begins and ends with a slash. */
  tokenPrefix: string;
  /** What stands against a token for this viewer; undefined when nothing does. */
  refusalOf: (vended: VendingQuestion, viewing: Viewing) => Promise<Refusal | undefined>;
  /** Seconds since the epoch. */
  now: () => number;
}

/** A token that was given out. `expiresAt` is in seconds since the epoch. */
export interface VendedToken {
  token: string;
  /** Undefined when a token was presented alone and its asset is not in the catalogue. */
  playbackUrl: string | undefined;
  sessionId: string;
  expiresAt: number;
}

/**
 * Gives tokens out: starts sessions, renews them, hands them to other devices. Rejects with `VendingError`, and with what
 * key ring, minter, renewer and concurrency limit throw.
 */
export interface Vending {
  /** Checks that an asset could be minted for, whoever asks. */
  check(asset: Asset): Promise<void>;
  /** Starts a session. `url`: playback URL other than the asset's own, within what its policy opens. */
  start(assetId: string, viewer: ViewerAttributes, url?: string): Promise<VendedToken>;
  /** Renews a token, or a playback URL that carries one; `subject`: whose it has to be, undefined for anybody's. */
  renew(presented: string, viewer: ViewerAttributes, subject: string | undefined): Promise<VendedToken>;
  /** Mints a token of the same session for another device. `viewer` is the one who presents the token. */
  handOff(
    presented: string,
    viewer: ViewerAttributes,
    device: DeviceAttributes,
    subject: string | undefined,
  ): Promise<VendedToken>;
}

/** The policy that an asset is minted with. Its id is always that of the catalogue, and a URL cannot widen its scope. */
function policyOf(asset: Asset, policy: Policy, tokenPrefix: string): Policy {
  const isScoped = policy.paths !== undefined || policy.files !== undefined;
  return { ...policy, asset: asset.id, ...(!isScoped && { paths: [directoryOf(asset.path, tokenPrefix)] }) };
}

/** Makes the vending side of the API. */
export function createVending(options: VendingOptions): Vending {
  const {
    assets,
    policies,
    sessions,
    concurrency,
    minter,
    renewer,
    ready,
    refreshKeys,
    edgeUrl,
    tokenPrefix,
    refusalOf,
    now,
  } = options;

  async function refuseRevoked(vended: VendingQuestion, viewing: Viewing): Promise<void> {
    const refusal = await refusalOf(vended, viewing);
    if (refusal) throw new VendingError(...REFUSALS[refusal], refusal);
  }

  /** Gives a session its place. Its token must not leave before. */
  async function takePlace({ subject, sessionId, expiresAt }: Session): Promise<void> {
    if (subject === undefined || (await concurrency.admit(subject, sessionId, expiresAt, now()))) return;
    const message = 'The subject has as many sessions as it may have; one must end, expire or be revoked first.';
    throw new VendingError('ERR_SESSION_LIMIT', message);
  }

  async function assetPolicy(asset: Asset): Promise<Policy> {
    const policy = await policies.get(asset.policy);
    if (policy) return policyOf(asset, policy, tokenPrefix);
    const message = `There is no policy '${asset.policy}', which the asset refers to; store it first.`;
    throw new VendingError('ERR_POLICY_UNKNOWN', message);
  }

  async function exchange(
    presented: string,
    viewer: ViewerAttributes,
    subject: string | undefined,
    mintNext: (token: PresentedToken, playbackUrl: string | undefined) => RenewedToken,
  ): Promise<VendedToken> {
    await ready();
    const verified = renewer.verify(presented, viewer);
    const { sid, aid, sub, sst } = verified.claims;
    if (subject !== undefined && sub !== subject) {
      throw new VendingError('ERR_TOKEN_SUBJECT', 'The presented token is not one of yours.');
    }
    const asked = { session: { id: sid, startedAt: sst }, asset: aid, subject: sub };
    await refuseRevoked(asked, edgeView(viewer, verified.query));
    const asset = verified.location ? undefined : await assets.get(aid);
    const { token, url, kid, expiresAt } = mintNext(verified, asset && `${edgeUrl}${asset.path}`);
    const session: Session = { sessionId: sid, asset: aid, subject: sub, startedAt: sst, expiresAt };
    await sessions.record(session, [verified.kid, kid]);
    if (kid !== verified.kid) {
      // Whoever drops a key changes the ring and then looks for the sessions to end; here the session is on record and then
      // the ring is read. So one of the two sees the other, and what a stolen key signed is never carried over.
      await refreshKeys();
      renewer.verify(presented, viewer);
    }
    await takePlace(session);
    return { token, playbackUrl: url, sessionId: sid, expiresAt };
  }

  return {
    async check(asset) {
      await ready();
      const policy = await assetPolicy(asset);
      minter.mint({ policy: { ...policy, bindings: [] }, viewer: {}, url: `${edgeUrl}${asset.path}` });
    },
    async start(assetId, viewer, url) {
      await ready();
      const asset = await assets.get(assetId);
      if (!asset) throw new VendingError('ERR_ASSET_UNKNOWN', 'There is no such asset.');
      const policy = await assetPolicy(asset);
      const { subject } = viewer;
      await refuseRevoked({ session: undefined, asset: asset.id, subject }, edgeView(viewer, ''));
      const minted = minter.mint({ policy, viewer, url: url ?? `${edgeUrl}${asset.path}` });
      const { token, url: playbackUrl, sessionId, kid, issuedAt, expiresAt } = minted;
      const session: Session = { sessionId, asset: asset.id, subject, startedAt: issuedAt, expiresAt };
      // On record first: without a token nobody knows the session and no list has it, whereas a place that is taken and
      // never used would be missing until it expires.
      await sessions.record(session, [kid]);
      await takePlace(session);
      return { token, playbackUrl, sessionId, expiresAt };
    },
    renew: (presented, viewer, subject) =>
      exchange(presented, viewer, subject, (token, playbackUrl) => renewer.renew(token, playbackUrl)),
    handOff: (presented, viewer, device, subject) =>
      exchange(presented, viewer, subject, (token, playbackUrl) => renewer.handOff(token, device, playbackUrl)),
  };
}
