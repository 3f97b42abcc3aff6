import type { Duplex } from 'node:stream';
import { type RecipientKeyPair, recipientKeyPair } from '../kms/recipient.ts';
import { type AgentEnclave, renderJob } from './agent-job.ts';
import { codeOf, connect } from './frames.ts';
import { HostError } from './host-error.ts';
import { TO_ENCLAVE, TO_PARENT } from './messages.ts';

/**
 * Serves the parent of an enclave at the other end of `channel`: runs one job, if its manifest is of an owner of the measured
 * configuration. Resolves when the parent has ended the connection; then nothing of the job is left but memory, which ends with the
 * enclave. What goes wrong is told as a code, and in no words.
 */
export async function serveAgent(channel: Duplex, enclave: AgentEnclave): Promise<void> {
  // Takes half a second: begun before anybody asks.
  const keys: Promise<RecipientKeyPair> = recipientKeyPair();
  keys.catch(() => undefined);
  const stop = new AbortController();
  let job: Promise<void> | undefined;
  const parent = connect(channel, TO_PARENT, TO_ENCLAVE, {
    async render({ manifest }) {
      if (job) throw new HostError('ERR_HOST_BUSY', 'an enclave runs one job: launch another');
      job = keys.then((pair) => renderJob(manifest, pair, enclave, parent, stop.signal));
      try {
        await job;
      } catch (error) {
        await parent.ask('event', { code: 'JOB_FAILED', error: codeOf(error) }).catch(() => undefined);
        throw error;
      }
      return {};
    },
  });
  await parent.ended;
  stop.abort();
  await job?.catch(() => undefined);
}
