import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import type { DataKeys } from '../enclave-render/kms/data-keys.ts';
import { unwrapContentKey } from '../enclave-render/packaging/content-keys.ts';
import { readKeyTable } from '../enclave-render/packaging/key-table-file.ts';
import { type LiveChannel, type LiveClock, liveChannel } from '../enclave-render/packaging/live.ts';
import { type PackagedTitle, readTitle } from '../enclave-render/packaging/title.ts';
import { openDataKeys } from '../local/data-keys.ts';
import { openPort } from '../local/listen.ts';
import { InputError, integer, note, print } from './command.ts';
import { DEFAULT_DATA } from './up.ts';

const HELP = `
Plays a packaged title over and over as a live channel on this machine: a sliding window; low-latency parts and blocking playlist
reload when it was packaged with --part-seconds. It asks for no token and gives keys to everybody who can reach it: for trying
players only. It runs until it is stopped.

Examples:
  portcullis package hls aurora.mp4 live/aurora --part-seconds 1
  portcullis package live live/aurora --port 8090`;

interface LiveOptions {
  port: number;
  window: number;
  keyStorage?: string;
  data: string;
  config?: string;
  json?: true;
}

const CLOCK: LiveClock = {
  now: () => Date.now() / 1000,
  wait: (seconds, signal) => sleep(Math.max(0, seconds * 1000), undefined, { signal }),
};

/** Origins and hosts of this machine. */
const LOOPBACK = /^(?:https?:\/\/)?(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?$/;

/** Adds `live` to the command `package`. */
export function registerLive(group: Command): void {
  group
    .command('live')
    .description('serve a packaged title as a live channel, on loopback')
    .argument('<title>', 'folder that package hls made')
    .option('--port <n>', 'port on loopback; 0 is any free one', integer(0, 65_535), 0)
    .option('--window <n>', 'segments of the sliding window', integer(3, 1000), 6)
    .option('--key-storage <file>', 'table of the keys, when it is not keys.json in the folder')
    .option('--data <dir>', 'data directory of the stack, where its keystore is', DEFAULT_DATA)
    .option('--config <file>', 'configuration (docs/configuration.md)')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async (folder: string, options: LiveOptions) => {
      const title = await readTitle(folder);
      const startedAt = CLOCK.now();
      const channel = liveChannel(title, { folder, clock: CLOCK, startedAt, windowSegments: options.window });
      const { mastering } = await readConfiguration(options.config);
      const dataKeys = await openDataKeys(mastering, options.data);
      const keys =
        title.encryption === 'none'
          ? new Map<string, Buffer>()
          : await openKeys(title, options.keyStorage ?? join(folder, 'keys.json'), dataKeys);
      const port = await openPort(options.port);
      port.serve((request, response) => void respond(channel, keys, request, response));
      note('everybody on this machine gets what this serves, keys too');
      const url = `${port.url}/master.m3u8`;
      print(options.json, { url }, [`${url} until it is stopped (Ctrl-C)`]);
      await new Promise<void>((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve));
      await port.close();
    });
}

/** The keys of a title by name, in clear and in memory. Throws `InputError` when the table has not all of them. */
async function openKeys(title: PackagedTitle, file: string, dataKeys: DataKeys): Promise<Map<string, Uint8Array>> {
  const table = await readKeyTable(file);
  if (!table) throw new InputError(`cannot read ${file}: name the table of the title's keys with --key-storage`);
  const opened = new Map<string, Uint8Array>();
  for (const entry of table.keys) opened.set(entry.name, await unwrapContentKey(dataKeys, entry));
  const segments = title.renditions.flatMap((rendition) => rendition.segments);
  const missing = segments.find(({ encryption }) => encryption && !opened.has(encryption.key))?.encryption?.key;
  if (missing === undefined) return opened;
  throw new InputError(`${file} has no key ${missing}: name the table of the title's keys with --key-storage`);
}

async function respond(
  channel: LiveChannel,
  keys: Map<string, Uint8Array>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  // A name that somebody has lead here makes a page elsewhere one of this server, to which browsers give everything.
  if (!LOOPBACK.test(request.headers.host ?? '')) return void response.writeHead(421).end();
  try {
    // Not relative to a base: a path that begins with two slashes would be a host.
    const { pathname, searchParams } = new URL(`http://loopback${request.url}`);
    // Players on other pages of this machine may have keys; what somebody browses to elsewhere may not.
    const { origin } = request.headers;
    response.setHeader('vary', 'origin');
    if (!pathname.startsWith('/keys/')) response.setHeader('access-control-allow-origin', '*');
    else if (origin && LOOPBACK.test(origin)) response.setHeader('access-control-allow-origin', origin);
    const [, name] = /^\/keys\/([\w-]+)\.key$/.exec(pathname) ?? [];
    const key = name === undefined ? undefined : keys.get(name);
    if (key) {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' }).end(key);
      return;
    }
    const answer = await channel(pathname.slice(1), searchParams, gone.signal);
    if ('file' in answer) {
      const { size } = await stat(answer.file);
      const { type, cacheControl } = answer;
      response.writeHead(200, { 'content-type': type, 'cache-control': cacheControl, 'content-length': size });
      if (request.method === 'HEAD') response.end();
      else
        createReadStream(answer.file)
          .on('error', () => response.destroy())
          .pipe(response);
      return;
    }
    const headers =
      answer.status === 200
        ? { 'content-type': answer.type, 'cache-control': answer.cacheControl }
        : { 'content-type': 'text/plain' };
    response.writeHead(answer.status, headers).end(answer.text);
  } catch {
    // The player went away while it waited, or a file did.
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
}
