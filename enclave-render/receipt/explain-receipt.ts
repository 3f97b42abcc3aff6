import type { VerifiedReceipt } from './verify-receipt.ts';

/** What a receipt has proven, and what it has not, in plain words: a sentence a line, registers and hashes in full. */
export function explainReceipt(verified: VerifiedReceipt): string[] {
  const { manifest, manifestSha384, owner, launches, tasks, job, outputs, outputsVerified, simulated } = verified;
  const isolated = tasks.every(({ sandbox }) => sandbox.isolation !== 'none');
  const packaged = tasks.some(({ sandbox }) => sandbox.isolation === 'agent');
  return [
    simulated ? SIMULATED : ATTESTED,
    `Job ${manifest.jobId} was done under the manifest that the owner's key ${owner} signed, ` +
      `SHA-384 ${manifestSha384}.`,
    ...launches.map(
      ({ moduleId, pcrs, at }) =>
        `At ${timeOf(at)} enclave ${moduleId} asked for the job key, with the registers that the manifest allows: ` +
        `${registers(pcrs, manifest.pcrs)}.`,
    ),
    tasks.length === 1
      ? 'Its one task is that of its template, done once, with its arguments and inputs, and not from another run.'
      : `The ${tasks.length} tasks are those of its template, each done once, with its arguments and inputs; ` +
        'none is left out, and none is from another run.',
    isolated
      ? 'Each renderer ran in a sandbox without network.'
      : 'At least one renderer ran WITHOUT a sandbox, which was allowed here.',
    ...(packaged ? ['Packaging ran as part of the agent: within the enclave, in no sandbox of its own.'] : []),
    `It ended at ${timeOf(job.finishedAt)} by the clock of the security module, before the manifest expired at ` +
      `${timeOf(manifest.expiresAt * 1000)}.`,
    ...outputs.map(({ name, sha256 }) => `It delivered ${name}, encrypted: SHA-256 ${sha256}.`),
    outputsVerified
      ? `The outputs are these, open with the owner's key, and are what was rendered; ${readers(verified)}.`
      : 'The outputs themselves were not looked at.',
    'Not proven: that the renderer has no faults, that inputs are what their names say, when the receipt came.',
  ];
}

const ATTESTED =
  'AWS Nitro attests that this was done in an enclave, into which nobody can look, not even who runs the instance.';
const SIMULATED =
  'The attestations are of a SIMULATED security module, whose root was named: they show that the parts fit ' +
  'together, and nothing about who saw the plaintext.';

function readers({ manifest }: VerifiedReceipt): string {
  const { mastering } = manifest.output;
  return mastering ? `they are sealed for mastering too, under ${mastering.keyId}` : 'they are sealed for nobody else';
}

function registers(
  actual: VerifiedReceipt['launches'][number]['pcrs'],
  allowed: VerifiedReceipt['launches'][number]['pcrs'],
): string {
  return Object.keys(allowed)
    .map((index) => `PCR${index} ${actual[index]}`)
    .join(', ');
}

function timeOf(milliseconds: number): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? String(milliseconds) : date.toISOString();
}
