import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { encode } from 'cborg';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { connectNsm } from '../../../enclave-render/security-module/nsm.ts';
import { simulatedModule } from '../../../enclave-render/security-module/simulator.ts';
import { openSimulatorCa } from '../../../enclave-render/security-module/simulator-ca.ts';
import { LONG } from '../../harness/programs.ts';
import { socketPair } from '../../harness/security-module.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

function frame(content: Uint8Array, length = content.length): Buffer {
  const field = Buffer.alloc(4);
  field.writeUInt32BE(length);
  return Buffer.concat([field, content]);
}

/** A connection to something that answers requests with these bytes, one after the other, and then ends. */
async function answering(...answers: Uint8Array[]) {
  const [near, far] = await socketPair(scratch);
  far.on('data', () => {
    const next = answers.shift();
    if (next) far.write(next);
    if (answers.length === 0) far.end();
  });
  return connectNsm(near);
}

const cbor = (value: unknown) => frame(encode(value));
const random = { GetRandom: { random: Buffer.alloc(32, 1) } };

describe('answers that are none', () => {
  const cases: [string, Uint8Array][] = [
    ['an empty frame', frame(Buffer.alloc(0))],
    ['a frame longer than an answer can be', frame(Buffer.alloc(0), 0x3001)],
    ['a frame of 4 GB', frame(Buffer.alloc(0), 0xffffffff)],
    ['no CBOR', frame(Buffer.from([0xff, 0xff]))],
    ['bytes behind the end', frame(Buffer.concat([encode(random), Buffer.from([0])]))],
    ['a key twice', frame(Buffer.from('a2694765745261 6e646f6d01694765745261 6e646f6d01'.replaceAll(' ', ''), 'hex'))],
    ['two answers in one', cbor({ ...random, DescribeNSM: {} })],
    ['the answer to something else', cbor({ Attestation: { document: Buffer.alloc(9) } })],
    ['a name alone', cbor('GetRandom')],
    ['a field missing', cbor({ GetRandom: {} })],
    ['a field of another type', cbor({ GetRandom: { random: 'text' } })],
    ['no random bytes', cbor({ GetRandom: { random: Buffer.alloc(0) } })],
    ['an error that there is not', cbor({ Error: 'Whatever' })],
    ['a number', cbor(1)],
  ];
  test.each(cases)('%s', async (_name, answer) => {
    const module = await answering(answer, cbor(random));
    await expect(module.random()).rejects.toMatchObject({ code: 'ERR_MODULE_PROTOCOL' });
    // The next answer could be anybody's.
    await expect(module.random()).rejects.toMatchObject({ code: 'ERR_MODULE_PROTOCOL' });
  });

  test('a field that a later module adds is no reason to refuse', async () => {
    const module = await answering(cbor({ GetRandom: { ...random.GetRandom, later: 1 } }));
    expect(await module.random()).toHaveLength(32);
  });

  test('an end within a frame, and one before it', async () => {
    const cut = await answering(frame(Buffer.alloc(3), 9));
    await expect(cut.random()).rejects.toMatchObject({ code: 'ERR_MODULE_PROTOCOL' });
    await expect((await answering()).random()).rejects.toMatchObject({ code: 'ERR_MODULE_ABSENT' });
  });

  test('no answer at all', async () => {
    const [near] = await socketPair(scratch);
    const module = connectNsm(near, 20);
    await expect(module.random()).rejects.toMatchObject({ code: 'ERR_MODULE_PROTOCOL' });
    expect(near.destroyed).toBe(true);
  });

  test('an answer byte by byte is one', async () => {
    const [near, far] = await socketPair(scratch);
    far.once('data', async () => {
      for (const byte of cbor(random)) {
        far.write(Buffer.of(byte));
        await new Promise(setImmediate);
      }
    });
    expect(await connectNsm(near).random()).toHaveLength(32);
  });

  test('a module that contradicts itself on locks, or has other registers than SHA-384', async () => {
    const description = {
      version_major: 1,
      module_id: 'i-0123456789abcdef0-enc0123456789abcdef',
      max_pcrs: 1,
      locked_pcrs: [0],
      digest: 'SHA384',
    };
    const register = (lock: boolean, bytes: number) => cbor({ DescribePCR: { lock, data: Buffer.alloc(bytes) } });
    const described = async (changes: object, answer: Uint8Array) =>
      (await answering(cbor({ DescribeNSM: { ...description, ...changes } }), answer)).describe();
    await expect(described({}, register(true, 48))).resolves.toMatchObject({ lockedPcrs: [0] });
    for (const [changes, answer] of [
      [{}, register(false, 48)],
      [{}, register(true, 32)],
      [{ digest: 'SHA256' }, register(true, 48)],
      [{ version_major: 2 }, register(true, 48)],
      [{ max_pcrs: 257 }, register(true, 48)],
      [{ module_id: '../../etc' }, register(true, 48)],
    ] as const) {
      await expect(described(changes, answer)).rejects.toMatchObject({ code: 'ERR_MODULE_PROTOCOL' });
    }
  });
});

