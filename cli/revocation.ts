import { Argument, type Command, Option } from 'commander';
import { REVOCATION_KINDS, type RevocationKind, SESSIONS_BEFORE_ID } from '../revocation/list/revocation-list.ts';
import { apiCommand, callApi, callList, type StackAccess } from './api.ts';
import { noteUnknownAsset } from './asset.ts';
import { alignColumns, EXIT_NO, formatTime, InputError, note, print, time } from './command.ts';
import { registerRevocationCompile } from './revocation-compile.ts';
import { describeRevoked, noteLate, noteRevoked, type Revoked } from './revoked.ts';
import { liveSessions } from './session.ts';

interface Revocation {
  kind: string;
  id: string;
  source: string;
  reasons: string[];
  score?: number;
  by: string;
  revokedAt: number;
  before?: number;
  expiresAt?: number;
}

interface RevocationEvent {
  at: number;
  action: 'revoked' | 'restored';
  by: string;
  revocation: Revocation;
}

/** What a command is about: one of these. */
interface Subject<Time> extends StackAccess {
  asset?: string;
  subject?: string;
  sessionsBefore?: Time;
  session?: string;
}

/** Sessions that are named in one line. */
const NAMED = 10;

const LIST_EXAMPLE = 'portcullis revocation list --kind session';
const HISTORY_EXAMPLE = 'portcullis revocation history session AbCdEf123456';
const ADD_EXAMPLE = `portcullis revocation add --asset aurora --reason "withdrawn by the studio"
  portcullis revocation add --subject viewer-7 --reason chargeback
  portcullis revocation add --sessions-before 2026-11-22T14:00:00Z --reason "signing key leaked"
Sessions are revoked with portcullis session revoke.`;
const REMOVE_EXAMPLE = `portcullis revocation remove --asset aurora
  portcullis revocation remove --sessions-before`;

export function registerRevocation(program: Command): void {
  const revocation = program
    .command('revocation')
    .description('what is revoked: sessions, assets, subjects, all sessions that began before a time');

  apiCommand(revocation, 'list', 'list what is revoked', LIST_EXAMPLE)
    .addOption(new Option('--kind <kind>', 'only this kind').choices(REVOCATION_KINDS))
    .action(async (options: StackAccess & { kind?: string }) => {
      const filter: Record<string, string> = options.kind === undefined ? {} : { kind: options.kind };
      const revocations = (await callList(options, '/v1/revocations', 'revocations', { filter })) as Revocation[];
      const rows = revocations.map(({ kind, id, source, by, revokedAt, expiresAt, before, reasons }) => [
        ...[kind, before === undefined ? id : formatTime(before), source, by, formatTime(revokedAt)],
        expiresAt === undefined ? 'until taken back' : formatTime(expiresAt),
        reasons.join('; '),
      ]);
      const header = ['kind', 'id', 'source', 'by', 'revoked', 'expires', 'reasons'];
      print(options.json, { revocations }, rows.length > 0 ? alignColumns([header, ...rows]) : ['nothing is revoked']);
    });

  apiCommand(
    revocation,
    'history',
    'what happened to one of them, the latest first; exit 1 when nothing',
    HISTORY_EXAMPLE,
  )
    .addArgument(new Argument('<kind>', 'what it is').choices(REVOCATION_KINDS))
    .argument('[id]', 'of it; sessions-before needs none')
    .action(async (kind: RevocationKind, told: string | undefined, options: StackAccess) => {
      const id = kind === 'sessions-before' ? SESSIONS_BEFORE_ID : told;
      if (id === undefined) throw new InputError(`which ${kind}? Give its id: revocation history ${kind} <id>`);
      const path = `/v1/revocations/${encodeURIComponent(kind)}/${encodeURIComponent(id)}/history`;
      const events = (await callList(options, path, 'events')) as RevocationEvent[];
      const rows = events.map(({ at, action, by, revocation: { source, reasons, before } }) => [
        ...[formatTime(at), action, `by ${by}`, source],
        ...(before === undefined ? [] : [`before ${formatTime(before)}`]),
        reasons.join('; '),
      ]);
      print(options.json, { events }, rows.length > 0 ? alignColumns(rows) : [`${kind} ${id} was never revoked`]);
      if (events.length === 0) process.exitCode = EXIT_NO;
    });

  apiCommand(revocation, 'add', 'revoke an asset, a subject, or all sessions that began before a time', ADD_EXAMPLE)
    .option('--asset <id>', 'every session of this asset')
    .option('--subject <id>', 'this subject gets no tokens any more')
    .option('--sessions-before <time>', 'seconds since the epoch, or like 2026-11-22T14:00:00Z', time)
    .option('--reason <text>', 'why, for those who read the list', '')
    .addOption(elsewhere())
    .action(async (options: Subject<number> & { reason: string }) => {
      const { reason, asset, subject, sessionsBefore: before } = options;
      const { path, name } = addressed(options, 'revoke');
      if (asset !== undefined) await noteUnknownAsset(options, asset);
      const isCutoff = before !== undefined;
      const asked = isCutoff ? { before, reason } : { reason };
      const { status, body } = await callApi(options, isCutoff ? 'PUT' : 'POST', path, asked);
      const revoked = body as unknown as Revoked;
      const holds = isCutoff ? `sessions before ${formatTime(body.before as number)}` : name;
      print(options.json, body, [describeRevoked(holds, revoked)]);
      noteRevoked(status, revoked, reason);
      if (subject !== undefined) await noteWhatPlaysOn(options, subject);
    });

  apiCommand(revocation, 'remove', 'take one of these back; exit 1 when it is not revoked', REMOVE_EXAMPLE)
    .option('--asset <id>', 'of this asset')
    .option('--subject <id>', 'of this subject')
    .option('--sessions-before', 'the cut-off')
    .addOption(elsewhere())
    .action(async (options: Subject<true>) => {
      const { path, name } = addressed(options, 'restore');
      const answers = ['ERR_NOT_REVOKED'];
      const { status } = await callApi(options, 'DELETE', path, undefined, { answers });
      const restored = status === 204 || status === 202;
      print(options.json, { restored }, [restored ? `restored ${name}` : `${name} is not revoked`]);
      noteLate(status);
      if (!restored) process.exitCode = EXIT_NO;
    });

  registerRevocationCompile(revocation);
}

