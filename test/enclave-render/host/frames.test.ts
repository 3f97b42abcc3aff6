import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encode } from 'cborg';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { type Connection, connect, MOST_UNDER_WAY } from '../../../enclave-render/host/frames.ts';
import { HostError } from '../../../enclave-render/host/host-error.ts';
import { CHUNK_BYTES, FRAME_BYTES, TO_ENCLAVE, TO_PARENT } from '../../../enclave-render/host/messages.ts';
import { RenderError } from '../../../enclave-render/render/render-manifest.ts';
import { LONG } from '../../harness/programs.ts';
import { socketPair } from '../../harness/render-shop.ts';

const open: Socket[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy();
});

/** A parent whose enclave is whatever a test writes. */
async function parent(onEvent: () => Promise<unknown> = async () => undefined, onOutput?: () => Promise<object>) {
  const [near, far] = await socketPair();
  open.push(near, far);
  const unexpected = async () => {
    throw new HostError('ERR_HOST_REQUEST', 'there is none');
  };
  const connection: Connection<typeof TO_ENCLAVE> = connect(near, TO_ENCLAVE, TO_PARENT, {
    readInput: async ({ length }) => ({ bytes: Buffer.alloc(length) }),
    decryptKey: unexpected,
    writeOutput: onOutput ?? unexpected,
    writeCheckpoint: unexpected,
    writeReceipt: async () => ({}),
    listCheckpoints: async () => ({ checkpoints: [] }),
    readCheckpoint: unexpected,
    event: async () => {
      await onEvent();
      return {};
    },
  });
  return { connection, peer: far };
}

function frame(content: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([length, content]);
}

const message = (value: unknown) => frame(encode(value));

/** The code that a connection ends with after the other side has sent this and, unless it waits for more, has ended. */
async function endingOf(bytes: Uint8Array, { isOver = true } = {}): Promise<string> {
  const { connection, peer } = await parent();
  peer.resume().on('error', () => undefined);
  if (isOver) peer.end(bytes);
  else peer.write(bytes);
  return (await connection.ended).code;
}

/** Bytes outside of the heap of JavaScript, where frames are, once what nobody holds has gone. */
function bytesHeld(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
  const { external, arrayBuffers } = process.memoryUsage();
  return external + arrayBuffers;
}

