import { ApiError, call } from './api.ts';

/** Where the page is deployed: people log in at an issuer. */
export interface Login {
  login: 'oidc';
  issuer: string;
  clientId: string;
  /** Whether detection is deployed too. */
  detection: boolean;
}

/** How one signs in where the page is served: by the key of a local stack, or by a login. */
export type Settings = { login: 'key' } | Login;

/** Reads `config.json` beside the page. Throws `ApiError` when it is not there, or says something else. */
export async function readSettings(): Promise<Settings> {
  const response = await call('./config.json', {}, 'What serves the console');
  const settings: Partial<Login> | { login: 'key' } = response.ok ? await response.json().catch(() => ({})) : {};
  if (settings.login === 'key') return { login: 'key' };
  const { login, issuer, clientId, detection } = settings;
  if (login !== 'oidc' || typeof issuer !== 'string' || !URL.canParse(issuer) || typeof clientId !== 'string') {
    throw new ApiError(
      response.status,
      'settings',
      'The console is not set up',
      'Its config.json is missing or wrong: write it again, as docs/deployment.md says.',
    );
  }
  return { login, issuer, clientId, detection: detection === true };
}