/** The option that would be natural here: sessions have commands of their own, which its error names. */
function elsewhere(): Option {
  return new Option('--session <id>').hideHelp();
}

/** The route of what a command is about, and its name for people. `verb`: of the command that does the same to a session. */
function addressed(
  { asset, subject, sessionsBefore, session }: Subject<unknown>,
  verb: 'revoke' | 'restore',
): { path: string; name: string } {
  if (session !== undefined) throw new InputError(`for a session there is: portcullis session ${verb} ${session}`);
  const told = [asset, subject, sessionsBefore].filter((option) => option !== undefined);
  if (told.length !== 1) throw new InputError('give one of --asset, --subject and --sessions-before');
  if (asset !== undefined) return { path: `/v1/assets/${encodeURIComponent(asset)}/revocation`, name: asset };
  if (subject !== undefined) return { path: `/v1/subjects/${encodeURIComponent(subject)}/revocation`, name: subject };
  return { path: '/v1/sessions/cutoff', name: 'the cut-off' };
}

/** Says which sessions of a revoked subject the edge goes on serving: it does not know subjects. */
async function noteWhatPlaysOn(options: StackAccess, subject: string): Promise<void> {
  const ofSubject = (await liveSessions(options)).filter((session) => session.subject === subject);
  const playing = ofSubject.filter(({ reason }) => reason === undefined || reason === 'subject-revoked');
  if (playing.length === 0) {
    return note(`no session of ${subject} plays just now; tokens of it that are out work until they expire`);
  }
  const until = formatTime(Math.max(...playing.map(({ expiresAt }) => expiresAt)));
  const ids = playing.slice(0, NAMED).map(({ sessionId }) => sessionId);
  const count = playing.length === 1 ? '1 session' : `${playing.length} sessions`;
  const named = `${ids.join(', ')}${playing.length > NAMED ? ', …' : ''}`;
  note(`${count} of ${subject} may play on until ${until}: ${named}; end each with portcullis session revoke <id>`);
}
