/** A renderer: a program of the image, or packaging, which is part of the agent. */
export type Renderer = 'ffmpeg' | 'blender' | 'package-hls';

/** One task of a job: a step of its template with values for the step's parameters. */
export interface RenderTask {
  /** `<step>` or `<step>.<index>`: unique within the job, a file name. */
  id: string;
  step: string;
  /** Values of the step's task parameters. */
  parameters: Readonly<Record<string, string | number>>;
  renderer: Renderer;
  /** Arguments, every variable replaced; inputs are `/in/<name>`, outputs lie under `/out`. */
  args: string[];
  /** Inputs of the manifest that it reads, by name. */
  inputs: string[];
  /** Tasks that come first, by id: what they left is at `/in/<task id>/<file>`. */
  after: string[];
  /** Whether what it leaves goes to the owner; else it is for later tasks only. */
  delivered: boolean;
}
