/** `process.arch` of the machines that renderers run on. */
export type Architecture = 'x64' | 'arm64';

// Numbers of errors, <asm-generic/errno.h>; the same on both architectures.
const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

const AF_UNIX = 1;

/** A system call by name: its number on x86-64 and on arm64 (<asm/unistd_64.h>, <asm-generic/unistd.h>), null where there is none. */
type Numbers = Record<string, readonly [x64: number | null, arm64: number | null]>;

interface DeniedCalls {
  why: string;
  errno: number;
  calls: Numbers;
}

/** What a renderer is refused, whatever the arguments. */
export const DENIED: readonly DeniedCalls[] = [
  {
    why: 'it does what other calls do, sockets among them, where no filter sees it',
    errno: ENOSYS,
    calls: { io_uring_setup: [425, 425], io_uring_enter: [426, 426], io_uring_register: [427, 427] },
  },
  {
    why: 'a renderer is one process, so that what limits a process limits a renderer; clone3 hides its flags from a filter',
    errno: EPERM,
    calls: { fork: [57, null], vfork: [58, null] },
  },
  { why: 'as above; the C library then takes clone', errno: ENOSYS, calls: { clone3: [435, 435] } },
  {
    why: 'other namespaces and mounts',
    errno: EPERM,
    calls: {
      unshare: [272, 97],
      setns: [308, 268],
      mount: [165, 40],
      umount2: [166, 39],
      pivot_root: [155, 41],
      chroot: [161, 51],
      open_tree: [428, 428],
      move_mount: [429, 429],
      fsopen: [430, 430],
      fsconfig: [431, 431],
      fsmount: [432, 432],
      fspick: [433, 433],
      mount_setattr: [442, 442],
    },
  },
  {
    why: 'the memory, descriptors and places of other processes',
    errno: EPERM,
    calls: {
      ptrace: [101, 117],
      process_vm_readv: [310, 270],
      process_vm_writev: [311, 271],
      process_madvise: [440, 440],
      process_mrelease: [448, 448],
      kcmp: [312, 272],
      pidfd_getfd: [438, 438],
      move_pages: [279, 239],
      migrate_pages: [256, 238],
    },
  },
  {
    why: 'inputs belong to the user that a renderer runs as: without these it cannot make them writable again',
    errno: EPERM,
    calls: {
      chmod: [90, null],
      fchmod: [91, 52],
      fchmodat: [268, 53],
      chown: [92, null],
      fchown: [93, 55],
      lchown: [94, null],
      fchownat: [260, 54],
      setxattr: [188, 5],
      lsetxattr: [189, 6],
      fsetxattr: [190, 7],
      removexattr: [197, 14],
      lremovexattr: [198, 15],
      fremovexattr: [199, 16],
    },
  },
  {
    why: 'memory that no limit counts',
    errno: EPERM,
    calls: {
      memfd_create: [319, 279],
      memfd_secret: [447, 447],
      shmget: [29, 194],
      msgget: [68, 186],
      semget: [64, 190],
      mq_open: [240, 180],
    },
  },
  {
    why: 'files past the view of the sandbox, and no files at all',
    errno: EPERM,
    calls: {
      name_to_handle_at: [303, 264],
      open_by_handle_at: [304, 265],
      fanotify_init: [300, 262],
      fanotify_mark: [301, 263],
      mknod: [133, null],
      mknodat: [259, 33],
      quotactl: [179, 60],
      quotactl_fd: [443, 443],
    },
  },
  {
    why: 'keys, programs and counters of the kernel',
    errno: EPERM,
    calls: {
      keyctl: [250, 219],
      add_key: [248, 217],
      request_key: [249, 218],
      bpf: [321, 280],
      perf_event_open: [298, 241],
      userfaultfd: [323, 282],
      syslog: [103, 116],
      lookup_dcookie: [212, 18],
    },
  },
  {
    why: 'the machine itself',
    errno: EPERM,
    calls: {
      kexec_load: [246, 104],
      kexec_file_load: [320, 294],
      init_module: [175, 105],
      finit_module: [313, 273],
      delete_module: [176, 106],
      reboot: [169, 142],
      swapon: [167, 224],
      swapoff: [168, 225],
      acct: [163, 89],
      settimeofday: [164, 170],
      clock_settime: [227, 112],
      adjtimex: [159, 171],
      clock_adjtime: [305, 266],
      sethostname: [170, 161],
      setdomainname: [171, 162],
      vhangup: [153, 58],
      iopl: [172, null],
      ioperm: [173, null],
    },
  },
  {
    why: 'old ways to run other code, and doors that were forced before',
    errno: EPERM,
    calls: {
      personality: [135, 92],
      modify_ldt: [154, null],
      uselib: [134, null],
      nfsservctl: [180, 42],
      vmsplice: [278, 75],
      remap_file_pages: [216, 234],
    },
  },
];

