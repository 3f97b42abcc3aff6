#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { packagePath } from '../local/package-root.ts';
import { ApiError } from './api.ts';
import { registerAsset } from './asset.ts';
import { InputError, printable } from './command.ts';
import { registerEdge } from './edge.ts';
import { EXIT_CODES, EXIT_LINE, type Exit, exitOfCode } from './exit-codes.ts';
import { registerKey } from './key.ts';
import { registerKms } from './kms.ts';
import { registerMaster } from './master.ts';
import { registerPackage } from './package.ts';
import { registerRevocation } from './revocation.ts';
import { registerSession } from './session.ts';
import { registerStorage } from './storage.ts';
import { registerToken } from './token.ts';
import { registerUp } from './up.ts';

const HELP = `
Examples:
  portcullis up                                       the whole stack on this machine
  portcullis token verify "$URL" --keys ring.json     would the edge let this through?
  portcullis asset put aurora --path /aurora/master.m3u8 --policy policy.json
  portcullis session revoke AbCdEf123456              cut a session off
Each command has its own --help with examples.

${EXIT_LINE}`;

function createProgram(): Command {
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string };
  const program = new Command('portcullis')
    .description('Edge delivery and token security for media: tokens, edge function, sessions, local stack.')
    .version(version)
    .exitOverride()
    .showHelpAfterError('(add --help for usage and examples)')
    .addHelpText('after', HELP);
  registerUp(program);
  registerToken(program);
  registerAsset(program);
  registerSession(program);
  registerRevocation(program);
  registerEdge(program);
  registerKey(program);
  registerMaster(program);
  registerKms(program);
  registerStorage(program);
  registerPackage(program);
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
  await createProgram().parseAsync();
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
