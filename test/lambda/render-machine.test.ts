import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { buildReceipt } from '../../enclave-render/receipt/build-receipt.ts';
import type { TaskStatement } from '../../enclave-render/receipt/statement.ts';
import { expandTemplate } from '../../enclave-render/render/job-template.ts';
import { ALARMS, type Watched } from '../../infra/alarms.ts';
import { HANDLERS } from '../../lambda/handlers.ts';
import { SETTINGS_VARIABLE } from '../../lambda/settings.ts';
import { STATE_MACHINES } from '../../lambda/state-machines.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { renderOwner } from '../harness/render-manifest.ts';
import { type EnclaveChanges, launchEnclave, type RenderJob, renderJob } from '../harness/render-receipt.ts';
import { type AwsEndpoint, permissionsFor, startAwsEndpoint } from '../harness/sdk-commands.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';
import { aslValidator, deployedDefinition, StateMachine } from '../harness/state-machine.ts';

const { handlers } = STATE_MACHINES.render;
const DEPLOYED = deployedDefinition(STATE_MACHINES.render, {
  ParentGroup: 'portcullis-render',
  AlarmTopic: 'arn:aws:sns:us-east-1:123456789012:portcullis-render-alarms',
});

test('the state machine is Amazon States Language, and nothing in it is left open', () => {
  expect(aslValidator(DEPLOYED)).toMatchObject({ isValid: true, errors: [] });
  expect(JSON.stringify(DEPLOYED)).not.toMatch(/\$\{|""/);
});

const TEMPLATE = {
  specificationVersion: 'jobtemplate-2023-09',
  name: 'Join',
  parameterDefinitions: [{ name: 'Source', type: 'PATH', objectType: 'FILE', dataFlow: 'IN' }],
  steps: [
    {
      name: 'Join',
      script: { actions: { onRun: { command: 'ffmpeg', args: ['-i', '{{Param.Source}}', '/out/feature.mkv'] } } },
    },
  ],
};
const FAILED = expect.stringContaining('The alarm, and the state before it, say why.');
/** What stands for the resource of a state. */
// biome-ignore lint/suspicious/noExplicitAny: what a state passes on is for the resource to know.
type Resource = (input: any) => Promise<any>;

const failed = ({ predicate }: TaskStatement) => {
  predicate.exitCode = 1;
};
const [JOBS, AUDIT] = ['render-jobs', 'render-audit'];

describe.skipIf(!HAS_MOTO)(
  `a render job by the state machine${HAS_MOTO ? '' : ' (needs moto_server, which is not installed)'}`,
  () => {
    const moto = useMoto();
    const folder = temporaryDirectory();
    const owner = renderOwner();
    let aws: AwsEndpoint;
    let s3: S3Client;
    const sent: Record<string, AwsEndpoint['sent']> = {};

    beforeAll(async () => {
      const access = await moto();
      s3 = new S3Client({ ...access, forcePathStyle: true });
      await s3.send(new CreateBucketCommand({ Bucket: JOBS }));
      await s3.send(new CreateBucketCommand({ Bucket: AUDIT, ObjectLockEnabledForBucket: true }));
      aws = await startAwsEndpoint({ moto: access.endpoint });
    });
    afterAll(() => {
      vi.unstubAllEnvs();
      aws?.stop();
      removeDirectory(folder);
    });
    beforeEach(async () => {
      for (const key of await keysOf(JOBS)) await s3.send(new DeleteObjectCommand({ Bucket: JOBS, Key: key }));
    });

    const put = (Key: string, Body: string) => s3.send(new PutObjectCommand({ Bucket: JOBS, Key, Body }));
    const read = async (Bucket: string, Key: string) => {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
      return (await Body?.transformToString()) ?? '';
    };
    async function keysOf(Bucket: string): Promise<string[]> {
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket }));
      return Contents.map(({ Key = '' }) => Key);
    }

    let jobs = 0;
    const newJob = (changes = {}) =>
      renderJob(
        folder,
        {
          jobId: `job-${jobs++}`,
          template: TEMPLATE,
          parameters: {},
          expiresAt: Math.floor(Date.now() / 1000) + 3600,
          ...changes,
        },
        owner,
      );

    /** What an enclave makes of a job: its receipt. */
    async function receiptOf(job: RenderJob, changes: EnclaveChanges = {}): Promise<string> {
      const enclave = await launchEnclave(job, changes);
      const { template, parameters, inputs } = job.manifest;
      const [task] = expandTemplate(template, parameters, inputs);
      if (!task) throw new Error('the template has no task');
      const output = { name: 'feature.mkv', sha256: '11'.repeat(32), hmacSha256: '22'.repeat(32) };
      const run = await enclave.runTask(task, [], [output]);
      const ended = await enclave.finish([run]);
      return JSON.stringify(
        buildReceipt({ manifest: job.jws, keyAttestations: [enclave.keyAttestation], tasks: [run], job: ended }),
      );
    }

    /** What the parent does with a job that waits, once it runs. */
    type Parent = (jobId: string) => Promise<void>;
    const delivers =
      (receipt: string): Parent =>
      async (jobId) => {
        await put(`jobs/${jobId}/receipt.json`, receipt);
        await s3.send(new DeleteObjectCommand({ Bucket: JOBS, Key: `incoming/${jobId}.jws` }));
      };

    /** Runs the state machine to its end, with the real handlers for an enclave whose root is that of `job`. */
    async function execute(name: string, job: RenderJob, parent: Parent, roots?: string[] | null) {
      vi.stubEnv(
        SETTINGS_VARIABLE,
        JSON.stringify({
          jobsBucket: JOBS,
          auditBucket: AUDIT,
          owners: [owner.signing.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')],
          pcrs: job.manifest.pcrs,
          ...(roots !== null && { roots: roots ?? [job.chain.root] }),
        }),
      );
      vi.stubEnv('AWS_ENDPOINT_URL', aws.url.replace('localhost', '127.0.0.1'));
      vi.stubEnv('AWS_REGION', 'us-east-1');
      vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
      vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
      // Powertools then writes to the console, and not past it.
      vi.stubEnv('POWERTOOLS_DEV', 'true');
      vi.stubEnv('POWERTOOLS_METRICS_DISABLED', 'false');
      // Each deployment has handlers of its own: they read their settings when they are loaded.
      vi.resetModules();
      const loaded: Record<string, (input: object) => Promise<object>> = {};
      for (const handler of Object.values(handlers)) {
        loaded[handler] = (await import(`../../lambda/${handler}/index.ts`)).handler;
      }
      const invoke = (handler: string) => async (input: object) => {
        const from = aws.sent.length;
        try {
          return JSON.parse(JSON.stringify(await loaded[handler]?.(JSON.parse(JSON.stringify(input)))));
        } catch (error) {
          const { name: errorType, message: errorMessage } = error as Error;
          throw Object.assign(new Error(JSON.stringify({ errorType, errorMessage })), { name: errorType });
        } finally {
          sent[handler] = [...(sent[handler] ?? []), ...aws.sent.slice(from)];
        }
      };
      const parents: number[] = [];
      const alarms: string[] = [];
      const resources: Record<string, Resource> = {
        Register: invoke('render-register'),
        Look: invoke('render-look'),
        Verify: invoke('render-verify'),
        StartParent: async ({ DesiredCapacity }: { DesiredCapacity: number }) => {
          parents.push(DesiredCapacity);
          // It has work once it has run for a while: the first look is too early.
          if (parents.length > 1) await parent(job.manifest.jobId);
          return {};
        },
        StopParent: async ({ DesiredCapacity }: { DesiredCapacity: number }) => {
          parents.push(DesiredCapacity);
          return {};
        },
        Alarm: async ({ Message }: { Message: string }) => ({ MessageId: `${alarms.push(Message)}` }),
      };
      const metered = vi.spyOn(console, 'log').mockImplementation(() => undefined);
      const machine = new StateMachine(DEPLOYED, { validationOptions: { noValidate: true } });
      const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
      const execution = machine.run(
        { name },
        {
          overrides: {
            taskResourceLocalHandlers: resources,
            waitTimeOverrides: { Wait: 0 },
            retryIntervalOverrides: { Register: 0, Look: 0, Verify: 0, StartParent: 0, StopParent: 0, Alarm: 0 },
          },
          context: { Execution: { Name: 'run' } },
        },
      );
      const ended = await execution.result.then(
        (output) => ({ output, failure: undefined }),
        (failure: Error) => ({ output: undefined, failure: failure.message }),
      );
      const log = said.mock.calls.flat().join('\n');
      said.mockRestore();
      const refused = metered.mock.calls.map(([line]) => JSON.parse(line)).filter((line) => 'ReceiptRefused' in line);
      metered.mockRestore();
      return { ...ended, parents, alarms, log, refused };
    }

    test('ends in a receipt that is verified, and kept with its outcome; a parent runs as long as it takes', async () => {
      const job = await newJob();
      const { jobId, nonce } = job.manifest;
      const receipt = await receiptOf(job);
      await put('submitted/feature.jws', `${job.jws}\n`);
      const { output, failure, parents, alarms, refused } = await execute('feature.jws', job, delivers(receipt));
      expect([failure, alarms, parents, refused]).toEqual([undefined, [], [1, 1, 0], []]);
      expect(output).toMatchObject({ jobId, accepted: true, simulated: true });
      const kept = (await keysOf(AUDIT)).filter((key) => key.startsWith(`receipts/${jobId}/`));
      expect(kept).toHaveLength(2);
      expect(await read(AUDIT, kept.find((key) => !key.endsWith('.accepted.json')) ?? '')).toBe(receipt);
      expect(await read(AUDIT, `nonces/${nonce}`)).toBe((output as { statementSha384: string }).statementSha384);
    });

    test('may be verified again, but not with another receipt of the same manifest', async () => {
      const job = await newJob();
      const receipt = await receiptOf(job);
      await put('submitted/again.jws', job.jws);
      expect((await execute('again.jws', job, delivers(receipt))).output).toMatchObject({ accepted: true });
      expect((await execute('again.jws', job, delivers(receipt))).output).toMatchObject({ accepted: true });
      await s3.send(new DeleteObjectCommand({ Bucket: JOBS, Key: `jobs/${job.manifest.jobId}/receipt.json` }));
      const { failure, alarms } = await execute('again.jws', job, delivers(await receiptOf(job)));
      expect([failure, alarms]).toEqual([FAILED, ['The render run failed: ERR_RECEIPT_NONCE']]);
    });

    test.each<[string, EnclaveChanges | 'garbage', string]>([
      ['of another job', { nonce: Buffer.alloc(32, 1) }, 'ERR_ATTESTATION_NONCE'],
      ['of a task that failed', { task: failed }, 'ERR_RECEIPT_TASK_FAILED'],
      ['that says the module is a real one', { simulated: false }, 'ERR_RECEIPT_SIMULATED'],
      ['that is none', 'garbage', 'ERR_RECEIPT_FORMAT'],
    ])('with a receipt %s goes to the alarm, and what was refused is kept', async (_, changes, code) => {
      const job = await newJob();
      const receipt = typeof changes === 'string' ? '{"format":' : await receiptOf(job, changes);
      await put('submitted/refused.jws', job.jws);
      const { failure, alarms, log, parents, refused } = await execute('refused.jws', job, delivers(receipt));
      // In the series that the alarm looks at.
      const { metric } = ALARMS['receipt-refused'] ?? expect.fail('there is no such alarm');
      const { service } = metric.dimensions({} as Watched);
      const series = expect.objectContaining({ Namespace: metric.namespace, Dimensions: [['service']] });
      expect(refused).toMatchObject([{ [metric.name]: 1, service, _aws: { CloudWatchMetrics: [series] } }]);
      expect([failure, alarms]).toEqual([FAILED, [`The render run failed: ${code}`]]);
      expect(log).toContain(code);
      expect(parents.at(-1)).toBe(0);
      const kept = (await keysOf(AUDIT)).filter((key) => key.startsWith(`receipts/${job.manifest.jobId}/`));
      expect(kept.filter((key) => key.endsWith('.refused.json'))).toHaveLength(1);
      expect(await keysOf(AUDIT)).not.toContain(`nonces/${job.manifest.nonce}`);
    });

    test.each<[string, (job: RenderJob) => Promise<{ jws: string; job: RenderJob }>, string]>([
      ['of a stranger', async () => stranger(), 'ERR_RENDER_MANIFEST'],
      ['that is cut off', async (job) => ({ jws: job.jws.slice(0, -1), job }), 'ERR_RENDER_MANIFEST'],
      [
        'whose time is over',
        async () => {
          const job = await newJob({ expiresAt: Math.floor(Date.now() / 1000) - 1 });
          return { jws: job.jws, job };
        },
        'ERR_RENDER_EXPIRED',
      ],
      [
        'for another enclave',
        async (job) => {
          const other = await newJob({ pcrs: { ...job.manifest.pcrs, 2: '0f'.repeat(48) } });
          return { jws: other.jws, job };
        },
        'ERR_RENDER_MANIFEST',
      ],
      [
        'with a template that is none',
        async () => {
          const job = await newJob({ template: { ...TEMPLATE, steps: [] } });
          return { jws: job.jws, job };
        },
        'ERR_RENDER_TEMPLATE',
      ],
    ])('with a manifest %s starts nothing, and goes to the alarm', async (_, make, code) => {
      const { jws, job } = await make(await newJob());
      await put('submitted/bad.jws', jws);
      const { alarms, parents } = await execute('bad.jws', job, async () => undefined);
      expect([alarms, parents]).toEqual([[`The render run failed: ${code}`], []]);
      expect(await keysOf(JOBS)).toEqual(['submitted/bad.jws']);
    });

    async function stranger() {
      const job = await renderJob(folder, { template: TEMPLATE, parameters: {} });
      return { jws: job.jws, job };
    }

    test.each(['../incoming/x.jws', '', 'missing.jws'])('is none of that name: %s', async (name) => {
      const { alarms } = await execute(name, await newJob(), async () => undefined);
      expect(alarms).toEqual(['The render run failed: ERR_RENDER_MANIFEST']);
    });

    test('that the parent refuses or gives up goes to the alarm, with its code and nothing else that it wrote', async () => {
      for (const [written, code] of [
        ['{"code":"ERR_RENDER_INPUT","at":1}', 'ERR_RENDER_INPUT'],
        ['{"code":"see https://example.com"}', 'ERR_INTERNAL'],
      ] as const) {
        const job = await newJob();
        await put('submitted/failing.jws', job.jws);
        // Of an attempt before: it is not taken for this one's.
        await put(`jobs/${job.manifest.jobId}/failure.json`, '{"code":"ERR_OLD","at":0}');
        const { alarms, parents, refused } = await execute('failing.jws', job, async (jobId) => {
          await put(`refused/${jobId}.jws.failure.json`, written);
          await s3.send(new DeleteObjectCommand({ Bucket: JOBS, Key: `incoming/${jobId}.jws` }));
        });
        expect([alarms, parents, refused]).toEqual([[`The render run failed: ${code}`], [1, 1, 0], []]);
      }
    });

    test('of a simulated enclave is refused where nobody named its root', async () => {
      const job = await newJob();
      const receipt = await receiptOf(job);
      await put('submitted/simulated.jws', job.jws);
      const { alarms } = await execute('simulated.jws', job, delivers(receipt), null);
      expect(alarms).toEqual(['The render run failed: ERR_ATTESTATION_ROOT']);
    });

    test('that nobody renders in its time goes to the alarm, and keeps no parent', async () => {
      const job = await newJob();
      await put('submitted/slow.jws', job.jws);
      vi.useFakeTimers({ toFake: ['Date'] });
      const { alarms, parents } = await execute('slow.jws', job, async () => {
        vi.setSystemTime(Date.now() + 2 * 3_600_000);
      }).finally(() => vi.useRealTimers());
      expect([alarms, parents]).toEqual([['The render run failed: ERR_RENDER_EXPIRED'], [1, 1, 0]]);
      expect(await keysOf(JOBS)).not.toContain(`incoming/${job.manifest.jobId}.jws`);
    });

    test('leaves the parent running while another job waits', async () => {
      const job = await newJob();
      const receipt = await receiptOf(job);
      await put('submitted/first.jws', job.jws);
      await put('incoming/another.jws', 'waits');
      const { output, parents } = await execute('first.jws', job, delivers(receipt));
      expect(output).toMatchObject({ accepted: true });
      expect(parents).toEqual([1, 1]);
    });

    test('has handlers with the permissions of the commands that they sent, and no others', () => {
      const names: Record<string, string> = { [JOBS]: 'renderJobs', [AUDIT]: 'auditBucket' };
      for (const name of ['render-register', 'render-look', 'render-verify'] as const) {
        expect(permissionsFor(sent[name] ?? [], (resource) => names[resource] ?? resource)).toEqual(
          HANDLERS[name].permissions,
        );
      }
    });
  },
);