/** Calls that are refused by an argument of theirs. */
export const CONDITIONAL = {
  socket: [41, 198],
  socketpair: [53, 199],
  clone: [56, 220],
  ioctl: [16, 29],
} as const satisfies Numbers;

/** What the kernel does not have either is `ENOSYS`: calls after this one (Linux 5.17) were not looked at. */
const NEWEST_CALL = 450;
/** Calls of x32, which has an architecture of its own in nothing but this bit. */
const X32_BIT = 0x4000_0000;

/** <linux/audit.h> */
const AUDIT_ARCH: Record<Architecture, number> = { x64: 0xc000_003e, arm64: 0xc000_00b7 };

// <linux/sched.h>. The namespaces: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const CLONE_THREAD = 0x0001_0000;
const CLONE_NAMESPACES = 0x0002_0000 | 0x7e00_0000;
// <asm-generic/ioctls.h>, <linux/tiocl.h>: put characters into a terminal, as if they were typed.
const TIOCSTI = 0x5412;
const TIOCLINUX = 0x541c;

// Instructions of classic BPF (<linux/bpf_common.h>): load a word of `struct seccomp_data`, compare, return.
const LOAD = 0x20;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER = 0x25;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;
// Places in `struct seccomp_data`: int nr, u32 arch, u64 instruction_pointer, u64 args[6]. Both architectures are little-endian: the
// low half of an argument comes first, and is all that the kernel looks at where a filter looks here.
const NUMBER = 0;
const ARCH = 4;
const FIRST_ARGUMENT = 16;
const SECOND_ARGUMENT = 24;

const ALLOW = 0x7fff_0000;
const KILL_PROCESS = 0x8000_0000;
const refuse = (errno: number) => 0x0005_0000 | errno;

/** Instruction with how many to skip when it holds and when it does not. */
type Instruction = readonly [code: number, skipIfTrue: number, skipIfFalse: number, value: number];

const load = (place: number): Instruction => [LOAD, 0, 0, place];
const answer = (value: number): Instruction => [RETURN, 0, 0, value];
const when = (code: number, value: number, ...then: Instruction[]): Instruction[] => [
  [code, 0, then.length, value],
  ...then,
];

/**
 * A seccomp filter of classic BPF (seccomp(2), `struct sock_filter[]`, little-endian) for `bwrap --seccomp`: sockets are AF_UNIX or
 * none, new processes are none, threads may be, what `DENIED` has is refused, another architecture kills. It is a list of what is
 * refused: renderers differ in what they need, and every call that came after the list was made is refused as well.
 */
export function systemCallFilter(architecture: Architecture): Buffer {
  const column = architecture === 'x64' ? 0 : 1;
  const call = (name: keyof typeof CONDITIONAL) => CONDITIONAL[name][column];
  const denied = DENIED.flatMap(({ errno, calls }) =>
    Object.values(calls).flatMap((numbers) => {
      const number = numbers[column];
      return number === null ? [] : when(JUMP_EQUAL, number, answer(refuse(errno)));
    }),
  );
  const onlyUnix = [load(FIRST_ARGUMENT), ...when(JUMP_EQUAL, AF_UNIX, answer(ALLOW)), answer(refuse(EAFNOSUPPORT))];
  const program: Instruction[] = [
    load(ARCH),
    [JUMP_EQUAL, 1, 0, AUDIT_ARCH[architecture]],
    answer(KILL_PROCESS),
    load(NUMBER),
    ...when(JUMP_AT_LEAST, X32_BIT, answer(KILL_PROCESS)),
    ...when(JUMP_GREATER, NEWEST_CALL, answer(refuse(ENOSYS))),
    ...denied,
    ...when(JUMP_EQUAL, call('socket'), ...onlyUnix),
    ...when(JUMP_EQUAL, call('socketpair'), ...onlyUnix),
    ...when(
      JUMP_EQUAL,
      call('clone'),
      load(FIRST_ARGUMENT),
      ...when(JUMP_ANY_BIT, CLONE_NAMESPACES, answer(refuse(EPERM))),
      ...when(JUMP_ANY_BIT, CLONE_THREAD, answer(ALLOW)),
      answer(refuse(EPERM)),
    ),
    ...when(
      JUMP_EQUAL,
      call('ioctl'),
      load(SECOND_ARGUMENT),
      ...when(JUMP_EQUAL, TIOCSTI, answer(refuse(EPERM))),
      ...when(JUMP_EQUAL, TIOCLINUX, answer(refuse(EPERM))),
      answer(ALLOW),
    ),
    answer(ALLOW),
  ];
  const bytes = Buffer.alloc(8 * program.length);
  program.forEach(([code, skipIfTrue, skipIfFalse, value], index) => {
    bytes.writeUInt16LE(code, 8 * index);
    bytes.writeUInt8(skipIfTrue, 8 * index + 2);
    bytes.writeUInt8(skipIfFalse, 8 * index + 3);
    bytes.writeUInt32LE(value, 8 * index + 4);
  });
  return bytes;
}
