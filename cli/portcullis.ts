#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { packagePath } from '../local/package-root.ts';
import { ApiError } from './api.ts';
import { InputError, printable } from './command.ts';
import { EXIT_CODES, EXIT_HELP, type Exit, exitOfCode } from './exit-codes.ts';

const HELP = `
Examples:
  portcullis up                                       the whole stack on this machine
  portcullis token verify "$URL" --keys ring.json     would the edge let this through?
  portcullis asset put aurora --path /aurora/master.m3u8 --policy policy.json
  portcullis session revoke AbCdEf123456              cut a session off
Each command has its own --help with examples.

${EXIT_HELP}`;

/** What registers a noun, in the order of the help. Each is a file that is loaded when its noun is asked for. */
const NOUNS: Record<string, () => Promise<(program: Command) => void>> = {
  up: async () => (await import('./up.ts')).registerUp,
  token: async () => (await import('./token.ts')).registerToken,
  asset: async () => (await import('./asset.ts')).registerAsset,
  session: async () => (await import('./session.ts')).registerSession,
  revocation: async () => (await import('./revocation.ts')).registerRevocation,
  edge: async () => (await import('./edge.ts')).registerEdge,
  attach: async () => (await import('./attach.ts')).registerAttach,
  migrate: async () => (await import('./migrate.ts')).registerMigrate,
  key: async () => (await import('./key.ts')).registerKey,
  master: async () => (await import('./master.ts')).registerMaster,
  kms: async () => (await import('./kms.ts')).registerKms,
  storage: async () => (await import('./storage.ts')).registerStorage,
  package: async () => (await import('./package.ts')).registerPackage,
  attest: async () => (await import('./attest.ts')).registerAttest,
  enclave: async () => (await import('./enclave.ts')).registerEnclave,
  render: async () => (await import('./render.ts')).registerRender,
  init: async () => (await import('./init.ts')).registerInit,
  doctor: async () => (await import('./doctor.ts')).registerDoctor,
  cost: async () => (await import('./cost.ts')).registerCost,
  audit: async () => (await import('./audit.ts')).registerAudit,
};

/** The command with the noun that is asked for; with all of them for anything else, such as `--help` or a slip of the pen. */
async function createProgram(noun = ''): Promise<Command> {
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string };
  const program = new Command('portcullis')
    .description('Edge delivery and token security for media: tokens, edge function, sessions, local stack.')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(add --help for usage and examples)')
    .addHelpText('after', HELP);
  const asked = Object.hasOwn(NOUNS, noun) ? [noun] : Object.keys(NOUNS);
  for (const register of await Promise.all(asked.map((name) => NOUNS[name]?.()))) register?.(program);
  return program;
}

/** The error of the AWS SDK that everyone meets first, in words that say what to do. */
function explained(error: unknown): unknown {
  if ((error as Error).message !== 'Region is missing') return error;
  return new InputError('no AWS region: set AWS_REGION, or a region in your AWS profile');
}

// A reader that has seen enough (`| head`) closes the pipe; that is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

try {
  await (await createProgram(process.argv[2])).parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version end this way too; asking for them is no mistake, leaving out the command is.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_CODES.usage.code;
  } else {
    const { code, message } = explained(error) as { code?: unknown; message?: unknown };
    const ours = typeof code === 'string' && code.startsWith('ERR_') && typeof message === 'string';
    const exit: Exit = error instanceof ApiError ? error.exit : ours ? exitOfCode(code) : 'internal';
    process.exitCode = EXIT_CODES[exit].code;
    process.stderr.write(`portcullis: ${printable(ours ? message : `internal error: ${String(message)}`)}\n`);
  }
}
