import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, chmodSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { CompactSign } from 'jose';
import { afterAll, describe, expect, test } from 'vitest';
import { lineHash } from '../../../enclave-render/audit/audit-chain.ts';
import { AUDIT_EVENTS, type AuditEntry } from '../../../enclave-render/audit/audit-entry.ts';
import { appendAuditEntry, checkpointsPath } from '../../../enclave-render/audit/audit-log.ts';
import { signCheckpoint } from '../../../enclave-render/audit/checkpoint.ts';
import { type AuditEvidence, verifyAuditLog } from '../../../enclave-render/audit/verify-audit-log.ts';
import { canonicalJson } from '../../../enclave-render/canonical-json.ts';
import { bundleScript } from '../../harness/bundled-script.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));
const { privateKey, publicKey } = generateKeyPairSync('ed25519');
let files = 0;
const newPath = () => join(folder, `log-${++files}`, 'audit.jsonl');

type Event = Omit<AuditEntry, 'sequence' | 'previous'>;
const event = (at: number): Event => ({ at, event: 'job-submitted', jobId: 'job-1', details: { at } });

/** The lines of a log of these events, chained. */
function linesOf(events: readonly Event[]): string[] {
  const lines: string[] = [];
  for (const [sequence, content] of events.entries()) {
    lines.push(canonicalJson({ ...content, sequence, previous: lineHash(lines.at(-1)) }));
  }
  return lines;
}

const textOf = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('');
const checkpointOf = (lines: readonly string[], key = privateKey) =>
  signCheckpoint({ length: lines.length, head: lineHash(lines.at(-1)), at: 1 }, key);

/** `ok`, or the code that a log is refused with. */
function verdict(lines: readonly string[] | string, evidence: Partial<AuditEvidence> = {}): Promise<string> {
  const text = typeof lines === 'string' ? lines : textOf(lines);
  return verifyAuditLog(text, { checkpoints: [], keys: [publicKey], copies: [], ...evidence }).then(
    () => 'ok',
    (error) => error.code ?? error,
  );
}

const lines = linesOf([0, 1, 2, 3, 4].map(event));
const line = (index: number) => lines[index] as string;

/** Appends an entry, with its checkpoint. */
const append = (path: string, entry: Event) => appendAuditEntry({ path, signingKey: privateKey }, entry);

