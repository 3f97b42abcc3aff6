import { Metrics } from '@aws-lambda-powertools/metrics';
import { NAMESPACE } from '../token-api/telemetry/powertools.ts';
import { METRICS } from '../token-api/telemetry/telemetry.ts';

/**
 * Counts something of `METRICS` in CloudWatch: a line in the embedded metric format for each value, with the dimension `service`
 * and the one that is given. `service`: `detection`, `key-rotation`, `reconciler`, `render`.
 */
export function lambdaMetrics(service: string) {
  return (
    name: keyof typeof METRICS,
    value: number,
    dimension: { target: string } | Record<string, never> = {},
  ): void => {
    const metrics = new Metrics({ namespace: NAMESPACE, serviceName: service });
    metrics.addDimensions(dimension).addMetric(name, METRICS[name], value).publishStoredMetrics();
  };
}
