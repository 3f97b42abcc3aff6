import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import type { Sandbox, SandboxInput, SandboxLimits, SandboxRun } from '../../enclave-render/render/sandbox.ts';
import { packagePath } from '../../local/package-root.ts';
import { isOnPath } from './programs.ts';

/** A suite that needs bubblewrap, and gcc for the probe; skipped by name where they are missing. */
export function describeWithSandbox(name: string, suite: () => void): void {
  const missing = ['bwrap', 'gcc'].filter((program) => !isOnPath(program));
  describe.skipIf(missing.length > 0)(missing.length > 0 ? `${name} (needs ${missing.join(', ')})` : name, suite);
}

export const LIMITS: SandboxLimits = {
  memoryBytes: 1 << 30,
  cpuSeconds: 60,
  wallSeconds: 600,
  outputBytes: 16 << 20,
};

export interface RendererProbe {
  /** Path of the built `renderer-probe.c`. */
  path: string;
  /** A folder that everybody may read, removed after the suite. */
  folder: string;
  /** Runs an action of it; the lines that it printed. */
  try(sandbox: Sandbox, args: string[], more?: Partial<SandboxRun>): Promise<string[]>;
}

/** The probe, built before the tests of a suite. */
export function useRendererProbe(): RendererProbe {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-probe-'));
  const path = join(folder, 'renderer-probe');
  beforeAll(() => {
    execFileSync('chmod', ['755', folder]);
    execFileSync('gcc', ['-O1', '-pthread', '-o', path, packagePath('test', 'harness', 'renderer-probe.c')]);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return {
    path,
    folder,
    async try(sandbox, args, more = {}) {
      let text = '';
      const inputs: SandboxInput[] = [];
      const onOutput = (piece: string) => {
        text += piece;
      };
      const result = await sandbox.run({ command: path, args, inputs, limits: LIMITS, onOutput, ...more });
      await result.dispose();
      return text.trim().split('\n');
    },
  };
}
