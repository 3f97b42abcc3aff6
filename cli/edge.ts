import { existsSync, realpathSync } from 'node:fs';
import { Argument, type Command, Option } from 'commander';
import writeFileAtomic from 'write-file-atomic';
import { loadAws } from '../config/aws.ts';
import { readConfiguration } from '../config/configuration.ts';
import type { EdgeVariant } from '../edge-functions/build/bundle.ts';
import type { MeasuredEvent, MeasuredFunction, Measurement, Outcome } from '../edge-functions/measure/cloudfront.ts';
import { EVENT_WITHOUT_TOKEN } from '../edge-functions/runtime/event-without-token.ts';
import { runInNjs } from '../edge-functions/runtime/njs.ts';
import type { EdgeRuntime } from '../edge-functions/runtime/runtime.ts';
import { runInVm } from '../edge-functions/runtime/vm.ts';
import { readStoreFile } from '../edge-functions/store/file.ts';
import { BYTE_BUDGET, type EmbeddedKey } from '../edge-functions/store/keys-line.ts';
import { packagePath } from '../local/package-root.ts';
import type { AssetBlock } from '../token/index.ts';
import { edgeKeys, readCompatRing, unusualCompatKeys } from '../token-api/key-ring/compat.ts';
import { readKeyRing } from '../token-api/key-ring/file.ts';
import { verificationKeys } from '../token-api/key-ring/key-ring.ts';
import { apiCommand, callApi, type StackAccess } from './api.ts';
import { noteUnknownAsset } from './asset.ts';
import {
  alignColumns,
  EXIT_NO,
  epochSeconds,
  formatTime,
  InputError,
  note,
  nowOr,
  print,
  printableJson,
  readText,
  report,
} from './command.ts';

const ENGINES: Record<string, EdgeRuntime> = { vm: runInVm, njs: runInNjs };

const BUILD_HELP = `
With --keys the function holds derived keys: it is written with mode 0600, the key ring is its last line, const KEYS=…; and it
cannot see revocations, so WAF has to enforce them. Without, it reads keys, revocations and modes from the edge store; with the
default settings that one lies ready in dist/edge/viewer-request.js.
--before and --after put code of your own into the same function, under the same checks (docs/edge.md).
The dialect compat takes the tokens of the AWS solution v1 beside ours (docs/compat.md). Its keys are a secret of that
solution, {"<key id>":"<128 hexadecimal digits>"}, or the keys of a key ring that say "use":"compat".

Examples:
  portcullis edge build --keys .portcullis/key-ring.json --out viewer-request.js
  portcullis edge build --dialect compat --keys secret.json --out viewer-request.js
  portcullis edge build --config portcullis.json --before redirect.js --after rewrite.js --out viewer-request.js`;

const INVOKE_HELP = `
Events are CloudFront viewer-request events, one JSON object a line, for example, on one line,
  {"version":"1.0","context":{"eventType":"viewer-request"},"viewer":{"ip":"203.0.113.7"},
   "request":{"method":"GET","uri":"/aurora/master.m3u8","querystring":{},"headers":{},"cookies":{}}}
The store is a file in CloudFront's import format,
{"data":[{"key":"k/<kid>","value":"{\\"sign\\":\\"…\\",\\"bind\\":\\"…\\",\\"before\\":0}"},{"key":"r/<session id>","value":"1"}]};
that of a running stack is <data>/edge-store.json.

Examples:
  portcullis edge invoke viewer-request.js --events events.jsonl --engine njs --now 1760000000
  portcullis edge invoke dist/edge/viewer-request.js --events events.jsonl --engine vm --store .portcullis/edge-store.json`;

const MEASURE_HELP = `
For every event: the least, the median and the greatest utilisation of five runs, in percent of a maximum that CloudFront does
not publish, and what the function answered. Events are as for invoke; a function that reads the edge store reads the real
one. Nothing is changed: the command calls DescribeFunction and TestFunction. It exits with 1 when the function failed.

Examples:
  portcullis edge measure --aws
  portcullis edge measure --aws --function portcullis-viewer-request --stage LIVE --events events.jsonl --json`;

