import { type ChildProcess, spawn } from 'node:child_process';
import { afterAll, vi } from 'vitest';
import { isOnPath } from './programs.ts';
import { freePort } from './stack.ts';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

/** Whether moto_server (PyPI, moto[server]) is there, which is never required. */
export const HAS_MOTO = isOnPath('moto_server');

/** What a client of the AWS SDK needs to reach it. */
export interface MotoAccess {
  endpoint: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
}

/** A moto_server for the tests of a file: it begins when it is first asked for, and ends with them. */
export function useMoto(): () => Promise<MotoAccess> {
  let server: ChildProcess | undefined;
  let started: Promise<MotoAccess> | undefined;
  const start = async (): Promise<MotoAccess> => {
    const port = await freePort();
    server = spawn('moto_server', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    const endpoint = `http://127.0.0.1:${port}`;
    await vi.waitFor(() => fetch(`${endpoint}/moto-api/`), { timeout: 60_000, interval: 200 });
    return { endpoint, region: 'us-east-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } };
  };
  afterAll(() => {
    server?.kill();
  });
  return () => (started ??= start());
}
