import * as v from 'valibot';

const text = v.pipe(v.string(), v.minLength(1), v.maxLength(2048));
const name = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/));
const hex = (bytes: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`)));
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const base64 = v.pipe(v.string(), v.maxLength(8192), v.base64());
const pcrs = v.record(v.pipe(v.string(), v.regex(/^(?:[0-9]|[12][0-9]|3[01])$/)), hex(48));

/** A data key under a KMS key, and a commitment to it: whoever plants another key is found out before it is used. */
const committedKey = v.strictObject({
  keyId: text,
  context: v.record(v.string(), v.string()),
  encryptedKey: base64,
  /** `commitment()` of `kms/commitment.ts`. */
  commitment: hex(32),
});

/**
 * What the owner of a title allows: this job, once, in an enclave of these registers, until then. It travels as a compact JWS
 * (RFC 7515, EdDSA, `typ` `portcullis-render+jwt`) under the owner's signing key, whose public half is part of the enclave's
 * measured configuration.
 */
export const RenderManifestSchema = v.strictObject({
  format: v.literal('portcullis-render/1'),
  jobId: name,
  /** 32 random bytes: accepted once. */
  nonce: hex(32),
  /** Seconds since the epoch. */
  issuedAt: count,
  expiresAt: count,
  /** Registers of the enclaves that may run it. */
  pcrs,
  /** SHA-256 fingerprints of the roots that attestation may come from. */
  roots: v.pipe(v.array(hex(32)), v.minLength(1), v.maxLength(4)),
  /** Of the job: what the data keys of the inputs are wrapped under, and what checkpoints are sealed with. */
  jobKey: committedKey,
  /** `framed` masters, by the name of the PATH parameter that they are: SHA-256 and length of the ciphertext. */
  inputs: v.pipe(
    v.array(
      v.strictObject({
        name,
        bytes: count,
        sha256: hex(32),
        /** File name inside the sandbox: its extension tells the renderer what it is. */
        fileName: name,
        /** JWE (RFC 7516) of the data key under the job key, `A256KW`. */
        wrappedKey: text,
      }),
    ),
    v.maxLength(256),
  ),
  /** An Open Job Description template (docs/render-jobs.md), and the values of its parameters. */
  template: v.record(v.string(), v.unknown()),
  parameters: v.record(name, v.union([v.string(), v.number()])),
  output: v.strictObject({
    /** SPKI in PEM: who can open what comes out (EC P-256 to P-521, X25519, RSA). */
    ownerKey: text,
    /**
     * The content key of the outputs, if mastering may open them as well: under its KMS key, which is a recipient of them then, and
     * under the job key (JWE, `A256KW`), so that one call of KMS is all that a launch needs.
     */
    mastering: v.exactOptional(
      v.strictObject({
        keyId: text,
        context: v.record(v.string(), v.string()),
        encryptedKey: base64,
        wrappedKey: text,
      }),
    ),
  }),
});

export type RenderManifest = v.InferOutput<typeof RenderManifestSchema>;
export type CommittedKey = v.InferOutput<typeof committedKey>;

export type RenderErrorCode =
  /** Not a job file. */
  | 'ERR_RENDER_JOB'
  /** Not a manifest, or not of an owner that this enclave knows. */
  | 'ERR_RENDER_MANIFEST'
  /** Its time is over, by the clock of the security module. */
  | 'ERR_RENDER_EXPIRED'
  /** A template outside the subset, a parameter that is missing, a command that is none of the renderers. */
  | 'ERR_RENDER_TEMPLATE'
  /** An input that is not the one of the manifest. */
  | 'ERR_RENDER_INPUT'
  /** The key is not the one that the manifest is committed to. */
  | 'ERR_RENDER_KEY'
  /** A checkpoint of another job, task or input, or a changed one. */
  | 'ERR_RENDER_CHECKPOINT'
  /** No sandbox to be had, or it could not be started. */
  | 'ERR_RENDER_SANDBOX'
  /** The renderer failed, or took more memory, time or space than it may. */
  | 'ERR_RENDER_TASK'
  /** What came out could not be sealed or handed over. */
  | 'ERR_RENDER_OUTPUT';

/** Why a job was not rendered. The message goes to nobody outside the enclave: the code does. */
export class RenderError extends Error {
  readonly code: RenderErrorCode;
  constructor(code: RenderErrorCode, message: string) {
    super(message);
    this.name = 'RenderError';
    this.code = code;
  }
}
