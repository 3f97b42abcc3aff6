import * as v from 'valibot';
import { PolicySchema } from '../minting/policy.ts';
import { AssetResponse, AssetsResponse } from './assets.ts';
import { KeysResponse, RotationResponse } from './keys.ts';
import type { Operation } from './openapi.ts';
import { PlaybackResponse } from './playback.ts';
import { PoliciesResponse, PolicyResponse } from './policies.ts';
import { POLICY_PROBLEMS, type ProblemCode } from './problem-docs.ts';
import { SessionsResponse } from './sessions.ts';
import { TokenResponse } from './tokens.ts';

type VendingOperations = Record<
  string,
  Operation & { problems: readonly (ProblemCode | readonly [ProblemCode, number])[] }
>;

const TOKEN = 'AbCdEf012345.<header>.<payload>.<signature>';
const PLAYBACK_URL = `https://media.example.com/${TOKEN}/aurora/master.m3u8`;
const EXAMPLE_TOKEN = { token: TOKEN, playbackUrl: PLAYBACK_URL, sessionId: 'AbCdEf012345', expiresAt: 1795352400 };
const ASSET = { id: 'aurora', title: 'Aurora', path: '/aurora/master.m3u8', policy: 'vod-2h' };
const POLICY = { id: 'vod-in-country', policy: { lifetime: 'PT2H', bindings: ['country'] } };
const VIEWER = { ip: '203.0.113.7', country: 'DE', subject: 'viewer-7' };

const KEYS = {
  keys: [
    { kid: 'k20261122-57fee3', state: 'current' },
    { kid: 'k20261122-9c41d0', state: 'next' },
  ],
} as const;

const PAGE_PARAMETERS = {
  limit: { description: 'Entries on a page, 1 to 1000; 100 unless given.', example: '100' },
  cursor: {
    description: '`next` of the page before; none for the first page.',
    example: 'WyJhc3NldHMiLHsiaWQiOiJhIn1d',
  },
};
const PAGE_PROBLEMS = ['ERR_QUERY_INVALID', 'ERR_CURSOR_INVALID'] as const;
const ASSET_PARAMETER = { id: { description: 'Asset id.', example: 'aurora' } };
const POLICY_PARAMETER = { id: { description: 'Policy id.', example: POLICY.id } };

/** Every mistake that a policy can have. */
const POLICY_MISTAKES = Object.keys(POLICY_PROBLEMS) as (keyof typeof POLICY_PROBLEMS)[];
/** What stands against minting by the policy of an asset. */
const MINT_PROBLEMS = [
  'ERR_POLICY_UNKNOWN',
  'ERR_POLICY_LIFETIME_TOO_LONG',
  'ERR_POLICY_FIELD_MISSING',
  'ERR_URL_INVALID',
  'ERR_URL_OUT_OF_SCOPE',
  'ERR_TOKEN_TOO_LONG',
] as const;
/** What stands against a token for a subject, or any just now. */
const SUBJECT_PROBLEMS = [
  'ERR_RING_PAUSED',
  'ERR_RING_STALE',
  'ERR_SUBJECT_REVOKED',
  'ERR_ASSET_WITHDRAWN',
  'ERR_SESSION_LIMIT',
  'ERR_CONCURRENCY_CONTENDED',
] as const;
/** What stands against a token in exchange for one that is presented. */
const EXCHANGE_PROBLEMS = [
  'ERR_TOKEN_REFUSED',
  ['ERR_TOKEN_REFUSED', 403],
  'ERR_TOKEN_SUBJECT',
  'ERR_SESSION_REVOKED',
  'ERR_SESSION_CUTOFF',
  'ERR_SESSION_ENDED',
  'ERR_TOKEN_BINDING_MISSING',
  'ERR_TOKEN_TOO_LONG',
  ...SUBJECT_PROBLEMS,
] as const;

