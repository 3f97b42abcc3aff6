import { createMiddleware } from 'hono/factory';
import type { CallerEnv, Role } from '../../token-api/http/authorize.ts';
import { type RawAnswer, type RunningStack, rawRequest } from './stack.ts';

export interface ApiCall {
  role?: Role;
  /** Sent as JSON. */
  body?: unknown;
  /** Straight to the API instead of through the edge. */
  direct?: boolean;
  /** Loopback address to come from: the edge takes another one for another viewer. */
  from?: string;
  headers?: Record<string, string>;
}

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers, tests say what they expect.
  body: any;
  headers: RawAnswer['headers'];
}

/** Calls the API as a client does: through the edge, as a player from Berlin unless told otherwise. */
export async function callApi(
  stack: RunningStack,
  method: string,
  path: string,
  { role = 'player', body, direct = false, from = '127.0.0.1', headers = {} }: ApiCall = {},
): Promise<Answer> {
  const answer = await rawRequest(direct ? stack.api : stack.edge, path, {
    method,
    localAddress: from,
    headers: {
      authorization: `Bearer ${stack.tokens[role]}`,
      'user-agent': 'Player/1.0',
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = answer.body.toString();
  return { status: answer.status, body: text === '' ? undefined : JSON.parse(text), headers: answer.headers };
}

/** Stands where a bearer token is checked: the caller is who two headers say. */
export const callerFromHeaders = createMiddleware<CallerEnv>(async (c, next) => {
  const roles = (c.req.header('test-roles') ?? 'player').split(',');
  c.set('caller', { subject: c.req.header('test-subject') ?? 'viewer', roles });
  await next();
});
