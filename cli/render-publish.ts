import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import { openDataKeys } from '../local/data-keys.ts';
import { publishTitle } from '../local/published-title.ts';
import { openOwnerSide, submittedJob } from '../local/render-jobs.ts';
import { note, print } from './command.ts';
import { answering } from './render-refusal.ts';
import { isolationOption, type ShopOptions } from './render-shop.ts';
import { DEFAULT_DATA } from './up.ts';

const HELP = `
Of a job with a task of package-hls, such as screener. Its outputs have to be accepted, and are verified again. Their outer layer is
opened, and the content keys go under the KMS key mastering.keyId: what is left is a title as portcullis package hls makes one,
encrypted with AES-128, in <data>/titles/NAME. A stack that runs serves it; for AWS keep the table of keys elsewhere, and put the
rest into the bucket (docs/key-delivery.md).

Examples:
  portcullis render publish job-0123456789abcdef --asset film
  portcullis asset put film --path /film/master.m3u8 --policy policy.json
  portcullis render publish job-0123456789abcdef --asset film --key-storage tables/film.json`;

interface PublishOptions extends ShopOptions {
  asset: string;
  task?: string;
  keyStorage?: string;
  force?: true;
  json?: true;
}

/** Adds `publish` to the command `render`. */
export function registerRenderPublish(group: Command): void {
  group
    .command('publish')
    .description('make what a job has packaged a title that can be served')
    .argument('<jobId>', 'id of the job')
    .requiredOption('--asset <name>', 'name of its folder in <data>/titles', assetName)
    .option('--task <id>', 'the task that packaged it, if there are several')
    .option('--key-storage <file>', 'where the table of keys goes, out of the folder; keys.json in it otherwise')
    .option('--force', 'replace the title that is there')
    .addOption(isolationOption())
    .option('--data <directory>', 'data directory of the stack', DEFAULT_DATA)
    .option('--config <file>', 'configuration')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(publish);
}

function assetName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be letters, digits, _ and -, at most 64.');
}

async function publish(jobId: string, options: PublishOptions): Promise<void> {
  const { asset, data, task, keyStorage, force = false, json } = options;
  const folder = join(data, 'titles', asset);
  const published = await answering({ ...options, jobId }, async () => {
    const side = await openOwnerSide(data, options.isolation);
    const job = await submittedJob(side, jobId);
    const { mastering } = await readConfiguration(options.config);
    const dataKeys = await openDataKeys(mastering, data, { create: true });
    return publishTitle(side, job, { folder, task, dataKeys, keyId: mastering.keyId, keyTableFile: keyStorage, force });
  });
  if (!published) return;
  published.notes.forEach(note);
  const renditions = published.renditions.map(({ name }) => name);
  print(json, { ok: true, jobId, title: folder, renditions }, [
    `${folder}: ${published.duration.toFixed(1)} s, ${renditions.join(', ')}; its path is /${asset}/master.m3u8`,
  ]);
}
