import { read } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { AttestedStatement } from '../receipt/statement.ts';
import {
  type CheckpointBinding,
  type CheckpointFile,
  type FileSink,
  openCheckpoint,
  sealCheckpoint,
} from '../render/checkpoint.ts';
import { RenderError } from '../render/render-manifest.ts';
import type { RenderTask } from '../render/render-task.ts';
import type { SandboxOutput, SandboxResult } from '../render/sandbox.ts';
import type { Connection } from './frames.ts';
import type { TO_PARENT } from './messages.ts';
import { nameless, writeFully } from './nameless-file.ts';

const readFd = promisify(read);

/** Of the launch that did the task: its document, beside what the task left. No renderer can call a file so. */
const KEY_ATTESTATION = '.key-attestation';

/** A task that was done: its statement, and the document that its launch got the job key with. */
export interface DoneTask {
  attested: AttestedStatement;
  keyAttestation: Uint8Array;
}

/** What a task has left for later ones. */
export type TaskOutputs = Pick<SandboxResult, 'outputs' | 'dispose'>;

interface Job {
  jobKey: Uint8Array;
  manifestSha384: string;
  scratch: string;
  parent: Connection<typeof TO_PARENT>;
}

/** Sealed checkpoints of a job, which its parent keeps. */
export interface JobCheckpoints {
  /** A task that an earlier launch did, with what it left; undefined when there is no genuine checkpoint, and it is to be done again. */
  restore(task: RenderTask, inputRootSha256: string): Promise<{ done: DoneTask; left: TaskOutputs } | undefined>;
  /** Seals a task that was done, with those of its files that later tasks read, and hands it to the parent. */
  save(task: RenderTask, inputRootSha256: string, done: DoneTask, files: readonly SandboxOutput[]): Promise<void>;
}

/** Opens what earlier launches of a job left. */
export async function jobCheckpoints({ jobKey, manifestSha384, scratch, parent }: Job): Promise<JobCheckpoints> {
  const { checkpoints } = await parent.ask('listCheckpoints', {});
  const lengths = new Map(checkpoints.map(({ name, bytes }) => [name, bytes]));
  const bindingOf = ({ id }: RenderTask, inputRootSha256: string): CheckpointBinding => ({
    manifestSha384,
    taskId: id,
    inputRootSha256,
  });

  return {
    async restore(task, inputRootSha256) {
      const bytes = lengths.get(task.id);
      if (bytes === undefined) return undefined;
      const restored = restoredFiles(join(scratch, `checkpoint-${task.id}`));
      const sealed = {
        bytes,
        read: async (offset: number, length: number) =>
          (await parent.ask('readCheckpoint', { name: task.id, offset, length })).bytes,
      };
      try {
        const attested = await openCheckpoint(jobKey, bindingOf(task, inputRootSha256), sealed, restored.create);
        return { done: { attested, keyAttestation: restored.keyAttestation() }, left: restored.left };
      } catch (error) {
        await restored.left.dispose();
        // What the parent kept is not what an enclave gave it: as if it had kept nothing.
        if (error instanceof RenderError && error.code === 'ERR_RENDER_CHECKPOINT') return undefined;
        throw error;
      }
    },

    async save(task, inputRootSha256, { attested, keyAttestation }, files) {
      const contents: CheckpointFile[] = files.map(({ name, bytes, fd }) => ({
        name,
        bytes,
        read: async (offset, length) => {
          const piece = Buffer.alloc(length);
          const { bytesRead } = await readFd(fd, piece, 0, length, offset);
          return piece.subarray(0, bytesRead);
        },
      }));
      contents.push({
        name: KEY_ATTESTATION,
        bytes: keyAttestation.length,
        read: async (offset, length) => keyAttestation.subarray(offset, offset + length),
      });
      const write = (offset: number, bytes: Uint8Array, done: boolean) =>
        parent.ask('writeCheckpoint', { name: task.id, offset, bytes, done });
      let written = 0;
      let last: Buffer | undefined;
      for await (const piece of sealCheckpoint(jobKey, bindingOf(task, inputRootSha256), attested, contents)) {
        if (last) {
          await write(written, last, false);
          written += last.length;
        }
        last = piece;
      }
      if (last) await write(written, last, true);
    },
  };
}

/** Files of a checkpoint as it is opened: in memory without a name, and the document of the launch apart from them. */
function restoredFiles(path: string) {
  const files: FileHandle[] = [];
  const outputs: SandboxOutput[] = [];
  const document: Uint8Array[] = [];
  const left: TaskOutputs = {
    outputs,
    async dispose() {
      outputs.length = 0;
      for (const file of files.splice(0)) await file.close();
    },
  };
  return {
    left,
    keyAttestation: () => Buffer.concat(document),
    async create(name: string, bytes: number): Promise<FileSink> {
      if (name === KEY_ATTESTATION) {
        return async (piece) => {
          document.push(Buffer.from(piece));
        };
      }
      const { writable, readable } = await nameless(`${path}-${files.length}`);
      files.push(writable, readable);
      outputs.push({ name, fd: readable.fd, bytes });
      return (piece) => writeFully(writable, piece);
    },
  };
}
