import {
  CloudFrontClient,
  DescribeFunctionCommand,
  type FunctionStage,
  TestFunctionCommand,
  type TestResult,
} from '@aws-sdk/client-cloudfront';
import * as v from 'valibot';
import { redact } from '../../token/redact.ts';
import { type AwsFailure, awsFailure } from '../store/aws-failure.ts';

/** How often each event is run: the utilisation of the same event differs from run to run. */
export const RUNS = 5;

/** Which uploaded function to measure. A function that was never published has no stage `LIVE`. */
export interface MeasuredFunction {
  name: string;
  stage: FunctionStage;
}

/** A viewer-request event; what else it needs is CloudFront's to check. */
export interface MeasuredEvent {
  request: { uri: string };
}

/** What the function made of an event: let the request go on, answered it itself, or failed with an error message. */
export type Outcome = { goesOn: true } | { status: number; reason: string } | { error: string };

/** What CloudFront reported of one event. */
export interface Measurement {
  /** The URI of the event, without the signature of its token. */
  uri: string;
  /**
   * The time that the function took, in percent of what CloudFront allows (which is unpublished): whole numbers from 0 to
   * 100, in `runs` one for each run. A failed run may have none; without any the rest is null.
   */
  utilisation: { min: number | null; median: number | null; max: number | null; runs: number[] };
  /** What came out, each different outcome once: more than one means that the runs did not agree. */
  outcomes: Outcome[];
}

export type MeasureErrorCode =
  /** No credentials, or none that AWS accepts. */
  | 'ERR_MEASURE_CREDENTIALS'
  /** The credentials do not permit it. */
  | 'ERR_MEASURE_DENIED'
  /** There is no such function at this stage. */
  | 'ERR_MEASURE_UNKNOWN'
  /** Somebody updated the function meanwhile. */
  | 'ERR_MEASURE_CHANGED'
  | 'ERR_MEASURE_THROTTLED'
  | 'ERR_MEASURE_UNREACHABLE'
  /** CloudFront refused for another reason, which the message gives. */
  | 'ERR_MEASURE_REFUSED'
  /** CloudFront answered something that its API reference does not provide for. */
  | 'ERR_MEASURE_ANSWER';

/** Why a function could not be measured; the message says what to do next. */
export class MeasureError extends Error {
  readonly code: MeasureErrorCode;
  constructor(code: MeasureErrorCode, message: string) {
    super(message);
    this.name = 'MeasureError';
    this.code = code;
  }
}

const CODES: Record<AwsFailure['cause'], MeasureErrorCode> = {
  credentials: 'ERR_MEASURE_CREDENTIALS',
  denied: 'ERR_MEASURE_DENIED',
  throttled: 'ERR_MEASURE_THROTTLED',
  unreachable: 'ERR_MEASURE_UNREACHABLE',
  failed: 'ERR_MEASURE_REFUSED',
  refused: 'ERR_MEASURE_REFUSED',
  answer: 'ERR_MEASURE_ANSWER',
};

const PERMISSIONS = 'cloudfront:DescribeFunction and cloudfront:TestFunction on the function';

/** One line for people of what a stranger wrote, without tokens. */
function safe(text: string): string {
  return redact(text.replace(/[\s\p{Cc}]+/gu, ' ').trim());
}

/** The error of a call in our words. What is no error of the call comes back as it is. */
function translated(error: unknown, { name: functionName, stage }: MeasuredFunction): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message } = error;
  const detail = message === '' || message === name ? name : `${name}: ${safe(message)}`;
  const fail = (code: MeasureErrorCode, advice: string) =>
    new MeasureError(code, `${functionName} at ${stage}: ${advice} (${detail})`);
  if (name === 'NoSuchFunctionExists') {
    const advice = 'aws cloudfront list-functions shows those that there are; LIVE has only published ones';
    return fail('ERR_MEASURE_UNKNOWN', `no such function at this stage: ${advice}`);
  }
  if (name === 'PreconditionFailed' || name === 'InvalidIfMatchVersion') {
    return fail('ERR_MEASURE_CHANGED', 'the function was updated while it was measured: run the command again');
  }
  const failure = awsFailure(error, 'CloudFront', PERMISSIONS);
  return failure ? fail(CODES[failure.cause], failure.advice) : error;
}

/** The object in `FunctionOutput`, as TestFunction wraps what the handler returned. */
const Output = v.union([
  v.object({
    response: v.object({
      statusCode: v.pipe(v.number(), v.integer()),
      headers: v.optional(v.record(v.string(), v.object({ value: v.optional(v.string(), '') })), {}),
    }),
  }),
  v.object({ request: v.object({}) }),
]);