const MODES = ['off', 'log', 'enforce', 'default'];
const MODE_EXAMPLE = 'portcullis edge mode log --prefix /live/\n  portcullis edge mode default --prefix /live/';
const BLOCK_EXAMPLE = 'portcullis edge block aurora --countries GB,IE --until $(date -d 20:00 +%s)';

export function registerEdge(program: Command): void {
  const edge = program.command('edge').description('build and try the viewer-request function');

  edge
    .command('build')
    .description('build the function, with keys embedded or for the edge store, and with code of your own')
    .option('--keys <file>', 'key ring (mode 0600) to embed; without it the function reads the edge store')
    .addOption(new Option('--dialect <dialect>', 'tokens to take').choices(['strict', 'compat']).default('strict'))
    .option('--config <file>', 'configuration (docs/configuration.md)')
    .option('--before <file>', 'module of your own that sees every request first')
    .option('--after <file>', 'module of your own that sees the requests that go on')
    .requiredOption('--out <file>', 'where to write the function; required')
    .option('--json', 'print JSON')
    .addHelpText('after', BUILD_HELP)
    .action(async (options: BuildOptions) => {
      const { edge: settings } = await readConfiguration(options.config);
      const { variant, keys } = await keysToEmbed(options);
      // Only here: rollup and terser take longer to load than the other commands take.
      const { buildEdgeFunction } = await import('../edge-functions/build/bundle.ts');
      const sources = packagePath('dist', 'lib', 'edge-functions', 'viewer-request');
      const own = { before: modulePath(options.before), after: modulePath(options.after) };
      const { code, bytes, sha256 } = await buildEdgeFunction(sources, variant, settings, keys, own);
      await writeFileAtomic(options.out, code, { mode: 0o600 }).catch((error: NodeJS.ErrnoException) => {
        throw new InputError(`cannot write ${options.out}: ${error.code}`);
      });
      const kids = Object.keys(keys);
      const withKeys = options.keys ? `keys ${kids.join(', ')}` : 'keys from the edge store';
      print(options.json, { out: options.out, bytes, budget: BYTE_BUDGET, sha256, kids }, [
        `${options.out}: ${bytes} of ${BYTE_BUDGET} bytes, ${withKeys}`,
        `sha256 ${sha256}`,
      ]);
    });

  registerDelivery(edge);
  registerMeasure(edge);

  edge
    .command('invoke')
    .description('run a built function on events and print what its handler returns, one JSON line an event')
    .argument('<bundle>', 'built function')
    .requiredOption('--events <file>', 'events, one JSON object a line; required')
    .addOption(new Option('--engine <engine>', 'engine to run it in').choices(Object.keys(ENGINES)).default('vm'))
    .option('--now <seconds>', 'the clock, seconds since the epoch', epochSeconds)
    .option('--store <file>', 'content of the edge store')
    .option('--log', 'say on stderr what the function wrote into the log')
    .option('--json', 'accepted for uniformity; the output is JSON anyway')
    .addHelpText('after', INVOKE_HELP)
    .action(
      async (
        bundle: string,
        options: { events: string; engine: string; now?: number; store?: string; log?: boolean },
      ) => {
        const code = await readText(bundle);
        const events = parseEvents(await readText(options.events), options.events);
        const store = options.store ? await readStoreFile(options.store) : new Map<string, string>();
        const readsStore = /\.kvs\(\)/.test(code);
        if (readsStore && !options.store) note('the function reads the edge store, which is empty without --store');
        if (!readsStore && options.store) note('the function does not read the edge store; --store changes nothing');
        const run = ENGINES[options.engine] ?? runInVm;
        const results = await run(code, events, { now: nowOr(options.now), store });
        for (const [index, result] of results.entries()) {
          process.stdout.write(`${printableJson('value' in result ? result.value : null)}\n`);
          if (options.log && result.log !== undefined) note(`event ${index + 1} logged ${result.log}`);
          if ('value' in result) continue;
          note(`event ${index + 1} did not run: ${result.error}`);
          process.exitCode = EXIT_NO;
        }
      },
    );
}

