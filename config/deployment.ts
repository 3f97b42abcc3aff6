import * as v from 'valibot';

// For infra/, which takes names and settings from here alone.
export { ruleGroupName } from '../revocation/publish/settings.ts';

/** Parts of a deployment to AWS, each of which can be left out: what it makes, and which others it cannot be without. */
export const MODULES = {
  base: { makes: 'edge functions, KeyValueStore, key ring with its rotation, policies, distribution', needs: [] },
  api: { makes: 'HTTP API behind the distribution, its tables', needs: ['base'] },
  revocation: { makes: 'access logs, detection, reconcilers of edge store and WAF rule group', needs: ['base', 'api'] },
  mastering: { makes: 'buckets and KMS keys of masters and packages, MediaConvert role, key server', needs: ['base'] },
  render: { makes: 'network, launch template, keys and audit bucket of attested rendering', needs: [] },
  console: { makes: 'the console page, for those who can log in', needs: ['base', 'api'] },
} as const satisfies Record<string, { makes: string; needs: readonly string[] }>;

export type ModuleName = keyof typeof MODULES;
export const MODULE_NAMES = Object.keys(MODULES) as ModuleName[];

/** Where everything of CloudFront has to be: certificates, web ACLs, log deliveries and metrics (AWS, "Regions" of each). */
export const EDGE_REGION = 'us-east-1';

/** Names that `infra/` gives and commands look for: there is one deployment in an account. */
export const KEY_RING_SECRET = 'portcullis/key-ring';
export const ORIGIN_SECRET = 'portcullis/origin-secret';
export const WORKGROUP = 'portcullis';

/** What a query of Athena may scan unless `revocation.athena.bytesScannedLimit` says otherwise, in bytes: it costs half a dollar. */
export const BYTES_SCANNED_LIMIT = 100 * 1024 ** 3;

/** Regions of the partition `aws` (AWS Regional Services, November 2026); a test holds them equal to those that the CDK knows. */
export const REGIONS = [
  'af-south-1',
  'ap-east-1',
  'ap-east-2',
  'ap-northeast-1',
  'ap-northeast-2',
  'ap-northeast-3',
  'ap-south-1',
  'ap-south-2',
  'ap-southeast-1',
  'ap-southeast-2',
  'ap-southeast-3',
  'ap-southeast-4',
  'ap-southeast-5',
  'ap-southeast-6',
  'ap-southeast-7',
  'ca-central-1',
  'ca-west-1',
  'eu-central-1',
  'eu-central-2',
  'eu-north-1',
  'eu-south-1',
  'eu-south-2',
  'eu-west-1',
  'eu-west-2',
  'eu-west-3',
  'il-central-1',
  'me-central-1',
  'me-south-1',
  'me-west-1',
  'mx-central-1',
  'sa-east-1',
  'us-east-1',
  'us-east-2',
  'us-west-1',
  'us-west-2',
] as const;

const whole = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
const region = v.picklist(REGIONS, "must be a region of AWS, like 'eu-central-1'");
const domainName = v.pipe(
  v.string(),
  v.maxLength(253),
  v.regex(/^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/, "must be a domain name like 'media.example.com'"),
);
const httpsUrl = v.pipe(v.string(), v.regex(/^https:\/\/[a-z0-9.-]+(?:\/[\w./-]*)?$/, 'must be an https URL'));
const arn = (service: string, regionOf: string, resource: string) =>
  v.pipe(
    v.string(),
    v.regex(
      new RegExp(`^arn:aws:${service}:${regionOf}:\\d{12}:${resource}$`),
      `must be an ARN of ${service}${/^[a-z]+-/.test(regionOf) ? ` in ${regionOf}` : ''}`,
    ),
  );
const tagName = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(128),
  v.regex(/^(?!aws:)/i, "must not begin with 'aws:', which AWS keeps for itself"),
);
const pcr = v.pipe(
  v.string(),
  v.regex(/^(?!0{96})[0-9a-f]{96}$/, 'must be a register of 48 bytes in hex, not all zero'),
);

const ownerKey = v.pipe(
  v.string(),
  v.regex(
    /^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$/,
    'must be an Ed25519 public key: the line between BEGIN PUBLIC KEY and END PUBLIC KEY',
  ),
);

