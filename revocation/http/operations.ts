import * as v from 'valibot';
import {
  AssetBlocksResponse,
  BlockRequest,
  BlocksRequest,
  BlocksResponse,
  ModeRequest,
  ModesResponse,
} from './delivery-routes.ts';
import {
  AssetRevocationResponse,
  CutoffRequest,
  CutoffResponse,
  CutoffRevocationResponse,
  HistoryResponse,
  RevocationRequest,
  RevocationsResponse,
  SessionRevocationResponse,
  SubjectRevocationResponse,
} from './routes.ts';

const EXAMPLE_ENTRY = {
  source: 'manual',
  reasons: ['shared link'],
  by: 'operator-1',
  revokedAt: 1795345200,
} as const;
const EXAMPLE_TOLD = { reason: 'shared link', ...EXAMPLE_ENTRY };
const EXAMPLE_REVOCATION = { ...EXAMPLE_TOLD, outcome: 'added' } as const;
const EXAMPLE_CUTOFF = { before: 1760000000, ...EXAMPLE_TOLD, expiresAt: 1795431600 };
const EXAMPLE_LISTED = { kind: 'session', id: 'AbCdEf012345', ...EXAMPLE_ENTRY, expiresAt: 1795431600 } as const;
const EXAMPLE_MODES = { modes: [{ prefix: '/live/', mode: 'log' }] };
const EXAMPLE_BLOCKS = [{ countries: ['GB'], until: 4102444800 }];
const ASSET_PARAMETER = { id: { description: 'Asset id, as in claim `aid`; percent-encoded.', example: 'aurora' } };
const PAGE_PARAMETERS = {
  limit: { description: 'Entries on a page, 1 to 1000; 100 unless given.', example: '100' },
  cursor: { description: '`next` of the page before; none for the first page.', example: 'WyJyZXZvY2F0aW9ucy8iXQ' },
};

/** A change that is on the list, and that the edge could not be told of in time. */
const LATE = 'It is on the list. The edge could not be told in time; it is told again by itself.';
const UNENFORCED = '`unenforced` has the paths where the edge lets it through all the same, because of their mode.';
const CUTOFF_ANSWER = { schema: CutoffRevocationResponse, example: { ...EXAMPLE_CUTOFF, outcome: 'added' } } as const;
/** What keeps any command from the edge store just now. */
const STORE_PROBLEMS = ['ERR_STORE_THROTTLED', 'ERR_STORE_UNAVAILABLE'] as const;

/** What is revoked by its id, by the name of its collection: what the operations say differently of it. */
const REVOCABLE = {
  sessions: {
    name: 'a session',
    schema: SessionRevocationResponse,
    example: { sessionId: 'AbCdEf012345', ...EXAMPLE_REVOCATION, expiresAt: 1795431600 },
    parameters: { id: { description: 'Session id, 12–64 letters and digits.', example: 'AbCdEf012345' } },
    idProblem: 'ERR_SESSION_ID_INVALID',
    revoked:
      'Every further request of the session is denied at the edge. The session may be one that was never seen here.',
    restored:
      'The session is let through again. Detection does not revoke it for as long as it would have been revoked.',
    isPublished: true,
  },
  assets: {
    name: 'an asset',
    schema: AssetRevocationResponse,
    example: { asset: 'aurora', ...EXAMPLE_REVOCATION },
    parameters: ASSET_PARAMETER,
    idProblem: 'ERR_ASSET_ID_INVALID',
    revoked: `Every further request of every session of the asset is denied at the edge, and none is vended, until this is taken
back. Blocks of the asset stay as they are.`,
    restored: 'The asset is let through again.',
    isPublished: true,
  },
  subjects: {
    name: 'a subject',
    schema: SubjectRevocationResponse,
    example: { subject: 'viewer-7', ...EXAMPLE_REVOCATION },
    parameters: { id: { description: 'Subject, as in claim `sub`; percent-encoded.', example: 'viewer-7' } },
    idProblem: 'ERR_SUBJECT_INVALID',
    revoked: `The subject gets no tokens any more, neither new nor renewed, until this is taken back. Tokens that are out know nothing
of it: revoke its sessions too.`,
    restored: 'The subject gets tokens again.',
    isPublished: false,
  },
} as const;

/** Revoking and restoring one kind. What is not published is never late. */
function revocationOperations(collection: keyof typeof REVOCABLE) {
  const { name, schema, example, parameters, idProblem, revoked, restored, isPublished } = REVOCABLE[collection];
  const path = `/v1/${collection}/{id}/revocation`;
  const answer = (description: string) => ({ description, schema, example });
  return {
    [`POST ${path}`]: {
      tag: 'Revocation',
      summary: `Revoke ${name}`,
      description: isPublished ? `${revoked} ${UNENFORCED}` : revoked,
      parameters,
      body: { schema: RevocationRequest, example: { reason: 'shared link' } },
      answers: {
        200: answer('It was revoked already: `kept`, with the reason it had, or `changed` from one of detection.'),
        201: answer('It is revoked.'),
        ...(isPublished && { 202: answer(LATE) }),
      },
      problems: [idProblem, 'ERR_REVOCATION_CONTENDED'],
    },
    [`DELETE ${path}`]: {
      tag: 'Revocation',
      summary: `Take the revocation of ${name} back`,
      parameters,
      answers: { ...(isPublished && { 202: { description: LATE } }), 204: { description: restored } },
      problems: [idProblem, 'ERR_NOT_REVOKED', 'ERR_REVOCATION_CONTENDED'],
    },
  };
}

