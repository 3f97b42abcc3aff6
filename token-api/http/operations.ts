import * as v from 'valibot';
import type { Operations } from './openapi.ts';
import type { PROBLEMS } from './problem-docs.ts';

type VendingOperations = Operations & Record<string, { problems: readonly (keyof typeof PROBLEMS)[] }>;

const time = v.pipe(v.number(), v.integer());

const EXAMPLE_TOKEN =
  'AbCdEf012345.eyJhbGciOiJIUzI1NiIsInR5cCI6InBvcnRjdWxsaXMrand0Iiwia2lkIjoiazEifQ.eyJzaWQiOiJBYkNkRWYwMTIzNDUifQ.signature';

/** The operations of the vending side. */
export const VENDING_OPERATIONS = {
  'POST /v1/playback': {
    tag: 'Playback',
    summary: 'Start a playback session',
    description: `Mints a token by the policy of the asset for the viewer as the edge sees it, and answers with the URL that carries it.
A call that does not come through the edge has no attributes of a viewer: a policy that binds any refuses it.`,
    body: { example: { asset: 'aurora' } },
    answers: {
      200: {
        description: 'The session.',
        schema: v.object({ playbackUrl: v.string(), sessionId: v.string(), expiresAt: time }),
        example: {
          playbackUrl: `https://media.example.com/${EXAMPLE_TOKEN}/aurora/master.m3u8`,
          sessionId: 'AbCdEf012345',
          expiresAt: 1795352400,
        },
      },
    },
    problems: ['ERR_ASSET_UNKNOWN', 'ERR_TOKEN_BINDING_MISSING', 'ERR_POLICY_LIFETIME', 'ERR_URL_OUT_OF_SCOPE'],
  },
  'GET /v1/assets': {
    tag: 'Assets',
    summary: 'List the assets',
    answers: {
      200: {
        description: 'The assets by id.',
        schema: v.object({ assets: v.array(v.object({ id: v.string(), title: v.string(), path: v.string() })) }),
        example: { assets: [{ id: 'aurora', title: 'Aurora', path: '/aurora/master.m3u8' }] },
      },
    },
    problems: [],
  },
  'GET /v1/sessions': {
    tag: 'Sessions',
    summary: 'List the live sessions',
    description: 'Those whose token has not expired and that were seen in the last minute, the latest first.',
    answers: {
      200: {
        description: 'The sessions.',
        schema: v.object({
          sessions: v.array(
            v.object({
              sessionId: v.string(),
              asset: v.string(),
              subject: v.optional(v.string()),
              startedAt: time,
              expiresAt: time,
              lastSeenAt: time,
              revoked: v.boolean(),
            }),
          ),
        }),
        example: {
          sessions: [
            {
              sessionId: 'AbCdEf012345',
              asset: 'aurora',
              subject: 'viewer-7',
              startedAt: 1795345200,
              expiresAt: 1795352400,
              lastSeenAt: 1795345260,
              revoked: false,
            },
          ],
        },
      },
    },
    problems: [],
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