describe('appending', () => {
  test('chains entries, on the disk of their owner alone', async () => {
    const path = newPath();
    for (const at of [0, 1, 2, 3, 4]) await append(path, event(at));
    expect(readFileSync(path, 'utf8')).toBe(textOf(lines));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await verifyAuditLog(textOf(lines), { checkpoints: [], keys: [], copies: [] })).toMatchObject({
      head: lineHash(lines[4]),
      signedFor: 0,
    });
  });

  test('replaces a line that was not written to its end', async () => {
    const path = newPath();
    await append(path, event(0));
    for (const torn of ['{"at":', line(1), 'é'.repeat(100), '\u0000']) {
      appendFileSync(path, torn);
      expect(await verdict(readFileSync(path, 'utf8'))).toBe('ERR_AUDIT_CUT');
      await append(path, event(1));
      expect(await verdict(readFileSync(path, 'utf8'))).toBe('ok');
    }
  });

  test.each<[string, Partial<Record<keyof Event, unknown>>]>([
    ['an event that is none', { event: 'deleted' }],
    ['a job id that is none', { jobId: '../x' }],
    ['a time that is none', { at: Number.NaN }],
    ['details that are no text', { details: { a: {} } }],
    ['a line break', { details: { a: 'x\n{}' } }],
    ['what a terminal would act on', { details: { a: '\u001b[2J' } }],
    ['a field of its own', { extra: 1 } as never],
  ])('refuses %s', async (_, changes) => {
    const path = newPath();
    const entry = { ...event(0), ...changes } as Event;
    await expect(append(path, entry)).rejects.toThrow();
    expect(readFileSync(path, 'utf8')).toBe('');
  });

  test('refuses a file that others may read, a link, a folder, and one with something else in it', async () => {
    const path = newPath();
    await append(path, event(0));
    const refused = { code: 'ERR_AUDIT_FILE' };
    chmodSync(path, 0o644);
    await expect(append(path, event(1))).rejects.toMatchObject(refused);
    chmodSync(path, 0o600);
    symlinkSync(path, `${path}.link`);
    await expect(append(`${path}.link`, event(1))).rejects.toMatchObject(refused);
    await expect(append(folder, event(1))).rejects.toMatchObject(refused);
    writeFileSync(path, 'notes\n');
    await expect(append(path, event(1))).rejects.toMatchObject({ code: 'ERR_AUDIT_ENTRY' });
  });

  test('does not go on with a log that was tampered with', async () => {
    const path = newPath();
    await append(path, event(0));
    for (const [kept, code] of [
      [[0, 2, 3], 'ERR_AUDIT_REMOVED'],
      [[0, 1, 1], 'ERR_AUDIT_INSERTED'],
      [[1, 0, 2], 'ERR_AUDIT_ORDER'],
    ] as const) {
      const text = textOf(kept.map(line));
      writeFileSync(path, text, { mode: 0o600 });
      await expect(append(path, event(5))).rejects.toMatchObject({ code });
      expect(readFileSync(path, 'utf8')).toBe(text);
    }
  });

  test('takes turns with other processes', async () => {
    const path = newPath();
    const script = join(folder, 'append.mjs');
    await bundleScript(
      script,
      `import { createPrivateKey } from 'node:crypto';
      import { appendAuditEntry } from './enclave-render/audit/audit-log.ts';
      const [, , path, pem] = process.argv;
      const file = { path, signingKey: createPrivateKey(pem) };
      const entry = { event: 'job-submitted', jobId: 'job-1', details: {} };
      for (let at = 0; at < 10; at++) await appendAuditEntry(file, { at, ...entry });`,
    );
    const run = promisify(execFile);
    const pem = String(privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await Promise.all([0, 1, 2].map(() => run(process.execPath, [script, path, pem])));
    const text = readFileSync(path, 'utf8');
    expect(text.split('\n')).toHaveLength(31);
    expect(await verdict(text, { checkpoints: checkpointsOf(path) })).toBe('ok');
    expect(checkpointsOf(path)).toHaveLength(30);
  });
});

/** What is beside a log. */
const checkpointsOf = (path: string) => readFileSync(checkpointsPath(path), 'utf8').split('\n').slice(0, -1);

describe('the checkpoints beside a log', () => {
  const newLog = async () => {
    const path = newPath();
    for (const at of [0, 1, 2]) await append(path, event(at));
    return path;
  };
  const eventsIn = (path: string) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((text) => JSON.parse(text).event);

  test('sign for every entry, for their owner alone', async () => {
    const path = await newLog();
    const evidence = { checkpoints: checkpointsOf(path), keys: [publicKey], copies: [] };
    expect(await verifyAuditLog(readFileSync(path, 'utf8'), evidence)).toMatchObject({ signedFor: 3 });
    expect(statSync(checkpointsPath(path)).mode & 0o777).toBe(0o600);
  });

  test('keep a log from going on whose end was cut off, all of it too, or that was made anew', async () => {
    const path = await newLog();
    const whole = readFileSync(path, 'utf8');
    for (const [text, code] of [
      [textOf(whole.split('\n').slice(0, 2)), 'ERR_AUDIT_TRUNCATED'],
      ['', 'ERR_AUDIT_TRUNCATED'],
      [textOf(linesOf([7, 8, 9, 10].map(event))), 'ERR_AUDIT_FORK'],
    ]) {
      writeFileSync(path, text as string);
      await expect(append(path, event(3))).rejects.toMatchObject({ code });
      expect(readFileSync(path, 'utf8')).toBe(text);
    }
    writeFileSync(path, whole);
    await append(path, event(3));
  });

  test('of another key are none', async () => {
    const path = await newLog();
    const { privateKey: signingKey } = generateKeyPairSync('ed25519');
    const appended = appendAuditEntry({ path, signingKey }, event(3));
    await expect(appended).rejects.toMatchObject({ code: 'ERR_AUDIT_CHECKPOINT' });
  });

  test.each([
    ['taken away', (path: string) => rmSync(checkpointsPath(path))],
    ['emptied', (path: string) => writeFileSync(checkpointsPath(path), '')],
  ])('%s, leave an entry that says so, once', async (_, lose) => {
    const path = await newLog();
    lose(path);
    for (const at of [3, 4]) await append(path, event(at));
    expect(eventsIn(path).slice(3)).toEqual(['checkpoints-lost', 'job-submitted', 'job-submitted']);
    expect(checkpointsOf(path)).toHaveLength(3);
  });

  test('of a crash before the first was written, or within one, are not missed', async () => {
    const path = newPath();
    await append(path, event(0));
    writeFileSync(checkpointsPath(path), 'eyJ');
    await append(path, event(1));
    appendFileSync(checkpointsPath(path), 'eyJ');
    await append(path, event(2));
    expect(eventsIn(path)).toEqual(['job-submitted', 'job-submitted', 'job-submitted']);
    expect(await verdict(readFileSync(path, 'utf8'), { checkpoints: checkpointsOf(path) })).toBe('ok');
  });
});