/** The operations of the vending side. */
export const VENDING_OPERATIONS = {
  'POST /v1/playback': {
    tag: 'Tokens',
    summary: 'Start a playback session for the caller',
    description: `Mints a token by the policy of the asset for the viewer as the edge sees it, and answers with the URL that carries it.
A call that does not come through the edge has no attributes of a viewer: a policy that binds any refuses it.`,
    body: { example: { asset: 'aurora' } },
    answers: {
      200: {
        description: 'The session.',
        schema: PlaybackResponse,
        example: { playbackUrl: PLAYBACK_URL, sessionId: 'AbCdEf012345', expiresAt: 1795352400 },
      },
    },
    problems: [
      'ERR_ASSET_UNKNOWN',
      'ERR_VIEWER_INVALID',
      'ERR_VIEWER_COUNTRY',
      'ERR_TOKEN_BINDING_MISSING',
      ...MINT_PROBLEMS,
      ...SUBJECT_PROBLEMS,
    ],
  },
  'POST /v1/tokens': {
    tag: 'Tokens',
    summary: 'Start a playback session for a viewer',
    description:
      'For a backend, which says who and where the viewer is. `url` is another playback URL that the policy opens.',
    body: { example: { asset: 'aurora', viewer: VIEWER } },
    answers: { 200: { description: 'The token.', schema: TokenResponse, example: EXAMPLE_TOKEN } },
    problems: [
      'ERR_ASSET_UNKNOWN',
      'ERR_VIEWER_COUNTRY',
      'ERR_TOKEN_BINDING_MISSING',
      ...MINT_PROBLEMS,
      ...SUBJECT_PROBLEMS,
    ],
  },
  'POST /v1/tokens/renewal': {
    tag: 'Tokens',
    summary: 'Renew a token',
    description: `Exchanges an unexpired token, or a playback URL that carries one, for one of the same session that expires later. A player
renews its own from where the edge sees it; a backend anybody's, and says who the viewer is.`,
    body: { example: { token: PLAYBACK_URL } },
    answers: { 200: { description: 'The next token.', schema: TokenResponse, example: EXAMPLE_TOKEN } },
    problems: [...EXCHANGE_PROBLEMS, 'ERR_RENEWAL_NOT_LATER'],
  },
  'POST /v1/tokens/handoff': {
    tag: 'Tokens',
    summary: 'Hand a session to another device',
    description: `Mints a token of the same session for another device in the same place, to cast to a television. \`viewer\` is that device;
\`presenter\`, which only a backend gives, whoever hands the session over.`,
    body: { example: { token: PLAYBACK_URL, viewer: { userAgent: 'TV/1.0', device: 'smarttv' } } },
    answers: { 200: { description: "The other device's token.", schema: TokenResponse, example: EXAMPLE_TOKEN } },
    problems: EXCHANGE_PROBLEMS,
  },
  'GET /v1/assets': {
    tag: 'Catalogue',
    summary: 'List the assets',
    parameters: PAGE_PARAMETERS,
    answers: {
      200: { description: 'A page of them.', schema: AssetsResponse, example: { assets: [ASSET] } },
    },
    problems: PAGE_PROBLEMS,
  },
  'GET /v1/assets/{id}': {
    tag: 'Catalogue',
    summary: 'Show an asset',
    parameters: ASSET_PARAMETER,
    answers: { 200: { description: 'The asset.', schema: AssetResponse, example: ASSET } },
    problems: ['ERR_ID_INVALID', 'ERR_ASSET_UNKNOWN'],
  },
  'PUT /v1/assets/{id}': {
    tag: 'Catalogue',
    summary: 'Store an asset',
    description: 'The asset is refused when no token could be minted for it. The title is the id unless given.',
    parameters: ASSET_PARAMETER,
    body: { example: { title: 'Aurora', path: '/aurora/master.m3u8', policy: 'vod-2h' } },
    answers: {
      200: { description: 'It is replaced.', schema: AssetResponse, example: ASSET },
      201: { description: 'It is new.', schema: AssetResponse, example: ASSET },
    },
    problems: ['ERR_ID_INVALID', ...MINT_PROBLEMS],
  },
  'DELETE /v1/assets/{id}': {
    tag: 'Catalogue',
    summary: 'Remove an asset',
    description: 'Tokens that are out go on opening it.',
    parameters: ASSET_PARAMETER,
    answers: { 204: { description: 'It is removed.' } },
    problems: ['ERR_ID_INVALID', 'ERR_ASSET_UNKNOWN'],
  },
  'GET /v1/policies': {
    tag: 'Catalogue',
    summary: 'List the policies',
    parameters: PAGE_PARAMETERS,
    answers: {
      200: { description: 'A page of them.', schema: PoliciesResponse, example: { policies: [POLICY] } },
    },
    problems: PAGE_PROBLEMS,
  },
  'GET /v1/policies/{id}': {
    tag: 'Catalogue',
    summary: 'Show a policy',
    parameters: POLICY_PARAMETER,
    answers: { 200: { description: 'The policy.', schema: PolicyResponse, example: POLICY } },
    problems: ['ERR_ID_INVALID', ['ERR_POLICY_UNKNOWN', 404]],
  },
  'PUT /v1/policies/{id}': {
    tag: 'Catalogue',
    summary: 'Store a policy',
    description: 'It holds for the tokens that are minted from now on. The body is a policy as in a policy file.',
    parameters: POLICY_PARAMETER,
    body: { schema: PolicySchema, example: POLICY.policy },
    answers: {
      200: { description: 'It is replaced.', schema: PolicyResponse, example: POLICY },
      201: { description: 'It is new.', schema: PolicyResponse, example: POLICY },
    },
    problems: ['ERR_ID_INVALID', ...POLICY_MISTAKES],
  },
  'DELETE /v1/policies/{id}': {
    tag: 'Catalogue',
    summary: 'Remove a policy',
    parameters: POLICY_PARAMETER,
    answers: { 204: { description: 'It is removed.' } },
    problems: ['ERR_ID_INVALID', ['ERR_POLICY_UNKNOWN', 404], 'ERR_POLICY_IN_USE'],
  },
  'GET /v1/sessions': {
    tag: 'Sessions',
    summary: 'List the live sessions',
    description: 'Those whose token has not expired and that were seen in the last minute, the latest first.',
    parameters: PAGE_PARAMETERS,
    answers: {
      200: {
        description: 'A page of them.',
        schema: SessionsResponse,
        example: {
          sessions: [
            {
              sessionId: 'AbCdEf012345',
              asset: 'aurora',
              subject: 'viewer-7',
              startedAt: 1795345200,
              expiresAt: 1795352400,
              lastSeenAt: 1795345260,
              kid: 'k20261122-57fee3',
              revoked: false,
            },
          ],
        },
      },
    },
    problems: PAGE_PROBLEMS,
  },
} as const satisfies VendingOperations;

