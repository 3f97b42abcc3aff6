import { randomBytes, sign } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { encode } from 'cborg';
import * as v from 'valibot';
import type { Pcrs } from '../attestation/attestation-document.ts';
import { extendedPcr, PCR_BYTES } from '../measurement/pcr.ts';
import { readFrames, writeFrame } from './frames.ts';
import {
  DIGEST,
  decodeNsm,
  encodeNsm,
  encodeOrdered,
  MAX_PCRS,
  NSM_REQUESTS,
  type NsmError,
  type NsmRequest,
  type NsmRequestName,
  REQUEST_BYTES,
} from './nsm-protocol.ts';
import { SecurityModuleError } from './security-module.ts';
import type { SimulatedChain, SimulatorCa } from './simulator-ca.ts';

/** Registers that the module itself sets, locked from the start; those above are the enclave's own, and zero here. */
const LOCKED = 16;
/** The role that PCR3 names: there is none here. */
const ROLE_ARN = 'arn:aws:iam::000000000000:role/portcullis-simulated-parent';
/** A chain is renewed when less than this is left of its leaf, in milliseconds. */
const RENEWAL_MS = 30 * 60_000;
/** Protected header of COSE (RFC 9052 §3): `{1: -35}`, ES384. */
const PROTECTED_HEADER = Uint8Array.of(0xa1, 0x01, 0x38, 0x22);
const INDEFINITE_MAP = 0xbf;
const BREAK = 0xff;

/** What a simulated module is made of. */
export interface SimulatorOptions {
  ca: SimulatorCa;
  /** PCR0, PCR1 and PCR2 of the image (`measure-image.ts`), and PCR8 if it is signed. */
  pcrs: Pcrs;
  /** Milliseconds since the epoch. */
  now: () => number;
  /** How the payload's map is written: `indefinite` as AWS does since 2026, or with its length, as before. */
  payloadMap?: 'indefinite' | 'definite';
}

/** The simulated security module of one launch. */
export interface SimulatedModule {
  /** `i-…-enc…`: new with each. */
  readonly moduleId: string;
  /** PCR0 to PCR15, as they are in its documents. */
  readonly pcrs: Pcrs;
  /** Answers requests on a stream, until it ends or breaks the protocol: then it is destroyed. */
  serve(stream: Duplex): void;
}

/**
 * A security module that is a program: it answers what `/dev/nsm` answers, with documents of the same structure, signed
 * under a root of its own. It proves nothing to anybody who does not trust this machine. Throws `ERR_MODULE_SIMULATOR`
 * when a register is none.
 */
export function simulatedModule({ ca, pcrs, now, payloadMap = 'indefinite' }: SimulatorOptions): SimulatedModule {
  // As AWS's, whose first byte is that of a time of this century.
  const moduleId = `${ca.instanceId}-enc01${randomBytes(7).toString('hex')}`;
  const registers = initialRegisters(pcrs, ca.instanceId);
  const locked = registers.slice(0, LOCKED);
  let chain: SimulatedChain | undefined;

  const document = (request: NsmRequest<'Attestation'>): Uint8Array => {
    const timestamp = now();
    if (!chain || timestamp < chain.notBefore || timestamp > chain.notAfter - RENEWAL_MS) {
      chain = ca.issueChain(moduleId, timestamp);
    }
    const fields: [string, unknown][] = [
      ['module_id', moduleId],
      ['digest', DIGEST],
      ['timestamp', timestamp],
      ['pcrs', new Map(locked.entries())],
      ['certificate', chain.certificate],
      ['cabundle', chain.cabundle],
      ['public_key', request.public_key],
      ['user_data', request.user_data],
      ['nonce', request.nonce],
    ];
    return coseSign1(payload(fields, payloadMap), chain);
  };

  const answer = (message: Uint8Array): Uint8Array => {
    const { name, fields } = decodeNsm(message) ?? {};
    const asked = name !== undefined && Object.hasOwn(NSM_REQUESTS, name) ? (name as NsmRequestName) : undefined;
    // What AWS's has beside these, extending and locking registers, nothing here asks for.
    if (!asked) return refusal('InvalidOperation');
    const request = v.safeParse(NSM_REQUESTS[asked].request, fields);
    if (!request.success) return refusal('InvalidArgument');
    switch (asked) {
      case 'DescribeNSM':
        return encodeNsm(asked, {
          version_major: 1,
          version_minor: 0,
          version_patch: 0,
          module_id: moduleId,
          max_pcrs: MAX_PCRS,
          locked_pcrs: [...locked.keys()],
          digest: DIGEST,
        });
      case 'DescribePCR': {
        const { index } = request.output as NsmRequest<'DescribePCR'>;
        return encodeNsm(asked, { lock: index < LOCKED, data: registers[index] });
      }
      case 'Attestation':
        return encodeNsm(asked, { document: document(request.output as NsmRequest<'Attestation'>) });
      case 'GetRandom':
        return encodeNsm(asked, { random: randomBytes(256) });
    }
  };

  return {
    moduleId,
    pcrs: Object.fromEntries(locked.map((value, index) => [index, Buffer.from(value).toString('hex')])),
    serve(stream) {
      stream.on('error', () => undefined);
      (async () => {
        for await (const message of readFrames(stream, REQUEST_BYTES)) await writeFrame(stream, answer(message));
        stream.end();
      })().catch(() => stream.destroy());
    },
  };
}

function initialRegisters(pcrs: Pcrs, instanceId: string): Uint8Array[] {
  const known = { ...pcrs, 3: extendedPcr(ROLE_ARN), 4: extendedPcr(instanceId) } as Record<string, string>;
  for (const index of ['0', '1', '2', ...Object.keys(pcrs)]) {
    if (!/^[0128]$/.test(index) || !/^[0-9a-f]{96}$/.test(pcrs[index] ?? '')) {
      throw new SecurityModuleError('ERR_MODULE_SIMULATOR', `PCR${index} of the image is missing, or not its to say`);
    }
  }
  const zero = '00'.repeat(PCR_BYTES);
  return Array.from({ length: MAX_PCRS }, (_, index) => new Uint8Array(Buffer.from(known[index] ?? zero, 'hex')));
}

/** The map of a document, its fields in this order. */
function payload(fields: [string, unknown][], map: 'indefinite' | 'definite'): Uint8Array {
  if (map === 'definite') return encodeOrdered(new Map(fields));
  const entries = fields.flatMap(([name, value]) => [encode(name), encodeOrdered(value)]);
  return Buffer.concat([Uint8Array.of(INDEFINITE_MAP), ...entries, Uint8Array.of(BREAK)]);
}

/** COSE_Sign1 without its tag (RFC 9052 §4.2, §4.4), by ECDSA with SHA-384 as the two numbers, 96 bytes. */
function coseSign1(content: Uint8Array, { privateKey }: SimulatedChain): Uint8Array {
  const toBeSigned = encode(['Signature1', PROTECTED_HEADER, new Uint8Array(), content]);
  const signature = sign('sha384', toBeSigned, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return encode([PROTECTED_HEADER, new Map(), content, new Uint8Array(signature)]);
}

function refusal(error: NsmError): Uint8Array {
  return encodeNsm('Error', error);
}
