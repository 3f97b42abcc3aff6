/** How a renderer is kept in. `none` is for machines without bubblewrap, has to be asked for, and is in every receipt. */
export type Isolation = 'bubblewrap' | 'none';

/**
 * A file that a renderer may read, at `/in/<name>`: an open descriptor, never a path of the host. The descriptor is open for reading
 * only, of a regular file of this process's user, from which the sandbox takes all permission to write.
 */
export interface SandboxInput {
  /** Relative path of plain names, such as `plate.mov`, or `comp.1/frame-0001.exr`. */
  name: string;
  fd: number;
}

/** What a renderer may take before it is ended. */
export interface SandboxLimits {
  memoryBytes: number;
  cpuSeconds: number;
  wallSeconds: number;
  /** Of everything it writes. */
  outputBytes: number;
}

/** One run of a renderer. */
export interface SandboxRun {
  /** Absolute path of the program, one of the measured ones. */
  command: string;
  args: string[];
  inputs: SandboxInput[];
  limits: SandboxLimits;
  /** What it prints on its standard output, where renderers report progress; in pieces of any length, and not to be trusted. */
  onOutput?: (text: string) => void;
  /** Ends it; the run rejects with `ERR_RENDER_TASK`. */
  signal?: AbortSignal;
}

/** A file that a renderer left in `/out`, open for reading and unlinked, or in memory that ends with the enclave. */
export interface SandboxOutput {
  /** Relative path within `/out`. */
  name: string;
  fd: number;
  bytes: number;
}

export interface SandboxResult {
  /** 0: another one rejects. */
  exitCode: number;
  outputs: SandboxOutput[];
  /** SHA-384 of what the sandbox was, hexadecimal: its arguments without descriptors, its system call filter, its limits. */
  sandboxSha384: string;
  cpuSeconds: number;
  wallSeconds: number;
  /** Closes the outputs and forgets them. */
  dispose(): Promise<void>;
}

/**
 * Runs renderers, one at a time: each may take all cores, and its memory limit is of the machine. Rejects with `ERR_RENDER_SANDBOX`
 * when it could not be started as it has to be, and with `ERR_RENDER_TASK` when it failed, exceeded a limit, which the message names,
 * or left what is no output. Nothing of it runs any more when a run has settled.
 */
export interface Sandbox {
  readonly isolation: Isolation;
  run(run: SandboxRun): Promise<SandboxResult>;
}
