import { type Piece, parseFormatString, type Variable, type Variables } from './format-string.ts';
import type { RenderManifest } from './render-manifest.ts';
import type { Renderer, RenderTask } from './render-task.ts';
import type { RendererRules } from './renderers/renderer-rules.ts';
import { RENDERERS } from './renderers/renderers.ts';
import { taskValues } from './task-range.ts';
import {
  type JobParameter,
  type JobTemplate,
  MOST_TASKS,
  parseTemplate,
  type Step,
  templateError,
} from './template-schema.ts';

type Values = RenderManifest['parameters'];
type Inputs = readonly Pick<RenderManifest['inputs'][number], 'name' | 'fileName'>[];

/** Most characters in the arguments of all tasks together. */
const MOST_CHARACTERS = 1 << 24;
const VALUE = /^[^\p{Cc}\p{Cs}]{0,1024}$/u;

/**
 * The tasks of a job, in an order in which they can be done: a step's after those that it depends on, and otherwise as the template
 * has them. The same template, parameters and inputs always give the same tasks. What steps leave that no other step depends on is
 * delivered. Throws `ERR_RENDER_TEMPLATE` with the path of what is wrong; nothing is ignored.
 *
 * `template`: Open Job Description `jobtemplate-2023-09`, the subset of docs/render-jobs.md. `parameters`: a value for each
 * parameter that has no default, but for paths that are read: those are `inputs`, by the name of their parameter.
 */
export function expandTemplate(template: unknown, parameters: Values, inputs: Inputs): RenderTask[] {
  const job = parseTemplate(template);
  const variables = jobVariables(job, parameters, inputs);
  const tasks: RenderTask[] = [];
  const idsOf = new Map<string, string[]>();
  const needed = new Set(job.steps.flatMap(({ dependencies = [] }) => dependencies.map(({ dependsOn }) => dependsOn)));
  let characters = 0;
  for (const step of inOrder(job.steps)) {
    const path = `steps.${job.steps.indexOf(step)}`;
    const combinations = taskParameters(step, variables, path);
    if (tasks.length + combinations.length > MOST_TASKS) {
      throw templateError(path, `makes more than ${MOST_TASKS} tasks: split the job`);
    }
    const after = (step.dependencies ?? []).flatMap(({ dependsOn }) => idsOf.get(dependsOn) ?? []);
    const ids = combinations.map((_, index) => (step.parameterSpace ? `${step.name}.${index + 1}` : step.name));
    idsOf.set(step.name, ids);
    for (const [index, values] of combinations.entries()) {
      const id = ids[index] ?? step.name;
      const made = taskArguments(step, path, withTaskParameters(variables, values), inputs, after);
      characters += made.args.reduce((sum, text) => sum + text.length, 0);
      if (characters > MOST_CHARACTERS) throw templateError(path, 'makes arguments that are too long: split the job');
      tasks.push({ id, step: step.name, parameters: values, ...made, after, delivered: !needed.has(step.name) });
    }
  }
  refuseSharedNames(tasks, inputs);
  return tasks;
}

/** Inputs and tasks are side by side in `/in`. */
function refuseSharedNames(tasks: readonly RenderTask[], inputs: Inputs): void {
  const names = new Set<string>();
  for (const name of [...tasks.map(({ id }) => id), ...inputs.map(({ fileName }) => fileName)]) {
    if (names.has(name)) throw templateError('inputs', `${name} is the file name of two inputs, or of one and a task`);
    names.add(name);
  }
}

function jobVariables({ parameterDefinitions = [] }: JobTemplate, parameters: Values, inputs: Inputs): Variables {
  const variables = new Map<string, Variable>();
  const unused = new Set([...Object.keys(parameters), ...inputs.map(({ name }) => name)]);
  for (const definition of parameterDefinitions) {
    const { name, type } = definition;
    unused.delete(name);
    const raw = parameterValue(definition, parameters, inputs);
    // §2.2: a path is given as it is where the task runs; `RawParam` is what it was called.
    const mapped = type === 'PATH' ? `/${definition.dataFlow.toLowerCase()}/${raw}` : raw;
    const isFreeText = type === 'STRING' && definition.allowedValues === undefined;
    variables.set(`Param.${name}`, { value: mapped, isFreeText });
    variables.set(`RawParam.${name}`, { value: raw, isFreeText });
  }
  const [stranger] = unused;
  if (stranger !== undefined) {
    throw templateError('parameters', `or inputs have ${stranger.slice(0, 80)}, which the template does not define`);
  }
  return variables;
}

