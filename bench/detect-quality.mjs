// npm run bench:quality [-- --json --seeds 401,402 --sessions 1500 --hours 6 --format v1 --timed 1]: how many leaks detection
// finds in simulated logs, at how many false positives, scenario by scenario, beside a simple score of requests, addresses,
// referers and user-agents; and how soon (--timed: on so many of the seeds). The weights were tuned on seeds 1 to 6.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parse } from 'valibot';
import { connect, openDuckDbEngine } from '../dist/lib/revocation/detect/duckdb.js';
import { columnOf, STANDARD_FIELDS } from '../dist/lib/revocation/detect/log-fields.js';
import { qualityByScenario, readTable } from '../dist/lib/revocation/detect/quality.js';
import { score } from '../dist/lib/revocation/detect/score.js';
import { DetectionSettingsSchema } from '../dist/lib/revocation/detect/settings.js';
import { simulate } from '../dist/lib/revocation/simulate/simulate.js';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seeds: { type: 'string', default: '401,402,403,404,405' },
    sessions: { type: 'string', default: '1500' },
    hours: { type: 'string', default: '6' },
    format: { type: 'string', default: 'parquet' },
    timed: { type: 'string', default: '1' },
  },
});
const SEEDS = options.seeds.split(',').map(Number);
const START = 1_767_225_600;
const END = START + Number(options.hours) * 3600;
const STEP_SECONDS = 300;
/** False positives that each list may have, as a share of the harmless sessions. */
const LIMITS = { review: 0.01, auto: 0.0005 };

const settings = parse(DetectionSettingsSchema, {});
const THRESHOLDS = { review: settings.reviewScore, auto: settings.autoScore };
const say = (line) => process.stderr.write(`${line}\n`);

const table = (path) => readTable(readFileSync(path, 'utf8'));
const verdictOf = (reached) =>
  reached >= THRESHOLDS.auto ? 'auto' : reached >= THRESHOLDS.review ? 'review' : 'harmless';

