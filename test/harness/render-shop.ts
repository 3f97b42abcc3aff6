import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import net, { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serveAgent } from '../../enclave-render/host/agent.ts';
import type { AgentEnclave } from '../../enclave-render/host/agent-job.ts';
import type { EnclaveLauncher } from '../../enclave-render/host/enclave-launcher.ts';
import type { RunnerConfiguration } from '../../enclave-render/host/runner-configuration.ts';
import { EmbeddedKms } from '../../enclave-render/kms/embedded.ts';
import { BubblewrapSandbox } from '../../enclave-render/render/sandbox-bubblewrap.ts';
import { connectNsm } from '../../enclave-render/security-module/nsm.ts';
import { simulatedModule } from '../../enclave-render/security-module/simulator.ts';
import { openIdentity, type RenderJob, type RenderShop, tasksOf } from '../../local/render-jobs.ts';
import { publicPem } from '../../local/render-owner.ts';
import { ffmpeg } from './media.ts';

/** Registers of enclaves of tests. */
export const PCRS = { '0': '0a'.repeat(48), '1': '1b'.repeat(48), '2': '2c'.repeat(48) };

/** What an enclave of a test does otherwise. */
export interface EnclaveChanges extends Partial<Pick<AgentEnclave, 'tasksOf' | 'sandbox'>> {
  pcrs?: Record<string, string>;
  /** Milliseconds since the epoch, by its module. */
  now?: () => number;
}

const LIMITS = { memoryBytes: 4 * 2 ** 30, cpuSeconds: 60, wallSeconds: 120, outputBytes: 64 << 20 };

/** A shop whose enclaves are the agent in this process, real but for the wall around it, so that a launch costs next to nothing. */
export async function testShop(folder: string, changes: EnclaveChanges = {}): Promise<RenderShop> {
  const identity = await openIdentity(join(folder, 'data'));
  const kms = new EmbeddedKms({
    keystore: join(folder, 'kms', 'keystore.json'),
    attestationRoots: [identity.ca.root],
  });
  const mastering = { dataKeys: kms, keyId: 'alias/mastering' };
  if (!(await kms.exists())) await kms.createKey({ alias: mastering.keyId });
  const shop = { folder: identity.folder, owner: identity.owner, kms, isolation: 'bubblewrap' as const, mastering };
  return { ...shop, roots: [identity.ca.root], launcher: testLauncher(identity, changes), now: Date.now };
}

/** The two ends of a connection over a Unix socket, as an enclave has it. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-test-socket-'));
  const path = join(folder, 'socket');
  const server = net.createServer();
  try {
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const near = net.connect(path);
    const [far] = await accepted;
    return [near, far];
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
}

/** Launches the agent in this process. */
export function testLauncher(
  { ca, owner }: Awaited<ReturnType<typeof openIdentity>>,
  { pcrs = PCRS, now = Date.now, ...changes }: EnclaveChanges = {},
): EnclaveLauncher {
  const configuration: RunnerConfiguration = {
    format: 'portcullis-runner/1',
    owners: [publicPem(owner.signing)],
    isolation: 'bubblewrap',
    renderers: { ffmpeg: '/usr/bin/ffmpeg' },
    limits: LIMITS,
  };
  return {
    pcrs: PCRS,
    root: ca.root,
    async launch() {
      const [channel, inside] = await socketPair();
      const [nsm, moduleSide] = await socketPair();
      simulatedModule({ ca, pcrs, now }).serve(moduleSide);
      const module = connectNsm(nsm);
      const scratch = mkdtempSync(join(tmpdir(), 'portcullis-test-enclave-'));
      const enclave = { module, configuration, sandbox: new BubblewrapSandbox(), scratch, tasksOf, ...changes };
      const ended = serveAgent(inside, enclave).then(() => {
        module.close();
        const left = readdirSync(scratch);
        rmSync(scratch, { recursive: true });
        if (left.length > 0) throw new Error(`an enclave left ${left.join(', ')}`);
        return null;
      });
      ended.catch(() => undefined);
      return {
        channel,
        ended,
        async end() {
          channel.destroy();
          await ended;
        },
      };
    },
  };
}

/** Two tasks: a shot that stays inside, and what is made of it, which is delivered. */
export function twoStepJob(folder: string, changes: Partial<RenderJob> = {}): RenderJob {
  const path = { type: 'PATH', objectType: 'FILE' };
  const onRun = (args: string[]) => ({ actions: { onRun: { command: 'ffmpeg', args } } });
  return {
    template: {
      specificationVersion: 'jobtemplate-2023-09',
      name: 'Two steps',
      parameterDefinitions: [
        { name: 'Source', ...path, dataFlow: 'IN' },
        { name: 'Output', ...path, dataFlow: 'OUT', default: 'title.mkv' },
      ],
      steps: [
        { name: 'shot', script: onRun(['-t', '0.4', '-i', '{{Param.Source}}', '-c:v', 'ffv1', '/out/shot.mkv']) },
        {
          name: 'grade',
          dependencies: [{ dependsOn: 'shot' }],
          script: onRun(['-i', '/in/shot/shot.mkv', '-vf', 'hue=s=0', '-c:v', 'ffv1', '{{Param.Output}}']),
        },
      ],
    },
    parameters: {},
    inputs: { Source: join(folder, 'source.mkv') },
    output: join(folder, 'out'),
    mastering: false,
    ...changes,
  };
}

/** A second of a test picture, some 300 kB in FFV1. */
export async function testSource(folder: string): Promise<string> {
  const path = join(folder, 'source.mkv');
  mkdirSync(folder, { recursive: true });
  await ffmpeg('-f', 'lavfi', '-i', 'testsrc2=d=0.4:s=160x90:r=25', '-c:v', 'ffv1', path);
  return path;
}

/** A copy of a folder, for a test to spoil. */
export function copyOf(folder: string, to: string): string {
  rmSync(to, { recursive: true, force: true });
  cpSync(folder, to, { recursive: true });
  return to;
}

/** Files under some folders that have these bytes in them. */
export function filesWith(folders: readonly string[], bytes: Buffer): string[] {
  const found: string[] = [];
  for (const folder of folders) {
    for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      try {
        if (readFileSync(path).includes(bytes)) found.push(path);
      } catch {
        // It is gone meanwhile.
      }
    }
  }
  return found;
}
