import { createPublicKey, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import type { AuditEntry } from '../enclave-render/audit/audit-entry.ts';
import { AuditError } from '../enclave-render/audit/audit-error.ts';
import { checkpointsPath } from '../enclave-render/audit/audit-log.ts';
import { signCheckpoint } from '../enclave-render/audit/checkpoint.ts';
import { verifyAuditLog } from '../enclave-render/audit/verify-audit-log.ts';
import { readSignKeyFile, readVerifyKeyFile } from '../enclave-render/mastering/key-files.ts';
import { signingKeyPath } from '../local/render-owner.ts';
import { alignColumns, EXIT_NO, formatTime, InputError, nowOr, print, readText, time } from './command.ts';

const HELP = `
The log of render jobs (of this machine: <data>/render/audit.jsonl) is one JSON object a line, each chained to the one before
it by its SHA-256 (docs/receipts.md).
A chain alone does not show what was cut off at the end: checkpoints do, which are signed. Each entry has one in <log>.checkpoints;
who may change both files may cut both, so keep some on another machine.

Examples:
  portcullis audit show .portcullis/render/audit.jsonl
  portcullis audit checkpoint .portcullis/render/audit.jsonl --sign-key audit.pem >>checkpoints
  portcullis audit verify .portcullis/render/audit.jsonl --checkpoint checkpoints --key audit.pub.pem`;

interface VerifyOptions {
  checkpoint?: string[];
  key?: string[];
  copy?: string[];
  json?: true;
}

/** Registers `audit`. */
export function registerAudit(program: Command): void {
  const audit = program.command('audit').description('the audit log of render jobs').addHelpText('after', HELP);

  audit
    .command('verify')
    .description('find entries that were changed, moved, put in, taken out or cut off; exit 0, or 1 and the code')
    .argument('<log>', 'file')
    .option('--checkpoint <file...>', 'checkpoints, one a line, instead of those in <log>.checkpoints')
    .option(
      '--key <file...>',
      'Ed25519 public key that checkpoints are signed with, PEM or JWK, instead of that of the owner beside the log',
    )
    .option('--copy <file...>', 'another copy of the same log, which has to agree')
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  portcullis audit verify .portcullis/render/audit.jsonl            the chain, and the checkpoints beside it
  portcullis audit verify .portcullis/render/audit.jsonl --checkpoint checkpoints --key audit.pub.pem
  portcullis audit verify .portcullis/render/audit.jsonl --copy /backup/audit.jsonl --json`,
    )
    .action(verify);

  audit
    .command('show')
    .description('print the entries, after verifying their chain')
    .argument('<log>', 'file')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  portcullis audit show .portcullis/render/audit.jsonl')
    .action(async (path: string, { json }: { json?: true }) => {
      const { entries } = await verifyAuditLog(await readText(path), { checkpoints: [], keys: [], copies: [] });
      const rows = entries.map((entry) => [`${entry.sequence}`, at(entry), entry.event, entry.jobId, detailsOf(entry)]);
      const lines = alignColumns([['entry', 'time', 'event', 'job', 'details'], ...rows]);
      print(json, { entries }, entries.length > 0 ? lines : ['no entries']);
    });

  audit
    .command('checkpoint')
    .description('sign for the log as it is now, and print that: what is cut off later shows')
    .argument('<log>', 'file')
    .requiredOption('--sign-key <file>', 'Ed25519 private key (mode 0600), PEM or JWK')
    .addOption(new Option('--now <time>', 'time to say, instead of that of the clock').argParser(time))
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  portcullis audit checkpoint .portcullis/render/audit.jsonl --sign-key audit.pem >>checkpoints',
    )
    .action(async (path: string, { signKey, now, json }: { signKey: string; now?: number; json?: true }) => {
      const key = await readSignKeyFile(signKey);
      const { entries, head } = await verifyAuditLog(await readText(path), { checkpoints: [], keys: [], copies: [] });
      if (entries.length === 0) throw new InputError(`${path} has no entries: there is nothing to sign for`);
      const checkpoint = { length: entries.length, head, at: nowOr(now) * 1000 };
      const jws = await signCheckpoint(checkpoint, key);
      print(json, { ...checkpoint, checkpoint: jws }, [jws]);
    });
}

async function verify(path: string, { checkpoint = [], key = [], copy = [], json }: VerifyOptions): Promise<void> {
  // Before the log, which may grow meanwhile.
  const checkpoints = checkpoint.length > 0 ? await givenCheckpoints(checkpoint) : await checkpointsBeside(path);
  if (checkpoint.length > 0 ? key.length === 0 : key.length > 0 && !checkpoints) {
    throw new InputError('checkpoints and the keys that they are signed with go together: give --checkpoint and --key');
  }
  const keys =
    key.length > 0 ? await Promise.all(key.map(readVerifyKeyFile)) : checkpoints ? [await ownerKey(path)] : [];
  const evidence = { checkpoints: checkpoints ?? [], keys, copies: await Promise.all(copy.map(readText)) };
  try {
    const { entries, head, signedFor } = await verifyAuditLog(await readText(path), evidence);
    const answer = { ok: true, entries: entries.length, head, signedFor };
    print(json, answer, [
      `${entries.length} entries, chained without a gap`,
      protection(entries.length, signedFor),
      ...entries.filter(({ event }) => event === 'checkpoints-lost').map(lossOf),
    ]);
  } catch (error) {
    if (!(error instanceof AuditError)) throw error;
    process.exitCode = EXIT_NO;
    print(json, { ok: false, code: error.code, message: error.message }, [`${error.code}: ${error.message}`]);
  }
}

async function givenCheckpoints(files: readonly string[]): Promise<string[]> {
  const checkpoints = (await Promise.all(files.map(readText))).flatMap((text) => text.split('\n').filter(Boolean));
  if (checkpoints.length > 0) return checkpoints;
  throw new InputError(`there is no checkpoint in ${files.join(', ')}: make one with portcullis audit checkpoint`);
}

/** Those that were signed with each entry; the last line may not be written to its end yet. */
async function checkpointsBeside(log: string): Promise<string[] | undefined> {
  const path = checkpointsPath(log);
  return existsSync(path) ? (await readText(path)).split('\n').slice(0, -1) : undefined;
}

async function ownerKey(log: string): Promise<KeyObject> {
  const path = signingKeyPath(join(dirname(log), 'owner'));
  if (existsSync(path)) return createPublicKey(await readSignKeyFile(path));
  throw new InputError(
    `there are checkpoints in ${checkpointsPath(log)}, and no key of the owner beside it: give --key FILE, ` +
      'which portcullis render keys --json | jq -r .manifestKey prints on the machine of the log',
  );
}

function protection(length: number, signedFor: number): string {
  if (signedFor === 0) {
    return 'no checkpoint, or it was lost: nothing shows whether entries were cut off at the end, or the whole log was made anew';
  }
  const rest = length - signedFor;
  if (rest === 0) return 'a checkpoint signs for all of them';
  return `a checkpoint signs for the first ${signedFor}; nothing shows whether any behind the ${rest} others were cut off`;
}

const lossOf = ({ sequence }: AuditEntry) =>
  `entry ${sequence} says that the checkpoints were lost: nothing shows whether entries were cut off just before it`;

const at = (entry: AuditEntry) => formatTime(entry.at / 1000);

function detailsOf({ details }: AuditEntry): string {
  return Object.entries(details)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}
