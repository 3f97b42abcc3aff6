import type { ObjectEncryption } from '../object-store.ts';
import {
  type AccessRequest,
  type Certainty,
  type Decision,
  evaluatePolicy,
  type PolicyDocument,
} from './policy-document.ts';

/** What a bucket is set to, beside its policy; a setting that could not be read is `unreadable`. */
export interface BucketSettings {
  /** What S3 encrypts an object with when the request says nothing. */
  defaultEncryption: { type: ObjectEncryption['type']; keyId?: string | undefined } | 'unreadable';
  /** Encryptions that no request may ask for (PutBucketEncryption, `BlockedEncryptionTypes`). */
  blockedEncryption: ObjectEncryption['type'][] | 'unreadable';
  /** `RestrictPublicBuckets`: a public policy lets in nobody from outside the account. */
  restrictsPublicPolicy: boolean | 'unreadable';
  /** Whether no access control list can let anybody in: bucket owner enforced, or `IgnorePublicAcls`. */
  ignoresAcls: boolean | 'unreadable';
  versioning: boolean | 'unreadable';
}

export interface CheckRequest {
  bucket: string;
  policy: PolicyDocument | 'unreadable';
  /** Absent when a policy is looked at by itself. */
  settings?: BucketSettings | undefined;
  /** The only KMS key that objects are to be under; the bucket's default unless given. */
  kmsKey?: string | undefined;
  allowSseC?: boolean | undefined;
}

/** What became of a request that should not get through. */
export interface ProbeResult {
  probe: string;
  /** The action that got the furthest, `s3:GetObject`. */
  action: string;
  verdict: 'blocked' | 'let through' | 'unknown';
  why: string;
}

export interface CheckResult {
  bucket: string;
  /** Whether every probe is blocked for certain. */
  safe: boolean;
  probes: ProbeResult[];
  /** What is no hole, and worth knowing. */
  notes: string[];
}

type Context = AccessRequest['context'];

const SSE = 's3:x-amz-server-side-encryption';
const SSE_KMS_KEY = 's3:x-amz-server-side-encryption-aws-kms-key-id';
const SSE_C = 's3:x-amz-server-side-encryption-customer-algorithm';
/** What every probe says of itself; a condition on anything else (an address, a network, an organisation) is unknown. */
const OVER_TLS: Context = {
  'aws:securetransport': 'true',
  's3:tlsversion': '1.3',
  'aws:principalisawsservice': 'false',
  'aws:viaawsservice': 'false',
  [SSE]: null,
  [SSE_KMS_KEY]: null,
  [SSE_C]: null,
};
/** A key that is in no policy: the account of the documentation, and an id of zeroes. */
const OTHER_KEY = 'arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000';
const OTHER_ACCOUNT = '000000000000';

const READ = ['s3:GetObject', 's3:GetObjectVersion'];
const WRITE = ['s3:PutObject'];
const EVERYTHING = [...READ, ...WRITE, 's3:DeleteObject', 's3:ListBucket'];

interface Probe {
  name: string;
  actions: string[];
  caller: AccessRequest['caller']['type'];
  context: Context;
  /** Whether the probe makes sense of this bucket. */
  when?: (request: CheckRequest) => boolean;
  /** What keeps it out whatever the policy says. */
  blockedBy?: (settings: BucketSettings) => Certainty;
}

const needsKey = (request: CheckRequest) => requiredKey(request) !== undefined;
const noSseC = ({ blockedEncryption }: BucketSettings): Certainty =>
  blockedEncryption === 'unreadable' ? 'unknown' : blockedEncryption.includes('SSE-C') ? 'yes' : 'no';
const noPublicPolicy = ({ restrictsPublicPolicy: restricts }: BucketSettings): Certainty =>
  restricts === 'unreadable' ? 'unknown' : restricts ? 'yes' : 'no';

/** Requests that should not get through. Those of the own account have every permission that IAM can give. */
const PROBES: Probe[] = [
  {
    name: 'plain HTTP',
    actions: EVERYTHING,
    caller: 'own-account',
    context: { 'aws:securetransport': 'false', 's3:tlsversion': null },
  },
  ...['1.0', '1.1'].map((version) => ({
    name: `TLS ${version}`,
    actions: EVERYTHING,
    caller: 'own-account' as const,
    context: { 's3:tlsversion': version },
  })),
  {
    name: 'wrong SSE header: SSE-S3',
    actions: WRITE,
    caller: 'own-account',
    context: { [SSE]: 'AES256' },
    when: needsKey,
  },
  ...['aws:kms', 'aws:kms:dsse'].flatMap((header) => [
    {
      name: `wrong KMS key: ${header} with another`,
      actions: WRITE,
      caller: 'own-account' as const,
      context: { [SSE]: header, [SSE_KMS_KEY]: OTHER_KEY },
      when: needsKey,
    },
    {
      name: `wrong KMS key: ${header} with none, which is aws/s3`,
      actions: WRITE,
      caller: 'own-account' as const,
      context: { [SSE]: header },
      when: needsKey,
    },
  ]),
  {
    name: 'SSE-C',
    actions: WRITE,
    caller: 'own-account',
    context: { [SSE_C]: 'AES256' },
    when: ({ allowSseC }) => !allowSseC,
    blockedBy: noSseC,
  },
  { name: 'anonymous', actions: EVERYTHING, caller: 'anonymous', context: {}, blockedBy: noPublicPolicy },
  { name: 'another account', actions: EVERYTHING, caller: 'other-account', context: {}, blockedBy: noPublicPolicy },
];

