import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AWS_NITRO_ROOT } from '../../../enclave-render/attestation/attestation-document.ts';
import { canonicalJson } from '../../../enclave-render/canonical-json.ts';
import { sha384 } from '../../../enclave-render/receipt/attested-statement.ts';
import { buildReceipt } from '../../../enclave-render/receipt/build-receipt.ts';
import { explainReceipt } from '../../../enclave-render/receipt/explain-receipt.ts';
import type {
  AttestedStatement,
  JobStatement,
  Receipt,
  TaskStatement,
} from '../../../enclave-render/receipt/statement.ts';
import { type ReceiptPolicy, verifyReceipt } from '../../../enclave-render/receipt/verify-receipt.ts';
import { signManifest } from '../../../enclave-render/render/manifest-signature.ts';
import type { RenderManifest } from '../../../enclave-render/render/render-manifest.ts';
import { issueChain, REGISTERS, TIMESTAMP } from '../../harness/attestation-documents.ts';
import { renderManifest, renderOwner } from '../../harness/render-manifest.ts';
import {
  type EnclaveChanges,
  launchEnclave,
  PLAINTEXT,
  type RenderJob,
  receiptPolicy,
  render,
  renderJob,
  sealOutput,
  TASKS,
} from '../../harness/render-receipt.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));
let job: RenderJob;
let outputs: ReceiptPolicy['outputs'] & object;
let made: Awaited<ReturnType<typeof render>>;
let folders = 0;
const newFolder = () => join(folder, `outputs-${++folders}`);

beforeAll(async () => {
  job = await renderJob(folder);
  outputs = { folder: newFolder(), privateKey: job.owner.outputs.privateKey };
  made = await render(job, outputs.folder);
});

/** `ok`, or the code that a receipt is refused with. */
async function verdict(receipt: Receipt | string, changes: Partial<ReceiptPolicy> = {}, of: RenderJob = job) {
  const text = typeof receipt === 'string' ? receipt : JSON.stringify(receipt);
  return verifyReceipt(text, receiptPolicy(of, changes)).then(
    () => 'ok',
    (error) => error.code ?? error,
  );
}

/** A receipt of an enclave that does something otherwise. */
const receiptOf = async (changes: EnclaveChanges) => (await render(job, newFolder(), changes)).receipt;

const joined = (alter: (statement: TaskStatement) => void) => (statement: TaskStatement) => {
  if (statement.predicate.task.id === 'Join') alter(statement);
};

describe('a receipt', () => {
  test('of what was rendered holds, with its outputs and without', async () => {
    const verified = await verifyReceipt(made.text, receiptPolicy(job, { outputs }));
    expect(verified).toMatchObject({
      manifestSha384: job.opened.payloadSha384,
      statementSha384: sha384(made.receipt.job.statement),
      outputs: [{ name: 'Join/feature.mkv', sha256: expect.stringMatching(/^[0-9a-f]{64}$/) }],
      outputsVerified: true,
      simulated: true,
    });
    expect(verified.tasks.map(({ task }) => task.id)).toEqual(['Shot.0', 'Shot.1', 'Join']);
    expect(verified.launches).toEqual([expect.objectContaining({ at: TIMESTAMP, root: job.chain.root })]);
    expect(await verifyReceipt(made.text, receiptPolicy(job))).toEqual({ ...verified, outputsVerified: false });
  });

  test('says in plain words what it proves, and what it does not', async () => {
    const words = explainReceipt(await verifyReceipt(made.text, receiptPolicy(job, { outputs }))).join('\n');
    expect(words).toContain('job-1');
    expect(words).toContain('SIMULATED');
    expect(words).toContain('3 tasks');
    expect(words).toContain('Join/feature.mkv');
    expect(words).toContain(String(job.manifest.pcrs['0']));
    const without = explainReceipt(await verifyReceipt(made.text, receiptPolicy(job))).join('\n');
    expect(without).toContain('were not looked at');
    expect(words).not.toContain('were not looked at');
  });

  test('of a job that was continued by another launch names both', async () => {
    const first = await launchEnclave(job, { at: TIMESTAMP - 20_000 });
    const shots = [await first.runTask(task(0), [], [])];
    const second = await launchEnclave(job, { moduleId: 'i-0123456789abcdef0-enc0000000000000002' });
    shots.push(await second.runTask(task(1), [], []));
    const sealed = await sealedFeature();
    shots.push(await second.runTask(task(2), shots, [sealed]));
    const keyAttestations = [first.keyAttestation, second.keyAttestation];
    const receipt = buildReceipt({ manifest: job.jws, keyAttestations, tasks: shots, job: await second.finish(shots) });
    expect(await verdict(receipt)).toBe('ok');
    expect(await verdict({ ...receipt, keyAttestations: receipt.keyAttestations.slice(1) })).toBe('ERR_RECEIPT_LAUNCH');
    const idle = await launchEnclave(job, { moduleId: 'i-0123456789abcdef0-enc0000000000000003' });
    const [document = ''] = buildReceipt({ ...receipt, keyAttestations: [idle.keyAttestation] }).keyAttestations;
    const extra = [...receipt.keyAttestations, document];
    expect(await verdict({ ...receipt, keyAttestations: extra })).toBe('ERR_RECEIPT_LAUNCH');
    const twice = [...receipt.keyAttestations, receipt.keyAttestations[0] ?? ''];
    expect(await verdict({ ...receipt, keyAttestations: twice })).toBe('ERR_RECEIPT_LAUNCH');
  });
});

