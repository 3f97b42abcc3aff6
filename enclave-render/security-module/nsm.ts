import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { readFrames, writeFrame } from './frames.ts';
import {
  ATTESTATION_LIMITS,
  decodeNsm,
  encodeNsm,
  isNsmError,
  NSM_REQUESTS,
  type NsmRequest,
  type NsmRequestName,
  type NsmResponse,
  RESPONSE_BYTES,
} from './nsm-protocol.ts';
import { type SecurityModule, SecurityModuleError } from './security-module.ts';

/** How long the module may take for an answer, in milliseconds; it takes some for a signature. */
const TIMEOUT_MS = 30_000;

/** A security module, until it is closed: whatever is asked then is `ERR_MODULE_ABSENT`. */
export interface NsmConnection extends SecurityModule {
  close(): void;
}

/**
 * The security module behind `/dev/nsm`, by the helper of `nsm-helper.c`, which is started and opens the device, and
 * ends when this is closed. `helper` is its path. Where there is no device, whatever is asked is `ERR_MODULE_ABSENT`.
 */
export function openNsm(helper: string): NsmConnection {
  const child = spawn(helper, { stdio: ['pipe', 'pipe', 'ignore'], env: {} });
  const stream = Duplex.from({ writable: child.stdin, readable: child.stdout });
  child.once('error', () => stream.destroy());
  return connectNsm(stream);
}

/**
 * A security module that is spoken to over a stream: each request and answer is one frame (`frames.ts`) of CBOR
 * (`nsm-protocol.ts`). One request is under way at a time. After an answer that is none, or none within `timeoutMs`,
 * the stream is destroyed, because nobody can say which request the next answer would be for.
 */
export function connectNsm(stream: Duplex, timeoutMs = TIMEOUT_MS): NsmConnection {
  // Reading finds out about errors of the stream, and says so to whoever asks next.
  stream.on('error', () => undefined);
  const frames = readFrames(stream, RESPONSE_BYTES);
  let last: Promise<unknown> = Promise.resolve();
  let failure: SecurityModuleError | undefined;

  const fail = (code: 'ERR_MODULE_ABSENT' | 'ERR_MODULE_PROTOCOL', message: string): SecurityModuleError => {
    failure ??= new SecurityModuleError(code, message);
    stream.destroy();
    return failure;
  };

  const exchange = async (request: Uint8Array): Promise<Uint8Array> => {
    if (failure) throw failure;
    const timer = new AbortController();
    const late = delay(timeoutMs, undefined, { signal: timer.signal, ref: false }).then(
      () => {
        throw fail('ERR_MODULE_PROTOCOL', `the security module did not answer within ${timeoutMs} ms`);
      },
      // Aborted: the answer was in time.
      () => new Promise<never>(() => undefined),
    );
    try {
      const unsent = new Promise<never>((_, reject) => writeFrame(stream, request).catch(reject));
      // Read at once: a stream that is gone may never say whether it took the request.
      const { value, done } = await Promise.race([frames.next(), unsent, late]);
      if (!done) return value;
    } catch (error) {
      if (error instanceof SecurityModuleError) throw fail(error.code as 'ERR_MODULE_PROTOCOL', error.message);
      // Whatever else the stream says is that nobody is there.
    } finally {
      timer.abort();
    }
    throw fail('ERR_MODULE_ABSENT', 'no security module answers: is this an enclave, and may /dev/nsm be opened?');
  };

  const ask = <Name extends NsmRequestName>(name: Name, request: NsmRequest<Name>): Promise<NsmResponse<Name>> => {
    const asked = last.then(async () => {
      const answer = decodeNsm(await exchange(encodeNsm(name, request)));
      if (answer?.name === 'Error' && isNsmError(answer.fields)) {
        throw new SecurityModuleError('ERR_MODULE_REFUSED', `the security module refuses ${name}: ${answer.fields}`);
      }
      const response = v.safeParse(NSM_REQUESTS[name].response, answer?.fields);
      if (answer?.name !== name || !response.success) {
        throw fail('ERR_MODULE_PROTOCOL', `the answer of the security module to ${name} is none`);
      }
      return response.output as NsmResponse<Name>;
    });
    last = asked.catch(() => undefined);
    return asked;
  };

  return {
    async describe() {
      const { module_id, max_pcrs, locked_pcrs } = await ask('DescribeNSM', null);
      const pcrs: Record<string, string> = {};
      for (let index = 0; index < max_pcrs; index++) {
        const { data, lock } = await ask('DescribePCR', { index });
        if (lock !== locked_pcrs.includes(index)) {
          throw fail('ERR_MODULE_PROTOCOL', `the security module contradicts itself on the lock of PCR${index}`);
        }
        pcrs[index] = Buffer.from(data).toString('hex');
      }
      return { moduleId: module_id, pcrs, lockedPcrs: locked_pcrs };
    },

    async attest({ userData, nonce, publicKey }) {
      const request = { user_data: userData ?? null, nonce: nonce ?? null, public_key: publicKey ?? null };
      for (const [field, limit] of Object.entries(ATTESTATION_LIMITS)) {
        const value = request[field as keyof typeof request];
        if (value && value.length > limit) {
          throw new SecurityModuleError('ERR_MODULE_REFUSED', `${field} of a document is at most ${limit} bytes`);
        }
      }
      return (await ask('Attestation', request)).document;
    },

    async random() {
      return (await ask('GetRandom', null)).random;
    },

    close() {
      fail('ERR_MODULE_ABSENT', 'the connection to the security module is closed');
    },
  };
}
