import type { ObjectEncryption } from '../object-store.ts';
import {
  type AccessRequest,
  type Certainty,
  type Decision,
  evaluatePolicy,
  isOfNamed,
  type PolicyDocument,
  wildcard,
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
/** The account of the documentation, and an id of zeroes, which are in no policy. */
const OTHER_ACCOUNT = '000000000000';
const OTHER_KEY_ID = '00000000-0000-0000-0000-000000000000';
const OTHER_KEY = `arn:aws:kms:us-east-1:${OTHER_ACCOUNT}:key/${OTHER_KEY_ID}`;

const WRITE = ['s3:PutObject'];
const OF_OBJECTS = ['s3:GetObject', 's3:GetObjectVersion', ...WRITE, 's3:DeleteObject'];
const OF_BUCKETS = ['s3:ListBucket'];
/** Stands for every action that nobody thought of: of the bucket and of its objects. */
const ANY_OTHER = 's3:PortcullisProbe';
const EVERYTHING = [...OF_OBJECTS, ...OF_BUCKETS];

interface Probe {
  name: string;
  /** `all`: those that matter, those that the policy names, and one that nobody thought of. */
  actions: string[] | 'all';
  caller: AccessRequest['caller']['type'];
  context: Context;
  /** What else it says of itself, each tried in turn. */
  each?: (subject: Subject) => Context[];
  /** Whether the probe makes sense of this bucket. */
  when?: (request: CheckRequest) => boolean;
  /** What keeps it out whatever the policy says. */
  blockedBy?: (settings: BucketSettings) => Certainty;
  /** Whether `RestrictPublicBuckets` keeps out what the policy lets through. */
  isPublic?: true;
}

const needsKey = (request: CheckRequest) => requiredKey(request) !== undefined;
const noSseC = ({ blockedEncryption }: BucketSettings): Certainty =>
  blockedEncryption === 'unreadable' ? 'unknown' : blockedEncryption.includes('SSE-C') ? 'yes' : 'no';
const namesOthers = ({ policy }: CheckRequest) =>
  policy !== 'unreadable' &&
  policy.Statement.some(({ Effect, Principal, NotPrincipal }) =>
    [Effect === 'Allow' ? Principal : undefined, NotPrincipal].some(
      (named) =>
        typeof named === 'object' &&
        Object.entries(named).some(([type, names]) => names.some((name) => isOfNamed(type, name))),
    ),
  );

/** Requests that should not get through. Those of the own account have every permission that IAM can give. */
const PROBES: Probe[] = [
  {
    name: 'plain HTTP',
    actions: 'all',
    caller: 'own-account',
    context: { 'aws:securetransport': 'false', 's3:tlsversion': null },
  },
  ...['1.0', '1.1'].map(
    (version): Probe => ({
      name: `TLS ${version}`,
      actions: 'all',
      caller: 'own-account',
      context: { 's3:tlsversion': version },
    }),
  ),
  {
    name: 'wrong SSE header: SSE-S3',
    actions: WRITE,
    caller: 'own-account',
    context: { [SSE]: 'AES256' },
    when: needsKey,
  },
  ...['aws:kms', 'aws:kms:dsse'].flatMap((header): Probe[] => [
    {
      name: `wrong KMS key: ${header} with another`,
      actions: WRITE,
      caller: 'own-account',
      context: { [SSE]: header },
      each: otherKeys,
      when: needsKey,
    },
    {
      name: `wrong KMS key: ${header} with none, which is aws/s3`,
      actions: WRITE,
      caller: 'own-account',
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
  { name: 'anonymous', actions: 'all', caller: 'anonymous', context: {}, isPublic: true },
  {
    name: 'another account',
    actions: 'all',
    caller: 'other-account',
    context: {},
    // A role of theirs may have any name.
    each: ({ partition }) =>
      ['iam', 'sts'].map((service) => ({
        'aws:principalarn': { like: `arn:${partition}:${service}:*:${OTHER_ACCOUNT}:*` },
      })),
    isPublic: true,
  },
  {
    name: 'whom the policy names: an account, a user of S3, an identity provider',
    actions: 'all',
    caller: 'named',
    context: {},
    when: namesOthers,
    isPublic: true,
  },
  {
    name: 'a service that acts for another account',
    actions: 'all',
    caller: 'service',
    context: {},
    // The ARN of a bucket says no account.
    each: ({ partition }) =>
      [OTHER_ACCOUNT, ''].map((account) => ({ 'aws:sourcearn': { like: `arn:${partition}:*:*:${account}:*` } })),
  },
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
    'aws:principalaccount': OTHER_ACCOUNT,
    'aws:principalorgid': 'o-stranger00',
    'aws:sourcearn': null,
    'aws:sourceaccount': null,
  },
  named: { 'aws:sourcearn': null, 'aws:sourceaccount': null },
  service: {
    'aws:principalisawsservice': 'true',
    'aws:principalarn': null,
    'aws:principalaccount': null,
    'aws:principalorgid': null,
    'aws:principalorgpaths': null,
    'aws:sourceaccount': OTHER_ACCOUNT,
    'aws:sourceorgid': 'o-stranger00',
  },
  'own-account': {},
};

/** A policy that could be read, and what of it the probes are made of. */
interface Subject {
  bucket: string;
  policy: PolicyDocument;
  partition: string;
  /** The only KMS key that objects are to be under, as it was named. */
  key: string | undefined;
}

function subjectOf(request: CheckRequest, policy: PolicyDocument): Subject {
  // A policy is of one partition; without a name in it, of the common one.
  const partitions = resourceNames(policy).flatMap((name) => /^arn:([\w-]+):s3:::/.exec(name)?.slice(1) ?? []);
  return { bucket: request.bucket, policy, partition: partitions.at(-1) ?? 'aws', key: requiredKey(request) };
}

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
function tryProbe(probe: Probe, request: CheckRequest): ProbeResult {
  const { name, caller, context, blockedBy, isPublic, each = () => [{}] } = probe;
  const { policy, settings } = request;
  const setting = (settings && blockedBy?.(settings)) ?? 'no';
  const firstAction = probe.actions === 'all' ? 's3:GetObject' : (probe.actions[0] ?? '');
  const of = (verdict: ProbeResult['verdict'], why: string, action = firstAction): ProbeResult => ({
    probe: name,
    action,
    verdict,
    why,
  });
  if (setting === 'yes') return of('blocked', 'a setting of the bucket');
  if (policy === 'unreadable') return of('unknown', 'the policy could not be read');
  const subject = subjectOf(request, policy);
  const results = actionsOf(probe, policy).flatMap((action) =>
    resourcesOf(subject, action).flatMap((resource) =>
      callersOf(policy, caller).flatMap((who) =>
        each(subject).map((more) => {
          const full = { ...OVER_TLS, ...CALLER_CONTEXT[caller], ...context, ...more };
          const decision = evaluatePolicy(policy, { caller: who, action, resource, context: full });
          const { verdict, why } = outcome(decision, caller);
          if (verdict !== 'let through') return of(verdict, why, action);
          // What S3 calls public is narrower than what we cannot tell: only what is let through for certain is kept out.
          if (isPublic && settings?.restrictsPublicPolicy === true)
            return of('blocked', 'RestrictPublicBuckets', action);
          const isUnsure = setting === 'unknown' || (isPublic && settings?.restrictsPublicPolicy === 'unreadable');
          return of(isUnsure ? 'unknown' : verdict, why, action);
        }),
      ),
    ),
  );
  const [worst] = (['let through', 'unknown', 'blocked'] as const).flatMap(
    (verdict) => results.find((result) => result.verdict === verdict) ?? [],
  );
  return worst ?? of('unknown', 'nothing to try it with');
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

/** What a pattern with `*` and `?` is like: with something for each asterisk, and with nothing. A variable is something too. */
function samplesOf(pattern: string): string[] {
  const filled = pattern.replaceAll(/\$\{[^}]*\}/g, 'q').replaceAll('?', 'q');
  return [...new Set(['qz', ''].map((filler) => filled.replaceAll('*', filler)))];
}

/** The actions of a probe. Those that the policy names are tried too, whatever it says of them: all but one is one. */
function actionsOf({ actions }: Probe, policy: PolicyDocument): string[] {
  if (actions !== 'all') return actions;
  const named = policy.Statement.flatMap(({ Action = [], NotAction = [] }) => [...Action, ...NotAction])
    .filter((pattern) => !pattern.includes(':') || wildcard((pattern.split(':')[0] ?? '').toLowerCase(), 's3') !== 'no')
    .flatMap((pattern) => samplesOf(pattern.replace(/^[^:]*:/, '')))
    .filter((name) => name !== '')
    .map((name) => `s3:${name}`);
  const known = new Set(EVERYTHING.map((action) => action.toLowerCase()));
  return [...EVERYTHING, ...new Set(named.filter((action) => !known.has(action.toLowerCase()))), ANY_OTHER];
}

const resourceNames = (policy: PolicyDocument) =>
  policy.Statement.flatMap(({ Resource = [], NotResource = [] }) => [...Resource, ...NotResource]);

/**
 * What an action may be done to: objects with a name that nobody would think of, and whatever the policy names in this bucket. An
 * action that is not known may be one of the bucket or of its objects.
 */
function resourcesOf({ bucket, policy, partition }: Subject, action: string): string[] {
  const root = `arn:${partition}:s3:::${bucket}`;
  const names = resourceNames(policy);
  // A name may have an asterisk where the bucket ends and its object begins.
  const across = names.flatMap((pattern) =>
    [...pattern.matchAll(/\*/g)]
      .slice(0, 8)
      .flatMap(({ index }) => samplesOf(pattern.slice(index + 1)).map((rest) => `${root}/~${rest}`))
      .filter((name) => wildcard(pattern, name) === 'yes'),
  );
  const within = names
    .flatMap(samplesOf)
    .flatMap((sample) => /^arn:[\w-]+:s3:::[^/]+\/(.+)$/s.exec(sample)?.slice(1) ?? [])
    .map((key) => `${root}/${key}`);
  const objects = [...new Set([`${root}/~`, `${root}/~portcullis/probe`, ...within, ...across])];
  if (OF_BUCKETS.includes(action)) return [root];
  return OF_OBJECTS.includes(action) ? objects : [root, ...objects];
}

/** Keys that are not the one asked for: of nobody, beside it, and those that the policy names. */
function otherKeys({ policy, key = '' }: Subject): Context[] {
  const named = policy.Statement.flatMap(({ Condition = {} }) =>
    Object.values(Condition).flatMap((keys) =>
      Object.entries(keys).flatMap(([name, expected]) => (name.toLowerCase() === SSE_KMS_KEY ? expected : [])),
    ),
  ).flatMap(samplesOf);
  // An alias does not say which of the named keys it is.
  const others = key.includes('alias/') ? [] : named.filter((one) => one !== key && !one.endsWith(`:key/${key}`));
  const beside = [key, ...named]
    .filter((one) => /:key\//.test(one))
    .map((one) => one.replace(/:key\/.*$/s, `:key/${OTHER_KEY_ID}`));
  return [...new Set([OTHER_KEY, ...beside, ...others])].map((one) => ({ [SSE_KMS_KEY]: one }));
}

/** Who may call: of the own account somebody who is not named, and everybody who is. */
function callersOf(policy: PolicyDocument, type: Probe['caller']): AccessRequest['caller'][] {
  if (type !== 'own-account') return [{ type }];
  const arns = policy.Statement.flatMap(({ Principal, NotPrincipal }) =>
    [Principal, NotPrincipal].flatMap((named) => (named === undefined || named === '*' ? [] : (named.AWS ?? []))),
  ).filter((arn) =>
    /^arn:[\w-]+:(?:iam::\d{12}:(?:role|user)|sts::\d{12}:(?:assumed-role|federated-user))\//.test(arn),
  );
  return [{ type }, ...[...new Set(arns)].map((arn) => ({ type, arn }))];
}

/** Where one KMS key is asked for, an object that no header says anything of gets the default of the bucket. */
function tryDefault(request: CheckRequest): ProbeResult {
  const probe = { probe: 'no SSE header', action: 's3:PutObject' };
  const required = requiredKey(request);
  const preset = request.settings?.defaultEncryption;
  if (isHeaderlessPutRefused(request)) return { ...probe, verdict: 'blocked', why: 'the policy asks for the header' };
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

/** Whether every upload that leaves the encryption to the bucket is refused. */
function isHeaderlessPutRefused(request: CheckRequest): boolean {
  const probe: Probe = { name: '', actions: WRITE, caller: 'own-account', context: {} };
  return tryProbe(probe, request).verdict === 'blocked';
}

function notesOn(request: CheckRequest): string[] {
  const { settings } = request;
  const notes: string[] = [];
  if (isHeaderlessPutRefused(request)) {
    notes.push('uploads that leave the encryption to the default of the bucket are refused: test the header with Null');
  }
  if (!settings)
    notes.push('only the policy was looked at: settings of the bucket may block more, and its access lists allow more');
  if (settings?.versioning === false) notes.push('versioning is off: an object that is overwritten or deleted is gone');
  if (settings?.versioning === 'unreadable') notes.push('versioning could not be read (s3:GetBucketVersioning)');
  if (!needsKey(request)) notes.push('no KMS key is asked for: any encryption of S3 will do (--kms-key asks for one)');
  return notes;
}
