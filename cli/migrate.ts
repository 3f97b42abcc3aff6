import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import { loadAws } from '../config/aws.ts';
import { contradictions } from '../config/contradictions.ts';
import type { ModuleName } from '../config/deployment.ts';
import { ConfigurationSchema } from '../config/schema.ts';
import { unusualCompatKeys, withCompatKeys } from '../token-api/key-ring/compat.ts';
import { readKeyFile, writeKeyRing } from '../token-api/key-ring/file.ts';
import { createKeyRing, isCompatKey } from '../token-api/key-ring/key-ring.ts';
import { type MigratedTables, migrateTables } from '../token-api/migration/assets.ts';
import {
  readSolutionConfiguration,
  type SolutionConfiguration,
  solutionOfName,
} from '../token-api/migration/solution-configuration.ts';
import { readTableExport } from '../token-api/migration/table-export.ts';
import { parseDuration } from '../token-api/minting/policy.ts';
import { InputError, note, nowOr, print, readJson, readText } from './command.ts';
import { MIGRATION_ROTATION_DAYS, migrationDocument, migrationSteps } from './migration-plan.ts';

const HELP = `
Reads what the AWS solution "Secure Media Delivery at the Edge" v1 has, and changes nothing of it. --from is its solution.context.json,
the output of aws cloudformation describe-stacks for its stack, or the stack's name: then its two secrets are read from Secrets
Manager, with your AWS credentials. With a file, --secrets names files of mode 0600 with them, the primary first.
--tables are exports of its tables of assets and revoked sessions: what aws dynamodb scan prints, or lines of an export to S3.
Into --out go portcullis.json, key-ring.json (mode 0600), assets.json, policies/, revoked-sessions.txt, report.json and PLAN.md: how both
kinds of token are valid side by side, with the way back from each step (docs/migration.md). What is printed holds no secret.

Examples:
  portcullis migrate --from solution.context.json --secrets primary.json secondary.json --tables assets.json --out migration
  portcullis migrate --from MYSTREAM --tables assets.json revoked.json --out migration`;

interface MigrateOptions {
  from: string;
  secrets?: string[];
  tables: string[];
  out: string;
  json?: boolean;
}

export function registerMigrate(program: Command): void {
  program
    .command('migrate')
    .description('take over keys, assets and policies of the AWS solution v1, and plan the way from it and back')
    .requiredOption('--from <file|stack>', 'its configuration, or the name of its stack; required')
    .option('--secrets <file...>', 'its secrets, the primary first: files of mode 0600')
    .option('--tables <file...>', 'exports of its tables', [])
    .option('--out <dir>', 'folder to write to, which must not be there', 'migration')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async (options: MigrateOptions) => {
      if (existsSync(options.out))
        throw new InputError(`${options.out} is there already: name another folder with --out`);
      const solution = existsSync(options.from)
        ? readSolutionConfiguration(await readJson(options.from))
        : solutionOf(options.from);
      const secrets = await readSecrets(options, solution);
      const items = [];
      for (const path of options.tables) items.push(...readTableExport(await readText(path)));
      const tables = migrateTables(items, nowOr(undefined));
      const configuration = configurationFor(solution, tables);
      const steps = migrationSteps(solution, tables);

      const ring = secrets && withCompatKeys(createKeyRing(nowOr(undefined)), ...secrets);
      await makeFolder(options.out);
      await mkdir(join(options.out, 'policies'), { mode: 0o700 });
      const write = (name: string, text: string) => writeFileAtomic(join(options.out, name), text, { mode: 0o600 });
      const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
      if (ring) await writeKeyRing(join(options.out, 'key-ring.json'), ring);
      await write('portcullis.json', json(configuration));
      await write('assets.json', json(tables.assets.map(({ asset }) => asset)));
      for (const { asset, policy } of tables.assets) await write(join('policies', `${asset.id}.json`), json(policy));
      await write('revoked-sessions.txt', tables.sessions.map((id) => `${id}\n`).join(''));
      const kids = ring?.keys.filter(isCompatKey).map(({ kid }) => kid) ?? [];
      const unusualKids = ring ? unusualCompatKeys(ring) : [];
      const report = {
        stack: solution.stackName,
        kids,
        unusualKids,
        assets: tables.assets.map(({ asset, findings }) => ({ id: asset.id, findings })),
        revokedSessions: tables.sessions.length,
        skipped: tables.skipped,
      };
      await write('report.json', json(report));
      await write('PLAN.md', migrationDocument(steps));

      if (!ring) note('no keys were taken over: give --secrets, or the name of the stack as --from');
      for (const kid of unusualKids) note(`key '${kid}' is not the 128 hexadecimal digits of a generated one`);
      print(options.json, { out: options.out, ...report }, [
        ...described(solution, tables, kids),
        `next: ${join(options.out, 'PLAN.md')}`,
      ]);
    });
}

