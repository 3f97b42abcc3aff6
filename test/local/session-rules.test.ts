import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FIELDS } from '../../local/edge/access-log.ts';
import {
  accessLog,
  rawRequest,
  removeDirectory,
  requestPlayback,
  revocation,
  startStack,
  temporaryDirectory,
  useStack,
} from '../harness/stack.ts';

// The function refuses nothing here, so that what is refused was refused by the rule group.
const stack = useStack({ edge: { mode: 'off' }, revocation: { waf: { publish: true, capacityWcu: 3 } } });
const groupFile = join(stack.data, 'revoked-sessions.json');
const blockedBy = () => readFileSync(groupFile, 'utf8');

describe('revoked sessions in the rule group, on the local stack', () => {
  test('a session is blocked by the very rules that WAF would get, and let through when it is restored', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    const other = await requestPlayback(stack);
    const path = new URL(playbackUrl).pathname;
    const status = async () => (await rawRequest(stack.edge, path)).status;
    expect(await status()).toBe(200);

    await revocation(stack, sessionId, 'POST');
    await expect.poll(status).toBe(403);
    const { headers } = await rawRequest(stack.edge, path);
    expect(headers).toMatchObject({
      'access-control-allow-origin': '*',
      'access-control-expose-headers': 'x-portcullis-reason',
      'cache-control': 'no-store',
      'x-portcullis-reason': 'session-revoked',
    });
    const { RuleGroup } = JSON.parse(blockedBy());
    expect(RuleGroup).toMatchObject({
      Capacity: 3,
      Rules: [{ Statement: { RegexMatchStatement: { RegexString: `^/(?:${sessionId})\\.` } } }],
    });
    expect((await rawRequest(stack.edge, new URL(other.playbackUrl).pathname)).status).toBe(200);

    await revocation(stack, sessionId, 'DELETE');
    await expect.poll(status).toBe(200);
    expect(JSON.parse(blockedBy()).RuleGroup.Rules).toEqual([]);
  });

  test('the access log tells a block from a denial of the function, which has decided nothing', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    const path = new URL(playbackUrl).pathname;
    const status = async () =>
      (await rawRequest(stack.edge, path, { headers: { 'user-agent': 'Blocked/1.0' } })).status;
    await revocation(stack, sessionId, 'POST');
    await expect.poll(status).toBe(403);
    const fieldsOf = (line: string) => Object.fromEntries(line.split('\t').map((value, i) => [FIELDS[i], value]));
    const logged = () =>
      accessLog(stack.data)
        .split('\n')
        .filter((line) => line.includes('Blocked/1.0'))
        .map(fieldsOf);
    await expect
      .poll(() => logged().at(-1))
      .toMatchObject({
        'sc-status': '403',
        'x-edge-result-type': 'Error',
        'x-edge-detailed-result-type': 'Error',
        'viewer-request-log-data': '-',
      });
    // Refused in every mode, and by the function.
    await rawRequest(stack.edge, '/aurora/..%2fmaster.m3u8', { headers: { 'user-agent': 'Blocked/1.0' } });
    await expect.poll(() => logged().at(-1)).toMatchObject({ 'x-edge-result-type': 'FunctionGeneratedResponse' });
    await revocation(stack, sessionId, 'DELETE');
    await expect.poll(status).toBe(200);
  });

  test('what does not fit is said, and the newest ones hold', async () => {
    const ids = Array.from({ length: 14 }, (_, i) => `Session${String(i).padStart(5, '0')}`);
    for (const id of ids) await revocation(stack, id, 'POST');
    await expect.poll(blockedBy).toContain(ids.at(-1));
    await laterThanAll(ids.at(-1) ?? '');
    const { sessionId, playbackUrl } = await requestPlayback(stack);
    await revocation(stack, sessionId, 'POST');
    await expect.poll(async () => (await rawRequest(stack.edge, new URL(playbackUrl).pathname)).status).toBe(403);
    expect(stack.output()).toContain('the WAF rule group has no room for 1 revocations, among them session Session');
    const metrics = readFileSync(join(stack.data, 'logs', 'api.log'), 'utf8').split('\n');
    expect(metrics.filter((line) => /"target":"WAF rule group".*"RevocationsOmitted":1/.test(line))).not.toEqual([]);
  });

  test('a group that cannot be used is an error in one line', async () => {
    const other = temporaryDirectory();
    const config = join(other, 'portcullis.json');
    writeFileSync(config, JSON.stringify({ revocation: { waf: { publish: true } } }));
    writeFileSync(join(other, 'revoked-sessions.json'), '{');
    await expect(startStack(other, '--config', config)).rejects.toThrow(/cannot read [^\n]*not JSON/);
    removeDirectory(other);
  });

  test('is off unless it is asked for', async () => {
    const other = temporaryDirectory();
    const running = await startStack(other);
    await revocation(running, 'AbCdEf123456', 'POST');
    await running.stop();
    expect(existsSync(join(other, 'revoked-sessions.json'))).toBe(false);
    removeDirectory(other);
  });
});

/** Waits until a second has begun that is later than the one in which a session was revoked. */
async function laterThanAll(sessionId: string): Promise<void> {
  const revokedAt = async () => {
    const answer = await revocation(stack, sessionId, 'POST');
    return ((await answer.json()) as { revokedAt: number }).revokedAt;
  };
  const last = await revokedAt();
  await expect.poll(() => Math.floor(Date.now() / 1000)).toBeGreaterThan(last);
}
