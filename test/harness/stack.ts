import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll } from 'vitest';
import { packagePath } from '../../local/package-root.ts';
import type { Role } from '../../token-api/http/authorize.ts';

export const CLI = packagePath('dist', 'lib', 'cli', 'portcullis.js');

export interface RunningStack {
  edge: string;
  api: string;
  console: string;
  tokenFile: string;
  detection: { mode: string };
  waf: { publish: boolean };
  tokens: Record<Role, string>;
  data: string;
  /** Everything it printed so far, on both streams. */
  output(): string;
  /** Sends a signal and waits for the end; resolves to the exit code, null when it was killed. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** A data directory that is removed with `rmSync` by whoever asked for it. */
export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'portcullis-test-'));
}

/** Options of Node under which a package is not installed. */
export function withoutPackage(name: string): string {
  const hook = `export const resolve = (specifier, context, next) => {
    if (specifier === '${name}') throw Object.assign(new Error('not installed'), { code: 'ERR_MODULE_NOT_FOUND' });
    return next(specifier, context);
  };`;
  const module = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
  return `--import ${module(`import { register } from 'node:module'; register(${JSON.stringify(module(hook))});`)}`;
}

/** Starts `portcullis up` on any free ports, and waits until it is ready. Its title is not rendered, which takes its time. */
export function startStack(data: string, ...more: string[]): Promise<RunningStack> {
  return startRenderingStack(data, '--no-render', ...more);
}

/** Starts `portcullis up` as a user would, on any free ports, and waits until it is ready. */
export async function startRenderingStack(data: string, ...more: string[]): Promise<RunningStack> {
  const child: ChildProcess = spawn(process.execPath, [CLI, 'up', '--port', '0', '--data', data, '--json', ...more], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const ready = await new Promise<Omit<RunningStack, 'tokens' | 'data' | 'output' | 'stop'>>((resolve, reject) => {
    child.stdout?.on('data', (chunk) => {
      stdout += chunk;
      const line = stdout.split('\n').find((text) => text.startsWith('{') && text.endsWith('}'));
      if (line) resolve(JSON.parse(line));
    });
    void ended.then((code) => reject(new Error(`up ended with ${code}: ${stderr}`)));
  });
  return {
    ...ready,
    tokens: JSON.parse(readFileSync(ready.tokenFile, 'utf8')),
    data,
    output: () => stdout + stderr,
    async stop(signal = 'SIGTERM') {
      child.kill(signal);
      return ended;
    },
  };
}

/**
 * A stack of its own for the tests of a file, or of a block, with settings as in `portcullis.json`. Its `data` directory is
 * there at once, everything else when the hooks of the tests run; both are gone when they have ended.
 */
export function useStack(settings?: object): RunningStack {
  const data = temporaryDirectory();
  const stack = { data } as RunningStack;
  beforeAll(async () => {
    const config = join(data, 'portcullis.json');
    if (settings) writeFileSync(config, JSON.stringify(settings));
    Object.assign(stack, await startStack(data, ...(settings ? ['--config', config] : [])));
  });
  afterAll(async () => {
    // Not there when it could not be started.
    await stack.stop?.();
    removeDirectory(data);
  });
  return stack;
}

/**
 * Waits until a second is over, in epoch seconds. Tokens count in whole seconds: one that is renewed in the second that it
 * was minted in would not be later, and is refused.
 */
export async function laterThan(second: number): Promise<void> {
  while (Math.floor(Date.now() / 1000) <= Math.floor(second)) await sleep(20);
}

/** All lines of the access logs of a stack, in their order: those of an hour that is just over are in a file of their own. */
export function accessLog(data: string): string {
  const folder = join(data, 'logs');
  const names = readdirSync(folder).filter((name) => /^access\..*log$/.test(name));
  return names
    .sort()
    .map((name) => readFileSync(join(folder, name), 'utf8'))
    .join('');
}

export interface RawAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Buffer;
}

/** A request whose path goes out exactly as written: `fetch` would repair it. */
export function rawRequest(
  base: string,
  path: string,
  options: http.RequestOptions & { body?: string } = {},
): Promise<RawAnswer> {
  const { hostname, port } = new URL(base);
  const { body, ...rest } = options;
  return new Promise((resolve, reject) => {
    const request = http.request({ hostname, port, path, agent: false, ...rest }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) });
      });
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

export interface Playback {
  playbackUrl: string;
  sessionId: string;
  expiresAt: number;
}

/** Asks for a playback URL as a player does. */
export async function requestPlayback(stack: RunningStack, asset = 'aurora'): Promise<Playback> {
  const response = await fetch(`${stack.edge}/v1/playback`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.tokens.player}`, 'content-type': 'application/json' },
    body: JSON.stringify({ asset }),
  });
  if (!response.ok) throw new Error(`playback: ${response.status} ${await response.text()}`);
  return (await response.json()) as Playback;
}

/** Calls the revocation route of a session as security does. */
export function revocation(stack: RunningStack, sessionId: string, method: 'POST' | 'DELETE'): Promise<Response> {
  return fetch(`${stack.api}/v1/sessions/${sessionId}/revocation`, {
    method,
    headers: { authorization: `Bearer ${stack.tokens.security}` },
  });
}

/** A port of loopback that was free just now. */
export async function freePort(): Promise<number> {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true });
}
