import { createHash, randomUUID } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { text } from 'node:stream/consumers';

/** An OpenID provider without a login form: it sends everybody back with a code, and gives `token` for it once (RFC 6749, RFC 7636). */
export class OpenIdProvider {
  readonly issuer: string;
  /** What was asked for, each by its parameters. */
  readonly authorizations: Record<string, string>[] = [];
  readonly exchanges: Record<string, string>[] = [];
  readonly #codes = new Map<string, Record<string, string>>();
  readonly #token: () => string;

  constructor(issuer: string, token: () => string) {
    this.issuer = issuer;
    this.#token = token;
  }

  readonly listener: RequestListener = async (request, response) => {
    const url = new URL(request.url ?? '/', this.issuer);
    const json = (status: number, body: object) => {
      response.writeHead(status, { 'content-type': 'application/json', 'access-control-allow-origin': '*' });
      response.end(JSON.stringify(body));
    };
    if (url.pathname === '/.well-known/openid-configuration') {
      const { issuer } = this;
      const endpoints = { authorization_endpoint: `${issuer}/authorize`, token_endpoint: `${issuer}/token` };
      return json(200, { issuer, ...endpoints });
    }
    if (url.pathname === '/authorize') {
      const asked = Object.fromEntries(url.searchParams);
      const code = randomUUID();
      this.authorizations.push(asked);
      this.#codes.set(code, asked);
      const back = new URL(asked.redirect_uri ?? '');
      for (const [name, value] of Object.entries({ code, state: asked.state ?? '', iss: this.issuer })) {
        back.searchParams.set(name, value);
      }
      return void response.writeHead(302, { location: back.href }).end();
    }
    if (url.pathname === '/token') {
      const given = Object.fromEntries(new URLSearchParams(await text(request)));
      this.exchanges.push(given);
      const asked = this.#codes.get(given.code ?? '');
      this.#codes.delete(given.code ?? '');
      const challenge = createHash('sha256')
        .update(given.code_verifier ?? '')
        .digest('base64url');
      const isRight =
        asked?.code_challenge === challenge &&
        asked.redirect_uri === given.redirect_uri &&
        asked.client_id === given.client_id;
      if (!isRight) return json(400, { error: 'invalid_grant' });
      return json(200, { access_token: this.#token(), token_type: 'Bearer', expires_in: 3600 });
    }
    json(404, {});
  };
}
