import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { verifyAuditLog } from '../../../enclave-render/audit/verify-audit-log.ts';
import { type Acceptance, acceptReceipt } from '../../../enclave-render/receipt/accept-receipt.ts';
import { sha384 } from '../../../enclave-render/receipt/attested-statement.ts';
import { withNonceRegister } from '../../../enclave-render/receipt/nonce-register.ts';
import type { RenderManifest } from '../../../enclave-render/render/render-manifest.ts';
import { bundleScript } from '../../harness/bundled-script.ts';
import { LONG } from '../../harness/programs.ts';
import { type RenderJob, render, renderJob, TASKS } from '../../harness/render-receipt.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));
let job: RenderJob;
let text: string;
const original = join(folder, 'original');

beforeAll(async () => {
  job = await renderJob(folder);
  ({ text } = await render(job, original));
});

let owners = 0;
/** An owner's files, with the outputs in quarantine. */
function newOwner(): Acceptance & { home: string } {
  const home = join(folder, `owner-${++owners}`);
  const at = (name: string) => join(home, name);
  mkdirSync(home);
  cpSync(original, at('quarantine'), { recursive: true });
  return {
    home,
    ownerKeys: [job.owner.signing.publicKey],
    roots: [job.chain.root],
    isolation: ['bubblewrap'],
    tasksOf: () => TASKS,
    job: { jobId: job.manifest.jobId, manifestSha384: job.opened.payloadSha384 },
    privateKey: job.owner.outputs.privateKey,
    quarantine: at('quarantine'),
    accepted: join(at('accepted'), 'job-1'),
    auditLog: { path: at('audit.jsonl'), signingKey: job.owner.signing.privateKey },
    nonces: at('nonces'),
    now: () => 1_795_000_000_000,
  };
}

/** The events of an audit log, whose chain has to hold. */
async function eventsOf({ auditLog }: Acceptance): Promise<string[]> {
  const log = readFileSync(auditLog.path, 'utf8');
  const { entries } = await verifyAuditLog(log, { checkpoints: [], keys: [], copies: [] });
  return entries.map(({ event, details }) => (event === 'receipt-refused' ? `${event} ${details.code}` : event));
}

const filesOf = (path: string) =>
  existsSync(path) ? readdirSync(path, { recursive: true, encoding: 'utf8' }).sort() : undefined;
const ALL = ['Join', 'Join/feature.mkv', 'Join/feature.mkv.manifest.json'];

const verdict = (receipt: string, to: Acceptance) =>
  acceptReceipt(receipt, to).then(
    () => 'ok',
    (error) => error.code ?? error,
  );

