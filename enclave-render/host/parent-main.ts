import { mkdir } from 'node:fs/promises';
import { awsDataKeys, kmsClient } from '../kms/kms.ts';
import { measureEif } from '../measurement/measure-eif.ts';
import { fileObjectStore } from '../storage/files.ts';
import { s3Client, s3ObjectStore } from '../storage/s3.ts';
import { nitroLauncher } from './nitro.ts';
import { serveJobs } from './parent-agent.ts';
import { ownerKeys, readParentSettings } from './parent-settings.ts';

// What runs on the EC2 instance that starts Nitro enclaves: node parent.mjs SETTINGS. Its log is lines of JSON on standard output, its
// credentials are those of the instance. It ends with 0 when it is told to, and with 2 when settings or image are none.
const log = (line: Record<string, unknown>) => process.stdout.write(`${JSON.stringify({ at: Date.now(), ...line })}\n`);
const [file = '/etc/portcullis/parent.json'] = process.argv.slice(2);
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop.abort());

try {
  const settings = await readParentSettings(file);
  const { region, jobs, image, cpus, memoryMib, work, pollSeconds } = settings;
  const { pcrs } = await measureEif(image);
  await mkdir(work, { recursive: true, mode: 0o700 });
  const store =
    'folder' in jobs
      ? fileObjectStore(jobs.folder)
      : s3ObjectStore(s3Client(process.env.AWS_ENDPOINT_URL !== undefined), jobs.bucket);
  const launcher = nitroLauncher({ image, pcrs, cpus, memoryMib });
  log({ event: 'started', pcrs });
  await serveJobs(
    { store, launcher, owners: ownerKeys(settings), kms: awsDataKeys(kmsClient(region)), work, log, now: Date.now },
    pollSeconds,
    stop.signal,
  );
  log({ event: 'stopped' });
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  log({ event: 'not-started', code: code ?? 'ERR_INTERNAL', message });
  process.exitCode = 2;
}
