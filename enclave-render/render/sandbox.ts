/** How a renderer is kept in. `none` is for machines without bubblewrap, has to be asked for, and is in every receipt. */
export type Isolation = 'bubblewrap' | 'none';

/** A file that a renderer may read, at `/in/<name>`: an open descriptor, never a path of the host. */
export interface SandboxInput {
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
  exitCode: number;
  outputs: SandboxOutput[];
  /** SHA-384 of what the sandbox was, hexadecimal: its arguments without descriptors, its system call filter, its limits. */
  sandboxSha384: string;
  cpuSeconds: number;
  wallSeconds: number;
  /** Closes the outputs and forgets them. */
  dispose(): Promise<void>;
}

/** Runs renderers without network and host. Rejects with `ERR_RENDER_SANDBOX` and `ERR_RENDER_TASK`. */
export interface Sandbox {
  readonly isolation: Isolation;
  run(run: SandboxRun): Promise<SandboxResult>;
}
