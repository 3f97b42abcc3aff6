import { EDGE_REGION, type ModuleName } from './deployment.ts';
import { PRICES, type PriceName } from './prices.ts';
import type { Configuration } from './schema.ts';
import { hasDistribution, isDelivered } from './stacks.ts';

/** What no setting says and the bill depends on. `source`: where the figure comes from. */
export const ASSUMPTIONS = {
  requestsPerSession: { value: 1800, source: 'an hour in segments of four seconds, audio apart' },
  apiCallsPerSession: { value: 4, source: 'tokens of 15 minutes: one vended, three renewed' },
  keyRequestsPerSession: { value: 2, source: 'encrypted titles: a key for video, one for audio' },
  revokedShare: { value: 0.01, source: 'of sessions, one in a hundred' },
  tableWritesPerCall: { value: 2, source: 'counts the request, records the session (docs/performance.md)' },
  tableReadsPerCall: { value: 5, source: 'asset, policy, what is revoked of subject and session' },
  apiMilliseconds: { value: 30, source: 'a guess: 7.5 ms of CPU on a development machine, and four calls of tables' },
  apiMemoryGiB: { value: 1, source: 'the handler api' },
  logBytesPerCall: { value: 1000, source: 'a line of the API, and those of Lambda' },
  logBytesPerRequest: { value: 290, source: 'Parquet of the benchmark of detection (docs/performance.md)' },
  textBytesPerRequest: { value: 800, source: 'the same line before it is converted' },
  decisionBytesPerRequest: { value: 100, source: 'what the function logs, delivered once more (docs/operations.md)' },
  logMonths: { value: 1, source: 'how long access logs are kept' },
  runsPerHour: { value: 4, source: 'of detection' },
  scansPerRun: { value: 2, source: 'a run reads its logs twice (docs/athena.md)' },
  queriesPerRun: { value: 20, source: 'a table of each relation that is named often' },
  transitionsPerRun: { value: 50, source: 'steps of the state machine, two each' },
  minters: { value: 2, source: 'Lambda environments that read the key ring' },
  dashboards: { value: 1, source: 'one' },
  metrics: { value: 20, source: 'of API and detection' },
  denialMetrics: { value: 19, source: 'a metric of each reason, and one of all decisions' },
  renderMetrics: { value: 4, source: 'of what parents log, and of receipts that are refused' },
} as const satisfies Record<string, { value: number; source: string }>;

const given = <Name extends keyof typeof ASSUMPTIONS>(name: Name) => ASSUMPTIONS[name].value;

const MILLION = 1_000_000;
const THOUSAND = 1000;
const MONTH_SECONDS = 730 * 3600;
/** Athena charges 10 MB at least for a query. */
const LEAST_SCAN = 10_000_000;
/** What a web ACL may take before it costs more, and the step in which it does (WCU). */
const WCU_INCLUDED = 1500;
const WCU_STEP = 500;
/** WCU of a rule of sessions (docs/waf.md: 5 rules at 1,500, 17 at 5,000). */
const WCU_PER_RULE = 300;

const has = ({ aws }: Configuration, name: ModuleName) => aws.modules.includes(name);
const hasWaf = (configuration: Configuration) => has(configuration, 'base') && configuration.revocation.waf.publish;
const when = (isSo: boolean, quantity: number) => (isSo ? quantity : 0);
/** Whether access logs are delivered. */
const hasLogs = (configuration: Configuration) => has(configuration, 'revocation') && hasDistribution(configuration);
const detects = (configuration: Configuration) =>
  hasLogs(configuration) && configuration.revocation.detection.mode !== 'off';

/** How many alarms are about what, for the configurations that have it (`infra/alarms.ts`, which a test holds them to). */
const ALARMS: { about: string; count: number; isFor: (configuration: Configuration) => boolean }[] = [
  { about: 'the function, the rotation of its keys', count: 6, isFor: (c) => has(c, 'base') },
  { about: 'the distribution', count: 1, isFor: (c) => isDelivered(c) && hasDistribution(c) },
  { about: 'the API', count: 3, isFor: (c) => has(c, 'api') },
  { about: 'its secret', count: 1, isFor: (c) => has(c, 'api') && c.aws.delivery.origin !== undefined },
  { about: 'denials', count: 5, isFor: hasLogs },
  { about: 'publications', count: 2, isFor: (c) => has(c, 'revocation') },
  { about: 'the edge store', count: 3, isFor: (c) => has(c, 'revocation') && c.aws.keys.at === 'store' },
  { about: 'the rule group', count: 3, isFor: (c) => has(c, 'revocation') && c.revocation.waf.publish },
  { about: 'detection', count: 5, isFor: detects },
  { about: 'the key server', count: 1, isFor: (c) => has(c, 'mastering') },
  { about: 'parents of enclaves', count: 3, isFor: (c) => has(c, 'render') },
  { about: 'render jobs', count: 4, isFor: (c) => has(c, 'render') && (c.aws.render?.owners ?? []).length > 0 },
];
const alarms = (configuration: Configuration) =>
  ALARMS.reduce((sum, { count, isFor }) => sum + when(isFor(configuration), count), 0);

