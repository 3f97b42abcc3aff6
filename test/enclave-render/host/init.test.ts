import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openIdentity, type RenderShop, runSubmittedJob, submitJob } from '../../../local/render-jobs.ts';
import { type EnclaveMachine, enclaveMachine, whyNoMachine } from '../../harness/enclave-machine.ts';
import { testShop, testSource, twoStepJob } from '../../harness/render-shop.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const missing = whyNoMachine();

// The file system of an image, its first process and all that it starts, on this machine's kernel: what stands for the hardware is the
// simulated module, and Unix sockets for vsock.
describe.skipIf(missing !== '')(`the first process of an enclave${missing && ` (${missing})`}`, () => {
  const folder = temporaryDirectory();
  let shop: RenderShop;
  let machine: EnclaveMachine;

  beforeAll(async () => {
    await testSource(folder);
    const identity = await openIdentity(join(folder, 'data'));
    machine = await enclaveMachine(identity, join(folder, 'machine'));
    shop = { ...(await testShop(folder)), launcher: machine.launcher };
  });
  afterAll(() => {
    machine?.close();
    removeDirectory(folder);
  });

  test('a job is rendered, in the sandbox, and accepted; then nothing runs any more', async () => {
    const job = await submitJob(shop, twoStepJob(folder));
    const verified = await runSubmittedJob(shop, job, { onEvent: () => undefined });
    expect(verified?.tasks.map(({ sandbox }) => sandbox.isolation)).toEqual(['bubblewrap', 'bubblewrap']);
    expect(readdirSync(join(folder, 'out', 'grade'))).toContain('title.mkv');
    expect(execFileSync(machine.programs.nitroCli, ['describe-enclaves'], { encoding: 'utf8' })).toBe('[]');
  });

  test('one connection is let in, and its end is that of the enclave', async () => {
    const enclave = await shop.launcher.launch();
    // The listener is closed once the first is in: who comes later is refused, or hears nothing and is cut off.
    const second = net.connect(join(machine.folder, 'vsock-5005'));
    second.on('error', () => undefined);
    await new Promise((resolve) => second.once('close', resolve));
    enclave.channel.destroy();
    expect(await enclave.ended).toBe(null);
  });

  test('whoever answers the heartbeat otherwise has no enclave', async () => {
    machine.setHeartbeat(0);
    const launched = shop.launcher.launch();
    await expect(launched.then(({ ended }) => ended)).resolves.toBe(null);
    machine.setHeartbeat(0xb7);
  });
});
