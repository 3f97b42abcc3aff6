import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type Architecture, CONDITIONAL, DENIED, systemCallFilter } from '../../../enclave-render/render/seccomp.ts';

const RETURN = 0x06;
const ALLOW = 'allow';
const KILL = 'kill';
const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97];

/** What the kernel's interpreter of classic BPF would do with `struct seccomp_data` (kernel/seccomp.c, net/core/filter.c). */
function evaluate(program: Buffer, number: number, arch: number, args: bigint[] = []): string | number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number >>> 0, 0);
  data.writeUInt32LE(arch, 4);
  args.forEach((value, index) => {
    data.writeBigUInt64LE(value, 16 + 8 * index);
  });
  let accumulator = 0;
  for (let at = 0; at < program.length; at += 8) {
    const [code, yes, no] = [program.readUInt16LE(at), program.readUInt8(at + 2), program.readUInt8(at + 3)];
    const value = program.readUInt32LE(at + 4);
    const jump = (holds: boolean) => {
      at += 8 * (holds ? yes : no);
    };
    if (code === 0x20) accumulator = data.readUInt32LE(value);
    else if (code === 0x15) jump(accumulator === value);
    else if (code === 0x25) jump(accumulator > value);
    else if (code === 0x35) jump(accumulator >= value);
    else if (code === 0x45) jump((accumulator & value) !== 0);
    else if (code === RETURN) {
      if (value === 0x7fff0000) return ALLOW;
      if (value === 0x80000000) return KILL;
      if (value >>> 16 === 5) return value & 0xffff;
      throw new Error(`an action ${value.toString(16)}`);
    } else throw new Error(`an instruction ${code}`);
  }
  throw new Error('ends without an answer');
}

const ARCHITECTURES = {
  x64: { audit: 0xc000003e, column: 0, read: 0, write: 1, execve: 59, futex: 202, openat: 257 },
  arm64: { audit: 0xc00000b7, column: 1, read: 63, write: 64, execve: 221, futex: 98, openat: 56 },
} as const;

describe.each(Object.entries(ARCHITECTURES))('the filter of system calls for %s', (name, row) => {
  const program = systemCallFilter(name as Architecture);
  const call = (number: number, ...args: (number | bigint)[]) => evaluate(program, number, row.audit, args.map(BigInt));
  const conditional = (which: keyof typeof CONDITIONAL) => CONDITIONAL[which][row.column];

  test('is whole instructions, no more than the kernel takes, and every jump stays inside', () => {
    expect(program.length % 8).toBe(0);
    expect(program.length / 8).toBeLessThan(4096);
    for (let at = 0; at < program.length; at += 8) {
      const farthest = at + 8 * Math.max(program.readUInt8(at + 2), program.readUInt8(at + 3));
      // The last instruction has none to go to: it returns, and jumps nowhere.
      expect(farthest + (program.readUInt16LE(at) === RETURN ? 0 : 8)).toBeLessThan(program.length);
    }
  });

  test('kills another architecture, whatever it calls', () => {
    for (const foreign of [0x40000003, 0x40000028, 0xc000003e, 0xc00000b7, 0, 0x80000015]) {
      if (foreign === row.audit) continue;
      for (const number of [row.read, 0, 20, 425]) expect(evaluate(program, number, foreign)).toBe(KILL);
    }
  });

  test('kills x32 and numbers below 0', () => {
    for (const number of [0x40000000, 0x40000000 | row.read, 0x40000200, 0x7fffffff, -1, -2147483648]) {
      expect(evaluate(program, number, row.audit)).toBe(KILL);
    }
  });

  test('allows what programs need', () => {
    const { read, write, execve, futex, openat } = row;
    for (const number of [read, write, execve, futex, openat]) expect(call(number)).toBe(ALLOW);
  });

  test('refuses all of its table, whatever the arguments', () => {
    let rows = 0;
    for (const { errno, calls } of DENIED) {
      for (const numbers of Object.values(calls)) {
        const number = numbers[row.column];
        if (number === null) continue;
        rows++;
        expect([EPERM, ENOSYS]).toContain(errno);
        for (const argument of [0n, 1n, 0x10000n, 2n ** 64n - 1n]) expect(call(number, argument, argument)).toBe(errno);
      }
    }
    expect(rows).toBeGreaterThan(70);
  });

  test('answers calls that came later as a kernel that does not have them', () => {
    for (const number of [451, 452, 463, 500, 1000, 0x3fffffff]) expect(call(number)).toBe(ENOSYS);
  });

  test.each(['socket', 'socketpair'] as const)('allows %s of AF_UNIX only', (which) => {
    expect(call(conditional(which), 1)).toBe(ALLOW);
    // The kernel takes the family for an int: what is above it does not count there either.
    expect(call(conditional(which), 1n + (1n << 32n))).toBe(ALLOW);
    for (let family = 0; family < 64; family++) {
      if (family !== 1) expect(call(conditional(which), family)).toBe(EAFNOSUPPORT);
    }
    expect(call(conditional(which), 0xffffffff)).toBe(EAFNOSUPPORT);
    expect(call(conditional(which), 1n << 32n)).toBe(EAFNOSUPPORT);
  });

  test('allows threads, no processes, and no namespaces with either', () => {
    // What the C library makes a thread with: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID.
    expect(call(conditional('clone'), 0x3d0f00)).toBe(ALLOW);
    for (const flags of [0, 17, 0x4111, 0x01200011, 0x00000100]) expect(call(conditional('clone'), flags)).toBe(EPERM);
    for (const namespace of [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]) {
      expect(call(conditional('clone'), namespace)).toBe(EPERM);
      expect(call(conditional('clone'), namespace | 0x3d0f00)).toBe(EPERM);
    }
  });

  test('refuses to put characters into a terminal', () => {
    for (const request of [0x5412n, 0x541cn, 0x5412n + (1n << 32n)]) {
      expect(call(conditional('ioctl'), 0, request)).toBe(EPERM);
    }
    expect(call(conditional('ioctl'), 0x5412, 0x5413)).toBe(ALLOW);
  });
});

/** What Debian's linux-libc-dev says; on arm64 calls are numbered by the generic table. */
const HEADERS = [
  { name: 'x64', column: 0, path: '/usr/include/x86_64-linux-gnu/asm/unistd_64.h' },
  { name: 'arm64', column: 1, path: '/usr/include/asm-generic/unistd.h' },
] as const;

describe.each(HEADERS)('the numbers of $name', ({ column, path }) => {
  test.skipIf(!existsSync(path))(`are those of the kernel (${path})`, () => {
    const lines = readFileSync(path, 'utf8').matchAll(/^#define __NR(?:3264)?_(\w+)\s+(\d+)/gm);
    const header = new Map([...lines].map(([, name = '', number]) => [name, Number(number)]));
    const ours = [...DENIED.map(({ calls }) => calls), CONDITIONAL].flatMap((calls) => Object.entries(calls));
    for (const [name, numbers] of ours) expect([name, header.get(name) ?? null]).toEqual([name, numbers[column]]);
  });
});