const runsPerMonth = (given('runsPerHour') * MONTH_SECONDS) / 3600;

/** What is paid for. */
interface Item {
  what: string;
  price: PriceName;
  /** Units of the price; 0 when a configuration has none of it. */
  quantity: (configuration: Configuration) => number;
}

/** For a million requests of media. */
const OF_REQUESTS: Item[] = [
  { what: 'viewer-request function', price: 'edgeFunction', quantity: (c) => when(has(c, 'base'), MILLION) },
  {
    // The key and the session (docs/edge.md); a function with its keys embedded has no store.
    what: 'reads of the edge store',
    price: 'edgeStoreRead',
    quantity: (c) => when(has(c, 'base') && c.aws.keys.at === 'store', 2 * MILLION),
  },
  { what: 'WAF, requests', price: 'wafRequest', quantity: (c) => when(hasWaf(c), MILLION) },
  {
    what: 'WAF, capacity above 1,500 WCU',
    price: 'wafCapacity',
    quantity: (c) =>
      when(hasWaf(c), MILLION * Math.ceil(Math.max(0, c.revocation.waf.capacityWcu - WCU_INCLUDED) / WCU_STEP)),
  },
  {
    what: 'access logs, conversion',
    price: 'logConversion',
    quantity: (c) => when(hasLogs(c), MILLION * given('textBytesPerRequest')),
  },
  {
    what: 'decisions, logged',
    price: 'logIngestion',
    quantity: (c) => when(hasLogs(c), MILLION * given('decisionBytesPerRequest')),
  },
  {
    what: 'access logs, storage',
    price: 'storage',
    quantity: (c) => when(hasLogs(c), MILLION * given('logBytesPerRequest') * given('logMonths')),
  },
  {
    // A line is in the window of every run for as long as that looks back.
    what: 'detection, Athena',
    price: 'scan',
    quantity: (c) =>
      when(detects(c), MILLION * given('logBytesPerRequest')) *
      given('scansPerRun') *
      given('runsPerHour') *
      (c.revocation.detection.lookbackHours + 1),
  },
];

const calls = (c: Configuration) => when(has(c, 'api'), THOUSAND * given('apiCallsPerSession'));
const keyRequests = (c: Configuration) => when(has(c, 'mastering'), THOUSAND * given('keyRequestsPerSession'));
const gibSeconds = (invocations: number) => (invocations * given('apiMilliseconds') * given('apiMemoryGiB')) / 1000;
/** Whether the places of a subject are written too. */
const counted = ({ api }: Configuration) => when(api.sessionsPerSubject > 0, 1);

/** For a thousand playback sessions. */
const OF_SESSIONS: Item[] = [
  { what: 'API and keys through the distribution', price: 'edgeRequest', quantity: (c) => calls(c) + keyRequests(c) },
  { what: 'HTTP API', price: 'httpApi', quantity: calls },
  { what: 'Lambda, invocations', price: 'lambdaCall', quantity: (c) => calls(c) + keyRequests(c) },
  { what: 'Lambda, time', price: 'lambdaTime', quantity: (c) => gibSeconds(calls(c) + keyRequests(c)) },
  {
    what: 'DynamoDB, writes',
    price: 'tableWrite',
    quantity: (c) => calls(c) * (given('tableWritesPerCall') + counted(c)),
  },
  {
    what: 'DynamoDB, reads',
    price: 'tableRead',
    quantity: (c) => calls(c) * (given('tableReadsPerCall') + counted(c)),
  },
  {
    what: 'logs of the API',
    price: 'logIngestion',
    quantity: (c) => (calls(c) + keyRequests(c)) * given('logBytesPerCall'),
  },
  { what: 'keys of titles, KMS', price: 'keyCall', quantity: keyRequests },
  {
    what: 'publishing revocations',
    price: 'edgeStoreCall',
    quantity: (c) => when(has(c, 'revocation'), THOUSAND * given('revokedShare')),
  },
];

