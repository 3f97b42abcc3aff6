import { lstat, writeFile } from 'node:fs/promises';
import { dirname, relative, resolve, sep } from 'node:path';
import type { Command } from 'commander';
import { CONFIGURATION_FILE, ConfigurationError, examineConfiguration } from '../config/configuration.ts';
import { packagePath } from '../local/package-root.ts';
import { EXIT_NO, InputError, print } from './command.ts';
import { type Answers, contentOf, defaultOf, QUESTIONS } from './init/questions.ts';

const EXAMPLES = `
Examples:
  portcullis init                          asks, and writes ${CONFIGURATION_FILE}
  portcullis init --yes                    asks nothing: the defaults
  portcullis init staging.json --force     replaces a file that is there`;

export function registerInit(program: Command): void {
  program
    .command('init')
    .description('write a configuration for a deployment to AWS, asking what it should say')
    .argument('[file]', 'where to', CONFIGURATION_FILE)
    .option('--yes', 'ask nothing, take the defaults')
    .option('--force', 'replace a file that is there')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, options: InitOptions) => {
      if (!options.yes && !process.stdin.isTTY) {
        throw new InputError('there is no terminal to ask questions on: give --yes for the defaults');
      }
      // Before anything is asked: answers must not be for nothing.
      if (!options.force) await refuseToReplace(file);
      const answers = options.yes ? defaultAnswers() : await (await import('./init/prompts.ts')).askAll();
      if (!answers) {
        process.exitCode = EXIT_NO;
        return;
      }
      const content = { ...schemaReference(file), ...contentOf(answers) };
      const { problems } = examineConfiguration(content);
      if (problems[0]) throw new ConfigurationError(`${problems[0].path}: ${problems[0].why}`);
      await write(file, `${JSON.stringify(content, null, 2)}\n`, options.force ?? false);
      const next = nextCommands(file);
      print(options.json, { file, configuration: content, next }, [
        `wrote ${file}; docs/configuration.md has every setting`,
        'next:',
        ...next.map((command) => `  ${command}`),
      ]);
    });
}

interface InitOptions {
  yes?: boolean;
  force?: boolean;
  json?: boolean;
}

/** What is written without asking. */
function defaultAnswers(): Answers {
  return Object.fromEntries(QUESTIONS.filter(({ isShown }) => isShown).map(({ path }) => [path, defaultOf(path)]));
}

/** Where editors find the schema, from the folder of the file; nothing when the package does not lie there or below. */
function schemaReference(file: string): { $schema?: string } {
  const path = relative(dirname(resolve(file)), packagePath('dist', 'portcullis.schema.json'));
  return path.startsWith('..') ? {} : { $schema: `./${path.split(sep).join('/')}` };
}

/** What to do now, as a shell takes it; both run in the checkout. */
function nextCommands(file: string): string[] {
  const quoted = (path: string) => (/^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`);
  const isFound = resolve(file) === packagePath(CONFIGURATION_FILE);
  const synth = isFound ? 'npm run synth' : `npm run synth -- --config ${quoted(resolve(file))}`;
  // Who came through `npm run portcullis` has no other command of that name yet.
  const command = process.env.npm_lifecycle_event === 'portcullis' ? 'npm run -s portcullis --' : 'portcullis';
  return [`${command} doctor --config ${quoted(file)}`, synth];
}

/** Throws `InputError` when something of that name is there. */
async function refuseToReplace(file: string): Promise<void> {
  const isThere = await lstat(file).then(
    () => true,
    () => false,
  );
  if (isThere) throw new InputError(`${file} is there already: give --force to replace it, or another name`);
}

async function write(file: string, text: string, force: boolean): Promise<void> {
  try {
    await writeFile(file, text, { flag: force ? 'w' : 'wx' });
  } catch (error) {
    throw new InputError(`cannot write ${file}: ${(error as NodeJS.ErrnoException).code}`);
  }
}
