// A local stack for benchmarks, in a process of its own, whose limits for each caller are out of the way.
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../dist/lib/cli/portcullis.js', import.meta.url));
const UNLIMITED = { api: { requestsPerMinute: { player: 10_000_000, backend: 10_000_000 } } };

/** Starts a stack on a data directory; resolves to the URLs of edge and API, the bearer tokens by role, the id of its process, and what ends it. */
export async function startStack(data) {
  const config = join(data, 'portcullis.json');
  writeFileSync(config, JSON.stringify(UNLIMITED));
  const args = [CLI, 'up', '--port', '0', '--data', data, '--config', config, '--json'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const line = await Promise.race([
    new Promise((resolve) => child.stdout.once('data', (chunk) => resolve(String(chunk)))),
    ended.then((code) => Promise.reject(new Error(`the stack ended with ${code}: ${errors}`))),
  ]);
  const { edge, api, tokenFile } = JSON.parse(line);
  const stop = () => {
    child.kill('SIGTERM');
    return ended;
  };
  return { edge, api, tokens: JSON.parse(readFileSync(tokenFile, 'utf8')), pid: child.pid, stop };
}
