import { loadAws } from '../../config/aws.ts';
import {
  BYTES_SCANNED_LIMIT,
  EDGE_REGION,
  KEY_RING_SECRET,
  type ModuleName,
  WORKGROUP,
} from '../../config/deployment.ts';
import type { Configuration } from '../../config/schema.ts';
import { type Finding, failed, ok, unchecked } from './finding.ts';
import { stacksFinding } from './stacks.ts';

/** Something about the account that a configuration would be deployed to. Every check only reads. */
export interface AccountCheck {
  name: string;
  /** What the credentials need for it: IAM actions. */
  action: string;
  appliesTo: (configuration: Configuration) => boolean;
  check: (configuration: Configuration, account: string) => Promise<Finding>;
}

const has =
  (...names: ModuleName[]) =>
  ({ aws }: Configuration) =>
    names.some((name) => aws.modules.includes(name));

/** Everything that is looked at in an account, in order. */
export const ACCOUNT_CHECKS: AccountCheck[] = [
  {
    name: `bootstrap, ${EDGE_REGION}`,
    action: 'ssm:GetParameter',
    appliesTo: ({ aws }) => aws.modules.includes('base') || aws.region === EDGE_REGION,
    check: async (_, account) => (await loadAws(() => import('./ssm.ts'))).bootstrap(EDGE_REGION, account),
  },
  {
    name: 'bootstrap, aws.region',
    action: 'ssm:GetParameter',
    appliesTo: ({ aws }) => aws.region !== EDGE_REGION,
    check: async ({ aws }, account) => (await loadAws(() => import('./ssm.ts'))).bootstrap(aws.region, account),
  },
  {
    name: 'stacks',
    action: 'cloudformation:DescribeStacks',
    appliesTo: () => true,
    check: async (configuration) => {
      const { deployedStacks } = await loadAws(() => import('./cloudformation.ts'));
      const regions = [...new Set([configuration.aws.region, EDGE_REGION])];
      return stacksFinding(configuration, (await Promise.all(regions.map(deployedStacks))).flat());
    },
  },
  {
    name: 'functions',
    action: 'cloudfront:ListFunctions',
    appliesTo: has('base'),
    check: async () => (await loadAws(() => import('./cloudfront.ts'))).functionQuota(EDGE_REGION),
  },
  {
    name: 'rule group',
    action: 'wafv2:ListRuleGroups, wafv2:GetRuleGroup',
    appliesTo: ({ revocation }) => revocation.waf.publish,
    check: async ({ aws, revocation }) =>
      (await loadAws(() => import('./waf.ts'))).ruleGroupCapacity(revocation.waf, aws.region),
  },
  {
    name: 'key ring',
    action: 'secretsmanager:DescribeSecret',
    appliesTo: has('base'),
    check: async ({ aws }) =>
      (await loadAws(() => import('./secrets-manager.ts'))).keyRingRotation(KEY_RING_SECRET, aws.region),
  },
  {
    name: 'mastering key',
    action: 'kms:DescribeKey',
    appliesTo: ({ aws, mastering }) => mastering.kms.provider === 'aws' || aws.modules.includes('mastering'),
    check: async ({ aws, mastering: { kms, keyId } }) => {
      const region = kms.provider === 'aws' ? kms.region : aws.region;
      return (await loadAws(() => import('./kms.ts'))).keyState(keyId, region, aws.modules.includes('mastering'));
    },
  },
  {
    name: 'workgroup',
    action: 'athena:GetWorkGroup',
    appliesTo: has('revocation'),
    check: async ({ aws, revocation: { athena } }) => {
      const { workgroupLimit } = await loadAws(() => import('./athena.ts'));
      return workgroupLimit(
        athena?.workgroup ?? WORKGROUP,
        athena?.bytesScannedLimit ?? BYTES_SCANNED_LIMIT,
        athena?.region ?? aws.region,
      );
    },
  },
  {
    name: 'log delivery',
    action: 'logs:DescribeDeliverySources',
    appliesTo: has('revocation'),
    check: async () => (await loadAws(() => import('./cloudwatch-logs.ts'))).logDelivery(),
  },
];

/** Names of errors of the SDK by which it says that it found no credentials, or none that AWS takes. */
const NO_CREDENTIALS = ['CredentialsProviderError', 'TokenProviderError'];
const BAD_CREDENTIALS = [
  'InvalidClientTokenId',
  'ExpiredToken',
  'ExpiredTokenException',
  'SignatureDoesNotMatch',
  'UnrecognizedClientException',
];
const DENIED = ['AccessDenied', 'AccessDeniedException', 'UnauthorizedOperation'];

/** Whose credentials the environment has, if any. `account` is missing when nothing more can be checked. */
export async function identify(region: string): Promise<Finding & { account?: string }> {
  try {
    const { account, arn } = await (await loadAws(() => import('./sts.ts'))).callerIdentity(region);
    return { ...ok(`account ${account}, as ${arn}`), account };
  } catch (error) {
    const { name, message, code } = error as Error & { code?: string };
    if (NO_CREDENTIALS.includes(name)) {
      return unchecked('no credentials: set AWS_PROFILE, or log in with `aws sso login`, to have the account checked');
    }
    if (BAD_CREDENTIALS.includes(name)) {
      return failed(
        `the credentials are not taken (${name}): log in again; if they are right, enable the region ${region}`,
      );
    }
    if (code === 'ERR_MISSING_PACKAGE') return unchecked(message);
    return unchecked(`no answer to sts:GetCallerIdentity: ${code ?? name}`);
  }
}

/** Runs a check. What the credentials may not see, or does not answer, is not checked; that is no fault of the account. */
export async function runAccountCheck(
  { check, action }: AccountCheck,
  configuration: Configuration,
  account: string,
): Promise<Finding> {
  try {
    return await check(configuration, account);
  } catch (error) {
    const { name, message, code } = error as Error & { code?: string };
    if (DENIED.includes(name)) return unchecked(`not allowed: these credentials lack ${action}`);
    if (code === 'ERR_MISSING_PACKAGE') return unchecked(message);
    return unchecked(`no answer to ${action}: ${code ?? name}`);
  }
}