const task = (index: number) => TASKS[index] as (typeof TASKS)[number];
const sealedFeature = () => sealOutput(newFolder(), task(2), 'feature.mkv', PLAINTEXT, job.owner.outputs.publicKey);

describe('the form of a receipt: ERR_RECEIPT_FORMAT', () => {
  test.each<[string, (receipt: Receipt) => unknown]>([
    ['not an object', () => null],
    ['another format', (receipt) => ({ ...receipt, format: 'portcullis-receipt/2' })],
    ['a field of its own', (receipt) => ({ ...receipt, note: 'x' })],
    ['no launch', (receipt) => ({ ...receipt, keyAttestations: [] })],
    ['an attestation that is not base64', (receipt) => ({ ...receipt, keyAttestations: ['%'] })],
    ['a statement that is an object', (receipt) => ({ ...receipt, job: { ...receipt.job, statement: {} } })],
    ['too many tasks', (receipt) => ({ ...receipt, tasks: Array(4097).fill(receipt.tasks[0]) })],
  ])('%s', async (_, alter) => {
    expect(await verdict(JSON.stringify(alter(made.receipt)))).toBe('ERR_RECEIPT_FORMAT');
  });

  test('no JSON, and too much of it', async () => {
    for (const text of ['', '{', `[${' '.repeat(65 << 20)}]`]) expect(await verdict(text)).toBe('ERR_RECEIPT_FORMAT');
  });

  test('an attested statement that is none of ours, or is not canonical', async () => {
    const wild = (alter: (statement: Record<string, never>) => void) =>
      alter as unknown as EnclaveChanges['job'] & object;
    const alterations = [
      wild((statement) => Object.assign(statement, { extra: 1 })),
      wild((statement) => Object.assign(statement, { predicateType: 'urn:portcullis:render-job:v2' })),
      (statement: JobStatement) => Object.assign(statement.predicate, { simulated: 1 }),
      (statement: JobStatement) => {
        statement.subject = [{ name: '../../etc/passwd', digest: { sha256: '00'.repeat(32) } }];
      },
    ];
    for (const alter of alterations) expect(await verdict(await receiptOf({ job: alter }))).toBe('ERR_RECEIPT_FORMAT');
  });
});