/** The operations of the revocation side. */
export const REVOCATION_OPERATIONS = {
  ...revocationOperations('sessions'),
  ...revocationOperations('assets'),
  ...revocationOperations('subjects'),
  'PUT /v1/sessions/cutoff': {
    tag: 'Revocation',
    summary: 'Revoke all sessions that began before a time',
    description: `The cut-off only becomes later; to make it earlier, take it back first. ${UNENFORCED}`,
    body: { schema: CutoffRequest, example: { before: 1760000000, reason: 'shared link' } },
    answers: {
      200: { description: 'The cut-off that holds now.', ...CUTOFF_ANSWER },
      201: { description: 'It holds; there was none.', ...CUTOFF_ANSWER },
      202: { description: LATE, ...CUTOFF_ANSWER },
    },
    problems: ['ERR_CUTOFF_FUTURE', 'ERR_REVOCATION_CONTENDED'],
  },
  'GET /v1/sessions/cutoff': {
    tag: 'Revocation',
    summary: 'Show the time before which sessions are revoked',
    answers: { 200: { description: 'The cut-off.', schema: CutoffResponse, example: EXAMPLE_CUTOFF } },
    problems: ['ERR_NOT_REVOKED'],
  },
  'DELETE /v1/sessions/cutoff': {
    tag: 'Revocation',
    summary: 'Take the cut-off back',
    answers: { 202: { description: LATE }, 204: { description: 'Sessions are let through whenever they began.' } },
    problems: ['ERR_NOT_REVOKED', 'ERR_REVOCATION_CONTENDED'],
  },
  'GET /v1/revocations': {
    tag: 'Revocation',
    summary: 'List what is revoked',
    description: 'In no order. A page may be short, or empty, although others follow.',
    parameters: {
      kind: { description: 'Only this kind; all unless given.', example: 'session' },
      ...PAGE_PARAMETERS,
    },
    answers: {
      200: {
        description: 'A page.',
        schema: RevocationsResponse,
        example: { revocations: [EXAMPLE_LISTED] },
      },
    },
    problems: ['ERR_QUERY_INVALID', 'ERR_CURSOR_INVALID'],
  },
  'GET /v1/revocations/{kind}/{id}/history': {
    tag: 'Revocation',
    summary: 'Show what happened to a session, an asset, a subject or the cut-off',
    description:
      'The latest first, and nothing of what was never revoked. Kept for 30 days after a revocation expired.',
    parameters: {
      kind: { description: '`session`, `asset`, `subject` or `sessions-before`.', example: 'session' },
      id: { description: 'Its id; `all` for `sessions-before`.', example: 'AbCdEf012345' },
      ...PAGE_PARAMETERS,
    },
    answers: {
      200: {
        description: 'A page of what happened; `at` in seconds since the epoch, with fraction.',
        schema: HistoryResponse,
        example: { events: [{ at: 1795345200.001, action: 'revoked', by: 'operator-1', revocation: EXAMPLE_LISTED }] },
      },
    },
    problems: [
      'ERR_QUERY_INVALID',
      'ERR_CURSOR_INVALID',
      'ERR_REVOCATION_KIND',
      'ERR_SESSION_ID_INVALID',
      'ERR_ASSET_ID_INVALID',
      'ERR_SUBJECT_INVALID',
    ],
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
  'POST /v1/assets/{id}/blocks': {
    tag: 'Delivery',
    summary: 'Add a block to an asset',
    description: 'The edge answers 451 when and where one of the blocks says so.',
    parameters: ASSET_PARAMETER,
    body: { schema: BlockRequest, example: EXAMPLE_BLOCKS[0] },
    answers: {
      200: {
        description: 'The blocks of the asset now.',
        schema: AssetBlocksResponse,
        example: { asset: 'aurora', blocks: EXAMPLE_BLOCKS },
      },
    },
    problems: ['ERR_STORE_LIMIT', ...STORE_PROBLEMS],
  },
  'DELETE /v1/assets/{id}/blocks': {
    tag: 'Delivery',
    summary: 'Take all blocks of an asset back',
    parameters: ASSET_PARAMETER,
    answers: { 204: { description: 'It has none any more.' } },
    problems: ['ERR_NOT_BLOCKED', ...STORE_PROBLEMS],
  },
  'PUT /v1/assets/{id}/blocks': {
    tag: 'Delivery',
    summary: 'Set the blocks of an asset',
    description: 'They take the place of those it had. An empty list takes them all back.',
    parameters: ASSET_PARAMETER,
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
