import type { Command } from 'commander';
import { SESSION_ID } from '../token/index.ts';
import type { Refusal } from '../token-api/vending/vending.ts';
import { apiCommand, callApi, callList, type StackAccess } from './api.ts';
import { registerAthenaTable } from './athena-table.ts';
import { alignColumns, EXIT_NO, formatTime, InputError, print } from './command.ts';
import { registerDetect } from './detect.ts';
import { describeRevoked, noteLate, noteRevoked, type Revoked, STATES } from './revoked.ts';
import { registerSimulate } from './simulate.ts';

export interface LiveSession {
  sessionId: string;
  asset: string;
  subject?: string;
  startedAt: number;
  lastSeenAt: number;
  expiresAt: number;
  revoked: boolean;
  /** What of the revocation list is against it; absent when nothing is. */
  reason?: Refusal;
}

/** The live sessions of the stack. */
export async function liveSessions(options: StackAccess): Promise<LiveSession[]> {
  return (await callList(options, '/v1/sessions', 'sessions')) as LiveSession[];
}

const LIST_EXAMPLE = `portcullis session list

States: live; revoked (the session); cut off (all that began before a time); withdrawn (its asset); not renewed (its subject is
revoked: it plays on until its token expires, and gets no other).`;

export function registerSession(program: Command): void {
  const session = program
    .command('session')
    .description('list, revoke and restore playback sessions of a running stack, and find those that leak');
  const add = (name: string, description: string, example: string) => apiCommand(session, name, description, example);

  add('list', 'list the live sessions', LIST_EXAMPLE).action(async (options: StackAccess) => {
    const sessions = await liveSessions(options);
    const rows = sessions.map(({ sessionId, asset, subject = '-', startedAt, lastSeenAt, expiresAt, reason }) => [
      ...[sessionId, asset, subject, formatTime(startedAt), formatTime(lastSeenAt), formatTime(expiresAt)],
      reason ? STATES[reason] : 'live',
    ]);
    const header = ['session', 'asset', 'subject', 'started', 'last seen', 'expires', 'state'];
    print(options.json, { sessions }, rows.length > 0 ? alignColumns([header, ...rows]) : ['no live sessions']);
  });

  add(
    'revoke',
    'deny every further request of a session',
    'portcullis session revoke AbCdEf123456 --reason "shared link"',
  )
    .argument('<session-id>')
    .option('--reason <text>', 'why, for those who read the list', '')
    .action(async (id: string, options: StackAccess & { reason: string }) => {
      const { status, body } = await callApi(options, 'POST', revocationPath(id), { reason: options.reason });
      const revoked = body as unknown as Revoked;
      print(options.json, body, [describeRevoked(id, revoked)]);
      noteRevoked(status, revoked, options.reason);
    });

  add('restore', 'take a revocation back; exit 1 when there is none', 'portcullis session restore AbCdEf123456')
    .argument('<session-id>')
    .action(async (id: string, options: StackAccess) => {
      const answers = ['ERR_NOT_REVOKED'];
      const { status } = await callApi(options, 'DELETE', revocationPath(id), undefined, { answers });
      const restored = status === 204 || status === 202;
      print(options.json, { sessionId: id, restored }, [restored ? `restored ${id}` : `${id} is not revoked`]);
      noteLate(status);
      if (!restored) process.exitCode = EXIT_NO;
    });

  registerDetect(session);
  registerSimulate(session);
  registerAthenaTable(session);
}

function revocationPath(id: string): string {
  if (!SESSION_ID.test(id)) throw new InputError('a session id is 12–64 letters and digits');
  return `/v1/sessions/${id}/revocation`;
}