describe('the simulated module as a server', async () => {
  const NOW = Date.parse('2026-11-22T12:00:00Z');
  const ca = await openSimulatorCa(`${scratch}/ca`, NOW);
  const zero = '00'.repeat(48);
  const module = simulatedModule({ ca, pcrs: { 0: zero, 1: zero, 2: zero }, now: () => NOW });
  const ask = (far: Socket, bytes: Uint8Array) =>
    new Promise<Buffer>((resolve) => {
      const parts: Buffer[] = [];
      far.on('data', (part) => parts.push(part)).on('close', () => resolve(Buffer.concat(parts)));
      far.on('error', () => undefined);
      far.end(bytes);
    });
  const served = async (bytes: Uint8Array) => {
    const [near, far] = await socketPair(scratch);
    module.serve(near);
    return ask(far, bytes);
  };
  const refusal = (error: string) => cbor({ Error: error });

  test('refuses what is no request, and goes on', async () => {
    const invalid = refusal('InvalidArgument');
    const unknown = refusal('InvalidOperation');
    const cases: [unknown, Buffer][] = [
      ['Whatever', unknown],
      ['toString', unknown],
      [{ ExtendPCR: { index: 0, data: Buffer.alloc(48) } }, unknown],
      [{ LockPCR: { index: 16 } }, unknown],
      [1, unknown],
      [{ DescribePCR: { index: 32 } }, invalid],
      [{ DescribePCR: { index: -1 } }, invalid],
      [{ DescribePCR: {} }, invalid],
      [{ DescribeNSM: {} }, invalid],
      [{ Attestation: { nonce: null } }, invalid],
      [{ Attestation: { nonce: Buffer.alloc(513), user_data: null, public_key: null } }, invalid],
      [{ Attestation: { nonce: 'text', user_data: null, public_key: null } }, invalid],
    ];
    const answers = await served(Buffer.concat(cases.map(([request]) => cbor(request))));
    expect(answers.toString('latin1')).toBe(Buffer.concat(cases.map(([, answer]) => answer)).toString('latin1'));
  });

  test('ends at a frame that is too long, empty or cut off', async () => {
    for (const bytes of [frame(Buffer.alloc(0), 0x1001), frame(Buffer.alloc(0)), frame(Buffer.alloc(3), 9)]) {
      expect(await served(bytes)).toHaveLength(0);
    }
  });

  test('survives any bytes whatever', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (bytes, isFrame) => {
        await served(isFrame ? frame(bytes) : bytes);
      }),
      { numRuns: LONG ? 1000 : 60 },
    );
    expect((await served(cbor('GetRandom'))).length).toBeGreaterThan(256);
    expect(await served(frame(randomBytes(8), 9))).toHaveLength(0);
  });
});
