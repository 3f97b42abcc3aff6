/**
 * A way by which plaintext gets to a service outside the attested boundary: what writes a job or an object that does so records
 * it, in the job's report and in the audit trail, so that "nothing left but ciphertext" can be checked.
 */
export interface BoundaryCrossing {
  /** Who gets to see plaintext. */
  service: 'mediaconvert' | 'elastictranscoder' | 's3';
  /** What does it: `Inputs[0].DecryptionSettings`, `SSE-S3`. */
  by: string;
  /** In words, for people. */
  why: string;
}
