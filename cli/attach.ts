import { rm, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import writeFileAtomic from 'write-file-atomic';
import { loadAws } from '../config/aws.ts';
import { readConfiguration } from '../config/configuration.ts';
import { EDGE_REGION, ORIGIN_SECRET } from '../config/deployment.ts';
import { applyAttachment, POLL_SECONDS, type Running, undoAttachment } from '../edge-functions/attach/attach.ts';
import { STAGING_HEADER } from '../edge-functions/attach/names.ts';
import {
  type Attachment,
  type PlannedBehaviour,
  type PlannedChange,
  planAttachment,
} from '../edge-functions/attach/plan.ts';
import { nothingSaved, parseSaved, type Saved } from '../edge-functions/attach/saved.ts';
import { edgeManifest } from '../edge-functions/build/manifest.ts';
import { packagePath } from '../local/package-root.ts';
import { alignColumns, EXIT_NO, InputError, print, readText, report } from './command.ts';

const HELP = `
--plan shows what would change and changes nothing. --apply writes what was there into attach-<distribution>.json, changes the
behaviours, and waits until every edge location has it. --undo sets them back to what that file says. Run any of them again after an
error: it goes on where it ended. A function that a behaviour has already is built into one with ours, and runs first;
one that checks tokens itself has to go with --replace, because it takes them out of the path.
--plan and --apply exit with 1 when the distribution is set up in a way that cannot work; nothing is changed then.
Deploy the module base first, which makes the function and publishes its keys (docs/deployment.md). docs/attach.md has the permissions.

Examples:
  portcullis attach E1A2B3C4D5E6F7 --plan
  portcullis attach E1A2B3C4D5E6F7 --apply --behaviour '/vod/*' --staging
  portcullis attach E1A2B3C4D5E6F7 --undo`;

/** The function that the module base deploys (docs/deployment.md). */
const VIEWER_REQUEST = 'portcullis-viewer-request';

interface AttachOptions {
  plan?: boolean;
  apply?: boolean;
  undo?: boolean;
  force?: boolean;
  staging?: boolean;
  behaviour: string[];
  function?: string;
  replace?: string;
  api?: string;
  config?: string;
  saved?: string;
  json?: boolean;
}

export function registerAttach(program: Command): void {
  program
    .command('attach')
    .description('put the function before a CloudFront distribution that is there already, or take it away again')
    .argument('<distribution>', 'id of the distribution')
    .option('--plan', 'show what would change')
    .option('--apply', 'change it')
    .option('--undo', 'set it back to what it was')
    .option('--force', 'with --undo: although somebody changed since what was attached')
    .option('--behaviour <pattern...>', "path patterns of behaviours; '*', the default one, unless given", [])
    .option('--staging', 'with --plan or --apply: at a staging distribution, which gets marked requests only')
    .option('--function <name>', `name of the deployed function; ${VIEWER_REQUEST} unless given`)
    .option('--replace <name>', 'function whose place it takes, instead of running behind it')
    .option('--api <host>', 'host of the deployed HTTP API, which gets the behaviour /v1/*')
    .option('--config <file>', 'configuration that it was deployed with (docs/configuration.md)')
    .option('--saved <file>', 'file of what was there; attach-<distribution>.json unless given')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async (distribution: string, options: AttachOptions) => {
      checkOptions(distribution, options);
      const { AttachingCloudFront } = await loadAws(() => import('../edge-functions/attach/cloudfront.ts'));
      const { cloudFrontClient } = await loadAws(() => import('../edge-functions/measure/cloudfront.ts'));
      const cloudFront = new AttachingCloudFront(cloudFrontClient());
      const path = options.saved ?? `attach-${distribution}.json`;
      if (options.undo) return undo(cloudFront, distribution, path, options);
      const attachment = await attachmentOf(distribution, options);
      const heading = `distribution ${distribution}${options.staging ? ', a staging copy of it' : ''}`;
      if (options.plan) {
        const behaviours = await planAttachment(cloudFront, attachment);
        print(options.json, { distribution, behaviours }, [heading, ...describe(behaviours)]);
        return exitOf(behaviours);
      }
      const saved = (await readSaved(path, distribution)) ?? nothingSaved(distribution);
      const staging = options.staging ?? false;
      const done = await applyAttachment(cloudFront, attachment, { ...running(path), saved, staging });
      const header = `${STAGING_HEADER.Header}: ${STAGING_HEADER.Value}`;
      const test = done.staging && `requests with ${header} go to ${done.staging.domainName}`;
      print(options.json, { distribution, ...done, saved: path }, [
        heading,
        ...describe(done.behaviours),
        ...(done.isChanged ? [`attached and deployed; what was there is in ${path}`] : ['nothing was changed']),
        ...(test ? [test] : []),
      ]);
      return exitOf(done.behaviours);
    });
}

