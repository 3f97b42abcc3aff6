import { open } from 'node:fs/promises';
import http, { type RequestOptions } from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import type { Command } from 'commander';
import { STACK_FILE } from '../local/data-directory.ts';
import type { Role } from '../token-api/http/authorize.ts';
import { InputError, readJson } from './command.ts';
import { type Exit, exitOfStatus } from './exit-codes.ts';
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

/** Why the API gave no answer that the command can go on with, and how the command ends for it. */
export class ApiError extends Error {
  readonly code = 'ERR_API';
  readonly exit: Exit;
  constructor(message: string, exit: Exit) {
    super(message);
    this.name = 'ApiError';
    this.exit = exit;
  }
}

const SUCCESS = [200, 201, 202, 204];

/** Adds the options that say where the API of a running stack is. */
export function stackOptions(command: Command): Command {
  return command
    .option('--data <dir>', 'data directory of the stack', DEFAULT_DATA)
    .option('--api <url>', 'URL of the API, instead of that of the stack on --data')
    .option('--token-file <file>', 'bearer tokens by role, instead of those of the stack on --data');
}

/** Adds a command that calls the API of a running stack, with the options that say where it is. */
export function apiCommand(parent: Command, name: string, description: string, example: string): Command {
  return stackOptions(parent.command(name).description(description))
    .option('--json', 'print JSON')
    .addHelpText('after', `\nExample:\n  ${example}`);
}

/** Where the API is and the bearer token for it: as told, or as the running stack wrote down. */
async function access(options: StackAccess, role: Role): Promise<{ api: string; bearer: string }> {
  let { api, tokenFile } = options;
  if (!api || !tokenFile) {
    const stack = await readStack(options.data);
    api ||= stack.api;
    tokenFile ||= stack.tokenFile;
  }
  const bearer = ((await readJson(tokenFile)) as Partial<Record<Role, unknown>>)[role];
  if (typeof bearer !== 'string') throw new InputError(`${tokenFile} holds no token for the role ${role}`);
  return { api, bearer };
}

/**
 * What the running stack wrote down. It decides where a bearer token goes, and a data directory may have come with a
 * repository or lie in a shared folder: so only a file that nobody else wrote counts, and only an API on this machine.
 */
async function readStack(data: string): Promise<{ api: string; tokenFile: string }> {
  const path = join(data, STACK_FILE);
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw new InputError(`cannot read ${path}: ${error.code}`);
    throw new InputError(`no stack is running on ${data}; start one with npm run up, or give --api and --token-file`);
  });
  const refused = (why: string) =>
    new InputError(`${path} ${why}; give --api and --token-file to go where you mean to`);
  try {
    const { uid, mode } = await file.stat();
    // Where there are no user ids, as on Windows, there is nothing to compare.
    if (process.getuid && uid !== process.getuid()) throw refused('belongs to another user');
    if (process.getuid && mode & 0o022) throw refused('can be written by others');
    const { api, tokenFile } = parseStack(await file.readFile('utf8'));
    if (typeof api !== 'string' || typeof tokenFile !== 'string') throw refused('is not what a stack writes');
    if (!isLoopback(api)) throw refused('names an API that is not on this machine');
    return { api, tokenFile };
  } finally {
    await file.close();
  }
}

function parseStack(text: string): { api?: unknown; tokenFile?: unknown } {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

/** Whether a URL is one of loopback by its address (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3): what a name leads to may change. */
function isLoopback(url: string): boolean {
  return URL.canParse(url) && /^(?:127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname);
}

/** Who calls, and which refusals are answers too: that there is nothing to restore, for example. */
export interface CallOptions {
  /** `security` unless given. */
  role?: Role;
  /** Codes of problems that are answers; none unless given. */
  answers?: string[];
  /** How long the answer may take, in milliseconds; ten seconds unless given. */
  patienceMs?: number;
}

/**
 * Calls the API. Only an answer that it gives by its own contract counts: success, or a problem whose code is among
 * `answers`. Any other problem, and no answer, is an `ApiError`; something that is no API answers 404 to everything, and
 * is an `InputError`.
 */
export async function callApi(
  options: StackAccess,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
  { role = 'security', answers = [], patienceMs = 10_000 }: CallOptions = {},
): Promise<ApiAnswer> {
  const { api, bearer } = await access(options, role);
  if (!/^https?:\/\//i.test(api)) throw new InputError(`the API must be at an http(s) URL, not at ${api}`);
  const headers: Record<string, string> = { authorization: `Bearer ${bearer}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const content = body === undefined ? undefined : JSON.stringify(body);
  const { status, text } = await exchange(new URL(path, api), { method, headers, timeout: patienceMs }, content).catch(
    (error: NodeJS.ErrnoException) => {
      throw new ApiError(`no API answers at ${api} (${error.code}); is the stack up?`, 'unavailable');
    },
  );
  const answer = parseObject(text);
  if (answer && (SUCCESS.includes(status) || answers.includes(String(answer.code)))) return { status, body: answer };
  const exit = exitOfStatus(status);
  const isProblem = status >= 400 && /^ERR_/.test(String(answer?.code));
  // What stands in front of an API that is away answers for it, in its own words.
  if (!isProblem && exit !== 'unavailable') {
    throw new InputError(`what answers at ${api} is not the API of Portcullis (${status})`);
  }
  const did = exit === 'usage' || exit === 'no' ? 'refused' : 'failed';
  throw new ApiError(`the API at ${api} ${did}: ${String(answer?.detail ?? status)}`, exit);
}

/**
 * One request and its whole answer, redirections not followed. Of Node itself: a client that has to be loaded first would take half
 * the time of a command.
 */
function exchange(url: URL, options: RequestOptions, body?: string): Promise<{ status: number; text: string }> {
  const { request } = url.protocol === 'https:' ? https : http;
  return new Promise((resolve, reject) => {
    // A connection of its own: one that was kept may be closed at the other end just when a command that waits asks again.
    const asked = request(url, { ...options, agent: false }, (answer) => {
      textOf(answer).then((text) => resolve({ status: answer.statusCode ?? 0, text }), reject);
    });
    asked.on('timeout', () => asked.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })));
    asked.on('error', reject);
    asked.end(body);
  });
}

/** The JSON object in a text, `{}` for none at all; undefined for anything else. */
function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = text === '' ? {} : JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

/** Who calls, and what narrows a list down. */
export interface ListOptions {
  /** `security` unless given. */
  role?: Role;
  /** Parameters of the query. */
  filter?: Record<string, string>;
}

/** All of a list of the API, page by page: `{"<name>":[…],"next":"…"}`. */
export async function callList(
  options: StackAccess,
  path: string,
  name: string,
  { role = 'security', filter = {} }: ListOptions = {},
): Promise<unknown[]> {
  const all: unknown[] = [];
  let next: unknown;
  do {
    const query = new URLSearchParams({
      limit: '1000',
      ...filter,
      ...(next !== undefined && { cursor: String(next) }),
    });
    const { body } = await callApi(options, 'GET', `${path}?${query}`, undefined, { role });
    all.push(...(body[name] as unknown[]));
    next = body.next;
  } while (next !== undefined);
  return all;
}
