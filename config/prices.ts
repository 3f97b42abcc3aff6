/** What AWS asks for something. */
export interface Price {
  usd: number;
  /** For how many units. */
  per: number;
  unit: string;
  /** Page of aws.amazon.com that has it. */
  page: string;
}

const MILLION = 1_000_000;
const GB = 1_000_000_000;

/** When the prices were read, and where they hold. They are list prices, as others quote those pages: nothing of this ever ran. */
export const PRICES_READ = '2026-11';
export const PRICES_REGION = 'us-east-1';

/** List prices without free tiers and discounts for volume; those of other regions differ. */
export const PRICES = {
  edgeFunction: { usd: 0.1, per: MILLION, unit: 'invocations', page: 'cloudfront/pricing' },
  edgeStoreRead: { usd: 0.03, per: MILLION, unit: 'reads', page: 'cloudfront/pricing' },
  edgeStoreCall: { usd: 1, per: 1000, unit: 'calls', page: 'cloudfront/pricing' },
  edgeRequest: { usd: 0.01, per: 10_000, unit: 'HTTPS requests', page: 'cloudfront/pricing' },
  logConversion: { usd: 0.035 / GB, per: 1, unit: 'bytes to Parquet', page: 'cloudwatch/pricing' },
  logIngestion: { usd: 0.5 / GB, per: 1, unit: 'bytes', page: 'cloudwatch/pricing' },
  storage: { usd: 0.023 / GB, per: 1, unit: 'byte-months', page: 's3/pricing' },
  metric: { usd: 0.3, per: 1, unit: 'metrics a month', page: 'cloudwatch/pricing' },
  alarm: { usd: 0.1, per: 1, unit: 'alarms a month', page: 'cloudwatch/pricing' },
  dashboard: { usd: 3, per: 1, unit: 'dashboards a month', page: 'cloudwatch/pricing' },
  webAcl: { usd: 5, per: 1, unit: 'web ACLs a month', page: 'waf/pricing' },
  wafRule: { usd: 1, per: 1, unit: 'rules and groups a month', page: 'waf/pricing' },
  wafRequest: { usd: 0.6, per: MILLION, unit: 'requests', page: 'waf/pricing' },
  wafCapacity: { usd: 0.2, per: MILLION, unit: 'requests × 500 WCU above 1,500', page: 'waf/pricing' },
  scan: { usd: 5 / (1000 * GB), per: 1, unit: 'bytes scanned', page: 'athena/pricing' },
  httpApi: { usd: 1, per: MILLION, unit: 'calls', page: 'api-gateway/pricing' },
  lambdaCall: { usd: 0.2, per: MILLION, unit: 'invocations', page: 'lambda/pricing' },
  lambdaTime: { usd: 0.0000133334, per: 1, unit: 'GiB-seconds (arm64)', page: 'lambda/pricing' },
  tableWrite: { usd: 0.625, per: MILLION, unit: 'write units', page: 'dynamodb/pricing/on-demand' },
  tableRead: { usd: 0.125, per: MILLION, unit: 'read units', page: 'dynamodb/pricing/on-demand' },
  secret: { usd: 0.4, per: 1, unit: 'secrets a month', page: 'secrets-manager/pricing' },
  secretCall: { usd: 0.05, per: 10_000, unit: 'calls', page: 'secrets-manager/pricing' },
  key: { usd: 1, per: 1, unit: 'keys a month', page: 'kms/pricing' },
  keyCall: { usd: 0.03, per: 10_000, unit: 'calls', page: 'kms/pricing' },
  transition: { usd: 0.025, per: 1000, unit: 'state transitions', page: 'step-functions/pricing' },
} as const satisfies Record<string, Price>;

export type PriceName = keyof typeof PRICES;