/** Throws `InputError` for options that do not go together, and for what cannot be an id or a host. */
function checkOptions(distribution: string, options: AttachOptions): void {
  if ([options.plan, options.apply, options.undo].filter(Boolean).length !== 1) {
    throw new InputError('give one of --plan, --apply and --undo');
  }
  if (!/^E[0-9A-Z]{5,31}$/.test(distribution)) {
    throw new InputError(`'${distribution}' is no id of a distribution: aws cloudfront list-distributions shows them`);
  }
  if (options.api !== undefined && !/^[a-z0-9]+\.execute-api\.[a-z0-9-]+\.amazonaws\.com$/.test(options.api)) {
    throw new InputError("--api must be like 'a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com', without https://");
  }
  if (options.force && !options.undo) throw new InputError('--force goes with --undo');
  const { staging, api, function: name, replace, config, behaviour } = options;
  if (options.undo && (staging || api || name || replace || config || behaviour.length > 0)) {
    const advice = 'leave --staging, --api, --function, --replace, --config and --behaviour out';
    throw new InputError(`--undo undoes all that was attached: ${advice}`);
  }
}

type CloudFront = Parameters<typeof planAttachment>[0];

async function undo(cloudFront: CloudFront, distribution: string, path: string, options: AttachOptions): Promise<void> {
  const saved = await readSaved(path, distribution);
  if (!saved) {
    throw new InputError(
      `there is no ${path}: nothing was attached from here; name the file of what was there with --saved`,
    );
  }
  const done = await undoAttachment(cloudFront, { ...running(path), saved, force: options.force ?? false });
  await rm(path);
  print(options.json, { distribution, ...done }, [
    `distribution ${distribution}: ${done.isChanged ? 'as it was, and deployed' : 'was as it had been already'}`,
    ...done.left.map((what) => `still used elsewhere, so it stays: ${what}`),
  ]);
}

async function attachmentOf(distribution: string, options: AttachOptions): Promise<Attachment> {
  const { edge: settings } = await readConfiguration(options.config);
  const sources = packagePath('dist', 'lib', 'edge-functions', 'viewer-request');
  return {
    distribution,
    patterns: options.behaviour,
    functionName: options.function ?? VIEWER_REQUEST,
    replaces: options.replace,
    api: options.api === undefined ? undefined : { domainName: options.api, secret: await originSecret() },
    generatedHeaders: edgeManifest({}, settings).generatedHeaders,
    async compose(name, code, ours) {
      // Only here: rollup and terser take longer to load than the other commands take.
      const { composeBefore } = await import('../edge-functions/attach/compose.ts');
      return composeBefore(name, code, { ours, sources, settings });
    },
  };
}

/** What the API knows the distribution by. It is in the region of CloudFront, whatever the profile says. */
async function originSecret(): Promise<string> {
  const { readSecret, secretsManagerClient } = await loadAws(() => import('../token-api/key-ring/secrets-manager.ts'));
  const secret = await readSecret(secretsManagerClient(EDGE_REGION), ORIGIN_SECRET);
  if (!/^[!-~]{16,}$/.test(secret))
    throw new InputError(`${ORIGIN_SECRET} holds no secret yet: deploy the module api first`);
  return secret;
}

/** What the file says; undefined when there is none. */
async function readSaved(path: string, distribution: string): Promise<Saved | undefined> {
  const present = await stat(path).catch(() => undefined);
  return present && parseSaved(await readText(path), distribution);
}

function running(path: string): Running {
  return {
    async save(saved) {
      await writeFileAtomic(path, `${JSON.stringify(saved, null, 2)}\n`, { mode: 0o600 }).catch((error) => {
        throw new InputError(`cannot write ${path}: ${(error as NodeJS.ErrnoException).code}`);
      });
    },
    report,
    sleep: () => delay(POLL_SECONDS * 1000),
  };
}

const LABELS: Record<PlannedChange['setting'], string> = {
  origin: 'origin, with its secret',
  viewerRequest: 'viewer-request function',
  originRequestPolicy: 'origin request policy',
  cachePolicy: 'cache policy',
  responseHeadersPolicy: 'response headers policy',
};

/** The plan as a difference: `-` is there, `+` will be. */
function describe(behaviours: PlannedBehaviour[]): string[] {
  return behaviours.flatMap(({ pattern, changes, obstacles, remarks }) => {
    const rows = changes.flatMap(({ setting, from, to, adds }) => [
      [`  - ${LABELS[setting]}`, from ?? '(none)'],
      [`  + ${LABELS[setting]}`, to],
      ...(adds ?? []).map((value) => ['', `  + ${value}`]),
    ]);
    const isDone = changes.length === 0 && obstacles.length === 0;
    return [
      `behaviour ${pattern}${isDone ? ': has all of it already' : ''}`,
      ...obstacles.map((line) => `  ! ${line}`),
      ...(obstacles.length > 0 ? [] : alignColumns(rows)),
      ...remarks.map((line) => `  note: ${line}`),
    ];
  });
}

function exitOf(behaviours: PlannedBehaviour[]): void {
  if (behaviours.some(({ obstacles }) => obstacles.length > 0)) process.exitCode = EXIT_NO;
}