interface BuildOptions {
  keys?: string;
  dialect: string;
  config?: string;
  before?: string;
  after?: string;
  out: string;
  json?: boolean;
}

/** The variant to build, and what it embeds. */
async function keysToEmbed(
  options: BuildOptions,
): Promise<{ variant: EdgeVariant; keys: Record<string, EmbeddedKey> }> {
  if (options.dialect === 'compat') {
    if (!options.keys) throw new InputError('the dialect compat has its keys embedded: give --keys');
    const ring = await readCompatRing(options.keys);
    for (const kid of unusualCompatKeys(ring))
      note(`key '${kid}' is not the 128 hexadecimal digits of a generated one`);
    return { variant: 'compat', keys: edgeKeys(ring) };
  }
  if (!options.keys) return { variant: 'store', keys: {} };
  return { variant: 'embedded', keys: verificationKeys(await readKeyRing(options.keys)) };
}

/** The absolute path of a module of the user's own. */
function modulePath(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  if (!existsSync(file)) throw new InputError(`cannot read ${file}: ENOENT`);
  return realpathSync(file);
}

/** What the edge does without a new deployment: roll-out modes and asset blocks. */
function registerDelivery(edge: Command): void {
  apiCommand(edge, 'mode', 'show the roll-out modes, or set one', MODE_EXAMPLE)
    .addArgument(new Argument('[mode]', 'what to do with decisions below the prefix').choices(MODES))
    .option('--prefix <path>', 'path that the mode is for, begins and ends with a slash', '/')
    .action(async (mode: string | undefined, options: StackAccess & { prefix: string }) => {
      const change = mode && { prefix: options.prefix, mode: mode === 'default' ? null : mode };
      const { body } = await callApi(options, change ? 'PUT' : 'GET', '/v1/edge/modes', change || undefined);
      const modes = body.modes as { prefix: string; mode: string }[];
      const rows = modes.map(({ prefix, mode }) => [prefix, mode]);
      print(
        options.json,
        body,
        rows.length > 0 ? alignColumns(rows) : ['the mode built into the function holds everywhere'],
      );
    });

  apiCommand(edge, 'blocks', 'list the blocked assets', 'portcullis edge blocks').action(
    async (options: StackAccess) => {
      const { body } = await callApi(options, 'GET', '/v1/edge/blocks');
      const assets = body.assets as { asset: string; blocks: AssetBlock[] }[];
      const lines = assets.flatMap(({ asset, blocks }) => blocks.map((block) => describeBlock(asset, block)));
      print(options.json, body, lines.length > 0 ? lines : ['no asset is blocked']);
    },
  );

  apiCommand(
    edge,
    'block',
    'deny an asset with 451: withdrawn, or blacked out for a time or in countries; adds to its other blocks',
    BLOCK_EXAMPLE,
  )
    .argument('<asset>')
    .option('--from <seconds>', 'from when on, seconds since the epoch', epochSeconds)
    .option('--until <seconds>', 'until when, seconds since the epoch', epochSeconds)
    .option('--countries <codes>', 'where, ISO 3166-1 alpha-2, separated by commas; everywhere by default')
    .action(async (asset: string, options: StackAccess & { from?: number; until?: number; countries?: string }) => {
      const { from, until } = options;
      if (until !== undefined && until <= nowOr(undefined))
        throw new InputError('--until is past: that would block nothing');
      const countries = options.countries?.split(',');
      const unknown = countries?.find((code) => !/^[A-Z]{2}$/.test(code));
      if (countries?.includes('UK')) throw new InputError("--countries: the United Kingdom is 'GB'");
      if (unknown !== undefined) throw new InputError(`--countries: '${unknown}' is not two capital letters like 'GB'`);
      await noteUnknownAsset(options, asset);
      const { body } = await callApi(options, 'POST', blocksPath(asset), { from, until, countries });
      print(
        options.json,
        body,
        (body.blocks as AssetBlock[]).map((block) => describeBlock(asset, block)),
      );
    });

  apiCommand(
    edge,
    'unblock',
    'take all blocks of an asset back; exit 1 when there are none',
    'portcullis edge unblock aurora',
  )
    .argument('<asset>')
    .action(async (asset: string, options: StackAccess) => {
      const answers = ['ERR_NOT_BLOCKED'];
      const { status } = await callApi(options, 'DELETE', blocksPath(asset), undefined, { answers });
      const wasBlocked = status === 204;
      print(options.json, { asset, blocks: [], wasBlocked }, [
        wasBlocked ? `${asset} is no longer blocked` : `${asset} was not blocked`,
      ]);
      if (!wasBlocked) process.exitCode = EXIT_NO;
    });
}

