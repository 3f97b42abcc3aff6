import * as v from 'valibot';
import { AssetBlocksResponse, BlocksRequest, BlocksResponse, ModeRequest, ModesResponse } from './delivery-routes.ts';
import { RevocationRequest, SessionRevocationResponse, SubjectRevocationResponse } from './routes.ts';

const EXAMPLE_REVOCATION = {
  sessionId: 'AbCdEf012345',
  reason: 'shared link',
  by: 'operator-1',
  revokedAt: 1795345200,
  expiresAt: 1795431600,
};
const EXAMPLE_MODES = { modes: [{ prefix: '/live/', mode: 'log' }] };
const EXAMPLE_BLOCKS = [{ countries: ['GB'], until: 4102444800 }];
const EXAMPLE_SUBJECT = { subject: 'viewer-7', reason: 'chargeback', by: 'operator-1', revokedAt: 1795345200 };
const SUBJECT_PARAMETER = { id: { description: 'Subject, as in claim `sub`; percent-encoded.', example: 'viewer-7' } };
const SESSION_PARAMETER = { id: { description: 'Session id, 12–64 letters and digits.', example: 'AbCdEf012345' } };

/** What keeps any command from the edge store just now. */
const STORE_PROBLEMS = ['ERR_STORE_THROTTLED', 'ERR_STORE_UNAVAILABLE'] as const;

/** The operations of the revocation side. */
export const REVOCATION_OPERATIONS = {
  'POST /v1/sessions/{id}/revocation': {
    tag: 'Revocation',
    summary: 'Revoke a session',
    description:
      'Every further request of the session is denied at the edge. The session may be one that was never seen here.',
    parameters: SESSION_PARAMETER,
    body: { schema: RevocationRequest, example: { reason: 'shared link' } },
    answers: {
      200: {
        description: 'It was revoked already, as this says.',
        schema: SessionRevocationResponse,
        example: EXAMPLE_REVOCATION,
      },
      201: { description: 'It is revoked.', schema: SessionRevocationResponse, example: EXAMPLE_REVOCATION },
    },
    problems: ['ERR_SESSION_ID_INVALID'],
  },
  'DELETE /v1/sessions/{id}/revocation': {
    tag: 'Revocation',
    summary: 'Take a revocation back',
    parameters: SESSION_PARAMETER,
    answers: { 204: { description: 'The session is let through again.' } },
    problems: ['ERR_SESSION_ID_INVALID', 'ERR_NOT_REVOKED'],
  },
  'POST /v1/subjects/{id}/revocation': {
    tag: 'Revocation',
    summary: 'Revoke a subject',
    description: `The subject gets no tokens any more, neither new nor renewed, until this is taken back. Tokens that are out know nothing
of it: revoke its sessions too.`,
    parameters: SUBJECT_PARAMETER,
    body: { schema: RevocationRequest, example: { reason: 'chargeback' } },
    answers: {
      200: {
        description: 'It was revoked already, as this says.',
        schema: SubjectRevocationResponse,
        example: EXAMPLE_SUBJECT,
      },
      201: { description: 'It is revoked.', schema: SubjectRevocationResponse, example: EXAMPLE_SUBJECT },
    },
    problems: ['ERR_SUBJECT_INVALID'],
  },
  'DELETE /v1/subjects/{id}/revocation': {
    tag: 'Revocation',
    summary: 'Take the revocation of a subject back',
    parameters: SUBJECT_PARAMETER,
    answers: { 204: { description: 'The subject gets tokens again.' } },
    problems: ['ERR_SUBJECT_INVALID', 'ERR_NOT_REVOKED'],
  },
  'GET /v1/decisions': {
    tag: 'Delivery',
    summary: 'Watch the decisions of the edge',
    description:
      'Server-sent events: the latest decisions, then each as it is made. Comments keep an idle stream open.',
    answers: {
      200: {
        description: 'A stream of events called `decision`; the data of each is JSON, its `uri` redacted.',
        schema: v.string(),
        mediaType: 'text/event-stream',
        example: `event: decision
data: {"time":1795345200.25,"method":"GET","status":403,"reason":"session-revoked","sessionId":"AbCdEf012345","kid":"k1","uri":"/AbCdEf012345.-/aurora/master.m3u8"}
`,
      },
    },
    problems: [],
  },
  'GET /v1/edge/modes': {
    tag: 'Delivery',
    summary: 'List the roll-out modes',
    answers: {
      200: { description: 'The modes, the longest prefix first.', schema: ModesResponse, example: EXAMPLE_MODES },
    },
    problems: STORE_PROBLEMS,
  },
  'PUT /v1/edge/modes': {
    tag: 'Delivery',
    summary: 'Set the roll-out mode below a path',
    description: '`null` leaves the prefix to the mode that is built into the function.',
    body: { schema: ModeRequest, example: { prefix: '/live/', mode: 'log' } },
    answers: { 200: { description: 'All modes that are set now.', schema: ModesResponse, example: EXAMPLE_MODES } },
    problems: ['ERR_STORE_COMMAND', 'ERR_STORE_LIMIT', ...STORE_PROBLEMS],
  },
  'GET /v1/edge/blocks': {
    tag: 'Delivery',
    summary: 'List the assets that are blocked',
    answers: {
      200: {
        description: 'The blocks, by asset.',
        schema: BlocksResponse,
        example: { assets: [{ asset: 'aurora', blocks: EXAMPLE_BLOCKS }] },
      },
    },
    problems: STORE_PROBLEMS,
  },
  'PUT /v1/assets/{id}/blocks': {
    tag: 'Delivery',
    summary: 'Block an asset',
    description: 'The edge answers 451 when and where one of the blocks says so. An empty list takes them all back.',
    parameters: { id: { description: 'Asset id.', example: 'aurora' } },
    body: { schema: BlocksRequest, example: { blocks: EXAMPLE_BLOCKS } },
    answers: {
      200: {
        description: 'The blocks of the asset now.',
        schema: AssetBlocksResponse,
        example: { asset: 'aurora', blocks: EXAMPLE_BLOCKS },
      },
    },
    problems: ['ERR_STORE_LIMIT', ...STORE_PROBLEMS],
  },
} as const;
