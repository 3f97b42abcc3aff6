import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { MasterReader } from '../../mastering/master-reader.ts';
import type { NewContentKey } from '../../packaging/content-keys.ts';
import { packageTitle } from '../../packaging/package-title.ts';
import { RenderError } from '../render-manifest.ts';
import type { SandboxInput, SandboxOutput } from '../sandbox.ts';
import { inputReader } from '../sandbox-inputs.ts';
import { closeOutputs, openOutputs } from '../sandbox-outputs.ts';
import { packageArguments } from './package-hls.ts';

/** One run of packaging. */
export interface PackageRun {
  /** Of the task. */
  args: readonly string[];
  /** What is at `/in`, as a sandbox would have it; the caller closes them. */
  inputs: readonly SandboxInput[];
  /** A folder in memory, where a folder of this name is made and removed. */
  scratch: string;
  newContentKey: NewContentKey;
  /** Most bytes that it may leave. */
  outputBytes: number;
  signal?: AbortSignal;
}

/**
 * Does a task of `package-hls`: packages what earlier tasks left into encrypted HLS, within the agent. What it leaves has no name any
 * more and is open for reading: playlists, segments under the content keys, `packaging.json`, and `keys.json` with the keys as
 * `newContentKey` wraps them. Rejects with `ERR_RENDER_TASK`, and leaves nothing then.
 */
export async function packageTask(run: PackageRun): Promise<{ outputs: SandboxOutput[]; dispose(): Promise<void> }> {
  const { sources, container, segmentSeconds, rotateEvery } = packageArguments(run.args);
  const folder = join(run.scratch, 'package-hls');
  try {
    const readers = await Promise.all(sources.map((path) => readerOf(path, run.inputs)));
    await packageTitle(folder, readers, {
      container,
      segmentSeconds,
      encryption: { newContentKey: run.newContentKey, rotateEvery, perRendition: false, iv: 'sequence' },
      ...(run.signal ? { signal: run.signal } : {}),
    });
    const outputs = await openOutputs(folder, run.outputBytes);
    return { outputs, dispose: () => closeOutputs(outputs) };
  } catch (error) {
    if (error instanceof RenderError) throw error;
    throw new RenderError('ERR_RENDER_TASK', `packaging failed: ${(error as Error).message}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function readerOf(
  path: string,
  inputs: readonly SandboxInput[],
): Promise<{ name: string; reader: MasterReader }> {
  const input = inputs.find(({ name }) => path === `/in/${name}`);
  if (!input) throw new RenderError('ERR_RENDER_TASK', `there is no ${path}: no earlier task left it`);
  return { name: path, reader: await inputReader(input.fd) };
}
