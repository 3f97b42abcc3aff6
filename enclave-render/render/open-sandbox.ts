import type { Isolation, Sandbox } from './sandbox.ts';
import { BubblewrapSandbox } from './sandbox-bubblewrap.ts';
import { UnconfinedSandbox } from './sandbox-none.ts';

/** The sandbox of an isolation; never another one than was asked for. */
export function openSandbox(isolation: Isolation): Sandbox {
  return isolation === 'none' ? new UnconfinedSandbox() : new BubblewrapSandbox();
}