/** What can be configured of the distribution. */
const DeliverySchema = v.strictObject({
  /**
   * Where the media are: a domain name, or `packages`, the bucket of module `mastering`. Without one no distribution is made: the
   * functions are for distributions that are there (`portcullis attach`).
   */
  origin: v.optional(v.union([v.literal('packages'), domainName], "must be a domain name, or 'packages'")),
  /** Without `origin`: the distribution that is there, whose access logs are delivered and looked at. */
  distributionId: v.optional(
    v.pipe(v.string(), v.regex(/^[A-Z0-9]{1,32}$/, "must be the id of a distribution like 'E1A2B3C4D5E6F7'")),
  ),
  /** Names of its own that the distribution answers to. */
  domainNames: v.optional(v.array(domainName), []),
  /** Certificate of those names. */
  certificateArn: v.optional(arn('acm', EDGE_REGION, 'certificate/[\\w-]+')),
  priceClass: v.optional(v.picklist(['PriceClass_100', 'PriceClass_200', 'PriceClass_All']), 'PriceClass_All'),
});

/** What can be configured of attested rendering on AWS. */
const RenderSchema = v.strictObject({
  /** The enclave image that may have job keys: registers as `portcullis enclave measure` prints them. */
  pcrs: v.strictObject({ '0': pcr, '1': pcr, '2': pcr }),
  /** Machine image of the parent instance. */
  imageId: v.pipe(v.string(), v.regex(/^ami-[0-9a-f]{8,17}$/, "must be a machine image like 'ami-0123456789abcdef0'")),
  instanceType: v.optional(
    v.pipe(v.string(), v.regex(/^[a-z0-9-]+\.\d*x?large$/, "must be a type like 'c7g.4xlarge'")),
    'c7g.4xlarge',
  ),
  /** Of the instance, for the enclave. */
  enclaveCpus: v.optional(whole(2, 190), 12),
  enclaveMemoryMiB: v.optional(whole(512, 3_000_000), 24_576),
  /**
   * Who may have jobs run: Ed25519 public keys that sign manifests. Without one there is no state machine, and the parent takes
   * no job.
   */
  owners: v.optional(v.pipe(v.array(ownerKey), v.maxLength(16)), []),
  /** How long a receipt and its audit log cannot be deleted. */
  auditRetentionDays: v.optional(whole(1, 36_500), 3650),
});

/** What is deployed to AWS, and how (docs/deployment.md). */
export const DeploymentSettingsSchema = v.strictObject({
  /** Region of all that need not be in us-east-1. */
  region: v.optional(region, EDGE_REGION),
  modules: v.optional(
    v.pipe(
      v.array(v.picklist(MODULE_NAMES)),
      v.minLength(1, 'must name a module at least'),
      v.check((names) => new Set(names).size === names.length, 'must name each module once'),
    ),
    ['base', 'api', 'revocation'],
  ),
  /** Tags of everything that can have some. */
  tags: v.optional(v.record(tagName, v.pipe(v.string(), v.maxLength(256))), {}),
  /** Who is told of an alarm. */
  alarmEmail: v.optional(v.pipe(v.string(), v.email())),
  /** How long logs are kept: CloudWatch has these periods. */
  logRetentionDays: v.optional(v.picklist([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365]), 30),
  delivery: v.optional(DeliverySchema, {}),
  keys: v.optional(
    v.strictObject({
      /** Where the function finds its keys: `store`, the KeyValueStore, or `embedded`, its own last line. */
      at: v.optional(v.picklist(['store', 'embedded']), 'store'),
      /** How often the key ring rotates. */
      rotationDays: v.optional(whole(1, 365), 30),
    }),
    {},
  ),
  /** Who issues the bearer tokens of the API: an OpenID provider, a Cognito user pool. */
  identity: v.optional(v.strictObject({ issuer: httpsUrl, audience: v.optional(v.string(), 'portcullis') })),
  /** The public client of `identity.issuer` that the console logs people in with. */
  console: v.optional(
    v.strictObject({ clientId: v.pipe(v.string(), v.regex(/^[\x21-\x7e]{1,256}$/, 'must be a client id')) }),
  ),
  /** Fields of access logs: with the whole path of a request they hold bearer tokens. */
  accessLogs: v.optional(v.strictObject({ includeUri: v.optional(v.boolean(), false) }), {}),
  render: v.optional(RenderSchema),
});

export type DeploymentSettings = v.InferOutput<typeof DeploymentSettingsSchema>;