describe('the manifest', () => {
  test("not the owner's: ERR_RECEIPT_OWNER", async () => {
    const stranger = generateKeyPairSync('ed25519');
    expect(await verdict(made.receipt, { ownerKeys: [stranger.publicKey] })).toBe('ERR_RECEIPT_OWNER');
    const manifest = await signManifest(job.manifest, stranger.privateKey);
    expect(await verdict({ ...made.receipt, manifest })).toBe('ERR_RECEIPT_OWNER');
  });

  test('changed: ERR_RECEIPT_MANIFEST', async () => {
    const [header, payload = '', signature] = job.jws.split('.');
    const changed = canonicalJson({ ...job.manifest, jobId: 'job-2' });
    const forged = [header, Buffer.from(changed).toString('base64url'), signature].join('.');
    expect(payload).not.toBe('');
    for (const manifest of [forged, '', 'x.y.z']) {
      expect(await verdict({ ...made.receipt, manifest })).toBe('ERR_RECEIPT_MANIFEST');
    }
  });

  test('of another job of the owner: ERR_RECEIPT_JOB', async () => {
    expect(await verdict(made.receipt, { manifestSha384: '00'.repeat(48) })).toBe('ERR_RECEIPT_JOB');
    expect(await verdict(made.receipt, { manifestSha384: 'any' })).toBe('ok');
  });

  test('another manifest of the owner put in its place: what was attested is bound to the first', async () => {
    const manifest = await signManifest({ ...job.manifest, jobId: 'job-2' }, job.owner.signing.privateKey);
    expect(await verdict({ ...made.receipt, manifest }, { manifestSha384: 'any' })).toBe('ERR_ATTESTATION_USER_DATA');
    const other = await signManifest({ ...job.manifest, nonce: 'aa'.repeat(32) }, job.owner.signing.privateKey);
    expect(await verdict({ ...made.receipt, manifest: other }, { manifestSha384: 'any' })).toBe(
      'ERR_ATTESTATION_NONCE',
    );
  });
});

describe('attestations', () => {
  test('under a root that is not named, by the caller or by the manifest', async () => {
    expect(await verdict(made.receipt, { roots: [AWS_NITRO_ROOT] })).toBe('ERR_ATTESTATION_ROOT');
    expect(await verdict(made.receipt, { roots: [] })).toBe('ERR_ATTESTATION_ROOT');
    const strict = await renderJob(folder, { roots: [AWS_NITRO_ROOT] }, job.owner);
    const receipt = await render({ ...strict, chain: job.chain }, newFolder());
    const roots = [job.chain.root, AWS_NITRO_ROOT];
    expect(await verdict(receipt.receipt, { roots }, strict)).toBe('ERR_ATTESTATION_ROOT');
    expect(await verdict(await receiptOf({ chain: issueChain() }))).toBe('ERR_ATTESTATION_ROOT');
  });

  test('of other registers, and of debug mode', async () => {
    for (const index of [0, 1, 2]) {
      const pcrs = new Map(REGISTERS).set(index, Buffer.alloc(48, 7));
      expect(await verdict(await receiptOf({ pcrs }))).toBe('ERR_ATTESTATION_PCR');
    }
    const pcrs = new Map([...REGISTERS].map(([index, value]) => [index, index < 3 ? Buffer.alloc(48) : value]));
    expect(await verdict(await receiptOf({ pcrs }))).toBe('ERR_ATTESTATION_DEBUG');
  });

  test('with another nonce, or none', async () => {
    for (const nonce of [Buffer.alloc(32), Buffer.alloc(0)]) {
      expect(await verdict(await receiptOf({ nonce }))).toBe('ERR_ATTESTATION_NONCE');
    }
  });

  test('of one thing, beside another', async () => {
    const { tasks, job: end, keyAttestations } = made.receipt;
    const [first, second, third] = tasks as [AttestedStatement, AttestedStatement, AttestedStatement];
    const [key = ''] = keyAttestations;
    const mixed: Partial<Receipt>[] = [
      { tasks: [{ ...first, attestation: second.attestation }, second, third] },
      { tasks: [{ ...first, attestation: key }, second, third] },
      { tasks: [first, second, end] },
      { job: { ...end, attestation: third.attestation } },
      { job: third },
      { keyAttestations: [first.attestation] },
      { job: { ...end, statement: `${end.statement} ` } },
      { job: { ...end, statement: end.statement.replace('"finishedAt":1', '"finishedAt":2') } },
    ];
    for (const changes of mixed) {
      expect(await verdict({ ...made.receipt, ...changes })).toBe('ERR_ATTESTATION_USER_DATA');
    }
  });

  test('any byte of a document', async () => {
    const document = Buffer.from(made.receipt.job.attestation, 'base64');
    for (let at = 0; at < document.length; at += 97) {
      const changed = Buffer.from(document);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      const attestation = changed.toString('base64');
      const code = await verdict({ ...made.receipt, job: { ...made.receipt.job, attestation } });
      expect(code).toMatch(/^ERR_ATTESTATION_/);
    }
  });
});