/** Who calls is known of strangers, of whom nothing is trusted; of somebody in the account it may be anybody. */
const CALLER_CONTEXT: Record<AccessRequest['caller']['type'], Context> = {
  anonymous: {
    'aws:principalarn': null,
    'aws:principalaccount': null,
    'aws:principalorgid': null,
    'aws:principalorgpaths': null,
    'aws:sourcearn': null,
    'aws:sourceaccount': null,
    'aws:userid': 'anonymous',
  },
  'other-account': {
    'aws:principalarn': `arn:aws:iam::${OTHER_ACCOUNT}:role/stranger`,
    'aws:principalaccount': OTHER_ACCOUNT,
    'aws:principalorgid': 'o-stranger00',
    'aws:sourcearn': null,
    'aws:sourceaccount': null,
  },
  'own-account': {},
};

function requiredKey({ kmsKey, settings }: CheckRequest): string | undefined {
  const preset = settings?.defaultEncryption;
  return kmsKey ?? (preset === 'unreadable' ? undefined : preset?.keyId);
}

/**
 * Tries requests that should not get through against a bucket, without sending any: by its policy and its settings, or by a policy
 * alone. Each is tried as everybody the policy names, and on everything it names. What depends on something that is not understood
 * or not known is `unknown`, which is not safe.
 */
export function checkBucket(request: CheckRequest): CheckResult {
  const probes = [
    ...PROBES.filter(({ when }) => when?.(request) ?? true).map((probe) => tryProbe(probe, request)),
    ...(needsKey(request) ? [tryDefault(request)] : []),
    ...(request.settings ? [tryAcls(request.settings)] : []),
  ];
  return {
    bucket: request.bucket,
    safe: probes.every(({ verdict }) => verdict === 'blocked'),
    probes,
    notes: notesOn(request),
  };
}

/** The worst that becomes of a probe, over all it may be tried with. */
function tryProbe(
  { name, actions, caller, context, blockedBy }: Probe,
  { bucket, policy, settings }: CheckRequest,
): ProbeResult {
  const setting = settings && blockedBy ? blockedBy(settings) : 'no';
  const [firstAction = ''] = actions;
  if (setting === 'yes')
    return { probe: name, action: firstAction, verdict: 'blocked', why: 'a setting of the bucket' };
  if (policy === 'unreadable') {
    return { probe: name, action: firstAction, verdict: 'unknown', why: 'the policy could not be read' };
  }
  const results = actions.flatMap((action) =>
    resourcesOf(policy, bucket, action).flatMap((resource) =>
      callersOf(policy, caller).map((who): ProbeResult => {
        const full = { ...OVER_TLS, ...CALLER_CONTEXT[caller], ...context };
        const decision = evaluatePolicy(policy, { caller: who, action, resource, context: full });
        const { verdict, why } = outcome(decision, caller);
        const unsure = setting === 'unknown' && verdict === 'let through';
        return { probe: name, action, verdict: unsure ? 'unknown' : verdict, why };
      }),
    ),
  );
  const worst = (['let through', 'unknown', 'blocked'] as const).map((verdict) =>
    results.find((r) => r.verdict === verdict),
  );
  return (
    worst.find((result) => result !== undefined) ?? { probe: name, action: firstAction, verdict: 'unknown', why: '' }
  );
}

/** What a decision of the policy means for a caller: strangers need its leave, others have that of IAM. */
function outcome({ allow, deny, by }: Decision, caller: Probe['caller']): Pick<ProbeResult, 'verdict' | 'why'> {
  const names = by.join(', ');
  if (deny === 'yes') return { verdict: 'blocked', why: names };
  const needed = caller === 'own-account' ? 'yes' : allow;
  if (needed === 'no') return { verdict: 'blocked', why: 'nothing allows it' };
  if (deny === 'unknown' || needed === 'unknown') {
    return { verdict: 'unknown', why: `${names}: a condition or a principal that cannot be told from here` };
  }
  return { verdict: 'let through', why: caller === 'own-account' ? 'nothing denies it' : names };
}

