import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { loadAws } from '../config/aws.ts';
import { readConfiguration } from '../config/configuration.ts';
import { KEY_RING_FILE, STACK_FILE } from '../local/data-directory.ts';
import { unusualCompatKeys, withCompatKeys } from '../token-api/key-ring/compat.ts';
import { fileKeyRing, readKeyFile, writeKeyRing } from '../token-api/key-ring/file.ts';
import { createKeyRing, isCompatKey, type KeyRing, type RingKey, secondsOf } from '../token-api/key-ring/key-ring.ts';
import { resumesAt } from '../token-api/key-ring/rotation.ts';
import { activatesAt, type KeyTimes, nextKey, retiresAt } from '../token-api/key-ring/transitions.ts';
import { apiCommand, callApi, type StackAccess } from './api.ts';
import { alignColumns, formatTime, InputError, note, nowOr, print, readJson, report } from './command.ts';
import { openRotation, secretRing, timesOf } from './rotation.ts';
import { DEFAULT_DATA } from './up.ts';

const SHOW_HELP = `
Shows ids, states and times, never a secret. On AWS the ring is one secret of Secrets Manager.

Examples:
  portcullis key show                                    the ring of the stack on .portcullis
  portcullis key show --secret portcullis/key-ring       that of Secrets Manager, with your AWS credentials`;

const ROTATE_EXAMPLE = `portcullis key rotate
  portcullis key rotate --compromised k20261122-57fee3 --dry-run    what would dropping it at once do?
  portcullis key rotate --secret portcullis/key-ring                have Secrets Manager rotate it
  portcullis key rotate --keys key-ring.json --function viewer-request --edge https://media.example.com`;

const IMPORT_HELP = `
Takes the keys of the AWS solution v1 into a key ring, with "use":"compat": the edge function of the dialect compat then accepts
its tokens beside ours, and token mint --dialect compat mints them (docs/compat.md). Its two secrets are JSON objects,
{"<key id>":"<128 hexadecimal digits>"}: the first becomes the current compatibility key, the second the previous one.

Examples:
  portcullis key import primary.json secondary.json --keys key-ring.json
  portcullis key import --aws MyStack_PrimarySecret MyStack_SecondarySecret --keys key-ring.json`;

export function registerKey(program: Command): void {
  const key = program.command('key').description('show, rotate and import the keys that tokens are signed with');

  key
    .command('show')
    .description('list the keys of a ring with their states and times')
    .option('--data <dir>', 'data directory of the stack', DEFAULT_DATA)
    .option('--keys <file>', 'key ring (mode 0600), instead of that of the stack on --data')
    .option('--secret <id>', 'name or ARN of the secret that holds the ring on AWS')
    .option('--config <file>', 'configuration (docs/configuration.md), which says how long keys stay')
    .option('--json', 'print JSON')
    .addHelpText('after', SHOW_HELP)
    .action(async (options: { data: string; keys?: string; secret?: string; config?: string; json?: boolean }) => {
      const store = options.secret
        ? await secretRing(options.secret)
        : fileKeyRing(options.keys ?? join(options.data, KEY_RING_FILE));
      const { ring } = await store.current();
      const pending = await store.pending();
      const rows = shown(ring, await timesFor(options));
      const rotation = pending ? { run: pending.run, since: pending.since } : null;
      const table = rows.map(({ kid, state, use, created, remark }) => [
        kid,
        use ? `${state} (${use})` : state,
        created,
        remark,
      ]);
      print(options.json, { keys: withoutRemarks(rows), rotation }, [
        ...(rows.length > 0
          ? alignColumns([['key', 'state', 'created', ''], ...table])
          : ['no keys yet: a placeholder']),
        ...(rotation ? [`rotation ${rotation.run} is under way since ${formatTime(rotation.since)}`] : []),
      ]);
    });

  apiCommand(key, 'rotate', 'make a new key; it is minted with once every edge has it', ROTATE_EXAMPLE)
    .option('--compromised <kid>', 'drop this key at once, because somebody else may have it: its sessions end')
    .option('--dry-run', 'with --compromised: say what it would do, and do nothing')
    .option('--secret <id>', 'name or ARN of the secret that holds the ring on AWS: Secrets Manager rotates it')
    .option('--keys <file>', 'key ring (mode 0600) that is rotated from here, instead of by a stack')
    .option('--function <name>', 'rotate from here: the function on CloudFront that embeds the keys')
    .option('--edge-store <arn>', 'rotate from here: the KeyValueStore that the function reads')
    .option('--edge <url>', 'rotate from here: base URL of the published edge, which has to accept the new key')
    .option('--config <file>', 'configuration (docs/configuration.md) of what is rotated from here')
    .action(async (options: RotateOptions) => {
      if (options.dryRun && options.compromised === undefined) throw new InputError('--dry-run needs --compromised');
      if (options.function || options.edgeStore || options.keys) return rotateFromHere(options);
      if (options.secret && options.compromised !== undefined) {
        throw new InputError(
          '--compromised with --secret needs --edge-store <arn> or --function <name>, and --edge <url>',
        );
      }
      if (options.secret) return rotateOnAws(options.secret, options);
      const { compromised, dryRun } = options;
      const { body } = await callApi(options, 'POST', '/v1/keys/rotation', { compromised, dryRun });
      print(options.json, body, described(body as unknown as RotationResult, options));
    });

  key
    .command('import')
    .description('take the keys of the AWS solution v1 into a key ring, from files or from Secrets Manager')
    .argument('<primary>', 'its primary secret: a file of mode 0600, or with --aws the name of the secret')
    .argument('[secondary]', 'its secondary secret')
    .requiredOption('--keys <file>', 'key ring (mode 0600) to add them to; made when it is not there; required')
    .option('--aws', 'read the secrets from Secrets Manager, with your AWS credentials')
    .option('--json', 'print JSON')
    .addHelpText('after', IMPORT_HELP)
    .action(async (primary: string, secondary: string | undefined, options: ImportOptions) => {
      const [first, second] = await Promise.all([primary, secondary].map((source) => readSource(source, options)));
      const ring = await addCompatKeys(options.keys, first, second);
      const kids = ring.keys.filter(isCompatKey).map(({ kid }) => kid);
      for (const kid of unusualCompatKeys(ring))
        note(`key '${kid}' is not the 128 hexadecimal digits of a generated one`);
      print(options.json, { keys: options.keys, kids }, [
        `${options.keys} accepts ${kids.join(', ')} of the AWS solution v1`,
      ]);
    });
}