test('a nonce that was used for another receipt: ERR_RECEIPT_NONCE; for this one it may go on', async () => {
  expect(await verdict(made.receipt, { nonceUsedFor: () => '00'.repeat(48) })).toBe('ERR_RECEIPT_NONCE');
  const statement = sha384(made.receipt.job.statement);
  expect(await verdict(made.receipt, { nonceUsedFor: () => statement })).toBe('ok');
  expect(await verdict(made.receipt, { nonceUsedFor: 'not-checked' })).toBe('ok');
});

test('expired by the clock of the module: ERR_RECEIPT_EXPIRED', async () => {
  const end = job.manifest.expiresAt * 1000;
  expect(await verdict(await receiptOf({ at: end - 4000 }))).toBe('ok');
  expect(await verdict(await receiptOf({ at: end - 3999 }))).toBe('ERR_RECEIPT_EXPIRED');
});

test('a simulated module that says it is a real one, in a task or in the end: ERR_RECEIPT_SIMULATED', async () => {
  const lie = (statement: TaskStatement | JobStatement) => {
    statement.predicate.simulated = false;
  };
  for (const changes of [{ simulated: false }, { task: joined(lie) }, { job: lie }]) {
    expect(await verdict(await receiptOf(changes))).toBe('ERR_RECEIPT_SIMULATED');
  }
});

describe('launches: ERR_RECEIPT_LAUNCH', () => {
  /** Two enclaves of one job, both complete. */
  const two = async (changes: EnclaveChanges) => {
    const a = await render(job, newFolder());
    const b = await render(job, newFolder(), { moduleId: 'i-0123456789abcdef0-enc0000000000000002', ...changes });
    return { a: a.receipt, b: b.receipt };
  };

  test('statements of one launch, the key of another', async () => {
    const { a, b } = await two({});
    expect(await verdict({ ...a, keyAttestations: b.keyAttestations })).toBe('ERR_RECEIPT_LAUNCH');
  });

  test('a statement that names the launch of another module', async () => {
    const other = await launchEnclave(job, { moduleId: 'i-0123456789abcdef0-enc0000000000000009' });
    const claims = (statement: TaskStatement) => {
      statement.predicate.launch = other.launch;
    };
    const receipt = await receiptOf({ task: joined(claims) });
    const keyAttestations = [...receipt.keyAttestations, Buffer.from(other.keyAttestation).toString('base64')];
    expect(await verdict({ ...receipt, keyAttestations })).toBe('ERR_RECEIPT_LAUNCH');
  });

  test('other registers beyond those of the policy', async () => {
    const pcrs = new Map(REGISTERS).set(4, Buffer.alloc(48, 9));
    const { a, b } = await two({ moduleId: 'i-0123456789abcdef0-enc0000000000000001', pcrs });
    const tasks = [...a.tasks.slice(0, 2), b.tasks[2] as AttestedStatement];
    const keyAttestations = [...a.keyAttestations, ...b.keyAttestations];
    expect(await verdict({ ...a, tasks, keyAttestations })).toBe('ERR_RECEIPT_TASK_REPLACED');
    const claims = joined((statement) => {
      const { predicate } = JSON.parse(a.job.statement) as JobStatement;
      statement.predicate.launch = predicate.launch;
    });
    const mixed = await receiptOf({ pcrs, task: claims, at: TIMESTAMP + 60_000 });
    expect(await verdict({ ...mixed, keyAttestations: [...mixed.keyAttestations, ...a.keyAttestations] })).toBe(
      'ERR_RECEIPT_LAUNCH',
    );
  });

  test('a key that was asked for without a public key', async () => {
    expect(await verdict(await receiptOf({ publicKey: null }))).toBe('ERR_RECEIPT_LAUNCH');
  });
});

test.each<[string, (statement: TaskStatement | JobStatement) => void]>([
  ['job', ({ predicate }) => Object.assign(predicate, { jobId: 'job-2' })],
  ['manifest', ({ predicate }) => Object.assign(predicate, { manifestSha384: '00'.repeat(48) })],
])('a statement of another %s: ERR_RECEIPT_STATEMENT', async (_, alter) => {
  expect(await verdict(await receiptOf({ task: joined(alter) }))).toBe('ERR_RECEIPT_STATEMENT');
  expect(await verdict(await receiptOf({ job: alter }))).toBe('ERR_RECEIPT_STATEMENT');
});

