import { type ChildProcess, spawn } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { SETTINGS_VARIABLE } from '../../lambda/settings.ts';
import { packagePath } from '../../local/package-root.ts';

/** A Lambda function that is warm: the built bundle in a process of its own, which answers one event after the other. */
export interface RunningLambda {
  // biome-ignore lint/suspicious/noExplicitAny: whatever the function answers, tests say what they expect.
  invoke(event: object): Promise<any>;
  /** All that it wrote to its log so far. */
  log(): string;
  stop(): void;
}

/** Stands for the runtime of Lambda. Every name below localhost is this machine: that of a key-value store is below that of its account. */
const RUNTIME = `
  import dns from 'node:dns';
  const lookup = dns.lookup;
  dns.lookup = (name, ...rest) => lookup(name.endsWith('localhost') ? '127.0.0.1' : name, ...rest);
  const { handler } = await import(process.env.BUNDLE);
  process.on('message', async ({ id, event }) => {
    const context = { awsRequestId: 'request-' + id, getRemainingTimeInMillis: () => 900_000 };
    try {
      process.send({ id, result: await handler(event, context) });
    } catch (error) {
      process.send({ id, failure: String(error) });
    }
  });
`;

/** Starts the function of `dist/lambda/<name>` with `settings`; every AWS service is at `endpoint`. */
export function startLambda(name: string, settings: object, endpoint: string): RunningLambda {
  const bundle = packagePath('dist', 'lambda', name, 'index.mjs');
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', RUNTIME], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: {
      PATH: process.env.PATH,
      BUNDLE: pathToFileURL(bundle).href,
      [SETTINGS_VARIABLE]: JSON.stringify(settings),
      AWS_ENDPOINT_URL: endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    },
  });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (log += chunk));
  const waiting = new Map<number, (answer: { result?: unknown; failure?: string }) => void>();
  let invocations = 0;
  child.on('message', ({ id, ...answer }: { id: number; result?: unknown; failure?: string }) =>
    waiting.get(id)?.(answer),
  );
  child.once('exit', () => {
    for (const answer of waiting.values()) answer({ failure: `the function ended: ${log}` });
  });
  return {
    async invoke(event) {
      const id = invocations++;
      const { result, failure } = await new Promise<{ result?: unknown; failure?: string }>((resolve) => {
        waiting.set(id, resolve);
        if (child.exitCode !== null) resolve({ failure: `the function ended: ${log}` });
        else child.send({ id, event });
      });
      waiting.delete(id);
      if (failure !== undefined) throw new Error(failure);
      return result;
    },
    log: () => log,
    stop: () => child.kill(),
  };
}
