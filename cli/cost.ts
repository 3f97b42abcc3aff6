import type { Command } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import { ASSUMPTIONS, type Cost, costOf, monthlyUsd, NOT_COUNTED, usageOf } from '../config/cost.ts';
import { PRICES, PRICES_READ, PRICES_REGION } from '../config/prices.ts';
import { alignColumns, integer, print } from './command.ts';

const EXAMPLES = `
Examples:
  portcullis cost                                    of the defaults, for a million requests and a thousand sessions
  portcullis cost --config portcullis.json --sessions 50000          a month with so many sessions
  portcullis cost --requests-per-month 90000000 --sessions 50000 --json`;

export function registerCost(program: Command): void {
  program
    .command('cost')
    .description('estimate what a deployment to AWS costs, by list prices (docs/operations.md)')
    .option('--config <file>', 'configuration (docs/configuration.md); the defaults without')
    .option('--requests-per-month <n>', 'requests of media in a month', integer(0, 1e14))
    .option('--sessions <n>', 'playback sessions in a month', integer(0, 1e12))
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: CostOptions) => {
      const model = costOf(await readConfiguration(options.config));
      const usage = usageOf(options.requestsPerMonth, options.sessions);
      const month = usage && { ...usage, usd: monthlyUsd(model, usage) };
      const about = { currency: 'USD', region: PRICES_REGION, pricesRead: PRICES_READ };
      const answer = { ...about, ...model, month: month ?? null, assumptions: ASSUMPTIONS, notCounted: NOT_COUNTED };
      print(options.json, answer, [
        ...section('A million requests of media', model.perMillionRequests),
        ...section('A thousand sessions', model.perThousandSessions),
        ...section('A month, whatever is played', model.perMonth),
        ...(month ? [monthLine(month), ''] : []),
        `List prices of ${PRICES_REGION}, ${PRICES_READ}; an estimate, never compared with a bill. It takes for granted:`,
        ...alignColumns(
          Object.entries(ASSUMPTIONS).map(([name, { value, source }]) => [`  ${name}`, `${value}`, source]),
        ),
        'Not in it:',
        ...NOT_COUNTED.map((left) => `  ${left}`),
      ]);
    });
}

interface CostOptions {
  config?: string;
  requestsPerMonth?: number;
  sessions?: number;
  json?: boolean;
}

const NUMBER = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

const SHORT_NUMBER = new Intl.NumberFormat('en-US', { maximumSignificantDigits: 3 });

/** Dollars with cents; small amounts to the hundredth of a cent. */
function dollars(usd: number): string {
  const digits = usd < 1 ? 4 : 2;
  return `$${usd.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** `13.9 GB scanned`, `1 key a month`: the prices are for bytes, which nobody reads. */
function inWords(quantity: number, unit: string): string {
  if (/^bytes?\b/.test(unit)) return `${SHORT_NUMBER.format(quantity / 1e9)} ${unit.replace(/^bytes?/, 'GB')}`;
  return `${NUMBER.format(quantity)} ${quantity === 1 ? unit.replace(/s(?= a month$)/, '') : unit}`;
}

function section(title: string, { lines, usd }: Cost): string[] {
  const rows = lines.map(({ what, quantity, price, usd }) => {
    const { unit } = PRICES[price];
    return [`  ${what}`, dollars(usd).padStart(9), inWords(quantity, unit)];
  });
  return [`${title}: ${dollars(usd)}`, ...alignColumns(rows), ''];
}

function monthLine({ requestsPerMonth, sessionsPerMonth, usd }: Record<string, number>): string {
  const count = (n = 0) => NUMBER.format(n);
  return `A month of ${count(requestsPerMonth)} requests in ${count(sessionsPerMonth)} sessions: ${dollars(usd ?? 0)}`;
}
