import type { RequestListener } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { consoleContentSecurityPolicy } from '../config/console.ts';
import { isSameSecret } from '../token-api/http/secret.ts';
import type { RoleTokens } from './issuer.ts';
import { sendFile } from './send-file.ts';
import type { TitleChain } from './title-chain.ts';

/** The edge and the token API listen on this machine, at ports that the page learns when it signs in. */
const POLICY = consoleContentSecurityPolicy(['http://127.0.0.1:*', 'http://localhost:*']);

/** What the console page gets in exchange for its key. */
export interface ConsoleSession {
  edge: string;
  api: string;
  tokens: RoleTokens;
  /** How the mastered title came to the edge. */
  chain: TitleChain;
}

/**
 * Serves the console page. `POST /session` hands the bearer tokens to whoever presents `key`, which stands in the
 * fragment of the console's URL: others on this machine can reach the port, but not read the terminal.
 */
export function createConsole(directory: string, key: string, session: () => Promise<ConsoleSession>): RequestListener {
  const app = new Hono();
  // A deployed console has another one, with an issuer.
  app.get('/config.json', (c) => c.json({ login: 'key' }));
  app.post('/session', async (c) => {
    const body: unknown = await c.req.json().catch(() => null);
    const presented = String((body as { key?: unknown } | null)?.key ?? '');
    c.header('cache-control', 'no-store');
    if (!isSameSecret(presented, key)) {
      return c.json({ type: 'about:blank', title: 'Unauthorized', status: 401, code: 'ERR_CONSOLE_KEY' }, 401);
    }
    return c.json(await session());
  });
  const answer = getRequestListener(app.fetch);
  return (request, response) => {
    // A page of another name that resolves to this address must not reach us (DNS rebinding).
    if (!/^(?:127\.0\.0\.1|localhost)(?::\d+)?$/.test(request.headers.host ?? '')) {
      response.writeHead(421).end();
      return;
    }
    response.setHeader('content-security-policy', POLICY);
    response.setHeader('x-content-type-options', 'nosniff');
    response.setHeader('x-frame-options', 'DENY');
    response.setHeader('referrer-policy', 'no-referrer');
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
    if (request.method === 'POST' || path === '/config.json') void answer(request, response);
    else sendFile(request, response, path, { root: directory });
  };
}
