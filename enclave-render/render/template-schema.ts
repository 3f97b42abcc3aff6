import * as v from 'valibot';
import { RenderError } from './render-manifest.ts';

// Sections are of "Template Schemas [Version: 2023-09]" of the Open Job Description specification.

const identifier = v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/));
/** Of a step: narrower than §3, since the ids of its tasks are names of files. */
const stepName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/));
const description = v.exactOptional(v.pipe(v.string(), v.maxLength(2048)));
/** §2.5; without control characters, and with a meaning in UTF-8. */
const value = v.pipe(v.string(), v.maxLength(1024), v.regex(/^[^\p{Cc}\p{Cs}]*$/u));
const formatString = v.pipe(v.string(), v.maxLength(8192), v.regex(/^[^\p{Cc}\p{Cs}]*$/u));
const integer = v.pipe(v.number(), v.safeInteger());
const number = v.pipe(v.number(), v.finite());
const length = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** A relative path of plain names. */
const outputPath = v.pipe(
  v.string(),
  v.maxLength(200),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}$/),
);
const list = <T extends v.GenericSchema>(item: T, most: number) =>
  v.pipe(v.array(item), v.minLength(1), v.maxLength(most));

/** §2.1 to §2.4, without `userInterface`; numbers are numbers, not strings. */
const JobParameterSchema = v.variant('type', [
  v.strictObject({
    name: identifier,
    type: v.literal('STRING'),
    description,
    default: v.exactOptional(value),
    allowedValues: v.exactOptional(list(value, 256)),
    minLength: v.exactOptional(length),
    maxLength: v.exactOptional(length),
  }),
  v.strictObject({
    name: identifier,
    type: v.literal('INT'),
    description,
    default: v.exactOptional(integer),
    allowedValues: v.exactOptional(list(integer, 256)),
    minValue: v.exactOptional(integer),
    maxValue: v.exactOptional(integer),
  }),
  v.strictObject({
    name: identifier,
    type: v.literal('FLOAT'),
    description,
    default: v.exactOptional(number),
    allowedValues: v.exactOptional(list(number, 256)),
    minValue: v.exactOptional(number),
    maxValue: v.exactOptional(number),
  }),
  v.strictObject({
    name: identifier,
    type: v.literal('PATH'),
    description,
    objectType: v.literal('FILE'),
    dataFlow: v.picklist(['IN', 'OUT']),
    default: v.exactOptional(outputPath),
    allowedValues: v.exactOptional(list(outputPath, 256)),
  }),
]);

/** §3.4.1: `INT` by an expression (`1-10:2`) or a list, `STRING` by a list. */
const TaskParameterSchema = v.variant('type', [
  v.strictObject({
    name: identifier,
    type: v.literal('INT'),
    range: v.union([formatString, list(v.union([integer, formatString]), 1024)]),
  }),
  v.strictObject({ name: identifier, type: v.literal('STRING'), range: list(formatString, 1024) }),
]);

const StepSchema = v.strictObject({
  name: stepName,
  description,
  dependencies: v.exactOptional(list(v.strictObject({ dependsOn: stepName }), 100)),
  parameterSpace: v.exactOptional(v.strictObject({ taskParameterDefinitions: list(TaskParameterSchema, 16) })),
  script: v.strictObject({
    actions: v.strictObject({
      onRun: v.strictObject({
        /** One of the renderers (renderers/renderers.ts). */
        command: v.pipe(v.string(), v.maxLength(64)),
        args: v.exactOptional(v.pipe(v.array(formatString), v.maxLength(1024))),
      }),
    }),
  }),
});

/** The subset of a Job Template (§1.1) that is rendered: docs/render-jobs.md. Any other field is refused, not ignored. */
export const JobTemplateSchema = v.strictObject({
  specificationVersion: v.literal('jobtemplate-2023-09'),
  name: v.pipe(value, v.minLength(1), v.maxLength(128)),
  description,
  parameterDefinitions: v.exactOptional(list(JobParameterSchema, 200)),
  steps: list(StepSchema, 100),
});

export type JobTemplate = v.InferOutput<typeof JobTemplateSchema>;
export type JobParameter = v.InferOutput<typeof JobParameterSchema>;
export type TaskParameter = v.InferOutput<typeof TaskParameterSchema>;
export type Step = v.InferOutput<typeof StepSchema>;

/** Most tasks of a job. */
export const MOST_TASKS = 1024;

/** Reads a template strictly. Throws `ERR_RENDER_TEMPLATE` with the path of the offending field. */
export function parseTemplate(template: unknown): JobTemplate {
  const result = v.safeParse(JobTemplateSchema, template);
  if (!result.success) {
    const [issue] = result.issues;
    const isUnknown = issue.expected === 'never';
    const why = isUnknown ? 'is not in the subset that is rendered' : `has to be ${issue.expected ?? issue.message}`;
    throw templateError(v.getDotPath(issue) ?? 'template', why);
  }
  const { parameterDefinitions = [], steps } = result.output;
  requireUnique(parameterDefinitions, 'parameterDefinitions');
  requireUnique(steps, 'steps');
  for (const [index, { parameterSpace }] of steps.entries()) {
    const path = `steps.${index}.parameterSpace.taskParameterDefinitions`;
    requireUnique(parameterSpace?.taskParameterDefinitions ?? [], path);
  }
  return result.output;
}

function requireUnique(named: readonly { name: string }[], path: string): void {
  const names = new Set<string>();
  for (const [index, { name }] of named.entries()) {
    // Ids of tasks are compared on file systems of any kind.
    const key = path === 'steps' ? name.toLowerCase() : name;
    if (names.has(key)) throw templateError(`${path}.${index}.name`, 'is there twice');
    names.add(key);
  }
}

export function templateError(path: string, why: string): RenderError {
  return new RenderError('ERR_RENDER_TEMPLATE', `${path} ${why}`);
}