describe('tasks', () => {
  const [one, two, three] = [0, 1, 2] as const;
  test.each<[string, readonly (0 | 1 | 2)[]]>([
    ['ERR_RECEIPT_TASK_MISSING', [one, three]],
    ['ERR_RECEIPT_TASK_MISSING', []],
    ['ERR_RECEIPT_TASK_TWICE', [one, two, two, three]],
    ['ERR_RECEIPT_TASK_TWICE', [one, one, three]],
    ['ERR_RECEIPT_TASK_ORDER', [two, one, three]],
    ['ERR_RECEIPT_TASK_ORDER', [three, one, two]],
  ])('%s: %j by the parent, and by the enclave', async (code, order) => {
    const tasks = order.map((index) => made.receipt.tasks[index] as AttestedStatement);
    expect(await verdict({ ...made.receipt, tasks })).toBe(code);
    const alter = ({ predicate }: JobStatement) => {
      const all = predicate.tasks;
      predicate.tasks = order.map((index) => all[index] as (typeof all)[number]);
    };
    expect(await verdict(await receiptOf({ job: alter }))).toBe(code);
  });

  test('one that the template does not have: ERR_RECEIPT_TASK_UNKNOWN', async () => {
    const tasksOf = () => TASKS.filter(({ id }) => id !== 'Shot.1');
    expect(await verdict(made.receipt, { tasksOf })).toBe('ERR_RECEIPT_TASK_UNKNOWN');
  });

  test('rolled back to an earlier run, or mixed from another receipt: ERR_RECEIPT_TASK_REPLACED', async () => {
    const again = await receiptOf({ at: TIMESTAMP + 60_000 });
    for (const index of [0, 1, 2]) {
      const tasks = made.receipt.tasks.with(index, again.tasks[index] as AttestedStatement);
      const keyAttestations = [...made.receipt.keyAttestations, ...again.keyAttestations];
      expect(await verdict({ ...made.receipt, tasks, keyAttestations })).toBe('ERR_RECEIPT_TASK_REPLACED');
    }
  });

  test.each<[string, (predicate: TaskStatement['predicate']) => void]>([
    ['ERR_RECEIPT_TASK_OTHER', ({ renderer }) => Object.assign(renderer, { argsSha384: '00'.repeat(48) })],
    ['ERR_RECEIPT_TASK_OTHER', ({ renderer }) => Object.assign(renderer, { name: 'blender' })],
    ['ERR_RECEIPT_TASK_OTHER', (predicate) => Object.assign(predicate.task, { step: 'Shot' })],
    ['ERR_RECEIPT_TASK_OTHER', (predicate) => Object.assign(predicate.task, { parameters: { Index: 1 } })],
    ['ERR_RECEIPT_TASK_FAILED', (predicate) => Object.assign(predicate, { exitCode: 1 })],
    ['ERR_RECEIPT_ISOLATION', ({ sandbox }) => Object.assign(sandbox, { isolation: 'none' })],
    // Said of a renderer that is no part of the agent.
    ['ERR_RECEIPT_ISOLATION', ({ sandbox }) => Object.assign(sandbox, { isolation: 'agent' })],
    ['ERR_RECEIPT_TIME', (predicate) => Object.assign(predicate, { finishedAt: predicate.finishedAt + 1000 })],
    ['ERR_RECEIPT_TIME', (predicate) => Object.assign(predicate, { startedAt: predicate.finishedAt + 1 })],
    ['ERR_RECEIPT_TIME', (predicate) => Object.assign(predicate, { startedAt: 0 })],
    ['ERR_RECEIPT_INPUT', (predicate) => Object.assign(predicate, { inputRootSha256: '00'.repeat(32) })],
  ])('%s', async (code, alter) => {
    expect(await verdict(await receiptOf({ task: joined(({ predicate }) => alter(predicate)) }))).toBe(code);
  });

  test('other arguments in the template than were run: ERR_RECEIPT_TASK_OTHER', async () => {
    const tasksOf = () => TASKS.map((task) => ({ ...task, args: [...task.args, '-y'] }));
    expect(await verdict(made.receipt, { tasksOf })).toBe('ERR_RECEIPT_TASK_OTHER');
  });

  test('an isolation that the caller allows', async () => {
    const bare = await receiptOf({ task: ({ predicate }) => Object.assign(predicate.sandbox, { isolation: 'none' }) });
    expect(await verdict(bare, { isolation: ['none'] })).toBe('ok');
    expect(await verdict(bare, { isolation: [] })).toBe('ERR_RECEIPT_ISOLATION');
  });

  test('over another run of an earlier task: ERR_RECEIPT_INPUT', async () => {
    const a = await launchEnclave(job);
    const shots = [await a.runTask(task(0), [], []), await a.runTask(task(1), [], [])];
    const again = [shots[0] as AttestedStatement, await a.runTask(task(1), [], [])];
    const tasks = [...again, await a.runTask(task(2), shots, [await sealedFeature()])];
    const keyAttestations = [a.keyAttestation];
    const receipt = buildReceipt({ manifest: job.jws, keyAttestations, tasks, job: await a.finish(tasks) });
    expect(await verdict(receipt)).toBe('ERR_RECEIPT_INPUT');
  });

  test('over another input than the manifest has: ERR_RECEIPT_INPUT', async () => {
    const [input] = job.manifest.inputs;
    const inputs = [{ ...(input as RenderManifest['inputs'][number]), sha256: '11'.repeat(32) }];
    const swapped = { ...job, opened: { ...job.opened, manifest: { ...job.manifest, inputs } } };
    expect(await verdict((await render(swapped, newFolder())).receipt)).toBe('ERR_RECEIPT_INPUT');
  });
});

