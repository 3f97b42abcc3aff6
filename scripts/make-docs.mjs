// Writes the tables of docs/token.md from the tables of the code; --check only compares.
import { readFileSync, writeFileSync } from 'node:fs';
import { BINDING_DOCS, CLAIMS_DOCS, REASON_DOCS, statusOf } from '../dist/lib/token/index.js';

const file = new URL('../docs/token.md', import.meta.url);

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
};

const before = readFileSync(file, 'utf8');
const after = before.replace(
  /(<!-- table:(\w+) -->\n)[\s\S]*?(<!-- \/table -->)/g,
  (_, start, name, end) => `${start}${TABLES[name]}\n${end}`,
);
if (process.argv.includes('--check')) {
  if (after !== before) {
    process.stderr.write('docs/token.md does not match the tables of the code; run: node scripts/make-docs.mjs\n');
    process.exit(1);
  }
} else {
  writeFileSync(file, after);
}
