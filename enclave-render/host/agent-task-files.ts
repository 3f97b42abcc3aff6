import type { FileHandle } from 'node:fs/promises';
import { unwrapUnderJobKey } from '../render/job-key.ts';
import type { OpenedManifest } from '../render/manifest-signature.ts';
import { RenderError } from '../render/render-manifest.ts';
import type { RenderTask } from '../render/render-task.ts';
import type { SandboxInput, SandboxOutput } from '../render/sandbox.ts';
import type { TaskOutputs } from './agent-checkpoints.ts';
import { openInput } from './agent-inputs.ts';
import type { Connection } from './frames.ts';
import type { TO_PARENT } from './messages.ts';

/** What a job reads: inputs of the manifest in clear, and what tasks have left. All of it is in memory, and has no name. */
export interface TaskFiles {
  /** What a task finds at `/in`: opened now, unless an earlier one has read it. */
  inputsOf(task: RenderTask): Promise<SandboxInput[]>;
  /** Keeps what a task has left for those that come after it. */
  keep(task: RenderTask, left: TaskOutputs): void;
  /** What a task has left that a later one reads. */
  neededAfter(task: RenderTask): readonly SandboxOutput[];
  /** Closes what no task reads after this one. */
  release(task: RenderTask): Promise<void>;
  close(): Promise<void>;
}

interface Job {
  opened: OpenedManifest;
  jobKey: Uint8Array;
  scratch: string;
  parent: Connection<typeof TO_PARENT>;
}

/** The files of a job whose tasks these are, in order. */
export function taskFiles({ opened, jobKey, scratch, parent }: Job, tasks: readonly RenderTask[]): TaskFiles {
  const inputs = new Map<string, FileHandle>();
  const left = new Map<string, TaskOutputs>();

  const inputOf = async (name: string): Promise<SandboxInput> => {
    const input = opened.manifest.inputs.find((candidate) => candidate.name === name);
    if (!input) throw new RenderError('ERR_RENDER_TEMPLATE', `there is no input ${name} in the manifest`);
    let file = inputs.get(name);
    if (!file) {
      const dataKey = await unwrapUnderJobKey(input.wrappedKey, jobKey);
      const read = async (offset: number, length: number) =>
        (await parent.ask('readInput', { name, offset, length })).bytes;
      file = await openInput(input, dataKey, read, scratch).finally(() => dataKey.fill(0));
      inputs.set(name, file);
      await parent.ask('event', { code: 'INPUT_VERIFIED' });
    }
    return { name: input.fileName, fd: file.fd };
  };

  const release = async (later: readonly RenderTask[]) => {
    for (const [name, file] of inputs) {
      if (later.some((task) => task.inputs.includes(name))) continue;
      inputs.delete(name);
      await file.close();
    }
    for (const [id, { dispose }] of left) {
      if (later.some((task) => task.after.includes(id))) continue;
      left.delete(id);
      await dispose();
    }
  };

  return {
    async inputsOf(task) {
      const found: SandboxInput[] = [];
      for (const name of task.inputs) found.push(await inputOf(name));
      for (const id of task.after) {
        for (const { name, fd } of left.get(id)?.outputs ?? []) found.push({ name: `${id}/${name}`, fd });
      }
      return found;
    },
    keep(task, result) {
      left.set(task.id, result);
    },
    neededAfter: ({ id }) => (tasks.some(({ after }) => after.includes(id)) ? (left.get(id)?.outputs ?? []) : []),
    release: (task) => release(tasks.slice(tasks.indexOf(task) + 1)),
    close: () => release([]),
  };
}
