import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type CheckpointBinding, openCheckpoint, sealCheckpoint } from '../../../enclave-render/render/checkpoint.ts';

const JOB_KEY = randomBytes(32);
const BINDING: CheckpointBinding = {
  manifestSha384: 'ab'.repeat(48),
  taskId: 'comp.1',
  inputRootSha256: 'cd'.repeat(32),
};
const TASK = { statement: '{"predicate":{}}', attestation: 'hEShATgioA==' };

const memory = (content: Uint8Array) => ({
  bytes: content.length,
  read: async (offset: number, length: number) => content.subarray(offset, offset + length),
});

async function seal(files: Record<string, Uint8Array>, key = JOB_KEY, binding = BINDING): Promise<Buffer> {
  const pieces: Buffer[] = [];
  const listed = Object.entries(files).map(([name, content]) => ({ name, ...memory(content) }));
  for await (const piece of sealCheckpoint(key, binding, TASK, listed)) {
    expect(piece.length).toBeLessThanOrEqual((1 << 20) + 92);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

async function open(sealed: Uint8Array, key = JOB_KEY, binding = BINDING) {
  const files: Record<string, Buffer> = {};
  const task = await openCheckpoint(key, binding, memory(sealed), async (name) => {
    files[name] = Buffer.alloc(0);
    return async (piece) => {
      files[name] = Buffer.concat([files[name] ?? Buffer.alloc(0), piece]);
    };
  });
  return { task, files };
}

const refused = { name: 'RenderError', code: 'ERR_RENDER_CHECKPOINT' };

describe('sealed checkpoints', () => {
  const small = { 'title.mp4': Buffer.from('a few bytes'), 'hls/empty': Buffer.alloc(0) };

  test.each([
    ['none', {}],
    ['small and empty ones', small],
    ['one of several segments', { a: randomBytes((2 << 20) + 17), b: randomBytes(5) }],
  ])('give back the statement and the files: %s', async (_, files: Record<string, Buffer>) => {
    const opened = await open(await seal(files));
    expect(opened.task).toEqual(TASK);
    expect(Object.keys(opened.files)).toEqual(Object.keys(files));
    for (const [name, content] of Object.entries(files)) expect(opened.files[name]?.equals(content)).toBe(true);
  });

  test('fill segments to their last byte', async () => {
    const head = (await seal({ a: Buffer.alloc(100_000) })).length - 100_000 - 92;
    for (const more of [-1, 0, 1]) {
      const content = randomBytes((1 << 20) - head + more - 1);
      const { files } = await open(await seal({ a: content }));
      expect(files.a?.equals(content)).toBe(true);
    }
  });

  test('hold nothing in clear, and are never the same twice', async () => {
    const secret = Buffer.from('the unreleased title');
    const [one, other] = [await seal({ secret }), await seal({ secret })];
    expect(one.includes(secret)).toBe(false);
    expect(one.includes('statement')).toBe(false);
    expect(one.subarray(76).equals(other.subarray(76))).toBe(false);
  });

  test('open for no other job key, manifest, task or input', async () => {
    const sealed = await seal(small);
    await expect(open(sealed, randomBytes(32))).rejects.toMatchObject(refused);
    for (const other of [
      { manifestSha384: 'ba'.repeat(48) },
      { taskId: 'comp.2' },
      { taskId: '' },
      { inputRootSha256: 'dc'.repeat(32) },
    ]) {
      await expect(open(sealed, JOB_KEY, { ...BINDING, ...other })).rejects.toMatchObject(refused);
    }
  });

  test('are refused with any bit changed', async () => {
    const sealed = await seal(small);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await expect(open(changed)).rejects.toMatchObject(refused);
    }
  });

  test('are refused at any other length', async () => {
    const sealed = await seal(small);
    for (let bytes = 0; bytes < sealed.length; bytes++) {
      await expect(open(sealed.subarray(0, bytes))).rejects.toMatchObject(refused);
    }
    await expect(open(Buffer.concat([sealed, Buffer.alloc(1)]))).rejects.toMatchObject(refused);
    await expect(open(Buffer.concat([sealed, sealed]))).rejects.toMatchObject(refused);
  });

  test('are refused with segments left out, doubled or in another order', async () => {
    const sealed = await seal({ a: randomBytes(3 << 20) });
    const stride = (1 << 20) + 16;
    const header = sealed.subarray(0, 76);
    const segment = (index: number) => sealed.subarray(76 + index * stride, 76 + (index + 1) * stride);
    for (const order of [[0, 1, 2], [1, 0, 2, 3], [0, 2, 3], [0, 0, 1, 2, 3], [0], [3]]) {
      await expect(open(Buffer.concat([header, ...order.map(segment)]))).rejects.toMatchObject(refused);
    }
  });

  test('believe no length that the parent tells', async () => {
    const sealed = await seal(small);
    for (const bytes of [-1, 0, 91, sealed.length + 1, 2 ** 50, Number.NaN, 0.5]) {
      const lying = { ...memory(sealed), bytes };
      await expect(openCheckpoint(JOB_KEY, BINDING, lying, async () => async () => {})).rejects.toMatchObject(refused);
    }
  });

  test('are not made of a file that is shorter than it says', async () => {
    const files = [{ name: 'a', bytes: 10, read: async () => Buffer.alloc(0) }];
    await expect(sealCheckpoint(JOB_KEY, BINDING, TASK, files).next()).rejects.toThrow(RangeError);
  });

  test('pass on what their sink fails with', async () => {
    const full = Object.assign(new Error('full'), { code: 'ENOSPC' });
    const sealed = await seal(small);
    const sink = async () => {
      throw full;
    };
    await expect(openCheckpoint(JOB_KEY, BINDING, memory(sealed), async () => sink)).rejects.toBe(full);
  });
});