describe('what is delivered: ERR_RECEIPT_OUTPUTS', () => {
  const none: TaskStatement['subject'] = [];
  const sealed = { name: 'Join/other.mkv', digest: { sha256: '22'.repeat(32) } };
  test.each<[string, EnclaveChanges]>([
    ['a task that delivers nothing', { task: joined((statement) => Object.assign(statement, { subject: none })) }],
    ['an output without salted hash', { task: joined((statement) => statement.subject.push(sealed)) }],
    [
      'a salted hash without output',
      { task: joined(({ predicate }) => Object.assign(predicate, { saltedPlaintext: [] })) },
    ],
    ['another at the end than in the task', { job: ({ subject }) => subject.splice(0, 1, sealed) }],
    ['more at the end', { job: ({ subject }) => subject.push(sealed) }],
    ['less at the end', { job: (statement) => Object.assign(statement, { subject: none }) }],
    [
      'one name twice',
      {
        task: joined(({ subject, predicate }) => {
          subject.push(subject[0] as (typeof subject)[number]);
          predicate.saltedPlaintext.push(predicate.saltedPlaintext[0] as never);
        }),
      },
    ],
    [
      'the name of another task',
      {
        task: joined(({ subject, predicate }) => {
          for (const output of [...subject, ...predicate.saltedPlaintext]) output.name = 'Shot.0/feature.mkv';
        }),
      },
    ],
  ])('%s', async (_, changes) => {
    expect(await verdict(await receiptOf(changes))).toBe('ERR_RECEIPT_OUTPUTS');
  });
});