/** Keys of KMS: of the key ring, of masters and of what is stored of them, of jobs; and one for each topic of alarms. */
function kmsKeys(c: Configuration): number {
  const topics = when(has(c, 'base'), c.aws.region === EDGE_REGION ? 1 : 2) + when(has(c, 'render'), 1);
  return when(has(c, 'base'), 1) + when(has(c, 'mastering'), 2) + when(has(c, 'render'), 1) + topics;
}

/** For a month, whatever is played. */
const OF_MONTH: Item[] = [
  { what: 'web ACL', price: 'webAcl', quantity: (c) => when(hasWaf(c), 1) },
  {
    what: 'rule group and its rules',
    price: 'wafRule',
    quantity: (c) => when(hasWaf(c), 1 + Math.ceil(c.revocation.waf.capacityWcu / WCU_PER_RULE)),
  },
  {
    what: 'KMS keys',
    price: 'key',
    quantity: kmsKeys,
  },
  { what: 'secrets: key ring, origin', price: 'secret', quantity: (c) => when(has(c, 'base'), 2) },
  {
    what: 'reading the key ring',
    price: 'secretCall',
    quantity: (c) => when(has(c, 'api'), (given('minters') * MONTH_SECONDS) / c.keys.refreshSeconds),
  },
  { what: 'alarms', price: 'alarm', quantity: alarms },
  { what: 'dashboards', price: 'dashboard', quantity: () => given('dashboards') },
  { what: 'metrics', price: 'metric', quantity: (c) => when(has(c, 'api'), given('metrics')) },
  { what: 'metrics of rendering', price: 'metric', quantity: (c) => when(has(c, 'render'), given('renderMetrics')) },
  { what: 'metrics of denials', price: 'metric', quantity: (c) => when(hasLogs(c), given('denialMetrics')) },
  {
    what: 'detection, least of Athena',
    price: 'scan',
    quantity: (c) => when(detects(c), runsPerMonth * given('queriesPerRun') * LEAST_SCAN),
  },
  {
    what: 'detection, Step Functions',
    price: 'transition',
    quantity: (c) => when(detects(c), runsPerMonth * given('transitionsPerRun')),
  },
];

/** What the model leaves out. */
export const NOT_COUNTED = [
  'delivery itself: transfer and requests of the distribution, origin, storage of media',
  'mastering and rendering: MediaConvert, EC2 instances, VPC endpoints',
  'free tiers, discounts, taxes, support; reads of the edge store while any asset is blocked',
] as const;

/** A line of the bill. */
export interface CostLine {
  what: string;
  /** In units of the price. */
  quantity: number;
  price: PriceName;
  usd: number;
}

/** Lines and their sum. */
export interface Cost {
  lines: CostLine[];
  usd: number;
}

/** How much is played in a month. */
export interface Usage {
  requestsPerMonth: number;
  sessionsPerMonth: number;
}

/** What a configuration costs, in US dollars before tax. */
export interface CostModel {
  perMillionRequests: Cost;
  perThousandSessions: Cost;
  perMonth: Cost;
}

/** What a deployment of `configuration` costs by list prices. An estimate: the figures of `ASSUMPTIONS` decide. */
export function costOf(configuration: Configuration): CostModel {
  const sum = (items: Item[]): Cost => {
    const lines = items
      .map(({ what, price, quantity }) => ({ what, price, quantity: quantity(configuration) }))
      .filter(({ quantity }) => quantity > 0)
      .map((line) => ({ ...line, usd: (line.quantity / PRICES[line.price].per) * PRICES[line.price].usd }));
    return { lines, usd: lines.reduce((total, { usd }) => total + usd, 0) };
  };
  return { perMillionRequests: sum(OF_REQUESTS), perThousandSessions: sum(OF_SESSIONS), perMonth: sum(OF_MONTH) };
}

/** What a month costs in which that much is played, in US dollars. */
export function monthlyUsd(model: CostModel, { requestsPerMonth, sessionsPerMonth }: Usage): number {
  const ofRequests = (requestsPerMonth / MILLION) * model.perMillionRequests.usd;
  return ofRequests + (sessionsPerMonth / THOUSAND) * model.perThousandSessions.usd + model.perMonth.usd;
}

/** Both counts of a month, from one of them: sessions make so many requests each. Undefined when neither is known. */
export function usageOf(requests: number | undefined, sessions: number | undefined): Usage | undefined {
  if (requests === undefined && sessions === undefined) return undefined;
  const perSession = given('requestsPerSession');
  return {
    requestsPerMonth: requests ?? (sessions ?? 0) * perSession,
    sessionsPerMonth: sessions ?? Math.round((requests ?? 0) / perSession),
  };
}
