/** What can be wrong with a call to AWS, whichever the service. */
export interface AwsFailure {
  cause: /** No credentials, or none that AWS accepts. */
    | 'credentials'
    /** The credentials do not permit it. */
    | 'denied'
    /** Too many calls, after the SDK's retries. */
    | 'throttled'
    /** No connection, or no reply in time: the call may have taken effect. */
    | 'unreachable'
    /** The service failed, after the SDK's retries: the call may have taken effect. */
    | 'failed'
    /** The service refused for a reason of its own. */
    | 'refused'
    /** What answered is not AWS. */
    | 'answer';
  /** What is wrong and what to do about it, without a full stop. */
  advice: string;
  /** The name of the error and the id under which CloudTrail has the call. Nothing that the service wrote: it quotes input. */
  detail: string;
}

const NO_CREDENTIALS = /^(?:Credentials|Token)ProviderError$/;
const BAD_CREDENTIALS =
  /^(?:InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch|InvalidSignatureException|IncompleteSignature|MissingAuthenticationToken(?:Exception)?|ExpiredToken(?:Exception)?|RequestExpired)$/;
const DENIED = /^AccessDenied(?:Exception)?$/;
const THROTTLED = /Throttl|^TooManyRequests|^RequestLimitExceeded$/;

/**
 * What an error of the AWS SDK for JavaScript v3 means; null when it is none, which is to be thrown on. `service` is a
 * name for people, `permissions` the IAM actions that the calls need and on what.
 */
export function awsFailure(error: unknown, service: string, permissions: string): AwsFailure | null {
  if (!(error instanceof Error)) return null;
  const { name, code, $fault, $metadata } = error as Error & {
    code?: unknown;
    $fault?: 'client' | 'server';
    $metadata?: { requestId?: string; httpStatusCode?: number };
  };
  const failure = (cause: AwsFailure['cause'], advice: string): AwsFailure => ({
    cause,
    advice,
    detail: $metadata?.requestId ? `${name}, request ${$metadata.requestId}` : name,
  });
  if (NO_CREDENTIALS.test(name)) {
    const ways = 'log in (aws sso login), or set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY';
    return failure('credentials', `no AWS credentials to be had: ${ways}`);
  }
  if (BAD_CREDENTIALS.test(name)) {
    const ways = 'renew them (aws sso login) and check the clock of this machine';
    return failure('credentials', `AWS does not accept these credentials: ${ways}`);
  }
  if (DENIED.test(name)) return failure('denied', `access denied: these credentials need ${permissions}`);
  if (THROTTLED.test(name) || $metadata?.httpStatusCode === 429) {
    return failure('throttled', `${service} throttles these calls: wait a minute and try again`);
  }
  if ($fault === 'server') return failure('failed', `${service} failed: try again, and see health.aws.amazon.com`);
  if ($fault) return failure('refused', `${service} refused`);
  if (typeof code === 'string' || name === 'TimeoutError') {
    return failure('unreachable', `${service} cannot be reached: check the network, the proxy and AWS_ENDPOINT_URL`);
  }
  return $metadata ? failure('answer', `what answered is not ${service}`) : null;
}