/** The operations of the key ring. */
export const KEY_OPERATIONS = {
  'GET /v1/keys': {
    tag: 'Keys',
    summary: 'List the keys',
    description: 'Ids and states; a key itself is never shown.',
    answers: { 200: { description: 'The keys.', schema: KeysResponse, example: KEYS } },
    problems: ['ERR_RING_THROTTLED', 'ERR_RING_UNREACHABLE'],
  },
  'POST /v1/keys/rotation': {
    tag: 'Keys',
    summary: 'Rotate the key ring',
    description: `Publishes a new key, which is minted with once every edge has it. With \`compromised\` that key is dropped at once, and every
session that had a token of it ends, also one renewed under another key; with \`dryRun\` too the answer only says what that would do.`,
    body: { example: { compromised: 'k20261122-57fee3', dryRun: true } },
    answers: {
      200: {
        description: 'The ring now, or as it would be.',
        schema: RotationResponse,
        example: {
          keys: [
            { kid: 'k20261122-57fee3', state: 'retired' },
            { kid: 'k20261122-9c41d0', state: 'next' },
          ],
          next: { kid: 'k20261122-9c41d0', activatesAt: 1795345800 },
          endedSessions: 12,
          pausedSeconds: 540,
        },
      },
    },
    problems: [
      'ERR_KEY_UNKNOWN',
      'ERR_ROTATION_RUNNING',
      'ERR_ROTATION_OUTDATED',
      'ERR_ROTATION_EARLY',
      'ERR_ROTATION_ELSEWHERE',
      'ERR_ROTATION_PROBE',
      'ERR_RING_CONFLICT',
      'ERR_RING_FOREIGN',
      'ERR_RING_CLOCK',
      'ERR_RING_THROTTLED',
      'ERR_RING_UNREACHABLE',
    ],
  },
} as const satisfies VendingOperations;

/** The operations of the API itself. */
export const SERVICE_OPERATIONS = {
  'GET /healthz': {
    tag: 'Service',
    summary: 'Whether the API answers',
    answers: { 200: { description: 'It does.', schema: v.object({ ok: v.literal(true) }), example: { ok: true } } },
    problems: [],
  },
  'GET /v1/openapi.json': {
    tag: 'Service',
    summary: 'This description, as OpenAPI 3.1',
    answers: {
      200: { description: 'The document.', schema: v.looseObject({ openapi: v.string() }) },
    },
    problems: [],
  },
  'GET /v1/docs': {
    tag: 'Service',
    summary: 'This description, as a page to read',
    answers: { 200: { description: 'The page.', schema: v.string(), mediaType: 'text/html' } },
    problems: [],
  },
} as const satisfies VendingOperations;
