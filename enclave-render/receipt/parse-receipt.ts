import * as v from 'valibot';
import { canonicalJson, parseCanonicalJson } from '../canonical-json.ts';
import { MANIFEST_CHARACTERS } from '../render/manifest-signature.ts';
import { ReceiptError } from './receipt-error.ts';
import {
  type AttestedStatement,
  JOB_PREDICATE,
  type JobStatement,
  type Receipt,
  TASK_PREDICATE,
  type TaskStatement,
} from './statement.ts';

/** Most characters of a receipt: some 5,000 tasks. */
export const RECEIPT_CHARACTERS = 64 << 20;
const TASKS = 4096;

const name = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$/));
/** `<task id>/<name>`, of which no part begins with a dot: it is a path below the folder of outputs. */
const path = v.pipe(
  v.string(),
  v.maxLength(400),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){1,6}$/),
);
const hex = (bytes: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`)));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const document = v.pipe(v.string(), v.maxLength(32_768), v.base64());
const attested = v.strictObject({ statement: v.pipe(v.string(), v.maxLength(4 << 20)), attestation: document });

const ReceiptSchema = v.strictObject({
  format: v.literal('portcullis-receipt/1'),
  manifest: v.pipe(v.string(), v.maxLength(MANIFEST_CHARACTERS)),
  keyAttestations: v.pipe(v.array(document), v.minLength(1), v.maxLength(256)),
  tasks: v.pipe(v.array(attested), v.maxLength(TASKS)),
  job: attested,
}) satisfies v.GenericSchema<Receipt>;

const subject = v.array(v.strictObject({ name: path, digest: v.strictObject({ sha256: hex(32) }) }));
const launch = v.strictObject({ moduleId: v.pipe(v.string(), v.maxLength(256)), keyAttestationSha384: hex(48) });
const inTotoStatement = v.literal('https://in-toto.io/Statement/v1');

const TaskSchema = v.strictObject({
  _type: inTotoStatement,
  subject,
  predicateType: v.literal(TASK_PREDICATE),
  predicate: v.strictObject({
    jobId: name,
    manifestSha384: hex(48),
    task: v.strictObject({
      id: name,
      step: v.string(),
      parameters: v.record(v.string(), v.union([v.string(), v.number()])),
    }),
    inputRootSha256: hex(32),
    saltedPlaintext: v.array(v.strictObject({ name: path, hmacSha256: hex(32) })),
    renderer: v.strictObject({ name, sha384: hex(48), argsSha384: hex(48) }),
    sandbox: v.strictObject({ isolation: v.picklist(['bubblewrap', 'none', 'agent']), sha384: hex(48) }),
    launch,
    startedAt: count,
    finishedAt: count,
    exitCode: v.pipe(v.number(), v.safeInteger()),
    simulated: v.boolean(),
  }),
}) satisfies v.GenericSchema<TaskStatement>;

const JobSchema = v.strictObject({
  _type: inTotoStatement,
  subject,
  predicateType: v.literal(JOB_PREDICATE),
  predicate: v.strictObject({
    jobId: name,
    manifestSha384: hex(48),
    tasks: v.pipe(v.array(v.strictObject({ id: name, statementSha384: hex(48) })), v.maxLength(TASKS)),
    launch,
    finishedAt: count,
    simulated: v.boolean(),
  }),
}) satisfies v.GenericSchema<JobStatement>;

/** Reads a receipt strictly. Throws `ERR_RECEIPT_FORMAT`. */
export function parseReceipt(text: string): Receipt {
  if (text.length > RECEIPT_CHARACTERS) throw malformed('it is too long');
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    throw malformed('it is not JSON');
  }
  return accordingTo(ReceiptSchema, content);
}

/** Reads the statement of a task strictly: canonical JSON. Throws `ERR_RECEIPT_FORMAT`. */
export function parseTaskStatement({ statement }: AttestedStatement): TaskStatement {
  return canonical(TaskSchema, statement);
}

/** Reads a final statement strictly: canonical JSON. Throws `ERR_RECEIPT_FORMAT`. */
export function parseJobStatement({ statement }: AttestedStatement): JobStatement {
  return canonical(JobSchema, statement);
}

function canonical<Output>(schema: v.GenericSchema<Output>, text: string): Output {
  const content = parseCanonicalJson(text);
  if (content === undefined) throw malformed('a statement is not canonical JSON (RFC 8785)');
  const statement = accordingTo(schema, content);
  if (canonicalJson(statement) !== text) throw malformed('a statement has a name that none may have');
  return statement;
}

function accordingTo<Output>(schema: v.GenericSchema<Output>, content: unknown): Output {
  const result = v.safeParse(schema, content);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw malformed(`${v.getDotPath(issue) ?? 'content'}: it has to be ${issue.expected ?? 'something else'}`);
}

function malformed(why: string): ReceiptError {
  return new ReceiptError('ERR_RECEIPT_FORMAT', `this is no receipt, or it was changed: ${why}`);
}