describe('verifying', () => {
  test.each<[string, readonly string[] | string]>([
    ['ok', []],
    ['ok', lines],
    ['ERR_AUDIT_CUT', textOf(lines).slice(0, -1)],
    ['ERR_AUDIT_ENTRY', [...lines, '']],
    ['ERR_AUDIT_ENTRY', lines.with(1, JSON.stringify(JSON.parse(line(1)), null, 1).replaceAll('\n', ''))],
    ['ERR_AUDIT_ENTRY', lines.with(1, line(1).replace('"at":1,', '"at":1,"at":1,'))],
    ['ERR_AUDIT_EDITED', lines.with(1, line(1).replace('job-1', 'job-2'))],
    ['ERR_AUDIT_EDITED', lines.with(4, line(4).replace(/"previous":"../, '"previous":"00'))],
    ['ERR_AUDIT_ORDER', lines.with(1, line(2)).with(2, line(1))],
    ['ERR_AUDIT_INSERTED', lines.toSpliced(2, 0, line(1))],
    ['ERR_AUDIT_REMOVED', lines.toSpliced(2, 1)],
    ['ERR_AUDIT_REMOVED', lines.slice(1)],
    // Numbered anew, which does not help.
    [
      'ERR_AUDIT_EDITED',
      lines.toSpliced(2, 1).map((text, index) => text.replace(/"sequence":\d/, `"sequence":${index}`)),
    ],
  ])('%s: %#', async (code, changed) => {
    expect(await verdict(changed)).toBe(code);
  });

  test('what a chain alone does not show: the end, and all of it made anew', async () => {
    expect(await verdict(lines.slice(0, 3))).toBe('ok');
    expect(await verdict(linesOf([7, 8].map(event)))).toBe('ok');
    const checkpoints = [await checkpointOf(lines)];
    expect(await verdict(lines.slice(0, 3), { checkpoints })).toBe('ERR_AUDIT_TRUNCATED');
    expect(await verdict([], { checkpoints })).toBe('ERR_AUDIT_TRUNCATED');
    expect(await verdict(linesOf([7, 8, 9, 10, 11, 12].map(event)), { checkpoints })).toBe('ERR_AUDIT_FORK');
    expect(await verdict(lines.with(4, line(4).replace('job-1', 'job-2')), { checkpoints })).toBe('ERR_AUDIT_FORK');
  });

  test('a checkpoint protects what was there, and the log may go on', async () => {
    const checkpoints = [await checkpointOf(lines.slice(0, 2)), await checkpointOf(lines.slice(0, 4))];
    const evidence = { checkpoints, keys: [publicKey], copies: [] };
    expect(await verifyAuditLog(textOf(lines), evidence)).toMatchObject({ signedFor: 4 });
  });

  test('a fork: two checkpoints of one length, and two copies', async () => {
    const other = [...lines.slice(0, 4), ...linesOf([0, 1, 2, 3, 9].map(event)).slice(4)];
    const checkpoints = [await checkpointOf(lines), await checkpointOf(other)];
    expect(await verdict(lines, { checkpoints })).toBe('ERR_AUDIT_FORK');
    // Whichever log is shown, and even when it is too short for both.
    expect(await verdict(lines.slice(0, 1), { checkpoints })).toBe('ERR_AUDIT_FORK');
    expect(await verdict(lines, { copies: [textOf(other)] })).toBe('ERR_AUDIT_FORK');
    expect(await verdict(lines, { copies: [textOf(lines.slice(0, 2)), ''] })).toBe('ok');
    expect(await verdict(lines.slice(0, 2), { copies: [textOf(lines)] })).toBe('ERR_AUDIT_TRUNCATED');
  });

  test('a checkpoint that is none: another key, no key, another type, changed, not canonical', async () => {
    const good = await checkpointOf(lines);
    const stranger = generateKeyPairSync('ed25519');
    const sign = (payload: string, typ: string) =>
      new CompactSign(Buffer.from(payload)).setProtectedHeader({ alg: 'EdDSA', typ }).sign(privateKey);
    const content = canonicalJson({ length: 5, head: lineHash(lines[4]), at: 1 });
    const bad = [
      await checkpointOf(lines, stranger.privateKey),
      good.slice(0, -4),
      '',
      'a.b.c',
      await sign(content, 'JWT'),
      await sign(content, 'portcullis-render+jwt'),
      await sign(` ${content}`, 'portcullis-audit+jwt'),
      await sign(content.replace('"length":5', '"length":0'), 'portcullis-audit+jwt'),
      await sign(content.replace('"at":1', '"at":1,"by":"x"'), 'portcullis-audit+jwt'),
    ];
    for (const jws of bad) expect(await verdict(lines, { checkpoints: [jws] })).toBe('ERR_AUDIT_CHECKPOINT');
    expect(await verdict(lines, { checkpoints: [good], keys: [] })).toBe('ERR_AUDIT_CHECKPOINT');
    expect(await verdict(lines, { checkpoints: [good], keys: [stranger.publicKey, publicKey] })).toBe('ok');
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await expect(checkpointOf(lines, ec.privateKey)).rejects.toMatchObject({ code: 'ERR_AUDIT_CHECKPOINT' });
  });
});

describe('of any log, with a checkpoint at its end', () => {
  const details = fc.dictionary(
    fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,8}$/),
    fc.oneof(
      fc.stringMatching(/^[\x20-\x7e]{0,12}$/),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.boolean(),
    ),
    { maxKeys: 3 },
  );
  const logs = fc
    .array(fc.record({ at: fc.nat(), event: fc.constantFrom(...AUDIT_EVENTS), jobId: fc.constant('job-1'), details }), {
      minLength: 1,
      maxLength: 6,
    })
    .map((events) => linesOf(events as Event[]));

  test('every removal, swap and repetition of lines is found', async () => {
    await fc.assert(
      fc.asyncProperty(logs, async (log) => {
        const checkpoints = [await checkpointOf(log)];
        expect(await verdict(log, { checkpoints })).toBe('ok');
        for (const i of log.keys()) {
          expect(await verdict(log.toSpliced(i, 1), { checkpoints })).toMatch(/^ERR_AUDIT_/);
          for (const j of log.keys()) {
            const [a, b] = [log[i] as string, log[j] as string];
            if (i !== j) expect(await verdict(log.with(i, b).with(j, a), { checkpoints })).toMatch(/^ERR_AUDIT_/);
            expect(await verdict(log.toSpliced(i, 0, b), { checkpoints })).toMatch(/^ERR_AUDIT_/);
          }
        }
      }),
      { numRuns: 15 },
    );
  });

  test('every change of a character is found, and every end that is cut off', async () => {
    await fc.assert(
      fc.asyncProperty(logs, fc.constantFrom('0', '1', 'a', '"', ' ', '\n', '}', '\\'), async (log, character) => {
        const checkpoints = [await checkpointOf(log)];
        const text = textOf(log);
        for (let at = 0; at < text.length; at++) {
          expect(await verdict(text.slice(0, at), { checkpoints })).toMatch(/^ERR_AUDIT_/);
          if (text[at] === character) continue;
          const changed = text.slice(0, at) + character + text.slice(at + 1);
          expect(await verdict(changed, { checkpoints })).toMatch(/^ERR_AUDIT_/);
        }
      }),
      { numRuns: 4 },
    );
  });
});
