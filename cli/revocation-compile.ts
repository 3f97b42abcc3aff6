import { text } from 'node:stream/consumers';
import { type Command, Option } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import { tokenPrefix } from '../edge-functions/build/settings.ts';
import { revocationName } from '../edge-functions/store/names.ts';
import { replaceRevocations } from '../edge-functions/store/revocations.ts';
import { compileSessions } from '../revocation/publish/rule-group.ts';
import { RULE_GROUP_LIMITS } from '../revocation/publish/rule-group-limits.ts';
import { redact, SESSION_ID } from '../token/index.ts';
import { alignColumns, InputError, integer, note, print, readText } from './command.ts';

const HELP = `
The most important sessions first: what does not fit is dropped from the end. What is no session id (12–64 letters and
digits) is dropped too. With --json the rules are those of a WAFv2 rule group, or the entries of an edge store; the file of
sessions has one id a line, or is a JSON array of ids; - stands for standard input. CloudFront fills a new key value store
from a JSON file in S3, {"data":[{"key":"…","value":"…"}]} (ImportSource of CreateKeyValueStore): jq makes one of the entries.

Examples:
  portcullis revocation compile --target waf --sessions revoked.txt
  portcullis revocation compile --target waf --sessions revoked.txt --wcu 5000 --json | jq .rules >rules.json
  aws wafv2 check-capacity --scope CLOUDFRONT --region us-east-1 --rules file://rules.json
  portcullis revocation compile --target store --sessions revoked.txt --json | jq '{data: .rules}' >import.json
  portcullis session list --json | jq '[.sessions[].sessionId]' | portcullis revocation compile --target store --sessions - --json`;

/** Dropped ids that are named, and how many characters of each. */
const NAMED = 10;
const ID_LENGTH = 64;

interface CompileOptions {
  target: 'waf' | 'store';
  sessions: string;
  wcu: number;
  config?: string;
  json?: boolean;
}

export function registerRevocationCompile(revocation: Command): void {
  revocation
    .command('compile')
    .description('make the rules of a WAF rule group, or the entries of an edge store, from a list of sessions')
    .addOption(new Option('--target <target>', 'what to make').choices(['waf', 'store']).makeOptionMandatory())
    .requiredOption('--sessions <file>', 'session ids, one a line or a JSON array; - for standard input; required')
    .option('--wcu <n>', 'capacity of the rule group', integer(1, RULE_GROUP_LIMITS.capacityWcu), 1500)
    .option('--config <file>', 'configuration (docs/configuration.md): place of the token, allowed origins')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(async (options: CompileOptions) => {
      const { edge } = await readConfiguration(options.config);
      const ids = await readSessions(options.sessions);
      const compiled =
        options.target === 'waf'
          ? compileSessions(ids, {
              tokenPrefix: tokenPrefix(edge),
              allowedOrigins: edge.allowedOrigins,
              capacityWcu: options.wcu,
            })
          : storeEntries(ids);
      const { rules, capacityWcu, included } = compiled;
      const isId = (id: string) => SESSION_ID.test(id);
      // Somebody may have taken a file of URLs for one of sessions.
      const dropped = compiled.dropped.map((id) => (isId(id) ? id : redact(id)));
      const [odd, left] = [dropped.filter((id) => !isId(id)), dropped.filter(isId)];
      if (odd.length > 0)
        note(`dropped what is no session id (12–64 letters and digits): ${odd.length}: ${named(odd)}`);
      if (left.length > 0) note(`dropped for want of room: ${left.length} sessions: ${named(left)}`);
      const rows = [
        ['sessions', String(included.length)],
        ['dropped', String(dropped.length)],
        options.target === 'waf' ? ['WCU', `${capacityWcu} of ${options.wcu}`] : ['entries', String(rules.length)],
      ];
      print(options.json, { rules, capacityWcu, included, dropped }, alignColumns(rows));
    });
}

/** The first of some ids, as much of each as an id can be long. */
function named(ids: string[]): string {
  const first = ids.slice(0, NAMED).map((id) => (id.length > ID_LENGTH ? `${id.slice(0, ID_LENGTH)}…` : id));
  return `${first.join(', ')}${ids.length > NAMED ? ', …' : ''}`;
}

/** What an edge store without other entries would hold, in the shape as for WAF, which counts capacity where a store counts bytes. */
function storeEntries(ids: string[]) {
  const unique = [...new Set(ids)];
  const entries = new Map<string, string>();
  replaceRevocations(entries, { sessions: unique.filter((id) => SESSION_ID.test(id)), assets: [], before: 0 });
  return {
    rules: [...entries].map(([key, value]) => ({ key, value })),
    capacityWcu: 0,
    included: unique.filter((id) => entries.has(revocationName(id))),
    dropped: unique.filter((id) => !entries.has(revocationName(id))),
  };
}

/** The ids of a file: its lines without the blank ones, or its JSON array. Throws `InputError`. */
async function readSessions(path: string): Promise<string[]> {
  const content = (path === '-' ? await text(process.stdin) : await readText(path)).trim();
  const refused = new InputError(
    `${path} is no list of sessions: it must have one id a line, or be a JSON array of ids`,
  );
  if (/^[{"]/.test(content) || content.includes('\0')) throw refused;
  if (!content.startsWith('[')) return content.split('\n').flatMap((line) => line.trim() || []);
  let list: unknown;
  try {
    list = JSON.parse(content);
  } catch {
    throw refused;
  }
  if (!Array.isArray(list) || !list.every((id) => typeof id === 'string')) throw refused;
  return list;
}