describe('outputs', () => {
  /** A render of its own, to spoil. */
  const spoiled = async (spoil: (path: string, root: string) => unknown, changes: Partial<ReceiptPolicy> = {}) => {
    const root = newFolder();
    const { receipt } = await render(job, root);
    await spoil(join(root, 'Join', 'feature.mkv'), root);
    return verdict(receipt, { outputs: { folder: root, privateKey: job.owner.outputs.privateKey }, ...changes });
  };
  const manifestOf = (path: string) => JSON.parse(readFileSync(`${path}.manifest.json`, 'utf8'));
  const writeManifest = (path: string, content: unknown) =>
    writeFileSync(`${path}.manifest.json`, JSON.stringify(content));

  test('left alone: accepted', async () => {
    expect(await spoiled(() => undefined)).toBe('ok');
  });

  test('not there, in part or at all: ERR_RECEIPT_OUTPUT_MISSING', async () => {
    expect(await spoiled((path) => rmSync(path))).toBe('ERR_RECEIPT_OUTPUT_MISSING');
    expect(await spoiled((path) => rmSync(`${path}.manifest.json`))).toBe('ERR_RECEIPT_OUTPUT_MISSING');
    expect(await spoiled((path) => renameSync(path, `${path}.x`))).toBe('ERR_RECEIPT_OUTPUT_MISSING');
    expect(await spoiled((_, root) => rmSync(root, { recursive: true }))).toBe('ERR_RECEIPT_OUTPUT_MISSING');
  });

  test('with a file more, a link or a device: ERR_RECEIPT_OUTPUT_UNKNOWN', async () => {
    const unknown = 'ERR_RECEIPT_OUTPUT_UNKNOWN';
    expect(await spoiled((_, root) => writeFileSync(join(root, 'README'), 'x'))).toBe(unknown);
    expect(await spoiled((path) => writeFileSync(`${path}.exe`, 'x'))).toBe(unknown);
    const linked = (path: string) => {
      renameSync(path, join(folder, 'elsewhere'));
      symlinkSync(join(folder, 'elsewhere'), path);
    };
    expect(await spoiled(linked)).toBe(unknown);
  });

  test('altered, at both ends and in between: ERR_RECEIPT_OUTPUT_ALTERED', async () => {
    for (const where of [0, 0.5, 1]) {
      const alter = (path: string) => {
        const bytes = readFileSync(path);
        const at = Math.floor((bytes.length - 1) * where);
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        writeFileSync(path, bytes);
      };
      expect(await spoiled(alter)).toBe('ERR_RECEIPT_OUTPUT_ALTERED');
    }
    expect(await spoiled((path) => writeFileSync(path, ''))).toBe('ERR_RECEIPT_OUTPUT_ALTERED');
  });

  test('another output, sealed rightly for the owner by somebody else: ERR_RECEIPT_OUTPUT_ALTERED', async () => {
    const plant = (_: string, root: string) =>
      sealOutput(root, task(2), 'feature.mkv', Buffer.from('planted'), job.owner.outputs.publicKey);
    expect(await spoiled(plant)).toBe('ERR_RECEIPT_OUTPUT_ALTERED');
  });

  test('for others, or for fewer, than the manifest says: ERR_RECEIPT_OUTPUT_RECIPIENTS', async () => {
    const more = (path: string) => {
      const manifest = manifestOf(path);
      const kms = { type: 'kms', keyId: 'alias/x', context: {}, encryptedKey: 'AAAA' };
      writeManifest(path, { ...manifest, recipients: [...manifest.recipients, kms] });
    };
    expect(await spoiled(more)).toBe('ERR_RECEIPT_OUTPUT_RECIPIENTS');
    expect(await spoiled((path) => writeManifest(path, { ...manifestOf(path), recipients: [] }))).toBe(
      'ERR_RECEIPT_OUTPUT_RECIPIENTS',
    );
  });

  test('that cannot be opened: ERR_RECEIPT_OUTPUT_KEY', async () => {
    const altered = (path: string) => writeManifest(path, { ...manifestOf(path), plaintextSha256: '33'.repeat(32) });
    expect(await spoiled(altered)).toBe('ERR_RECEIPT_OUTPUT_KEY');
    expect(await spoiled((path) => writeFileSync(`${path}.manifest.json`, '{}'))).toBe('ERR_RECEIPT_OUTPUT_KEY');
    const { privateKey } = generateKeyPairSync('x25519');
    expect(await verdict(made.receipt, { outputs: { ...outputs, privateKey } })).toBe('ERR_RECEIPT_OUTPUT_KEY');
  });

  test('that open to something else than was attested: ERR_RECEIPT_OUTPUT_PLAINTEXT', async () => {
    const root = newFolder();
    const lie = joined(({ predicate }) => {
      for (const output of predicate.saltedPlaintext) output.hmacSha256 = '44'.repeat(32);
    });
    const { receipt } = await render(job, root, { task: lie });
    expect(await verdict(receipt, { outputs: { ...outputs, folder: root } })).toBe('ERR_RECEIPT_OUTPUT_PLAINTEXT');
  });
});

test('no refusal quotes the receipt', async () => {
  const owner = renderOwner();
  const other = renderManifest(owner, { jobId: 'secret-title' });
  const manifest = await signManifest(other, owner.signing.privateKey);
  const text = JSON.stringify({ ...made.receipt, manifest, format: 'secret' });
  const error = await verifyReceipt(text, receiptPolicy(job)).catch((reason: Error) => reason);
  expect(String(error)).not.toContain('secret');
});
