import { spawn } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { appendFileSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAttestation } from '../../../enclave-render/attestation/verify.ts';
import type { EnclaveLauncher } from '../../../enclave-render/host/enclave-launcher.ts';
import type { RunnerConfiguration } from '../../../enclave-render/host/runner-configuration.ts';
import { simulatedLauncher } from '../../../enclave-render/host/simulated.ts';
import { EmbeddedKms } from '../../../enclave-render/kms/embedded.ts';
import { sealForRecipient } from '../../../enclave-render/kms/seal-for-recipient.ts';
import { encryptMaster } from '../../../enclave-render/mastering/encrypt.ts';
import { createKeyServer } from '../../../enclave-render/packaging/key-server.ts';
import { readKeyTable } from '../../../enclave-render/packaging/key-table-file.ts';
import { readTitle } from '../../../enclave-render/packaging/title.ts';
import type { RenderEvent } from '../../../enclave-render/render/event-codes.ts';
import { simulatedModule } from '../../../enclave-render/security-module/simulator.ts';
import { keystorePath } from '../../../local/data-keys.ts';
import { packagePath } from '../../../local/package-root.ts';
import { publishTitle } from '../../../local/published-title.ts';
import {
  auditLogPath,
  openIdentity,
  openOwnerSide,
  openRenderShop,
  type RenderShop,
  runSubmittedJob,
  submitJob,
} from '../../../local/render-jobs.ts';
import { publicPem } from '../../../local/render-owner.ts';
import { portcullis } from '../../harness/cli.ts';
import { contentKeys, describeWithFfmpeg, ffmpeg, frames, makeMedia } from '../../harness/media.ts';
import { filesWith } from '../../harness/render-shop.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';
import { serveFolders } from '../../harness/title-server.ts';

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

  test('packages into encrypted HLS, which is accepted, published by its owner, and plays with the key server', async () => {
    const job = await submitJob(shop, jobOf('packaged', true));
    const data = ['--data', dataDirectory, '--json'];
    const publish = () => portcullis('render', 'publish', job.jobId, '--asset', 'film', ...data);
    await runSubmittedJob(shop, job, { onEvent: () => undefined, verify: false });
    const early = await publish();
    expect([early.code, JSON.parse(early.stdout).code]).toEqual([1, 'ERR_RECEIPT_NOT_ACCEPTED']);

    const verified = await runSubmittedJob(shop, job, { onEvent: () => undefined });
    expect(verified?.tasks.map(({ sandbox }) => sandbox.isolation)).toEqual(['bubblewrap', 'agent']);
    expect(readdirSync(job.output)).toEqual(['package']);
    expect(await publish()).toMatchObject({ code: 0, stderr: '' });
    const titles = join(dataDirectory, 'titles');
    expect((await readTitle(join(titles, 'film'))).encryption).toBe('aes-128');

    const dataKeys = new EmbeddedKms({ keystore: keystorePath(dataDirectory) });
    const keyServer = createKeyServer({
      dataKeys,
      readKeyTable: (title) => readKeyTable(join(titles, title, 'keys.json')),
      report: () => undefined,
    });
    const server = await serveFolders({ '/': titles }, async (path) => {
      if (!path.endsWith('.key')) return undefined;
      const answer = await keyServer.request(path);
      return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
    });
    const played = join(folder, 'played.mkv');
    try {
      await ffmpeg('-xerror', '-i', `${server.url}/film/master.m3u8`, '-c', 'copy', played);
    } finally {
      await server.close();
    }
    expect(await frames(played, 'v', false)).toHaveLength(50);

    // No content key is in clear in any file, of the title nor of the outputs.
    const keys = await contentKeys(join(titles, 'film', 'keys.json'), dataKeys);
    expect(keys.size).toBe(2);
    for (const key of keys.values()) expect(filesWith([titles, job.output], Buffer.from(key))).toEqual([]);
    expect(readFileSync(auditLogPath(shop), 'utf8')).toContain('"event":"boundary-crossed"');

    // Somebody who can write to the outputs can make a table for the owner, and it is refused.
    const side = await openOwnerSide(dataDirectory, 'bubblewrap');
    const to = { folder: join(folder, 'again'), dataKeys, keyId: 'alias/portcullis-mastering', force: false };
    await expect(publishTitle(side, job, { ...to, task: 'encode' })).rejects.toMatchObject({
      code: 'ERR_PACKAGE_SOURCE',
    });
    const forged = join(folder, 'forged.json');
    writeFileSync(forged, '{}');
    const output = join(job.output, 'package', 'keys.json');
    const publicKey = createPublicKey(shop.owner.opening);
    await encryptMaster({ source: forged, output, mode: 'framed', publicKeys: [publicKey], now: 0, force: true });
    await expect(publishTitle(side, job, to)).rejects.toMatchObject({ code: 'ERR_RECEIPT_OUTPUT_ALTERED' });
    expect(existsSync(to.folder)).toBe(false);
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
  /** Made once: to measure an image is to read 300 MB. */
  let same: EnclaveLauncher | undefined;
  test.each(OTHERS)('in %s gets no key, and with one from a careless KMS its receipt is refused', async (...other) => {
    const [what, code, says, launch] = other;
    same ??= await launcherOf(configuration);
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
