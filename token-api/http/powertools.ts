import type { LogItem } from '@aws-lambda-powertools/logger';
import { Logger } from '@aws-lambda-powertools/logger';
import { Metrics } from '@aws-lambda-powertools/metrics';
import { METRICS, type Telemetry } from './request-log.ts';

/** CloudWatch namespace of the metrics. */
export const NAMESPACE = 'Portcullis';
const SERVICE = 'api';

/**
 * Logs and metrics in the formats of Powertools for AWS: a line of JSON for each request, and one in the embedded metric
 * format (EMF), from which CloudWatch makes the metrics. Both go to `write`, which is the standard output in Lambda and a
 * file on this machine: Powertools itself knows only the console of the process.
 */
export function powertoolsTelemetry(write: (line: string) => void): Telemetry {
  const logger = new LineLogger(write);
  const metrics = new Metrics({ namespace: NAMESPACE, serviceName: SERVICE });
  const byCode = new Metrics({ namespace: NAMESPACE, serviceName: SERVICE });
  const flush = (stored: Metrics) => {
    write(JSON.stringify(stored.serializeMetrics()));
    stored.clearMetrics();
    stored.clearDimensions();
  };
  return {
    metric(name, value, code) {
      if (code === undefined) {
        metrics.addMetric(name, METRICS[name], value);
        return;
      }
      byCode.addDimension('code', code).addMetric(name, METRICS[name], value);
      flush(byCode);
    },
    request(line) {
      logger[line.status >= 500 ? 'error' : 'info']('request', { ...line });
      // With the request that they belong to, or with the next that ends.
      if (metrics.hasStoredMetrics()) flush(metrics);
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
