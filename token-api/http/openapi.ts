import { toJsonSchema } from '@valibot/to-json-schema';
import type { Hono, MiddlewareHandler } from 'hono';
import { generateSpecs, uniqueSymbol } from 'hono-openapi';
import type * as v from 'valibot';
import type { CallerEnv, Role } from './authorize.ts';
import type { ProblemDoc } from './problem-docs.ts';

/** A JSON Schema (2020-12, the dialect of OpenAPI 3.1). */
export type JsonSchema = Record<string, unknown>;

/** What is said of an operation beside what its route checks: who may call it and its body come from there. */
export interface Operation {
  tag: string;
  summary: string;
  description?: string;
  /** Parameters in path and query by name, with a value that works. */
  parameters?: Record<string, { description: string; example: string }>;
  /** An example body; `schema` where the route checks it by itself, or more closely than its middleware does. */
  body?: { example: unknown; schema?: v.GenericSchema };
  /** Answers by status. */
  answers: Record<number, { description: string; schema?: v.GenericSchema; mediaType?: string; example?: unknown }>;
  /** Codes of the problems of its own, with a status where it is not that of the table; those of every operation are added. */
  problems: readonly (string | readonly [code: string, status: number])[];
}

/** Operations by method and path, `GET /v1/assets/{id}`. */
export type Operations = Record<string, Operation>;

/** A parameter of an operation. */
export interface DocumentedParameter {
  name: string;
  in: 'path' | 'query' | 'header';
  required?: boolean;
  description?: string;
  example?: unknown;
  schema: JsonSchema;
}

/** A body, of a request or an answer, by media type. */
export type DocumentedContent = Record<string, { schema?: JsonSchema; example?: unknown }>;

/** An operation as it stands in the document. */
export interface DocumentedOperation {
  operationId: string;
  tags: string[];
  summary: string;
  description?: string;
  /** One of these is enough; the roles of each are needed together (OpenAPI 3.1.1 §4.8.30). */
  security: { bearer?: string[] }[];
  parameters: DocumentedParameter[];
  requestBody?: { required?: boolean; content: DocumentedContent };
  responses: Record<string, { description: string; headers?: Record<string, unknown>; content?: DocumentedContent }>;
  /** Codes of the problems that it may answer with. */
  'x-problem-codes': string[];
}

/** The OpenAPI document. */
export interface ApiDocument {
  openapi: string;
  info: { title: string; version: string; summary: string; description: string };
  tags: { name: string }[];
  paths: Record<string, Record<string, DocumentedOperation>>;
  components: Record<string, Record<string, unknown>>;
}

/** What the document is made of. */
export interface DocumentOptions {
  operations: Operations;
  /** Every problem code that an operation names. */
  problems: Record<string, ProblemDoc>;
}

/** Notes on a middleware that it lets only callers with one of these roles through. */
export function describedRoles(middleware: MiddlewareHandler<CallerEnv>, roles: Role[]): MiddlewareHandler<CallerEnv> {
  return Object.assign(middleware, {
    [uniqueSymbol]: { spec: { security: roles.map((role) => ({ bearer: [role] })) } },
  });
}

const DESCRIPTION = `Callers carry a bearer JWT (RFC 6750) with audience \`portcullis\` and the claim \`roles\`. Times are in
seconds since the epoch. Whatever is refused is answered with problem details (RFC 9457) and a stable \`code\`; messages may
change, codes do not. Every answer has the id of its request in \`x-request-id\`, by which the log has it.`;

const PROBLEM: JsonSchema = {
  type: 'object',
  required: ['type', 'title', 'status', 'detail', 'code', 'requestId'],
  properties: {
    type: { type: 'string', const: 'about:blank' },
    title: { type: 'string', description: 'The words of the HTTP status.' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'What is wrong and what to do, for people; it may change.' },
    code: { type: 'string', description: 'What is wrong, for programs; it does not change.' },
    reason: { type: 'string', description: 'The denial reason of the edge, where it has one for the same.' },
    requestId: { type: 'string', description: 'Id of the request, as in `x-request-id` and in the log.' },
  },
};

const IDEMPOTENCY_KEY: DocumentedParameter = {
  name: 'Idempotency-Key',
  in: 'header',
  description: 'Makes the request safe to repeat: random, and the same for each repetition.',
  example: '"5f0c9a7e-21b4-4d0c-9a7e-21b44d0c5f0c"',
  schema: { type: 'string', minLength: 20, maxLength: 130 },
};

const text = (description: string, example: string) => ({ description, schema: { type: 'string' }, example });
const HEADERS = {
  RequestId: text('Id of the request, as in the log.', '018f3c1e-6d2b-4d6b-9c64-0f2f8a3f3b1a'),
  RateLimit: text(
    'What is left, and for how many seconds (draft-ietf-httpapi-ratelimit-headers-10).',
    '"player";r=299;t=42',
  ),
  RateLimitPolicy: text('How many requests in how many seconds.', '"player";q=300;w=60'),
  RetryAfter: text('Seconds until it is worth trying again.', '18'),
  IdempotentReplayed: text('`true` when this answer was given before.', 'true'),
};
const reference = (name: keyof typeof HEADERS) => ({ $ref: `#/components/headers/${name}` });

/**
 * The OpenAPI 3.1 document of the API: the routes of `app` with the roles and the bodies that they check, and what
 * `operations` says of each. Throws when a route is not described.
 */
