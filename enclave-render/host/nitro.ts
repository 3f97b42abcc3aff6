import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { AWS_NITRO_ROOT, type Pcrs } from '../attestation/attestation-document.ts';
import type { EnclaveLauncher, RunningEnclave } from './enclave-launcher.ts';
import { HostError } from './host-error.ts';
import { launchFolder } from './launch-folder.ts';

/** Where the image's first process listens (`init.c`), which has the connection at descriptor 3 of the agent. */
export const VSOCK_PORT = 5005;
const CONNECT_ATTEMPTS = 100;
const CONNECT_MS = 100;
const POLL_MS = 1000;
const ANSWER = { maxBuffer: 1 << 20 };

const Started = v.object({
  EnclaveID: v.pipe(v.string(), v.regex(/^i-[0-9a-f]+-enc[0-9a-f]+$/)),
  EnclaveCID: v.pipe(v.number(), v.safeInteger(), v.minValue(4)),
});
const Described = v.array(v.object({ EnclaveID: v.string(), State: v.string(), Flags: v.exactOptional(v.string()) }));

export interface NitroOptions {
  /** Enclave image (EIF). */
  image: string;
  /** As `measureEif` has them. */
  pcrs: Pcrs;
  /** Of the enclave; at least four times as much memory as the image is long. */
  cpus: number;
  memoryMib: number;
  /** Paths of the programs: nitro-cli and socat. */
  nitroCli?: string;
  socat?: string;
}

/**
 * Launches enclaves of AWS Nitro on an EC2 parent with EnclaveOptions: `nitro-cli run-enclave`, never in debug mode, whose console
 * would be open and whose registers are zero. The stream comes through socat from vsock, which Node cannot open. Rejects with
 * `ERR_HOST_LAUNCH`. Tried with a stand-in for nitro-cli; never on Nitro hardware.
 */
export function nitroLauncher(options: NitroOptions): EnclaveLauncher {
  return { pcrs: options.pcrs, root: AWS_NITRO_ROOT, launch: (signal) => launch(options, signal) };
}

async function launch(options: NitroOptions, signal?: AbortSignal): Promise<RunningEnclave> {
  const { image, cpus, memoryMib, nitroCli = '/usr/bin/nitro-cli', socat = '/usr/bin/socat' } = options;
  const run = [...['--eif-path', image], ...['--cpu-count', `${cpus}`, '--memory', `${memoryMib}`]];
  const { EnclaveID: id, EnclaveCID: cid } = await runEnclave(nitroCli, run);
  const stop = new AbortController();
  const terminate = () => terminateEnclave(nitroCli, id);
  try {
    const relay = await relayed(socat, cid, signal);
    const ended = untilGone(nitroCli, id, stop.signal).finally(() => relay.end());
    return {
      channel: relay.channel,
      ended,
      async end() {
        try {
          await terminate();
        } finally {
          stop.abort();
          await ended;
        }
      },
    };
  } catch (error) {
    await terminate();
    throw error instanceof HostError ? error : notStarted((error as Error).message);
  }
}

/** Starts an enclave. Of an answer that is none, the enclave that it names is ended: it would run, with nobody to know of it. */
async function runEnclave(nitroCli: string, args: string[]): Promise<v.InferOutput<typeof Started>> {
  const { stdout, code } = await promisify(execFile)(nitroCli, ['run-enclave', ...args], ANSWER).then(
    (answer) => ({ stdout: answer.stdout, code: 0 }),
    (error) => ({ stdout: String(error.stdout ?? ''), code: error.code }),
  );
  const started = parsed(Started, stdout);
  if (code === 0 && started) return started;
  const [, id] = /"EnclaveID"\s*:\s*"(i-[0-9a-f]+-enc[0-9a-f]+)"/.exec(stdout) ?? [];
  if (id !== undefined) await terminateEnclave(nitroCli, id);
  throw notStarted(
    code === 0 ? `${nitroCli} run-enclave does not answer as it should` : `${nitroCli} run-enclave ends with ${code}`,
  );
}

async function terminateEnclave(nitroCli: string, id: string): Promise<void> {
  await promisify(execFile)(nitroCli, ['terminate-enclave', '--enclave-id', id]).catch(async () => {
    // It may have ended by itself meanwhile.
    if (!(await isGone(nitroCli, id))) throw notEnded(nitroCli, id);
  });
}

/** A connection to the agent: socat between a Unix socket and vsock. The agent listens a while after its enclave has started. */
async function relayed(socat: string, cid: number, signal?: AbortSignal) {
  const folder = await launchFolder('portcullis-vsock');
  const path = join(folder, 'agent.sock');
  const retry = `retry=${CONNECT_ATTEMPTS},interval=${CONNECT_MS / 1000}`;
  const argv = [`UNIX-LISTEN:${path},mode=0600`, `VSOCK-CONNECT:${cid}:${VSOCK_PORT},${retry}`];
  const child = spawn(socat, argv, { stdio: 'ignore' });
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
  });
  const end = async () => {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  };
  try {
    for (let attempt = 0; attempt < CONNECT_ATTEMPTS; attempt++) {
      signal?.throwIfAborted();
      if (failure || child.exitCode !== null) throw notStarted('socat cannot be started');
      const channel = net.connect(path);
      const isConnected = await once(channel, 'connect').then(
        () => true,
        () => false,
      );
      if (isConnected) return { channel, end };
      await sleep(CONNECT_MS);
    }
    throw notStarted('nothing listens in the enclave');
  } catch (error) {
    await end();
    throw error;
  }
}

/** Nobody says when an enclave has ended: it is asked for, until it is no more. */
async function untilGone(nitroCli: string, id: string, signal: AbortSignal): Promise<null> {
  while (!(await isGone(nitroCli, id))) {
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return null;
  }
  return null;
}

/** Whether there is no such enclave any more. One in debug mode, which is not as it was started, is none. */
async function isGone(nitroCli: string, id: string): Promise<boolean> {
  const running = await promisify(execFile)(nitroCli, ['describe-enclaves'], ANSWER).then(
    ({ stdout }) => parsed(Described, stdout),
    () => undefined,
  );
  const own = running?.find((enclave) => enclave.EnclaveID === id);
  return running !== undefined && (own === undefined || own.Flags?.includes('DEBUG_MODE') === true);
}

function parsed<Schema extends v.GenericSchema>(schema: Schema, json: string): v.InferOutput<Schema> | undefined {
  try {
    return v.parse(schema, JSON.parse(json));
  } catch {
    return undefined;
  }
}

function notStarted(why: string): HostError {
  return new HostError('ERR_HOST_LAUNCH', `no enclave can be started: ${why}; see /var/log/nitro_enclaves`);
}

function notEnded(nitroCli: string, id: string): HostError {
  const how = `it may run still, with the keys of its job: ${nitroCli} terminate-enclave --enclave-id ${id}`;
  return new HostError('ERR_HOST_ENDING', `enclave ${id} could not be ended; ${how}`);
}
