import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { request } from 'undici';
import { STACK_FILE } from '../local/data-directory.ts';
import { InputError, readJson } from './command.ts';
import { DEFAULT_DATA } from './up.ts';

/** The options of a command that calls the API. */
export interface StackAccess {
  data: string;
  api?: string;
  tokenFile?: string;
  json?: boolean;
}

export interface ApiAnswer {
  status: number;
  body: Record<string, unknown>;
}

/** Adds a command that calls the API of a running stack, with the options that say where it is. */
export function apiCommand(parent: Command, name: string, description: string, example: string): Command {
  return parent
    .command(name)
    .description(description)
    .option('--data <dir>', 'data directory of the stack', DEFAULT_DATA)
    .option('--api <url>', 'URL of the API, instead of that of the stack on --data')
    .option('--token-file <file>', 'bearer tokens by role, instead of those of the stack on --data')
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExample:\n  ${example}`);
}

/** Where the API is and the bearer token for it: as told, or as the running stack wrote down. */
async function access(options: StackAccess): Promise<{ api: string; bearer: string }> {
  const stackFile = join(options.data, STACK_FILE);
  let { api, tokenFile } = options;
  if (!api || !tokenFile) {
    if (!existsSync(stackFile)) {
      throw new InputError(
        `no stack is running on ${options.data}; start one with npm run up, or give --api and --token-file`,
      );
    }
    const stack = (await readJson(stackFile)) as { api: string; tokenFile: string };
    api ??= stack.api;
    tokenFile ??= stack.tokenFile;
  }
  const { security } = (await readJson(tokenFile)) as { security?: string };
  if (typeof security !== 'string') throw new InputError(`${tokenFile} holds no token for the role security`);
  return { api, bearer: security };
}

/**
 * Calls the API. Only an answer that it gives by its own contract counts: success, or that there is nothing to restore.
 * Anything else is an error; something that is no API answers 404 to everything.
 */
export async function callApi(
  options: StackAccess,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<ApiAnswer> {
  const { api, bearer } = await access(options);
  const headers: Record<string, string> = { authorization: `Bearer ${bearer}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const { statusCode: status, body: stream } = await request(new URL(path, api), {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    headersTimeout: 10_000,
  }).catch((error: NodeJS.ErrnoException) => {
    throw new InputError(`no API answers at ${api} (${error.code}); is the stack up?`);
  });
  const text = await stream.text();
  let answer: Record<string, unknown>;
  try {
    answer = text === '' ? {} : JSON.parse(text);
  } catch {
    throw new InputError(`what answers at ${api} is not the API of Portcullis (${status})`);
  }
  if (status === 200 || status === 201 || status === 204 || answer.code === 'ERR_NOT_REVOKED')
    return { status, body: answer };
  throw new InputError(`the API at ${api} refused: ${String(answer.detail ?? status)}`);
}