describe('a connection', () => {
  test('answers both ways at once, and tells errors as codes', async () => {
    const [near, far] = await socketPair();
    open.push(near, far);
    const enclave = connect(far, TO_PARENT, TO_ENCLAVE, {
      async render({ manifest }) {
        const { bytes } = await enclave.ask('readInput', { name: 'Source', offset: 1, length: 2 });
        if (manifest === 'other') throw new RenderError('ERR_RENDER_MANIFEST', 'words that stay inside');
        if (manifest === 'fault') throw new TypeError('words of a fault');
        expect([...bytes]).toEqual([1, 2]);
        return {};
      },
    });
    const unused = async () => ({});
    const host = connect(near, TO_ENCLAVE, TO_PARENT, {
      readInput: async ({ offset, length }) => ({ bytes: Uint8Array.from({ length }, (_, i) => offset + i) }),
      decryptKey: async () => ({ ciphertextForRecipient: new Uint8Array() }),
      writeOutput: unused,
      writeCheckpoint: unused,
      writeReceipt: unused,
      listCheckpoints: async () => ({ checkpoints: [] }),
      readCheckpoint: async () => ({ bytes: new Uint8Array() }),
      event: unused,
    });
    await expect(host.ask('render', { manifest: '' })).resolves.toEqual({});
    const refusal = { code: 'ERR_HOST_REFUSED', peerCode: 'ERR_RENDER_MANIFEST' };
    const failure = host.ask('render', { manifest: 'other' });
    await expect(failure).rejects.toMatchObject(refusal);
    await expect(failure).rejects.not.toThrow('words');
    await expect(host.ask('render', { manifest: 'fault' })).rejects.toMatchObject({ peerCode: 'ERR_INTERNAL' });
    const waiting = host.ask('render', { manifest: '' });
    enclave.close();
    await expect(waiting).rejects.toMatchObject({ code: 'ERR_HOST_CLOSED' });
    await expect(host.ask('render', { manifest: '' })).rejects.toMatchObject({ code: 'ERR_HOST_CLOSED' });
  });

  test('takes frames that come a byte at a time', async () => {
    const { connection, peer } = await parent();
    const asked = message({ id: 1, type: 'listCheckpoints' });
    const answered = once(peer, 'data');
    for (const byte of asked) peer.write(Uint8Array.of(byte));
    const [answer] = await answered;
    expect(answer.equals(message({ id: 1, ok: true, value: { checkpoints: [] } }))).toBe(true);
    connection.close();
  });

  const EVENT = { id: 1, type: 'event', code: 'TASK_STARTED' };
  const BAD: [name: string, bytes: Uint8Array, code: string][] = [
    ['a frame of nothing', Buffer.alloc(4), 'ERR_HOST_FRAME'],
    ['a frame that says it is endless', Buffer.from('ffffffff00', 'hex'), 'ERR_HOST_FRAME'],
    ['a frame that is one byte too long', frame(Buffer.alloc(FRAME_BYTES + 1)).subarray(0, 5), 'ERR_HOST_FRAME'],
    ['a length cut off', Buffer.alloc(3), 'ERR_HOST_FRAME'],
    ['a frame cut off', message(EVENT).subarray(0, 9), 'ERR_HOST_FRAME'],
    ['no CBOR', frame(Buffer.from('{"id":1}')), 'ERR_HOST_MESSAGE'],
    ['no map', message(['event']), 'ERR_HOST_MESSAGE'],
    ['bytes behind the map', frame(Buffer.concat([encode(EVENT), Buffer.of(0)])), 'ERR_HOST_MESSAGE'],
    ['a name twice', frame(Buffer.from('a2626964016269640 2'.replace(' ', ''), 'hex')), 'ERR_HOST_MESSAGE'],
    ['a tag', frame(Buffer.concat([Buffer.of(0xc1), encode(EVENT)])), 'ERR_HOST_MESSAGE'],
    ['a map of indefinite length', frame(Buffer.from('bf626964 01ff'.replace(' ', ''), 'hex')), 'ERR_HOST_MESSAGE'],
    ['a number longer than need be', frame(Buffer.from('a16269641801', 'hex')), 'ERR_HOST_MESSAGE'],
    ['a hundred thousand lists in each other', frame(Buffer.alloc(100_000, 0x81)), 'ERR_HOST_MESSAGE'],
    [
      'a name of an object',
      message(new Map<string, unknown>([...Object.entries(EVENT), ['__proto__', 1]])),
      'ERR_HOST_MESSAGE',
    ],
    ['a request of no kind', message({ id: 1, type: 'constructor' }), 'ERR_HOST_MESSAGE'],
    ['a request without an id', message({ type: 'listCheckpoints' }), 'ERR_HOST_MESSAGE'],
    ['a field too many', message({ ...EVENT, words: 'of a renderer' }), 'ERR_HOST_MESSAGE'],
    ['words for a code', message({ ...EVENT, error: 'ERR_x of the title' }), 'ERR_HOST_MESSAGE'],
    ['a code that is none', message({ ...EVENT, code: 'SECRET' }), 'ERR_HOST_MESSAGE'],
    ['an answer to nothing', message({ id: 1, ok: true, value: {} }), 'ERR_HOST_MESSAGE'],
    [
      'an input below its folder',
      message({ id: 1, type: 'readInput', name: '../a', offset: 0, length: 1 }),
      'ERR_HOST_MESSAGE',
    ],
    [
      'an output above its folder',
      message({ id: 1, type: 'writeOutput', path: 'a/../../b', offset: 0, bytes: Buffer.of(1), done: true }),
      'ERR_HOST_MESSAGE',
    ],
    [
      'more than a piece',
      message({ id: 1, type: 'readInput', name: 'a', offset: 0, length: 1 << 21 }),
      'ERR_HOST_MESSAGE',
    ],
  ];
  test.each(BAD)('ends at %s', async (_, bytes, code) => {
    expect(await endingOf(bytes)).toBe(code);
  });

  test('ends without waiting for the rest of what cannot be', async () => {
    expect(await endingOf(Buffer.from('7fffffff', 'hex'), { isOver: false })).toBe('ERR_HOST_FRAME');
  });

  test('ends at an answer that is none, and at a flood', async () => {
    const { connection, peer } = await parent();
    const asked = connection.ask('render', { manifest: '' });
    peer.write(message({ id: 1, ok: true, value: { receipt: 'here' } }));
    await expect(asked).rejects.toMatchObject({ code: 'ERR_HOST_MESSAGE' });
    const slow = await parent(() => new Promise(() => undefined));
    for (let id = 1; id <= MOST_UNDER_WAY + 1; id++) slow.peer.write(message({ ...EVENT, id }));
    slow.peer.on('error', () => undefined);
    expect((await slow.connection.ended).code).toBe('ERR_HOST_FLOOD');
  });

  test('takes events for as long as they come one after the other', async () => {
    const { connection, peer } = await parent();
    peer.resume();
    for (let id = 1; id <= 2000; id++) {
      peer.write(message({ ...EVENT, id }));
      if (id % MOST_UNDER_WAY === 0) await new Promise(setImmediate);
      if (id % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    peer.end();
    expect(['ERR_HOST_CLOSED', 'ERR_HOST_FLOOD']).toContain((await connection.ended).code);
  });

  test('ends in order whatever bytes come, and whichever bit of a session flips', async () => {
    const numRuns = LONG ? 5000 : 60;
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 4096 }), async (bytes) => {
        expect(await endingOf(bytes)).toMatch(/^ERR_HOST_/);
      }),
      { numRuns },
    );
    const session = Buffer.concat([
      message({ id: 1, type: 'listCheckpoints' }),
      message({ ...EVENT, id: 2, task: 'grade', percent: 50 }),
      message({ id: 3, type: 'readInput', name: 'Source', offset: 0, length: 100 }),
    ]);
    await fc.assert(
      fc.asyncProperty(fc.nat(session.length * 8 - 1), async (bit) => {
        const flipped = Buffer.from(session);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(await endingOf(flipped)).toMatch(/^ERR_HOST_/);
      }),
      { numRuns },
    );
    expect(await endingOf(session)).toBe('ERR_HOST_CLOSED');
  });

  describe('takes no more memory than a few frames', () => {
    /** Of 1.1 MiB each: eight requests, with what sockets and decoding hold of them. Unlimited, each of these would take ten times it. */
    const MOST_BYTES = 40 * FRAME_BYTES;

    test('for lengths that are announced and not sent, of frames and within them', async () => {
      const before = bytesHeld();
      const announced: Buffer[] = [Buffer.from('ffffffff', 'hex'), Buffer.from('7fffffff', 'hex')];
      // Bytes, text, lists, maps and lists in maps, of four billion or more.
      for (const head of ['5affffffff', '7affffffff', '9affffffff', 'baffffffff', 'a1617a9b0010000000000000']) {
        announced.push(frame(Buffer.concat([Buffer.from(head, 'hex'), Buffer.alloc(64)])));
      }
      for (const bytes of announced) {
        for (let times = 0; times < 20; times++) {
          const { connection, peer } = await parent();
          peer.on('error', () => undefined).write(bytes);
          expect((await connection.ended).code).toMatch(/^ERR_HOST_(?:FRAME|MESSAGE)$/);
        }
      }
      expect(bytesHeld() - before).toBeLessThan(MOST_BYTES);
    });

    test('for a flood of the largest messages, whose handling takes its time', async () => {
      let begun = 0;
      const { connection, peer } = await parent(undefined, () => {
        begun++;
        return new Promise(() => undefined);
      });
      const before = bytesHeld();
      peer.on('error', () => undefined);
      const output = { type: 'writeOutput', path: 'a', offset: 0, bytes: Buffer.alloc(CHUNK_BYTES), done: false };
      let id = 0;
      const flood = async () => {
        while (!peer.destroyed) {
          if (!peer.write(message({ ...output, id: ++id })))
            await Promise.race([once(peer, 'drain'), connection.ended]);
        }
      };
      flood().catch(() => undefined);
      expect((await connection.ended).code).toBe('ERR_HOST_FLOOD');
      peer.destroy();
      expect(begun).toBe(MOST_UNDER_WAY);
      expect(bytesHeld() - before).toBeLessThan(MOST_BYTES);
    });

    test('for answers that nobody reads', async () => {
      const { connection, peer } = await parent();
      const before = bytesHeld();
      peer.pause().on('error', () => undefined);
      const asked = 400;
      let most = 0;
      for (let id = 1; id <= asked && !peer.destroyed; id++) {
        peer.write(message({ id, type: 'readInput', name: 'a', offset: 0, length: CHUNK_BYTES }));
        await new Promise(setImmediate);
        if (id % 40 === 0) most = Math.max(most, bytesHeld() - before);
      }
      expect(most).toBeLessThan(MOST_BYTES);
      expect((await connection.ended).code).toBe('ERR_HOST_FLOOD');
    });
  });
});
