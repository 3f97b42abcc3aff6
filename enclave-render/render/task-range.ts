import { formatText, type Variables } from './format-string.ts';
import { MOST_TASKS, type TaskParameter, templateError } from './template-schema.ts';

const INTEGER = /^-?\d{1,15}$/;
const RANGE = /^\s*(-?\d{1,15})(?:\s*-\s*(-?\d{1,15})(?:\s*:\s*(-?\d{1,15}))?)?\s*$/;

/** Values of a task parameter, in order. Throws `ERR_RENDER_TEMPLATE` for none, too many, or one twice. */
export function taskValues(parameter: TaskParameter, variables: Variables, path: string): (string | number)[] {
  const values = listed(parameter, variables, path);
  if (values.length > MOST_TASKS) throw tooMany(path);
  if (new Set(values).size !== values.length) throw templateError(path, 'has a value twice');
  return values;
}

function listed({ type, range }: TaskParameter, variables: Variables, path: string): (string | number)[] {
  if (typeof range === 'string') return integers(formatText(range, variables, path), path);
  return range.map((item, index) => {
    if (typeof item === 'number') return item;
    const text = formatText(item, variables, `${path}.${index}`);
    if (type === 'STRING') return text;
    if (!INTEGER.test(text)) throw templateError(`${path}.${index}`, 'is no integer');
    return Number(text);
  });
}

/** A range expression (§3.4.1.1): `1-10`, `1-10:2`, `10-1:-3`, and several of them with commas between. */
function integers(text: string, path: string): number[] {
  const values: number[] = [];
  for (const part of text.split(',')) {
    const [, first, last = first, step = '1'] = RANGE.exec(part) ?? [];
    if (first === undefined) throw templateError(path, 'is no range: write 1-10, 1-10:2 or 1,2,5-9');
    const [from, to, by] = [Number(first), Number(last), Number(step)];
    if (by === 0 || (to - from) * by < 0) throw templateError(path, 'has a range without values');
    const count = Math.floor((to - from) / by) + 1;
    if (values.length + count > MOST_TASKS) throw tooMany(path);
    for (let index = 0; index < count; index++) values.push(from + index * by);
  }
  return values;
}

function tooMany(path: string) {
  return templateError(path, `makes more than ${MOST_TASKS} tasks: split the job`);
}
