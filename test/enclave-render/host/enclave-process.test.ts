import { spawn } from 'node:child_process';
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAttestation } from '../../../enclave-render/attestation/verify.ts';
import type { EnclaveLauncher } from '../../../enclave-render/host/enclave-launcher.ts';
import type { RunnerConfiguration } from '../../../enclave-render/host/runner-configuration.ts';
import { simulatedLauncher } from '../../../enclave-render/host/simulated.ts';
import type { EmbeddedKms } from '../../../enclave-render/kms/embedded.ts';
import { sealForRecipient } from '../../../enclave-render/kms/seal-for-recipient.ts';
import { decryptMaster } from '../../../enclave-render/mastering/decrypt.ts';
import { readTitle } from '../../../enclave-render/packaging/title.ts';
import type { RenderEvent } from '../../../enclave-render/render/event-codes.ts';
import { contentKeysToKms } from '../../../enclave-render/render/job-content-keys.ts';
import { simulatedModule } from '../../../enclave-render/security-module/simulator.ts';
import { packagePath } from '../../../local/package-root.ts';
import {
  auditLogPath,
  openIdentity,
  openRenderShop,
  type RenderShop,
  runSubmittedJob,
  submitJob,
} from '../../../local/render-jobs.ts';
import { publicPem } from '../../../local/render-owner.ts';
import { contentKeys, describeWithFfmpeg, ffmpeg, frames, makeMedia } from '../../harness/media.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const AGENT = packagePath('dist', 'enclave', 'agent');
const LIMITS = { memoryBytes: 4 * 2 ** 30, cpuSeconds: 60, wallSeconds: 120, outputBytes: 64 << 20 };
const ZERO = '00'.repeat(48);