describe('acceptance', () => {
  test('moves the outputs once the log says that they were verified', async () => {
    const owner = newOwner();
    const verified = await acceptReceipt(text, owner);
    expect(verified.outputsVerified).toBe(true);
    expect([filesOf(owner.accepted), filesOf(owner.quarantine)]).toEqual([ALL, undefined]);
    expect(await eventsOf(owner)).toEqual(['receipt-verified', 'output-accepted']);
    const statement = sha384(JSON.parse(text).job.statement);
    expect(readFileSync(owner.nonces, 'utf8')).toBe(`${job.manifest.nonce} ${statement}\n`);
  });

  test('happens once: the same receipt again is a replay', async () => {
    const owner = newOwner();
    expect(await verdict(text, owner)).toBe('ok');
    expect(await verdict(text, owner)).toBe('ERR_RECEIPT_NONCE');
    const elsewhere = { ...owner, accepted: join(owner.home, 'accepted', 'again') };
    cpSync(original, owner.quarantine, { recursive: true });
    expect(await verdict(text, elsewhere)).toBe('ERR_RECEIPT_NONCE');
    expect([filesOf(elsewhere.accepted), filesOf(owner.quarantine)]).toEqual([undefined, ALL]);
    const refused = 'receipt-refused ERR_RECEIPT_NONCE';
    expect(await eventsOf(owner)).toEqual(['receipt-verified', 'output-accepted', refused, refused]);
  });

  test('of another run of the same manifest is refused', async () => {
    const owner = newOwner();
    expect(await verdict(text, owner)).toBe('ok');
    const again = await render(job, owner.quarantine, { moduleId: 'i-0123456789abcdef0-enc0000000000000002' });
    const elsewhere = { ...owner, accepted: join(owner.home, 'accepted', 'again') };
    expect(await verdict(again.text, elsewhere)).toBe('ERR_RECEIPT_NONCE');
    expect(filesOf(elsewhere.accepted)).toBeUndefined();
  });

  test.each<[string, string, (owner: Acceptance) => Partial<Acceptance> | undefined]>([
    [
      'altered output',
      'ERR_RECEIPT_OUTPUT_ALTERED',
      ({ quarantine }) => {
        writeFileSync(join(quarantine, 'Join', 'feature.mkv'), 'x');
        return undefined;
      },
    ],
    ['another job', 'ERR_RECEIPT_JOB', () => ({ job: { jobId: 'job-2', manifestSha384: '00'.repeat(48) } })],
    [
      'a place that is taken',
      'ERR_RECEIPT_ACCEPTED_FOLDER',
      ({ accepted }) => {
        mkdirSync(accepted, { recursive: true });
        return undefined;
      },
    ],
    ['a simulator that is not named', 'ERR_ATTESTATION_ROOT', () => ({ roots: [] })],
    ['a template that expands no more', 'ERR_RECEIPT_TASK_UNKNOWN', () => ({ tasksOf: (_: RenderManifest) => [] })],
  ])('%s: %s, logged, and nothing is accepted', async (_, code, change) => {
    const owner = newOwner();
    const to = { ...owner, ...change(owner) };
    expect(await verdict(text, to)).toBe(code);
    expect(filesOf(owner.accepted)?.length ?? 0).toBe(0);
    expect(filesOf(owner.quarantine)).toEqual(ALL);
    expect(await eventsOf(owner)).toEqual([`receipt-refused ${code}`]);
    expect(readFileSync(owner.nonces, { encoding: 'utf8', flag: 'a+' })).toBe('');
  });

  test('without a log that can be written, nothing is accepted', async () => {
    const owner = newOwner();
    mkdirSync(owner.auditLog.path);
    expect(await verdict(text, owner)).toBe('ERR_AUDIT_FILE');
    expect([filesOf(owner.accepted), filesOf(owner.quarantine)]).toEqual([undefined, ALL]);
    rmSync(owner.auditLog.path, { recursive: true });
    expect(await verdict(text, owner)).toBe('ok');
  });

  test('with a log whose end was cut off after an earlier acceptance, nothing is accepted', async () => {
    const owner = newOwner();
    expect(await verdict(text, owner)).toBe('ok');
    const log = owner.auditLog.path;
    writeFileSync(log, `${readFileSync(log, 'utf8').split('\n')[0]}\n`);
    const other = newOwner();
    expect(await verdict(text, { ...other, auditLog: owner.auditLog })).toBe('ERR_AUDIT_TRUNCATED');
    expect([filesOf(other.accepted), filesOf(other.quarantine)]).toEqual([undefined, ALL]);
    expect(readFileSync(other.nonces, 'utf8')).toBe('');
  });

  test('a register that was changed: nothing is accepted', async () => {
    for (const content of ['x\n', `${'0'.repeat(64)}\n`, `${'0'.repeat(64)} ${'0'.repeat(96)}\n`.repeat(2)]) {
      const owner = newOwner();
      writeFileSync(owner.nonces, content, { mode: 0o600 });
      expect(await verdict(text, owner)).toBe('ERR_RECEIPT_REGISTER');
      expect(filesOf(owner.accepted)).toBeUndefined();
    }
  });
});

test('a register of nonces: each once, and one that was not written to its end is free', async () => {
  const path = join(folder, 'register');
  const [one, two, statement] = ['1'.repeat(64), '2'.repeat(64), '3'.repeat(96)];
  await withNonceRegister(path, (register) => register.use(one, statement));
  writeFileSync(path, `${two} 33`, { flag: 'a' });
  await withNonceRegister(path, async (register) => {
    expect([register.usedFor(one), register.usedFor(two)]).toEqual([statement, undefined]);
    await expect(register.use(one, statement)).rejects.toMatchObject({ code: 'ERR_RECEIPT_NONCE' });
    await register.use(two, statement);
  });
  expect(readFileSync(path, 'utf8')).toBe(`${one} ${statement}\n${two} ${statement}\n`);
});