/** What an action may be done to: something that no statement names, and whatever one names in this bucket. */
function resourcesOf(policy: PolicyDocument, bucket: string, action: string): string[] {
  const isBucket = action === 's3:ListBucket';
  const named = policy.Statement.flatMap(({ Resource = [], NotResource = [] }) => [...Resource, ...NotResource]);
  const samples = named
    .map((pattern) =>
      pattern
        .replaceAll(/\$\{[^}]*\}/g, 'x')
        .replaceAll('*', 'x')
        .replaceAll('?', 'x'),
    )
    .flatMap((sample) => (/^arn:[\w-]+:s3:::[^/]+\/(.+)$/.exec(sample) ?? []).slice(1));
  const roots = [...new Set(['arn:aws:s3:::', ...named.flatMap((name) => /^arn:[\w-]+:s3:::/.exec(name) ?? [])])];
  // A policy is of one partition; without a name in it, of the common one.
  const root = roots.at(-1) ?? '';
  if (isBucket) return [`${root}${bucket}`];
  return [...new Set(['portcullis/probe', ...samples])].map((key) => `${root}${bucket}/${key}`);
}

/** Who may call: of the own account somebody who is not named, and everybody who is. */
function callersOf(policy: PolicyDocument, type: Probe['caller']): AccessRequest['caller'][] {
  if (type !== 'own-account') return [{ type }];
  const arns = policy.Statement.flatMap(({ Principal, NotPrincipal }) =>
    [Principal, NotPrincipal].flatMap((named) => (named === undefined || named === '*' ? [] : (named.AWS ?? []))),
  ).filter((arn) => /^arn:[\w-]+:iam::\d{12}:(?:role|user)\//.test(arn));
  return [{ type }, ...[...new Set(arns)].map((arn) => ({ type, arn }))];
}

/** Where one KMS key is asked for, an object that no header says anything of gets the default of the bucket. */
function tryDefault(request: CheckRequest): ProbeResult {
  const probe = { probe: 'no SSE header', action: 's3:PutObject' };
  const required = requiredKey(request);
  const preset = request.settings?.defaultEncryption;
  if (headerlessPut(request) === 'yes') return { ...probe, verdict: 'blocked', why: 'the policy asks for the header' };
  if (preset === undefined) {
    return {
      ...probe,
      verdict: 'unknown',
      why: 'the default encryption of the bucket decides: check the bucket itself',
    };
  }
  if (preset === 'unreadable') return { ...probe, verdict: 'unknown', why: 'the default encryption could not be read' };
  // The default may be named by ARN, by id, or by an alias, which says nothing of the key.
  if (preset.keyId?.includes('alias/')) return { ...probe, verdict: 'unknown', why: `the default is ${preset.keyId}` };
  const isRequired =
    preset.keyId !== undefined && (preset.keyId === required || required?.endsWith(`:key/${preset.keyId}`));
  if (isRequired) return { ...probe, verdict: 'blocked', why: 'the default is that KMS key' };
  const named = preset.keyId ? `${preset.type} with ${preset.keyId}` : preset.type;
  return { ...probe, verdict: 'let through', why: `the default encryption is ${named}` };
}

function tryAcls({ ignoresAcls }: BucketSettings): ProbeResult {
  const probe = { probe: 'anonymous, by an access control list', action: 's3:GetObject' };
  if (ignoresAcls === true) return { ...probe, verdict: 'blocked', why: 'access control lists are ignored' };
  const why =
    ignoresAcls === 'unreadable' ? 'object ownership could not be read' : 'an object may have a list that allows it';
  return { ...probe, verdict: 'unknown', why };
}

/** Whether an upload that leaves the encryption to the bucket is refused. */
function headerlessPut({ policy, bucket }: CheckRequest): Certainty {
  if (policy === 'unreadable') return 'unknown';
  const caller = { type: 'own-account' as const };
  const resource = resourcesOf(policy, bucket, 's3:PutObject')[0] ?? '';
  return evaluatePolicy(policy, { caller, action: 's3:PutObject', resource, context: OVER_TLS }).deny;
}

function notesOn(request: CheckRequest): string[] {
  const { settings } = request;
  const notes: string[] = [];
  if (headerlessPut(request) === 'yes') {
    notes.push('uploads that leave the encryption to the default of the bucket are refused: test the header with Null');
  }
  if (!settings)
    notes.push('only the policy was looked at: settings of the bucket may block more, and its access lists allow more');
  if (settings?.versioning === false) notes.push('versioning is off: an object that is overwritten or deleted is gone');
  if (settings?.versioning === 'unreadable') notes.push('versioning could not be read (s3:GetBucketVersioning)');
  if (!needsKey(request)) notes.push('no KMS key is asked for: any encryption of S3 will do (--kms-key asks for one)');
  return notes;
}