function parameterValue(definition: JobParameter, parameters: Values, inputs: Inputs): string | number {
  const { name, type } = definition;
  const path = `parameters.${name}`;
  const given = Object.hasOwn(parameters, name) ? parameters[name] : undefined;
  const found = inputs.filter((input) => input.name === name);
  const [input] = found;
  if (type === 'PATH' && definition.dataFlow === 'IN') {
    if (given !== undefined) throw templateError(path, 'is a path that is read: it is an input, and has no value');
    if (input && found.length === 1) return input.fileName;
    throw templateError(`inputs.${name}`, input ? 'is there twice' : 'is missing');
  }
  if (input) throw templateError(`inputs.${name}`, 'is an input, but its parameter is no path that is read');
  const value = given ?? definition.default;
  if (value === undefined) throw templateError(path, 'has no value, and no default');
  checkValue(definition, value, path);
  return value;
}

function checkValue(definition: JobParameter, value: string | number, path: string): void {
  const refuse = (why: string) => {
    throw templateError(path, why);
  };
  const { type, allowedValues } = definition;
  if (type === 'INT' || type === 'FLOAT') {
    const isOne = type === 'INT' ? Number.isSafeInteger(value) : Number.isFinite(value);
    if (!isOne) refuse(`has to be a number (${type})`);
    const { minValue = Number.NEGATIVE_INFINITY, maxValue = Number.POSITIVE_INFINITY } = definition;
    if (Number(value) < minValue || Number(value) > maxValue) refuse(`has to be from ${minValue} to ${maxValue}`);
  } else {
    if (typeof value !== 'string' || !VALUE.test(value)) {
      throw templateError(path, 'has to be text without control characters');
    }
    if (type === 'STRING') {
      const { minLength = 0, maxLength = 1024 } = definition;
      const characters = [...value].length;
      if (characters < minLength || characters > maxLength)
        refuse(`has to have ${minLength} to ${maxLength} characters`);
    } else if (!/^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}$/.test(value)) {
      refuse('has to be a relative path of plain names');
    }
  }
  if (allowedValues && !(allowedValues as (string | number)[]).includes(value)) refuse('is none of allowedValues');
}

/** Every combination of the step's task parameters; the last of them changes fastest (§3.4). */
function taskParameters({ parameterSpace }: Step, variables: Variables, path: string): Values[] {
  let combinations: Values[] = [{}];
  for (const [index, parameter] of (parameterSpace?.taskParameterDefinitions ?? []).entries()) {
    const at = `${path}.parameterSpace.taskParameterDefinitions.${index}.range`;
    const values = taskValues(parameter, variables, at);
    if (combinations.length * values.length > MOST_TASKS) {
      throw templateError(at, `makes more than ${MOST_TASKS} tasks: split the job`);
    }
    combinations = combinations.flatMap((one) => values.map((value) => ({ ...one, [parameter.name]: value })));
  }
  return combinations;
}

function withTaskParameters(variables: Variables, values: Values): Variables {
  const all = new Map(variables);
  for (const [name, value] of Object.entries(values)) {
    const variable = { value, isFreeText: typeof value === 'string' };
    all.set(`Task.Param.${name}`, variable).set(`Task.RawParam.${name}`, variable);
  }
  return all;
}

