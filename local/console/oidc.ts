import { ApiError, call } from './api.ts';

/*
 * By hand, in place of a library: of OpenID Connect the page needs the code flow of a public client and nothing of the ID token,
 * which it never asks to see. The API verifies the access token; here it is only carried.
 */

const STORED_AS = 'portcullis.login';

/** A public client of an issuer, as `config.json` has them. */
export interface Client {
  issuer: string;
  clientId: string;
}

/** What has to be known of a login when its answer comes. */
interface Started {
  state: string;
  verifier: string;
}

const base64url = (bytes: Uint8Array) =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
/** Where the issuer sends people back to: this page, without a query. */
const redirectUri = () => location.origin + location.pathname;

/** An endpoint of the issuer, from its metadata (OpenID Connect Discovery 1.0 §4). Throws `ApiError`. */
async function endpoint(name: 'authorization_endpoint' | 'token_endpoint', { issuer }: Client): Promise<string> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const response = await call(url, {}, 'The issuer');
  const metadata: Record<string, unknown> = response.ok ? await response.json() : {};
  const found = URL.parse(String(metadata[name] ?? ''));
  // §4.3: the issuer's own name. The protocol is compared since a page can also be sent to `javascript:`.
  if (metadata.issuer !== issuer || found?.protocol !== new URL(issuer).protocol) {
    throw new ApiError(response.status, 'issuer', 'The issuer does not describe itself', `Asked at ${url}.`);
  }
  return found.href;
}

/** Leaves the page for the issuer's login: authorization code (RFC 6749 §4.1) with PKCE (RFC 7636, S256). */
export async function beginLogin(client: Client): Promise<void> {
  const started: Started = { state: random(), verifier: random() };
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(started.verifier));
  const url = new URL(await endpoint('authorization_endpoint', client));
  const parameters = {
    response_type: 'code',
    client_id: client.clientId,
    redirect_uri: redirectUri(),
    scope: 'openid',
    state: started.state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: 'S256',
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  sessionStorage.setItem(STORED_AS, JSON.stringify(started));
  location.assign(url);
}

/**
 * The access token of the login whose answer is in the address bar, which is cleared of it; undefined when none is there. A code
 * that was not asked for in this tab is not redeemed. Throws `ApiError`.
 */
export async function finishLogin(client: Client): Promise<string | undefined> {
  const answer = new URLSearchParams(location.search);
  const started: Partial<Started> = JSON.parse(sessionStorage.getItem(STORED_AS) ?? '{}');
  sessionStorage.removeItem(STORED_AS);
  if (!answer.has('code') && !answer.has('error')) return undefined;
  history.replaceState(null, '', location.pathname);
  const issuer = answer.get('iss') ?? client.issuer; // RFC 9207
  if (!started.state || !started.verifier || answer.get('state') !== started.state || issuer !== client.issuer) {
    throw new ApiError(0, 'state', 'This login was not begun here', 'Log in again.');
  }
  const code = answer.get('code');
  if (code === null) throw new ApiError(0, 'denied', 'The issuer refused the login', answer.get('error') ?? '');
  const body = new URLSearchParams({
    grant_type: 'authorization_code',
    code,
    redirect_uri: redirectUri(),
    client_id: client.clientId,
    code_verifier: started.verifier,
  });
  const response = await call(await endpoint('token_endpoint', client), { method: 'POST', body }, 'The issuer');
  const tokens: Record<string, unknown> = response.ok ? await response.json() : {};
  const token = tokens.access_token;
  if (typeof token !== 'string' || !/^bearer$/i.test(String(tokens.token_type))) {
    throw new ApiError(response.status, 'login', 'The issuer gave no bearer token', 'Log in again.');
  }
  return token;
}
