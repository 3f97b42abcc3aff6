import type { LogItem } from '@aws-lambda-powertools/logger';
import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics } from '@aws-lambda-powertools/metrics';
import { METRICS, type Telemetry } from './telemetry.ts';

/** CloudWatch namespace of the metrics. */
export const NAMESPACE = 'Portcullis';
const SERVICE = 'api';

/**
 * Logs and metrics in the formats of Powertools for AWS: a line of JSON for each request, and one in the embedded metric
 * format (EMF), from which CloudWatch makes the metrics. Both go to `write`: in Lambda to `process.stdout` itself, as its
 * `console` adds words of its own to a line; on this machine to a file. Powertools knows only the process's own streams.
 */
export function powertoolsTelemetry(write: (line: string) => void): Telemetry {
  const logger = new LineLogger(write);
  const metrics = new LineMetrics(write, logger);
  const bySeries = new LineMetrics(write, logger);
  return {
    metric(name, value, dimension) {
      if (!dimension) metrics.addMetric(name, METRICS[name], value);
      else bySeries.addDimensions(dimension).addMetric(name, METRICS[name], value).publishStoredMetrics();
    },
    request(line) {
      logger[line.status >= 500 ? 'error' : 'info']('request', { ...line });
      // What another request counted meanwhile goes with it: nothing in the line says whose it is.
      if (metrics.hasStoredMetrics()) metrics.publishStoredMetrics();
    },
  };
}

/** The logger, writing somewhere else than to the console. */
class LineLogger extends Logger {
  readonly #write: (line: string) => void;

  constructor(write: (line: string) => void) {
    super({ serviceName: SERVICE, logLevel: 'INFO' });
    this.#write = write;
  }

  protected override printLog(_level: number, item: LogItem): void {
    item.prepareForPrint();
    this.#write(JSON.stringify(item.getAttributes(), this.getJsonReplacer()));
  }
}

/** The metrics, likewise. */
class LineMetrics extends Metrics {
  readonly #write: (line: string) => void;

  constructor(write: (line: string) => void, logger: Logger) {
    super({ namespace: NAMESPACE, serviceName: SERVICE, logger });
    this.#write = write;
  }

  /** Called by Powertools too, once a hundred values are stored. */
  override publishStoredMetrics(): this {
    this.#write(JSON.stringify(this.serializeMetrics()));
    this.clearMetrics();
    this.clearDimensions();
    return this;
  }
}