function outcomeOf({ FunctionErrorMessage, FunctionOutput }: TestResult): Outcome {
  if (FunctionErrorMessage) return { error: safe(FunctionErrorMessage) };
  let output: unknown;
  try {
    output = JSON.parse(FunctionOutput ?? '');
  } catch {
    throw new MeasureError('ERR_MEASURE_ANSWER', 'CloudFront reported an output of the function that is not JSON');
  }
  const parsed = v.safeParse(Output, output);
  if (!parsed.success) {
    throw new MeasureError('ERR_MEASURE_ANSWER', 'CloudFront reported an output that is neither request nor response');
  }
  if ('request' in parsed.output) return { goesOn: true };
  const { statusCode, headers } = parsed.output.response;
  return { status: statusCode, reason: safe(headers['x-portcullis-reason']?.value ?? '') };
}

/** Undefined where a run that failed has no figure. */
function utilisationOf({ ComputeUtilization: text = '', FunctionErrorMessage }: TestResult): number | undefined {
  const value = /^\d{1,3}$/.test(text) ? Number(text) : Number.NaN;
  if (value <= 100) return value;
  if (FunctionErrorMessage) return undefined;
  const message = `CloudFront reported the utilisation '${safe(text).slice(0, 40)}', which is no whole number from 0 to 100`;
  throw new MeasureError('ERR_MEASURE_ANSWER', message);
}

/**
 * Runs an uploaded function on CloudFront itself, `RUNS` times on each viewer-request event, and resolves to what
 * CloudFront reports, an event each. Changes nothing: DescribeFunction for the version, then TestFunction (Amazon
 * CloudFront API Reference, TestFunction and TestResult; Developer Guide, "Understand compute utilization"). A function
 * with a KeyValueStore reads the real one. The log lines of the function are not looked at. `report` is told how far it is.
 *
 * Rejects with `MeasureError`; no message carries the signature of a token.
 */
export async function measureFunction(
  client: CloudFrontClient,
  target: MeasuredFunction,
  events: MeasuredEvent[],
  report: (line: string) => void,
): Promise<Measurement[]> {
  const { name: Name, stage: Stage } = target;
  const refuse = (error: unknown): never => {
    throw translated(error, target);
  };
  report(`looking for ${Name} at ${Stage}`);
  const { ETag: IfMatch } = await client.send(new DescribeFunctionCommand({ Name, Stage })).catch(refuse);
  if (!IfMatch)
    throw new MeasureError('ERR_MEASURE_ANSWER', 'CloudFront did not say which version of the function it has');
  const measurements: Measurement[] = [];
  for (const [index, event] of events.entries()) {
    report(`running event ${index + 1} of ${events.length}, ${RUNS} times`);
    const EventObject = Buffer.from(JSON.stringify(event));
    const results: TestResult[] = [];
    // One after the other: together they would run into the API's rate limit, and into each other's way.
    while (results.length < RUNS) {
      const command = new TestFunctionCommand({ Name, Stage, IfMatch, EventObject });
      results.push((await client.send(command).catch(refuse)).TestResult ?? {});
    }
    measurements.push({ uri: safe(event.request.uri), ...summary(results) });
  }
  return measurements;
}

function summary(results: TestResult[]): Omit<Measurement, 'uri'> {
  const runs = results.flatMap((result) => utilisationOf(result) ?? []);
  const sorted = runs.toSorted((a, b) => a - b);
  const at = (index: number) => sorted.at(index) ?? null;
  const outcomes = new Map(results.map(outcomeOf).map((outcome) => [JSON.stringify(outcome), outcome]));
  return {
    utilisation: { min: at(0), median: at((sorted.length - 1) >> 1), max: at(-1), runs },
    outcomes: [...outcomes.values()],
  };
}

/**
 * A client for `measureFunction`, set up by what AWS's own tools read (profile, environment, AWS_ENDPOINT_URL_CLOUDFRONT).
 * CloudFront is one service for the whole world; the region only tells the partition (China has its own).
 */
export function cloudFrontClient(): CloudFrontClient {
  // The SDK tells everyone on Node 20 that releases of 2027 will not run there; ours is pinned to one that does.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  return new CloudFrontClient({
    region: process.env.AWS_REGION ?? 'us-east-1',
    requestHandler: { connectionTimeout: 5_000, requestTimeout: 30_000, throwOnRequestTimeout: true },
  });
}