/** Makes the folder, which must not be there: in one that somebody else made in between they could read the keys. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    throw new InputError(
      `cannot make ${path}: ${(error as NodeJS.ErrnoException).code}: name another folder with --out`,
    );
  }
}

function solutionOf(name: string): SolutionConfiguration {
  if (/^[A-Za-z][A-Za-z0-9-]{0,127}$/.test(name)) return solutionOfName(name);
  throw new InputError(`cannot read ${name}: there is no such file, and it is no name of a stack`);
}

/** Its secrets, if they are to be had: of files, or of Secrets Manager when all that is known is the stack. */
async function readSecrets(
  { from, secrets }: MigrateOptions,
  { stackName }: SolutionConfiguration,
): Promise<[primary: unknown, secondary: unknown] | undefined> {
  if (secrets) {
    const [primary, secondary, ...others] = secrets;
    if (primary === undefined || others.length > 0)
      throw new InputError('--secrets takes its primary and its secondary secret');
    return [await readKeyFile(primary), secondary === undefined ? undefined : await readKeyFile(secondary)];
  }
  if (existsSync(from)) return undefined;
  const { readSecret, secretsManagerClient } = await loadAws(() => import('../token-api/key-ring/secrets-manager.ts'));
  const client = secretsManagerClient();
  const read = async (name: string): Promise<unknown> => {
    const text = await readSecret(client, name);
    try {
      return JSON.parse(text);
    } catch {
      throw new InputError(`${name} holds no JSON`);
    }
  };
  return [await read(`${stackName}_PrimarySecret`), await read(`${stackName}_SecondarySecret`)];
}

/** A configuration that can be deployed beside that solution, with both kinds of token valid. */
function configurationFor(solution: SolutionConfiguration, { assets }: MigratedTables) {
  const longest = Math.max(3600, ...assets.map(({ policy }) => parseDuration(policy.lifetime)));
  // Also for a solution without an API: the plan puts assets and revokes sessions by it, and `revocation` fills the rule group.
  const modules: ModuleName[] = ['base', 'api', 'revocation'];
  const configuration = {
    edge: { maxTokenLifetimeSeconds: longest },
    revocation: {
      ...(!solution.hasDetection && { detection: { mode: 'off' as const } }),
      // Its tokens can be stopped by WAF alone.
      waf: { publish: true, capacityWcu: solution.capacityWcu },
    },
    aws: { modules, keys: { rotationDays: MIGRATION_ROTATION_DAYS } },
  };
  const [contradiction] = contradictions(v.parse(ConfigurationSchema, configuration));
  if (contradiction) throw new Error(`${contradiction.path}: ${contradiction.why}`);
  return configuration;
}

function described(solution: SolutionConfiguration, tables: MigratedTables, kids: string[]): string[] {
  const count = (kind: string) =>
    tables.assets.flatMap(({ findings }) => findings).filter((finding) => finding.kind === kind).length;
  return [
    `stack ${solution.stackName}: ${kids.length} keys, ${tables.assets.length} assets, ${tables.sessions.length} revoked sessions`,
    ...tables.assets.flatMap(({ asset, findings }) => [
      `asset ${asset.id}${findings.length === 0 ? ': nothing to say of its policy' : ''}`,
      ...findings.map(({ kind, code, field, text }) => `  ${kind === 'unsafe' ? '!' : '-'} ${field}: ${code}: ${text}`),
    ]),
    ...tables.skipped.map(({ item, why }) => `item ${item} is left out: ${why}`),
    `${count('unsafe')} findings are unsafe (!), ${count('changed')} change something (-)`,
  ];
}
