import { cancel, intro, isCancel, multiselect, outro, select, text } from '@clack/prompts';
import { type Answers, defaultOf, problemWith, QUESTIONS, type Question } from './questions.ts';

/** Everything is asked on stderr: the answer of the command alone goes to stdout. */
const output = process.stderr;

/** Asks every question that matters after those before it; undefined when somebody gave up. */
export async function askAll(): Promise<Answers | undefined> {
  intro('portcullis init', { output });
  const answers: Answers = {};
  for (const question of QUESTIONS) {
    if (question.when && !question.when(answers)) continue;
    const answer = await ask(question, answers);
    if (isCancel(answer)) {
      cancel('nothing was written', { output });
      return undefined;
    }
    answers[question.path] = answer;
  }
  outro('that is all', { output });
  return answers;
}

async function ask(question: Question, before: Answers): Promise<unknown> {
  const { path, message, choices, many, example = '' } = question;
  const options = choices?.map(({ value, hint }) => ({ value, hint, label: labelOf(value) }));
  if (!options) {
    const validate = (answer: string | undefined) => problemWith(question, answer?.trim() ?? '', before);
    const initial = defaultOf(path);
    const answer = await text({
      message,
      output,
      validate,
      placeholder: example,
      ...(typeof initial === 'string' && { initialValue: initial }),
    });
    return typeof answer === 'string' ? answer.trim() : answer;
  }
  if (!many) return select({ message, output, options, initialValue: defaultOf(path) as string | boolean });
  for (;;) {
    const initialValues = (before[path] ?? defaultOf(path)) as (string | boolean)[];
    const chosen = await multiselect({ message, output, options, initialValues, required: true });
    const problem = isCancel(chosen) ? undefined : problemWith(question, chosen, before);
    if (problem === undefined) return chosen;
    output.write(`   ${problem}\n`);
  }
}

function labelOf(value: string | boolean): string {
  if (typeof value === 'string') return value;
  return value ? 'yes' : 'no';
}