function objectsOf(folder) {
  const hours = new Map(table(join(folder, 'objects.tsv')).map(({ object, hour }) => [object, Number(hour)]));
  return readdirSync(join(folder, 'logs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => hours.has(name))
    .map((name) => ({
      name: join(folder, 'logs', name),
      bytes: statSync(join(folder, 'logs', name)).size,
      version: '1',
      hour: hours.get(name),
    }));
}

/** Requests over the median of all sessions, and one each for several addresses, referers and user-agents. */
async function simpleScores(folder) {
  const connection = await connect(':memory:', { threads: '2' });
  const files = options.format === 'parquet' ? `read_parquet('${folder}/logs/**/*.parquet')` : tsv(folder);
  const reader = await connection.runAndReadAll(`
    WITH sessions AS (
      SELECT
        regexp_extract(cs_uri_stem, '^/([A-Za-z0-9]{12})[.]', 1) AS id,
        count(*) AS requests,
        (count(DISTINCT c_ip) > 1)::INT + (count(DISTINCT cs_referer) > 1)::INT
          + (count(DISTINCT cs_user_agent) > 1)::INT AS several
      FROM ${files} WHERE sc_status = '200' GROUP BY 1
    )
    SELECT id, requests / (SELECT median(requests) FROM sessions) + several AS score FROM sessions`);
  const scores = new Map(reader.getRowObjects().map(({ id, score: value }) => [id, Number(value)]));
  connection.closeSync();
  return scores;
}

function tsv(folder) {
  const columns = STANDARD_FIELDS.map((field) => `'${columnOf(field)}': 'VARCHAR'`).join(', ');
  return `read_csv('${folder}/logs/*.gz', delim = '\\t', quote = '', escape = '', skip = 2, header = false, columns = {${columns}})`;
}

/** Minutes after which each session first reaches the thresholds, detection running after every five minutes of traffic. */
async function detectionTimes(engine, objects) {
  const first = { review: new Map(), auto: new Map() };
  for (let to = START + STEP_SECONDS; to <= END; to += STEP_SECONDS) {
    const from = Math.max(START, to - (settings.lookbackHours + 1) * 3600);
    const within = objects.filter(({ hour }) => hour < to && hour + 3600 > from);
    const { sessions } = await engine.features({ from, to, objects: within, everySession: false });
    for (const features of sessions) {
      const { score: reached } = score(features, settings.weights);
      for (const list of ['review', 'auto']) {
        if (reached >= THRESHOLDS[list] && !first[list].has(features.sessionId))
          first[list].set(features.sessionId, to);
      }
    }
    if (to % 3600 === 0) say(`  detection after every five minutes: ${(to - START) / 3600} of ${options.hours} h`);
  }
  return first;
}

async function measure(seed, isTimed) {
  const scratch = mkdtempSync(join(tmpdir(), 'portcullis-quality-'));
  try {
    const folder = join(scratch, 'traffic');
    const request = {
      seed,
      sessions: Number(options.sessions),
      from: START,
      to: END,
      format: options.format,
      uri: true,
    };
    const { lines } = await simulate(folder, request);
    say(`seed ${seed}: ${lines} lines`);
    const objects = objectsOf(folder);
    const engine = await openDuckDbEngine(
      { detection: settings, tokenPrefix: '/' },
      { tempDirectory: scratch, memoryLimit: '1GB' },
    );
    const found = await engine.features({ from: START, to: END, objects, everySession: true });
    if (found.refused.length > 0) throw new Error(`refused: ${JSON.stringify(found.refused)}`);
    const features = new Map(found.sessions.map((one) => [one.sessionId, one]));
    const simple = await simpleScores(folder);
    const times = isTimed ? await detectionTimes(engine, objects) : undefined;
    await engine.close();
    const sessions = table(join(folder, 'labels.tsv')).map((label) => {
      const of = features.get(label.session);
      const after = (list) => {
        const at = times?.[list].get(label.session);
        return at === undefined ? Number.POSITIVE_INFINITY : (at - Number(label['leak-from'])) / 60;
      };
      const reached = of ? score(of, settings.weights).score : 0;
      return {
        scenario: label.scenario,
        kind: label.kind,
        score: reached,
        verdict: verdictOf(reached),
        simple: simple.get(label.session) ?? 0,
        ...(times && { minutes: { review: after('review'), auto: after('auto') } }),
      };
    });
    return { lines, sessions };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const share = (list, isIn) => (list.length > 0 ? list.filter(isIn).length / list.length : 0);
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

const runs = [];
for (const [i, seed] of SEEDS.entries()) runs.push(await measure(seed, i < Number(options.timed)));
const all = runs.flatMap(({ sessions }) => sessions);
const ofKind = (kind) => all.filter((session) => session.kind === kind);
const [harmless, leaks] = [ofKind('harmless'), ofKind('leak')];

/** What a score would find with the threshold that the limit allows, chosen in hindsight. */
function atLimit(name, limit) {
  const values = harmless.map((session) => session[name]).sort((a, b) => b - a);
  const threshold = values[Math.floor(limit * values.length)] ?? 0;
  return { threshold, truePositives: share(leaks, (session) => session[name] > threshold) };
}

const lists = ['review', 'auto'].map((list) => {
  const isIn = ({ score: value }) => value >= THRESHOLDS[list];
  return {
    list,
    threshold: THRESHOLDS[list],
    truePositives: share(leaks, isIn),
    falsePositives: share(harmless, isIn),
    falsePositiveSessions: harmless.filter(isIn).length,
    limit: LIMITS[list],
    inHindsight: atLimit('score', LIMITS[list]),
    simple: atLimit('simple', LIMITS[list]),
  };
});
const [simpleReview, simpleAuto] = lists.map(({ simple }) => simple.threshold);
const scenarios = qualityByScenario(all).map((row) => {
  const own = all.filter(({ kind, scenario }) => kind === row.kind && scenario === row.scenario);
  const timed = own.filter(({ minutes }) => row.kind !== 'harmless' && minutes);
  const minutes = (list) => (timed.length > 0 ? median(timed.map((session) => session.minutes[list])) : undefined);
  return {
    ...row,
    simpleReview: share(own, ({ simple }) => simple > simpleReview),
    simpleAuto: share(own, ({ simple }) => simple > simpleAuto),
    // JSON has no infinity: null when fewer than half are found.
    minutesToReview: minutes('review'),
    minutesToAuto: minutes('auto'),
  };
});

const report = {
  seeds: SEEDS,
  format: options.format,
  hours: Number(options.hours),
  lines: runs.reduce((sum, { lines }) => sum + lines, 0),
  sessions: all.length,
  harmless: harmless.length,
  leaks: leaks.length,
  lists,
  scenarios,
};
if (options.json) {
  process.stdout.write(`${JSON.stringify(report)}\n`);
} else {
  const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.01 ? 2 : 1)} %`;
  const minutes = (value) => (value === undefined ? '' : Number.isFinite(value) ? String(Math.round(value)) : 'never');
  process.stdout.write(
    `seeds ${SEEDS.join(', ')}, ${report.format}: ${report.lines} lines, ${report.harmless} harmless sessions, ${report.leaks} leaks\n\n`,
  );
  for (const { list, threshold, truePositives, falsePositives, falsePositiveSessions, limit, ...other } of lists) {
    const { inHindsight, simple } = other;
    process.stdout.write(
      `${list} (score ${threshold}): ${percent(truePositives)} of the leaks at ${percent(falsePositives)} false positives (${falsePositiveSessions} sessions); at ${percent(limit)}: ${percent(inHindsight.truePositives)}, simple score ${percent(simple.truePositives)}\n`,
    );
  }
  process.stdout.write(
    '\n| scenario | | sessions | review | auto | simple, 1 % | simple, 0.05 % | minutes to review | to auto |\n',
  );
  process.stdout.write('|---|---|---|---|---|---|---|---|---|\n');
  for (const row of scenarios) {
    const cells = [row.scenario, row.kind, row.sessions, percent(row.review), percent(row.auto)];
    cells.push(
      percent(row.simpleReview),
      percent(row.simpleAuto),
      minutes(row.minutesToReview),
      minutes(row.minutesToAuto),
    );
    process.stdout.write(`| ${cells.join(' | ')} |\n`);
  }
}