export async function apiDocument(app: Hono, { operations, problems }: DocumentOptions): Promise<ApiDocument> {
  const generated = await generateSpecs(app, {
    includeEmptyPaths: true,
    excludeStaticFile: false,
    defaultValidationErrorResponse: false,
  });
  const tags = new Set<string>();
  const paths = Object.entries(generated.paths).map(([path, methods]) => {
    const described = Object.entries(methods).map(([method, found]) => {
      const name = `${method.toUpperCase()} ${path}`;
      const operation = operations[name];
      if (!operation) throw new Error(`no description of ${name}: every route needs a row in an operations.ts`);
      tags.add(operation.tag);
      return [method, describe(operation, method, found as Partial<DocumentedOperation>, problems)];
    });
    return [path, Object.fromEntries(described)];
  });
  return {
    openapi: '3.1.0',
    info: {
      title: 'Portcullis API',
      version: '1',
      summary: 'Vends playback tokens, and revokes sessions.',
      description: DESCRIPTION,
    },
    tags: [...tags].map((name) => ({ name })),
    paths: Object.fromEntries(paths),
    components: {
      schemas: { ...generated.components?.schemas, Problem: PROBLEM },
      headers: HEADERS,
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'A JWT of the issuer that the API trusts; the claim `roles` says what its subject may do.',
        },
      },
    },
  };
}

function describe(
  operation: Operation,
  method: string,
  found: Partial<DocumentedOperation>,
  problems: DocumentOptions['problems'],
): DocumentedOperation {
  const security = found.security ?? [];
  const isLimited = security.some(({ bearer }) => !bearer?.includes('security'));
  const isRepeatable = security.length > 0 && method === 'post';
  const requestBody = describeBody(operation, found);
  const codes: Operation['problems'] = [
    ...(requestBody ? ['ERR_BODY_INVALID', 'ERR_BODY_TOO_LARGE'] : []),
    ...(security.length > 0 ? ['ERR_UNAUTHENTICATED', 'ERR_ROLE', 'ERR_INTERNAL'] : []),
    ...operation.problems,
    ...(isRepeatable ? ['ERR_IDEMPOTENCY_KEY_INVALID', 'ERR_IDEMPOTENCY_KEY_REUSED', 'ERR_IDEMPOTENCY_RUNNING'] : []),
    ...(isLimited ? ['ERR_RATE_LIMITED'] : []),
    ...(isLimited || isRepeatable ? ['ERR_UNAVAILABLE'] : []),
  ];
  const headers = {
    ...(security.length > 0 ? { 'x-request-id': reference('RequestId') } : {}),
    ...(isLimited ? { ratelimit: reference('RateLimit'), 'ratelimit-policy': reference('RateLimitPolicy') } : {}),
    ...(isRepeatable ? { 'idempotent-replayed': reference('IdempotentReplayed') } : {}),
  };
  const answers = Object.entries(operation.answers).map(([status, { description, schema, mediaType, example }]) => {
    const media = {
      ...(schema ? { schema: jsonSchema(schema) } : {}),
      ...(example === undefined ? {} : { example }),
    };
    const hasContent = schema !== undefined || mediaType !== undefined;
    return [
      status,
      { description, headers, ...(hasContent ? { content: { [mediaType ?? 'application/json']: media } } : {}) },
    ];
  });
  return {
    operationId: found.operationId ?? '',
    tags: [operation.tag],
    summary: operation.summary,
    ...(operation.description === undefined ? {} : { description: operation.description }),
    security,
    parameters: [...describeParameters(operation, found), ...(isRepeatable ? [IDEMPOTENCY_KEY] : [])],
    ...(requestBody ? { requestBody } : {}),
    responses: { ...Object.fromEntries(answers), ...problemResponses(codes, problems) },
    'x-problem-codes': [...new Set(codes.map((name) => (typeof name === 'string' ? name : name[0])))],
  };
}

/** The body that the route says it checks by itself, or else the one that its middleware checks; required if that does. */
function describeBody({ body }: Operation, { requestBody }: Partial<DocumentedOperation>) {
  const checked = requestBody?.content['application/json']?.schema;
  const schema = body?.schema ? jsonSchema(body.schema) : checked;
  if (!schema) return undefined;
  return {
    required: checked !== undefined,
    content: { 'application/json': { schema, ...(body ? { example: body.example } : {}) } },
  };
}

function describeParameters(
  { parameters = {} }: Operation,
  found: Partial<DocumentedOperation>,
): DocumentedParameter[] {
  return (found.parameters ?? []).map((parameter) => ({ ...parameter, ...parameters[parameter.name] }));
}

/** One response for each status, which names the codes that it may have. */
function problemResponses(
  named: Operation['problems'],
  problems: DocumentOptions['problems'],
): DocumentedOperation['responses'] {
  const byStatus = new Map<number, Map<string, string>>();
  for (const name of named) {
    const [code, given] = typeof name === 'string' ? [name] : name;
    const problem = problems[code];
    if (!problem) throw new Error(`no description of ${code}: every problem code needs a row in a PROBLEMS table`);
    const status = given ?? problem.status;
    byStatus.set(status, (byStatus.get(status) ?? new Map()).set(code, problem.meaning));
  }
  const responses = [...byStatus].map(([status, meanings]) => {
    const code = { enum: [...meanings.keys()] };
    const schema = { allOf: [{ $ref: '#/components/schemas/Problem' }, { properties: { code } }] };
    const response = {
      description: [...meanings].map(([code, meaning]) => `\`${code}\`: ${meaning}`).join('\n\n'),
      headers: status === 429 || status === 503 ? { 'retry-after': reference('RetryAfter') } : {},
      content: { 'application/problem+json': { schema } },
    };
    return [status, response];
  });
  return Object.fromEntries(responses);
}

/** Refinements that JSON Schema has no word for are left out: the messages of the API tell of them. */
function jsonSchema(schema: v.GenericSchema): JsonSchema {
  const { $schema: _, ...rest } = toJsonSchema(schema, {
    errorMode: 'ignore',
    typeMode: 'input',
    target: 'draft-2020-12',
  });
  return rest;
}
