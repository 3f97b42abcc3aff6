// Writes the tables of docs/token.md and docs/operations.md from the tables of the code; --check only compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import * as v from 'valibot';
import { ConfigurationSchema } from '../dist/lib/config/schema.js';
import { BINDING_DOCS, CLAIMS_DOCS, REASON_DOCS, statusOf } from '../dist/lib/token/index.js';

const FILES = ['docs/token.md', 'docs/operations.md'];
const root = fileURLToPath(new URL('..', import.meta.url));

// infra/ is not compiled by itself.
const { outputFiles } = await build({
  absWorkingDir: root,
  entryPoints: ['infra/alarms.ts'],
  bundle: true,
  format: 'esm',
  write: false,
});
const { ALARMS, thresholdOf } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
const defaults = v.parse(ConfigurationSchema, {});

function table(columns, rows) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(columns), `|${'---|'.repeat(columns.length)}`, ...rows.map(line)].join('\n');
}

const TABLES = {
  claims: table(
    ['claim', 'type', 'required', 'meaning'],
    Object.entries(CLAIMS_DOCS).map(([name, { type, required, meaning }]) => [
      `\`${name}\``,
      `\`${type}\``,
      required ? 'yes' : '',
      meaning,
    ]),
  ),
  bindings: table(
    ['binding', 'canonical value', 'what it breaks', 'CloudFront must generate'],
    Object.entries(BINDING_DOCS).map(([name, { argument, canonical, breaks, generatedHeaders }]) => [
      argument ? `\`${name}:<${argument.meaning}>\`` : `\`${name}\``,
      canonical,
      breaks,
      (generatedHeaders ?? []).map((header) => `\`${header}\``).join(', '),
    ]),
  ),
  reasons: table(
    ['reason', 'status', 'meaning', 'what the player should do'],
    Object.entries(REASON_DOCS).map(([reason, { meaning, player }]) => [
      `\`${reason}\``,
      String(statusOf(reason)),
      meaning,
      player,
    ]),
  ),
  alarms: table(
    ['alarm', 'module', 'when', 'why'],
    Object.entries(ALARMS).map(([name, alarm]) => [
      `[\`${name}\`](#${name})`,
      alarm.module,
      condition(alarm),
      alarm.why,
    ]),
  ),
};

/** What an alarm goes off at, with the default settings. */
function condition(alarm) {
  const { metric, shareOf, unit, periods, minutes, missing } = alarm;
  const of = shareOf ? ` of ${shareOf.metric.name}, of ${shareOf.from} or more,` : '';
  const above = `above ${thresholdOf(alarm, defaults)}${unit ? ` ${unit}` : ''}`;
  const time = periods === 1 ? `in ${minutes} min` : `in each of ${periods} × ${minutes} min`;
  return `\`${metric.namespace}\` \`${metric.name}\` (${metric.statistic})${of} ${above} ${time}${missing === 'bad' ? ', or no value' : ''}`;
}

for (const file of FILES) {
  const before = readFileSync(`${root}${file}`, 'utf8');
  const after = before.replace(
    /(<!-- table:(\w+) -->\n)[\s\S]*?(<!-- \/table -->)/g,
    (_, start, name, end) => `${start}${TABLES[name]}\n${end}`,
  );
  if (after === before) continue;
  if (process.argv.includes('--check')) {
    process.stderr.write(`${file} does not match the tables of the code; run: node scripts/make-docs.mjs\n`);
    process.exitCode = 1;
  } else {
    writeFileSync(`${root}${file}`, after);
  }
}