interface RotateOptions extends StackAccess {
  compromised?: string;
  dryRun?: boolean;
  secret?: string;
  keys?: string;
  function?: string;
  edgeStore?: string;
  edge?: string;
  config?: string;
}

interface ImportOptions {
  keys: string;
  aws?: boolean;
  json?: boolean;
}

/** What the API answers to a rotation. */
interface RotationResult {
  next: { kid: string; activatesAt: number } | null;
  endedSessions: number;
  pausedSeconds: number;
}

function described({ next, endedSessions, pausedSeconds }: RotationResult, options: RotateOptions): string[] {
  const { compromised, dryRun } = options;
  const comes = next ? [`${next.kid} becomes current at ${formatTime(next.activatesAt)}, when every edge has it`] : [];
  if (compromised === undefined) return comes;
  const would = dryRun ? 'would be' : 'is';
  const pause =
    pausedSeconds === 0
      ? 'minting goes on'
      : `minting pauses for ${pausedSeconds} s, until there is a key that every edge has`;
  return [
    `${compromised} ${would} dropped: ${endedSessions} ${endedSessions === 1 ? 'session' : 'sessions'} ${dryRun ? 'would end' : 'end'}, ${pause}`,
    ...(dryRun ? [] : comes),
  ];
}

async function keyTimes(config: string | undefined): Promise<KeyTimes> {
  return timesOf(await readConfiguration(config));
}

/** The times of a configuration; else those of the stack on --data while it runs, or the defaults. */
async function timesFor(options: { data: string; config?: string; keys?: string; secret?: string }): Promise<KeyTimes> {
  const defaults = await keyTimes(options.config);
  if (options.config ?? options.keys ?? options.secret) return defaults;
  const stack = await readJson(join(options.data, STACK_FILE)).catch(() => ({}));
  const { keyTimes: known = {} } = stack as { keyTimes?: Partial<KeyTimes> };
  const isNumber = ([, value]: [string, unknown]) => typeof value === 'number';
  return { ...defaults, ...Object.fromEntries(Object.entries(known).filter(isNumber)) };
}

