import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { NewContentKey } from '../../enclave-render/packaging/content-keys.ts';
import type { RenderTask } from '../../enclave-render/render/render-task.ts';
import { packageTask } from '../../enclave-render/render/renderers/package-task.ts';
import type { SandboxInput } from '../../enclave-render/render/sandbox.ts';
import { UnconfinedSandbox } from '../../enclave-render/render/sandbox-none.ts';

const LIMITS = { memoryBytes: 4 * 2 ** 30, cpuSeconds: 600, wallSeconds: 600, outputBytes: 2 ** 30 };

/** Does tasks one after the other without an enclave around them, and puts what they leave into `<folder>/<task id>/`. */
export async function runTasks(
  folder: string,
  tasks: readonly RenderTask[],
  inputs: readonly { name: string; fileName: string; path: string }[],
  newContentKey?: NewContentKey,
): Promise<void> {
  const sandbox = new UnconfinedSandbox();
  const left = new Map<string, { name: string; path: string }[]>();
  for (const task of tasks) {
    const read = [
      ...inputs
        .filter(({ name }) => task.inputs.includes(name))
        .map(({ fileName, path }) => ({ name: fileName, path })),
      ...task.after.flatMap((id) => (left.get(id) ?? []).map(({ name, path }) => ({ name: `${id}/${name}`, path }))),
    ];
    const opened: SandboxInput[] = read.map(({ name, path }) => ({ name, fd: openSync(path, 'r') }));
    try {
      const result =
        task.renderer === 'package-hls' && newContentKey
          ? await packageTask({ ...LIMITS, args: task.args, inputs: opened, scratch: folder, newContentKey })
          : await sandbox.run({ command: programOf(task.renderer), args: task.args, inputs: opened, limits: LIMITS });
      const kept = result.outputs.map(({ name, fd }) => {
        const path = join(folder, task.id, name);
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, readFileSync(`/proc/self/fd/${fd}`));
        return { name, path };
      });
      left.set(task.id, kept);
      await result.dispose();
    } finally {
      for (const { fd } of opened) closeSync(fd);
    }
  }
}

function programOf(renderer: string): string {
  return execFileSync('sh', ['-c', `command -v ${renderer}`], { encoding: 'utf8' }).trim();
}

/** A template of the repository. */
export function readTemplate(name: string): Record<string, unknown> {
  return JSON.parse(
    readFileSync(new URL(`../../enclave-render/render/templates/${name}.json`, import.meta.url), 'utf8'),
  );
}