function taskArguments(step: Step, path: string, variables: Variables, inputs: Inputs, after: readonly string[]) {
  const { command, args = [] } = step.script.actions.onRun;
  if (!Object.hasOwn(RENDERERS, command)) {
    const known = Object.keys(RENDERERS).join(', ');
    throw templateError(`${path}.script.actions.onRun.command`, `is none of the renderers: ${known}`);
  }
  const renderer = command as Renderer;
  const read = new Set<string>();
  const expanded: string[] = [];
  for (const [index, text] of args.entries()) {
    const at = `${path}.script.actions.onRun.args.${index}`;
    const pieces = parseFormatString(text, variables, at);
    checkPlaces(pieces, at, after);
    expanded.push(embedded(pieces, args[index - 1], RENDERERS[renderer], at));
    for (const { name = '' } of pieces) {
      const input = inputs.find((one) => name === `Param.${one.name}` || name === `RawParam.${one.name}`);
      if (input) read.add(input.name);
    }
  }
  const prepared = RENDERERS[renderer].prepare(expanded, `${path}.script.actions.onRun.args`);
  return { renderer, args: prepared, inputs: [...read].sort() };
}

/** One argument with its variables in it. Free text is never the beginning of an option or of a list of options. */
function embedded(pieces: readonly Piece[], before: string | undefined, rules: RendererRules, path: string): string {
  const [first] = pieces;
  const isOption = first?.text?.startsWith('-') ?? false;
  if (isOption && pieces.length > 1) throw templateError(path, 'is an option, and those have no variables in them');
  const hasFreeText = pieces.some((piece) => piece.variable?.isFreeText);
  if (hasFreeText) rules.checkAround?.(pieces.map(({ text = '' }) => text).join(''), before, path);
  const text = pieces
    .map(({ text, variable }) => {
      if (!variable) return text;
      return variable.isFreeText ? rules.embed(String(variable.value), before) : String(variable.value);
    })
    .join('');
  if (hasFreeText && first?.variable?.isFreeText && /^[-@]/.test(text)) {
    throw templateError(path, 'would begin with - or @ by the value of a parameter');
  }
  return text;
}

/**
 * Places in `/in` that the template itself names are those of tasks that come first; inputs are named by their parameters, so that a
 * task is given what it reads and no more.
 */
function checkPlaces(pieces: readonly Piece[], path: string, after: readonly string[]): void {
  const shown = pieces.map((piece) => {
    if (piece.variable === undefined) return piece.text;
    return piece.variable.isFreeText || isPath(piece.variable) ? '' : String(piece.variable.value);
  });
  const text = shown.join('');
  for (const [, name = ''] of text.matchAll(/(?<![\w.-])\/in\/([A-Za-z0-9._%-]*)/g)) {
    if (name === '' || after.includes(name)) continue;
    // A sequence of frames, as ffmpeg and Blender number them: `/in/frames.%d/frame.png`.
    const [, step] = /^([A-Za-z0-9_-]+)\.%d$/.exec(name) ?? [];
    if (step !== undefined && after.includes(`${step}.1`)) continue;
    throw templateError(path, `reads /in/${name}, which is no task of a step that this one depends on`);
  }
}

function isPath({ value }: Variable): boolean {
  return typeof value === 'string' && value.startsWith('/in/');
}

/** Steps so that each comes after those it depends on; as the template has them where that leaves a choice. */
function inOrder(steps: readonly Step[]): Step[] {
  const names = new Set(steps.map(({ name }) => name));
  for (const [index, { dependencies = [] }] of steps.entries()) {
    for (const [at, { dependsOn }] of dependencies.entries()) {
      const path = `steps.${index}.dependencies.${at}.dependsOn`;
      if (!names.has(dependsOn)) throw templateError(path, `is no step of the template: ${dependsOn}`);
      if (dependencies.findIndex((other) => other.dependsOn === dependsOn) < at) {
        throw templateError(path, 'is there twice');
      }
    }
  }
  const ordered: Step[] = [];
  const done = new Set<string>();
  while (ordered.length < steps.length) {
    const next = steps.find(
      ({ name, dependencies = [] }) => !done.has(name) && dependencies.every(({ dependsOn }) => done.has(dependsOn)),
    );
    if (!next) throw templateError('steps', 'depend on each other in a circle');
    ordered.push(next);
    done.add(next.name);
  }
  return ordered;
}
