/** in-toto Statement v1 (github.com/in-toto/attestation, spec/v1/statement.md), of which a predicate is the content. */
export interface Statement<Type extends string, Predicate> {
  _type: 'https://in-toto.io/Statement/v1';
  /**
   * The encrypted outputs, by `<task id>/<name>`: SHA-256 of the ciphertext. Of a task that delivers none it may be
   * empty.
   */
  subject: { name: string; digest: { sha256: string } }[];
  predicateType: Type;
  predicate: Predicate;
}

export const TASK_PREDICATE = 'urn:portcullis:render-task:v1';
export const JOB_PREDICATE = 'urn:portcullis:render-job:v1';

/** What was done in one task and launch. Hashes in hexadecimal, times in milliseconds by the security module. */
export interface TaskPredicate {
  jobId: string;
  /** Of the manifest's JWS payload. */
  manifestSha384: string;
  task: { id: string; step: string; parameters: Record<string, string | number> };
  /**
   * `inputRoot` of `make-statement.ts`: the manifest's inputs that the task reads, and the statements of the tasks
   * before it.
   */
  inputRootSha256: string;
  /** Of each output in clear, HMAC-SHA-256 under a salt that only its key opens: for whoever renders it again. */
  saltedPlaintext: { name: string; hmacSha256: string }[];
  renderer: { name: string; sha384: string; argsSha384: string };
  /** `agent`: packaging, which is part of the agent, without a sandbox within the enclave. */
  sandbox: { isolation: 'bubblewrap' | 'none' | 'agent'; sha384: string };
  launch: { moduleId: string; keyAttestationSha384: string };
  startedAt: number;
  finishedAt: number;
  exitCode: number;
  /** Whether the security module was a simulated one. */
  simulated: boolean;
}

/** What the job was, in the end: every task once, by the hash of its statement, in the order of the template. */
export interface JobPredicate {
  jobId: string;
  manifestSha384: string;
  tasks: { id: string; statementSha384: string }[];
  launch: { moduleId: string; keyAttestationSha384: string };
  finishedAt: number;
  simulated: boolean;
}

export type TaskStatement = Statement<typeof TASK_PREDICATE, TaskPredicate>;
export type JobStatement = Statement<typeof JOB_PREDICATE, JobPredicate>;

/**
 * A statement as canonical JSON (RFC 8785), and the attestation document, base64, that it is bound into by its user
 * data.
 */
export interface AttestedStatement {
  statement: string;
  attestation: string;
}

/** What an owner gets beside the outputs, and can verify years later. */
export interface Receipt {
  format: 'portcullis-receipt/1';
  /** The manifest's JWS. */
  manifest: string;
  /** One for each launch: the document that the job key was released against, base64. */
  keyAttestations: string[];
  tasks: AttestedStatement[];
  job: AttestedStatement;
}

/** What user data of a document begins with, by what it is for; SHA-384 of what it is bound to follows. */
export const USER_DATA_PREFIX = {
  key: 'portcullis-render-key/1\0',
  task: 'portcullis-render-task/1\0',
  job: 'portcullis-render-job/1\0',
} as const;