/** A ring as it is shown. Times in seconds since the epoch; null for what has not happened, or will not. */
function shown(ring: KeyRing | null, times: KeyTimes) {
  const at = (time: string | number | undefined) => (time === undefined ? null : secondsOf(time));
  return (ring?.keys ?? []).map((key) => {
    const demotedAt = at(key.demotedAt);
    const retires = demotedAt === null ? null : retiresAt(demotedAt, times);
    return {
      kid: key.kid,
      state: key.state,
      use: isCompatKey(key) ? 'compat' : null,
      created: formatTime(secondsOf(key.createdAt)),
      createdAt: secondsOf(key.createdAt),
      activatedAt: at(key.activatedAt),
      activatesAt: key.state === 'next' ? (activatesAt(key, times) ?? null) : null,
      retiresAt: key.state === 'previous' ? retires : null,
      retiredAt: at(key.retiredAt),
      compromised: key.compromised ?? false,
      remark: whatComes(key, times, retires),
    };
  });
}

type ShownKey = ReturnType<typeof shown>[number];

/** The keys for programs: the remark is made of the times beside it. */
function withoutRemarks(rows: ShownKey[]): Omit<ShownKey, 'remark'>[] {
  return rows.map(({ remark: _remark, ...row }) => row);
}

/** The keys for people, a line each. */
function keyLines(rows: ShownKey[]): string[] {
  return alignColumns(rows.map(({ kid, state, remark }) => [kid, state, remark]));
}

function whatComes(key: RingKey, times: KeyTimes, retires: number | null): string {
  if (isCompatKey(key)) return '';
  if (key.state === 'next') {
    const activates = activatesAt(key, times);
    return activates === undefined ? 'not published yet' : `becomes current at ${formatTime(activates)}`;
  }
  if (key.state === 'current')
    return key.activatedAt === undefined ? '' : `since ${formatTime(secondsOf(key.activatedAt))}`;
  if (key.state === 'previous') return retires === null ? '' : `retires at ${formatTime(retires)}`;
  const why = key.compromised ? ', compromised' : '';
  return key.retiredAt === undefined ? why : `since ${formatTime(secondsOf(key.retiredAt))}${why}`;
}

/** Only here: everything else of the command works without the client for Secrets Manager. */
const secretsManager = () => loadAws(() => import('../token-api/key-ring/secrets-manager.ts'));

/** How long to wait for Secrets Manager to rotate, in seconds. */
const PATIENCE_SECONDS = 900;

async function rotateOnAws(secretId: string, options: RotateOptions): Promise<void> {
  const { secretsManagerClient, rotateSecret } = await secretsManager();
  await rotateSecret(secretsManagerClient(), secretId, PATIENCE_SECONDS, report, sleep);
  const { ring } = await (await secretRing(secretId)).current();
  const rows = shown(ring, await keyTimes(undefined));
  print(options.json, { keys: withoutRemarks(rows) }, keyLines(rows));
}

/** Rotates a ring, or drops a key of it, without a stack or a function of Secrets Manager. */
async function rotateFromHere(options: RotateOptions): Promise<void> {
  const { compromised, dryRun } = options;
  if (dryRun) throw new InputError('--dry-run goes through the API of a running stack');
  const { rotation, store, times } = await openRotation(options);
  const run = randomUUID();
  if (compromised === undefined) await rotation.rotate(run);
  else await rotation.dropKey(compromised, run);
  const { ring } = await store.current();
  const next = ring && nextKey(ring);
  const resumes = ring && resumesAt(ring, times, nowOr(undefined));
  const rows = shown(ring, times);
  print(options.json, { keys: withoutRemarks(rows), mintingResumesAt: resumes }, [
    ...keyLines(rows),
    ...(resumes ? [`minting pauses until ${formatTime(resumes)}`] : []),
    ...(next ? ['run the command again after that: it makes this key current, and the next one'] : []),
  ]);
}

/** The content of one of the AWS solution's secrets. */
async function readSource(source: string | undefined, options: ImportOptions): Promise<unknown> {
  if (source === undefined) return undefined;
  if (!options.aws) return readKeyFile(source);
  const { secretsManagerClient, readSecret } = await secretsManager();
  const text = await readSecret(secretsManagerClient(), source);
  try {
    return JSON.parse(text);
  } catch {
    throw new InputError(`${source} holds no JSON`);
  }
}

/** Adds compatibility keys to a ring file, which is made when there is none. */
async function addCompatKeys(path: string, primary: unknown, secondary: unknown): Promise<KeyRing> {
  if (!existsSync(path)) {
    const ring = withCompatKeys(createKeyRing(nowOr(undefined)), primary, secondary);
    await writeKeyRing(path, ring);
    return ring;
  }
  const store = fileKeyRing(path);
  const { ring, version } = await store.current();
  if (!ring) throw new InputError(`${path} is a placeholder`);
  const changed = withCompatKeys(ring, primary, secondary);
  await store.replace(changed, version);
  return changed;
}