describe('in processes of their own', () => {
  const script = join(folder, 'accept.mjs');
  beforeAll(() =>
    // Ends itself, as a loss of power would, before the nth call that changes the disk.
    bundleScript(
      script,
      `import { createPrivateKey, createPublicKey } from 'node:crypto';
      import fs from 'node:fs';
      import { syncBuiltinESMExports } from 'node:module';
      import { acceptReceipt } from './enclave-render/receipt/accept-receipt.ts';
      const { acceptance, text, tasks, killAt } = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
      let calls = 0;
      const counted = (object, name) => {
        const original = object[name];
        object[name] = function (...args) {
          if (++calls === killAt) process.kill(process.pid, 'SIGKILL');
          return original.apply(this, args);
        };
      };
      const probe = await fs.promises.open(process.argv[2]);
      const FileHandle = Object.getPrototypeOf(probe);
      await probe.close();
      for (const name of ['write', 'sync', 'truncate']) counted(FileHandle, name);
      for (const name of ['rename', 'mkdir']) counted(fs.promises, name);
      syncBuiltinESMExports();
      const [publicKey] = acceptance.ownerKeys;
      const result = await acceptReceipt(text, {
        ...acceptance,
        ownerKeys: [createPublicKey(publicKey)],
        privateKey: createPrivateKey(acceptance.privateKey),
        auditLog: { path: acceptance.auditLog.path, signingKey: createPrivateKey(acceptance.auditLog.signingKey) },
        tasksOf: () => tasks,
        now: () => 1,
      }).then(() => 'ok', (error) => error.code ?? String(error));
      process.send({ result, calls });`,
    ),
  );

  /** Accepts in another process; null when it was killed. */
  async function accept(owner: ReturnType<typeof newOwner>, killAt = 0) {
    const input = join(owner.home, `input-${killAt}.json`);
    const acceptance = {
      ...owner,
      ownerKeys: owner.ownerKeys.map((key) => key.export({ format: 'pem', type: 'spki' })),
      privateKey: owner.privateKey.export({ format: 'pem', type: 'pkcs8' }),
      auditLog: {
        path: owner.auditLog.path,
        signingKey: owner.auditLog.signingKey?.export({ format: 'pem', type: 'pkcs8' }),
      },
    };
    writeFileSync(input, JSON.stringify({ acceptance, text, tasks: TASKS, killAt }));
    const child: ChildProcess = fork(script, [input], { execArgv: [] });
    let answer: { result: string; calls: number } | null = null;
    child.on('message', (message) => {
      answer = message as { result: string; calls: number };
    });
    await once(child, 'exit');
    return answer as { result: string; calls: number } | null;
  }

  test('killed before any change of the disk, nothing is half accepted, and a second run ends rightly', async () => {
    const calls = (await accept(newOwner()))?.calls ?? 0;
    expect(calls).toBeGreaterThan(15);
    let afterwards = 0;
    for (let killAt = 1; killAt <= calls; killAt += LONG ? 1 : 4) {
      const owner = newOwner();
      expect(await accept(owner, killAt)).toBeNull();
      const [moved, waiting] = [filesOf(owner.accepted), filesOf(owner.quarantine)];
      // All of it in one place, and in the second only what the log says was verified.
      expect([moved, waiting].filter(Boolean)).toEqual([ALL]);
      if (moved) {
        expect(readFileSync(owner.auditLog.path, 'utf8')).toContain('"receipt-verified"');
        afterwards++;
      }
      const isDone =
        existsSync(owner.auditLog.path) && /"output-accepted".*\n/.test(readFileSync(owner.auditLog.path, 'utf8'));
      expect(await verdict(text, owner)).toBe(isDone ? 'ERR_RECEIPT_NONCE' : 'ok');
      expect([filesOf(owner.accepted), filesOf(owner.quarantine)]).toEqual([ALL, undefined]);
      const events = (await eventsOf(owner)).filter((event) => !event.startsWith('receipt-refused'));
      expect(events).toEqual(['receipt-verified', 'output-accepted']);
    }
    expect(afterwards).toBeGreaterThan(0);
  });

  test('two at once: one accepts', async () => {
    const owner = newOwner();
    const other = { ...owner, accepted: join(owner.home, 'accepted', 'other') };
    const results = await Promise.all([accept(owner), accept({ ...other, home: join(folder, 'owner-1') })]);
    expect(results.filter((answer) => answer?.result === 'ok')).toHaveLength(1);
    expect([filesOf(owner.accepted), filesOf(other.accepted)].filter(Boolean)).toEqual([ALL]);
    const events = await eventsOf(owner);
    expect(events.filter((event) => event === 'output-accepted')).toHaveLength(1);
  });
});