function blocksPath(asset: string): string {
  return `/v1/assets/${encodeURIComponent(asset)}/blocks`;
}

function describeBlock(asset: string, { from, until, countries }: AssetBlock): string {
  const where = countries ? `in ${countries.join(', ')}` : 'everywhere';
  const since = from === undefined ? '' : ` from ${formatTime(from)}`;
  return `${asset} is blocked ${where}${since}${until === undefined ? '' : ` until ${formatTime(until)}`}`;
}

function parseEvents(text: string, path: string): unknown[] {
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    let event: { request?: { uri?: unknown } } | null;
    try {
      event = JSON.parse(line);
    } catch {
      throw new InputError(`${path}: line ${index + 1} is not JSON`);
    }
    if (typeof event?.request?.uri !== 'string') {
      throw new InputError(`${path}: line ${index + 1} is no viewer-request event: request.uri is missing`);
    }
    return [event];
  });
}

type MeasureOptions = {
  aws?: boolean;
  function: string;
  stage: MeasuredFunction['stage'];
  events?: string;
  json?: boolean;
};

/** What an uploaded function costs, as CloudFront itself counts. */
function registerMeasure(edge: Command): void {
  edge
    .command('measure')
    .description('ask CloudFront which part of the time that it allows an uploaded function takes')
    .option('--aws', 'ask CloudFront, with your AWS credentials; it can be asked nowhere else')
    .option('--function <name>', 'name of the function', 'portcullis-viewer-request')
    .addOption(new Option('--stage <stage>', 'its stage').choices(['DEVELOPMENT', 'LIVE']).default('DEVELOPMENT'))
    .option('--events <file>', 'events, one JSON object a line; by default one request without a token')
    .option('--json', 'print JSON')
    .addHelpText('after', MEASURE_HELP)
    .action(async ({ aws, function: name, stage, events: file, json }: MeasureOptions) => {
      if (!aws) {
        throw new InputError(
          'only CloudFront knows its utilisation: add --aws to ask it; npm run bench:edge counts instructions on this machine',
        );
      }
      const events = file ? (parseEvents(await readText(file), file) as MeasuredEvent[]) : [EVENT_WITHOUT_TOKEN];
      if (events.length === 0) throw new InputError(`${file}: no events`);
      const { cloudFrontClient, measureFunction, RUNS } = await loadAws(
        () => import('../edge-functions/measure/cloudfront.ts'),
      );
      const measurements = await measureFunction(cloudFrontClient(), { name, stage }, events, report);
      print(json, { function: name, stage, events: measurements }, [
        `${name} at ${stage}: percent of the time that CloudFront allows, ${RUNS} runs an event`,
        ...alignColumns([['min', 'median', 'max', 'outcome', 'uri'], ...measurements.map(measurementRow)]),
      ]);
      if (measurements.some(({ outcomes }) => outcomes.some((outcome) => 'error' in outcome)))
        process.exitCode = EXIT_NO;
    });
}

function measurementRow({ uri, utilisation, outcomes }: Measurement): string[] {
  const { min, median, max } = utilisation;
  const text = (outcome: Outcome) => {
    if ('error' in outcome) return `failed: ${outcome.error}`;
    return 'status' in outcome ? `${outcome.status} ${outcome.reason}`.trimEnd() : 'goes on';
  };
  return [...[min, median, max].map((percent) => `${percent ?? '-'}`), outcomes.map(text).join(' | '), uri];
}