/** The built agent as a process, and what is measured of it; everything else of `host/` is tried with an agent in the test's own. */
describeWithFfmpeg('a job in an enclave of its own', () => {
  const folder = temporaryDirectory();
  const source = join(folder, 'source.mp4');
  const dataDirectory = join(folder, 'data');
  let shop: RenderShop;
  let configuration: RunnerConfiguration;
  /** What the owner's side makes, and forgets. */
  let jobKey: Buffer;
  afterAll(() => removeDirectory(folder));
  beforeAll(async () => {
    await makeMedia(source, { seconds: 2, size: '160x90', gop: 25 });
    shop = await openRenderShop({ dataDirectory, isolation: 'bubblewrap', agent: AGENT });
    const { kms } = shop;
    const generate = kms.generate.bind(kms);
    kms.generate = async (...asked) => {
      const made = await generate(...asked);
      jobKey = Buffer.from(made.plaintext);
      return made;
    };
    // Of its own, so that a test can change it.
    const program = join(folder, 'ffmpeg');
    copyFileSync('/usr/bin/ffmpeg', program);
    configuration = {
      format: 'portcullis-runner/1',
      owners: [publicPem(shop.owner.signing)],
      isolation: 'none',
      renderers: { ffmpeg: program },
      limits: LIMITS,
    };
  });

  /** A job that encodes the source, and packages that if it is to. */
  const jobOf = (name: string, isPackaged: boolean) => {
    const onRun = (command: string, args: string[]) => ({ actions: { onRun: { command, args } } });
    const encode = ['-i', '{{Param.Source}}', '-c:v', 'libx264', '-preset', 'ultrafast', '-g', '25', '-c:a', 'aac'];
    const pack = ['--segment-seconds', '1', '--rotate-every', '1', '/in/encode/title.mp4'];
    return {
      jobId: name,
      template: {
        specificationVersion: 'jobtemplate-2023-09',
        name,
        parameterDefinitions: [{ name: 'Source', type: 'PATH', objectType: 'FILE', dataFlow: 'IN' }],
        steps: [
          { name: 'encode', script: onRun('ffmpeg', [...encode, '/out/title.mp4']) },
          ...(isPackaged
            ? [{ name: 'package', dependencies: [{ dependsOn: 'encode' }], script: onRun('package-hls', pack) }]
            : []),
        ],
      },
      parameters: {},
      inputs: { Source: source },
      output: join(folder, name),
      mastering: false,
    };
  };

  test('packages into encrypted HLS, which is accepted, opened by its owner, and plays', async () => {
    const job = await submitJob(shop, jobOf('packaged', true));
    const verified = await runSubmittedJob(shop, job, { onEvent: () => undefined });
    expect(verified?.tasks.map(({ sandbox }) => sandbox.isolation)).toEqual(['bubblewrap', 'agent']);
    expect(readdirSync(job.output)).toEqual(['package']);

    const clear = join(folder, 'clear');
    for (const { name } of verified?.outputs ?? []) {
      const output = join(clear, name);
      mkdirSync(dirname(output), { recursive: true });
      await decryptMaster({ source: join(job.output, name), output, privateKey: shop.owner.opening });
    }
    const title = join(clear, 'package');
    const packaged = await readTitle(title);
    expect(packaged.encryption).toBe('aes-128');
    const table = JSON.parse(readFileSync(join(title, 'keys.json'), 'utf8'));
    expect(table.keys).toHaveLength(2);
    // As its owner does for a key server; ffmpeg takes the keys from files, where a player would ask.
    const dataKeys = shop.kms;
    await dataKeys.createKey({ alias: 'alias/key-server' });
    const ours = await contentKeysToKms(table, jobKey, job.jobId, dataKeys, 'alias/key-server');
    writeFileSync(join(title, 'keys.json'), JSON.stringify(ours));
    mkdirSync(join(title, 'keys'));
    for (const [name, key] of await contentKeys(join(title, 'keys.json'), dataKeys)) {
      writeFileSync(join(title, 'keys', `${name}.key`), key);
    }
    const played = join(folder, 'played.mkv');
    await ffmpeg('-xerror', '-allowed_extensions', 'ALL', '-i', join(title, 'master.m3u8'), '-c', 'copy', played);
    expect(await frames(played, 'v', false)).toHaveLength(50);
  });

  const launcherOf = async (changed: RunnerConfiguration) => {
    const { ca } = await openIdentity(dataDirectory);
    return simulatedLauncher({ agent: AGENT, configuration: changed, ca, now: Date.now });
  };

  /** As `nitro-cli run-enclave --debug-mode`: the same image, whose registers are zero. */
  async function debugLauncher(): Promise<EnclaveLauncher> {
    const { ca } = await openIdentity(dataDirectory);
    const [scratch, path] = [join(folder, 'debug'), join(folder, 'debug.json')];
    mkdirSync(scratch);
    writeFileSync(path, JSON.stringify(configuration));
    return {
      pcrs: {},
      root: ca.root,
      async launch() {
        const argv = [join(AGENT, 'agent.mjs'), '--simulated-module', '--configuration', path, '--scratch', scratch];
        const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
        const [, , , channel, module] = child.stdio as unknown as Duplex[];
        const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
        simulatedModule({ ca, pcrs: { '0': ZERO, '1': ZERO, '2': ZERO }, now: Date.now }).serve(module as Duplex);
        return {
          channel: channel as Duplex,
          ended,
          async end() {
            child.kill('SIGKILL');
            await ended;
          },
        };
      },
    };
  }

  /** KMS with a key that has no conditions: it decrypts for any enclave. */
  const careless = {
    async decryptForRecipient(_encrypted: Uint8Array, _context: object, document: Uint8Array) {
      const { publicKey } = parseAttestation(document);
      return { ciphertextForRecipient: sealForRecipient(jobKey, publicKey as Uint8Array), keyId: 'careless' };
    },
  } as unknown as EmbeddedKms;

  const OTHERS: [
    what: string,
    code: string,
    says: string,
    launch: (same: EnclaveLauncher) => Promise<EnclaveLauncher>,
  ][] = [
    [
      'another configuration',
      'ERR_ATTESTATION_PCR',
      'PCR1',
      () => launcherOf({ ...configuration, limits: { ...LIMITS, cpuSeconds: LIMITS.cpuSeconds + 1 } }),
    ],
    [
      'another renderer, by one byte since the job was submitted',
      'ERR_ATTESTATION_PCR',
      'PCR2',
      async (same) => {
        appendFileSync(join(folder, 'ffmpeg'), '\0');
        const { pcrs } = await launcherOf(configuration);
        expect(Object.keys(pcrs).filter((index) => pcrs[index] !== same.pcrs[index])).toEqual(['2']);
        return same;
      },
    ],
    ['debug mode', 'ERR_ATTESTATION_DEBUG', 'debug', debugLauncher],
  ];
  test.each(OTHERS)('in %s gets no key, and with one from a careless KMS its receipt is refused', async (...other) => {
    const [what, code, says, launch] = other;
    const same = await launcherOf(configuration);
    const unconfined = { ...shop, isolation: 'none' as const };
    const job = await submitJob({ ...unconfined, launcher: same }, jobOf(what.replaceAll(/\W+/g, '-'), false));
    const launcher = await launch(same);
    const events: string[] = [];
    const onEvent = (event: RenderEvent) => events.push(event.code);
    const refused = runSubmittedJob({ ...unconfined, launcher }, job, { onEvent });
    await expect(refused).rejects.toMatchObject({ code: 'ERR_KMS_ACCESS' });
    expect(events).toEqual(['MANIFEST_ACCEPTED', 'JOB_FAILED']);

    const rendered = runSubmittedJob({ ...unconfined, launcher, kms: careless }, job, { onEvent });
    await expect(rendered).rejects.toMatchObject({ code, message: expect.stringContaining(says) });
    expect(events).toContain('RECEIPT_ISSUED');
    expect(existsSync(job.output)).toBe(false);
    expect(readFileSync(auditLogPath(shop), 'utf8')).toContain(`"receipt-refused","jobId":"${job.jobId}"`);
  });
});
