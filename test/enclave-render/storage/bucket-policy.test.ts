import { describe, expect, test } from 'vitest';
import { type BucketSettings, checkBucket } from '../../../enclave-render/storage/bucket/check.ts';
import { bucketPolicy } from '../../../enclave-render/storage/bucket/policy.ts';
import { evaluatePolicy, parsePolicy } from '../../../enclave-render/storage/bucket/policy-document.ts';

const BUCKET = 'masters';
const KEY = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const ROLE = 'arn:aws:iam::111122223333:role/mastering';
const SAFE: BucketSettings = {
  defaultEncryption: { type: 'SSE-KMS', keyId: KEY },
  blockedEncryption: ['SSE-C'],
  restrictsPublicPolicy: true,
  ignoresAcls: true,
  versioning: true,
};
const OBJECTS = `arn:aws:s3:::${BUCKET}/*`;
const KMS_KEY = 's3:x-amz-server-side-encryption-aws-kms-key-id';
const BOTH = [`arn:aws:s3:::${BUCKET}`, OBJECTS];

const check = (policy: unknown, settings?: BucketSettings, kmsKey?: string) =>
  checkBucket({ bucket: BUCKET, policy: parsePolicy(policy), settings, kmsKey });
/** The probes that came to a verdict. */
const those = (result: ReturnType<typeof checkBucket>, verdict: string) =>
  result.probes.filter((probe) => probe.verdict === verdict).map(({ probe }) => probe);
const deny = (Condition?: object, more: object = {}) => ({
  Version: '2012-10-17',
  Statement: [
    { Effect: 'Deny', Principal: '*', Action: 's3:*', Resource: BOTH, ...(Condition && { Condition }), ...more },
  ],
});
const allow = (more: object) => ({
  Statement: { Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: OBJECTS, ...more },
});

describe('a policy that is made', () => {
  const request = { bucket: BUCKET, kmsKey: KEY, writers: [ROLE], readers: [`${ROLE}-2`, ROLE] };

  test('lets nothing through that it should not, and the defaults of the bucket alone', () => {
    const result = check(bucketPolicy(request), SAFE);
    expect(result.probes.filter(({ verdict }) => verdict !== 'blocked')).toEqual([]);
    expect([result.safe, result.notes]).toEqual([true, []]);
    expect(result.probes.length).toBeGreaterThan(10);
  });

  test('without a key lets every encryption through but SSE-C', () => {
    const result = check(bucketPolicy({ bucket: BUCKET }));
    expect(result.safe).toBe(true);
    expect(result.probes.map(({ probe }) => probe)).toEqual([
      'plain HTTP',
      'TLS 1.0',
      'TLS 1.1',
      'SSE-C',
      'anonymous',
      'another account',
      'a service that acts for another account',
    ]);
    expect(those(check(bucketPolicy({ bucket: BUCKET, allowSseC: true })), 'let through')).toEqual(['SSE-C']);
  });

  test('is the same text for the same request', () => {
    const other = { ...request, readers: [...request.readers].reverse() };
    expect(JSON.stringify(bucketPolicy(other))).toBe(JSON.stringify(bucketPolicy(request)));
  });

  test('is of the partition of its key', () => {
    const kmsKey = KEY.replace('arn:aws:', 'arn:aws-cn:');
    expect(JSON.stringify(bucketPolicy({ bucket: BUCKET, kmsKey }))).not.toContain('arn:aws:');
    expect(
      those(
        check(bucketPolicy({ bucket: BUCKET, kmsKey }), {
          ...SAFE,
          defaultEncryption: { type: 'SSE-KMS', keyId: kmsKey },
        }),
        'blocked',
      ),
    ).toHaveLength(14);
  });

  const context = { 'aws:securetransport': 'true', 's3:tlsversion': '1.2' };
  const sse = 's3:x-amz-server-side-encryption';
  const absent = { [sse]: null, [`${sse}-aws-kms-key-id`]: null, [`${sse}-customer-algorithm`]: null };
  test.each<[string, Record<string, string | null>, string]>([
    ['no header: the default of the bucket, and every part of a multipart upload', absent, 'no'],
    ['the key', { ...absent, [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: KEY }, 'no'],
    ['the key, twice encrypted', { ...absent, [sse]: 'aws:kms:dsse', [`${sse}-aws-kms-key-id`]: KEY }, 'no'],
    ['another key', { ...absent, [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: `${KEY}0` }, 'yes'],
    ['the key of the account', { ...absent, [sse]: 'aws:kms' }, 'yes'],
    ['SSE-S3', { ...absent, [sse]: 'AES256' }, 'yes'],
    ['SSE-C', { ...absent, [`${sse}-customer-algorithm`]: 'AES256' }, 'yes'],
  ])('an upload with %s', (_, headers, denied) => {
    const policy = parsePolicy(bucketPolicy(request));
    const caller = { type: 'own-account' as const, arn: ROLE };
    const put = {
      caller,
      action: 's3:PutObject',
      resource: `arn:aws:s3:::${BUCKET}/a`,
      context: { ...context, ...headers },
    };
    expect(evaluatePolicy(policy, put)).toMatchObject({ allow: 'yes', deny: denied });
    const other = { ...put, caller: { type: 'own-account' as const, arn: `${ROLE}-2` } };
    expect(evaluatePolicy(policy, other).allow).toBe('no');
  });

  test.each([
    [{ bucket: 'Masters' }, /no bucket name/],
    [{ bucket: 'a' }, /no bucket name/],
    [{ bucket: 'masters/*' }, /no bucket name/],
    [{ bucket: BUCKET, kmsKey: 'alias/mastering' }, /not the ARN of a KMS key/],
    [{ bucket: BUCKET, kmsKey: KEY.replace('key/', 'alias/') }, /not the ARN of a KMS key/],
    [{ bucket: BUCKET, kmsKey: KEY, allowSseC: true }, /leave one of the two out/],
    [{ bucket: BUCKET, readers: ['*'] }, /not the ARN of a role/],
    [{ bucket: BUCKET, writers: [`${ROLE}*`] }, /not the ARN of a role/],
    [{ bucket: BUCKET, writers: ['arn:aws:iam::111122223333:root'] }, /not the ARN of a role/],
  ])('not for %j', (bad, message) => {
    expect(() => bucketPolicy(bad)).toThrow(
      expect.objectContaining({ code: 'ERR_STORAGE_INVALID', message: expect.stringMatching(message) }),
    );
  });
});

describe('a bucket that is checked', () => {
  test('with no policy lets through whatever its settings do not block', () => {
    const result = check({ Statement: [] }, SAFE);
    expect(those(result, 'let through')).toEqual([
      'plain HTTP',
      'TLS 1.0',
      'TLS 1.1',
      'wrong SSE header: SSE-S3',
      'wrong KMS key: aws:kms with another',
      'wrong KMS key: aws:kms with none, which is aws/s3',
      'wrong KMS key: aws:kms:dsse with another',
      'wrong KMS key: aws:kms:dsse with none, which is aws/s3',
    ]);
    expect(result.safe).toBe(false);
  });

  test('of which nothing can be read is unknown in all', () => {
    const settings: BucketSettings = {
      defaultEncryption: 'unreadable',
      blockedEncryption: 'unreadable',
      restrictsPublicPolicy: 'unreadable',
      ignoresAcls: 'unreadable',
      versioning: 'unreadable',
    };
    const result = checkBucket({ bucket: BUCKET, policy: 'unreadable', settings, kmsKey: KEY });
    expect(result.probes.map(({ verdict }) => verdict).filter((verdict) => verdict !== 'unknown')).toEqual([]);
    expect(result.safe).toBe(false);
  });

  test('whose default is another key than the one asked for', () => {
    const settings = { ...SAFE, defaultEncryption: { type: 'SSE-S3' as const } };
    expect(those(check(bucketPolicy({ bucket: BUCKET, kmsKey: KEY }), settings, KEY), 'let through')).toEqual([
      'no SSE header',
    ]);
    expect(those(check(bucketPolicy({ bucket: BUCKET, kmsKey: KEY }), undefined, KEY), 'unknown')).toEqual([
      'no SSE header',
    ]);
  });

  test('that refuses what leaves the encryption to it is told so', () => {
    const sse = 's3:x-amz-server-side-encryption';
    for (const condition of [{ StringNotEquals: { [sse]: 'aws:kms' } }, { Null: { [sse]: 'true' } }]) {
      expect(check(deny(condition)).notes.join()).toContain('test the header with Null');
    }
    const present = { Null: { [sse]: 'false' }, StringNotEquals: { [sse]: 'aws:kms' } };
    for (const condition of [present, { StringNotEqualsIfExists: { [sse]: 'aws:kms' } }]) {
      // IfExists on a negated operator holds too when the key is missing.
      const isTold = check(deny(condition)).notes.join().includes('test the header with Null');
      expect(isTold).toBe(condition !== present);
    }
  });

  // Each looks as if it kept plain HTTP out.
  const HTTP = { Bool: { 'aws:SecureTransport': 'false' } };
  test.each<[string, object, 'let through' | 'unknown' | 'blocked']>([
    ['a deny', deny(HTTP), 'blocked'],
    ['a boolean that is none of text', deny({ Bool: { 'aws:SecureTransport': false } }), 'blocked'],
    ['keys in another case', deny({ Bool: { 'AWS:securetransport': 'FALSE' } }), 'blocked'],
    ['one of several actions', deny(HTTP, { Action: ['s3:GetObject', 's3:PutObject'] }), 'let through'],
    ['objects without the bucket', deny(HTTP, { Resource: OBJECTS }), 'let through'],
    ['the bucket without its objects', deny(HTTP, { Resource: BOTH[0] }), 'let through'],
    ['some objects', deny(HTTP, { Resource: [BOTH[0], `${OBJECTS}.mp4`] }), 'let through'],
    ['all but some objects', deny(HTTP, { Resource: undefined, NotResource: `${BOTH[0]}/open/*` }), 'let through'],
    ['another bucket', deny(HTTP, { Resource: ['arn:aws:s3:::other', 'arn:aws:s3:::other/*'] }), 'let through'],
    ['one role', deny(HTTP, { Principal: { AWS: ROLE } }), 'let through'],
    ['all but one role', deny(HTTP, { Principal: undefined, NotPrincipal: { AWS: ROLE } }), 'let through'],
    ['an account, which may be this one', deny(HTTP, { Principal: { AWS: '111122223333' } }), 'unknown'],
    ['services', deny(HTTP, { Principal: { Service: 'logging.s3.amazonaws.com' } }), 'let through'],
    ['everybody by a list', deny(HTTP, { Principal: { AWS: ['*'] } }), 'blocked'],
    ['the wrong way round', deny({ Bool: { 'aws:SecureTransport': 'true' } }), 'let through'],
    ['an allow over TLS', allow({ Condition: { Bool: { 'aws:SecureTransport': 'true' } } }), 'let through'],
    ['all but a network', deny({ ...HTTP, NotIpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }), 'unknown'],
    ['all but an endpoint', deny({ ...HTTP, StringNotEquals: { 'aws:SourceVpce': 'vpce-1' } }), 'unknown'],
    ['all but a caller', deny({ ...HTTP, ArnNotLike: { 'aws:PrincipalArn': ROLE } }), 'unknown'],
    ['an operator nobody knows', deny({ BoolMaybe: { 'aws:SecureTransport': 'false' } }), 'unknown'],
    ['one that every object has', deny({ toString: { 'aws:SecureTransport': 'false' } }), 'unknown'],
    ['a set operator', deny({ 'ForAnyValue:Bool': { 'aws:SecureTransport': 'false' } }), 'unknown'],
    ['a variable', deny({ StringEquals: { 'aws:SecureTransport': '\u0024{aws:username}' } }), 'unknown'],
    ['only when TLS is old', deny({ NumericLessThan: { 's3:TlsVersion': '1.2' } }), 'let through'],
    ['when TLS is old or none', deny({ NumericLessThanIfExists: { 's3:TlsVersion': '1.2' } }), 'blocked'],
    ['all actions but some', deny(HTTP, { Action: undefined, NotAction: 's3:ListBucket' }), 'let through'],
    ['actions like these', deny(HTTP, { Action: 'S3:*' }), 'blocked'],
  ])('plain HTTP: %s', (_, policy, verdict) => {
    const [http] = check(JSON.parse(JSON.stringify(policy))).probes;
    expect(http).toMatchObject({ probe: 'plain HTTP', verdict });
  });

  test.each<[string, object, BucketSettings | undefined, string[]]>([
    ['open to all', allow({}), undefined, ['anonymous', 'another account']],
    ['open to all, blocked by a setting', allow({}), SAFE, []],
    ['one folder is open', allow({ Resource: `${BOTH[0]}/public/*` }), undefined, ['anonymous', 'another account']],
    ['every account', allow({ Principal: { AWS: '*' } }), undefined, ['anonymous', 'another account']],
    ['anybody may write', allow({ Action: 's3:Put*' }), undefined, ['anonymous', 'another account']],
    ['anybody may list', allow({ Action: 's3:List*', Resource: BOTH[0] }), undefined, ['anonymous', 'another account']],
    ['one role', allow({ Principal: { AWS: ROLE } }), undefined, []],
    [
      'all but one role',
      allow({ Principal: undefined, NotPrincipal: { AWS: ROLE } }),
      undefined,
      ['anonymous', 'another account'],
    ],
    [
      'an organisation',
      allow({ Condition: { StringEquals: { 'aws:PrincipalOrgID': 'o-1234567890' } } }),
      undefined,
      [],
    ],
    [
      'all but an account',
      allow({ Condition: { StringNotEquals: { 'aws:PrincipalAccount': '1' } } }),
      undefined,
      ['anonymous', 'another account'],
    ],
    ['CloudFront', allow({ Principal: { Service: 'cloudfront.amazonaws.com' } }), undefined, []],
  ])('strangers: %s', (_, policy, settings, through) => {
    const open = those(check(JSON.parse(JSON.stringify(policy)), settings), 'let through');
    expect(open.filter((name) => /^an/.test(name))).toEqual(through);
  });

  test('strangers at an address: nobody can tell', () => {
    const policy = allow({ Condition: { IpAddress: { 'aws:SourceIp': '192.0.2.0/24' } } });
    const strangers = ['anonymous', 'another account', 'a service that acts for another account'];
    expect(those(check(policy), 'unknown')).toEqual(strangers);
    // By the definition of S3 an address is not public, so that RestrictPublicBuckets does not keep them out.
    expect(those(check(policy, SAFE), 'unknown')).toEqual(strangers);
  });

  // A policy that is made, and one statement too many.
  const withMore = (...more: object[]) => {
    const { Statement } = bucketPolicy({ bucket: BUCKET });
    return JSON.parse(JSON.stringify({ Statement: [...Statement, ...more] }));
  };
  const also = (Action: string | string[], more: object = {}) =>
    withMore({ Effect: 'Allow', Principal: '*', Action, Resource: BOTH, ...more });
  test.each([
    's3:PutBucketPolicy',
    's3:DeleteBucketPolicy',
    's3:DeleteBucket',
    's3:PutReplicationConfiguration',
    's3:PutEncryptionConfiguration',
    's3:PutObjectAcl',
    's3:DeleteObjectVersion',
    'S3:putbucketpolicy',
    's3:Put?ucketPolicy',
    's3:*Policy',
    '*BucketPolicy',
    's*:PutBucketPolicy',
    's3:*',
    '*',
  ])('strangers who may %s', (action) => {
    const result = check(also(action));
    expect(those(result, 'let through')).toEqual(expect.arrayContaining(['anonymous', 'another account']));
    expect(result.safe).toBe(false);
  });

  test.each<[string, object]>([
    ['all but an action', also([], { Action: undefined, NotAction: 's3:PutObject' })],
    [
      'all, and all but an action is denied',
      withMore(
        { Effect: 'Allow', Principal: '*', Action: 's3:*', Resource: BOTH },
        { Effect: 'Deny', Principal: '*', NotAction: 's3:DeleteBucket', Resource: BOTH },
      ),
    ],
    [
      'all of a kind, and all but its shortest is denied',
      withMore(
        { Effect: 'Allow', Principal: '*', Action: 's3:PutObjectAcl*', Resource: BOTH },
        { Effect: 'Deny', Principal: '*', Action: 's3:PutObjectAcl?*', Resource: BOTH },
      ),
    ],
    ['objects by a pattern over bucket and key', also('s3:GetObject', { Resource: 'arn:aws:s3:::mast*.mp4' })],
  ])('strangers who may do %s', (_, policy) => {
    expect(those(check(policy), 'let through')).toContain('anonymous');
  });

  test('actions of another service are none of a bucket', () => {
    expect(check(also(['ec2:RunInstances', 'sqs:*'])).safe).toBe(true);
  });

  const KNOWN = ['s3:GetObject', 's3:GetObjectVersion', 's3:PutObject', 's3:DeleteObject', 's3:ListBucket'];
  test.each<[string, object]>([
    ['the actions that everybody thinks of', { Action: KNOWN }],
    ['all actions but one', { Action: undefined, NotAction: 's3:PutBucketPolicy' }],
    ['every action on the bucket, and some on objects', { Action: ['s3:*Bucket*', ...KNOWN] }],
    ['names with a slash', { Resource: [BOTH[0], `${BOTH[0]}/*/*`] }],
    ['names that begin with p', { Resource: [BOTH[0], `${BOTH[0]}/p*`] }],
    ['names of one character', { Resource: [BOTH[0], `${BOTH[0]}/?`] }],
    ['names of more than one', { Resource: [BOTH[0], `${BOTH[0]}/??*`] }],
    ['all but a pattern over bucket and key', { Resource: undefined, NotResource: 'arn:aws:s3:::mast*.mp4' }],
    [
      'all but a session',
      { Principal: undefined, NotPrincipal: { AWS: 'arn:aws:sts::111122223333:assumed-role/mastering/me' } },
    ],
  ])('plain HTTP is denied for %s only', (_, more) => {
    const [http] = check(JSON.parse(JSON.stringify(deny(HTTP, more)))).probes;
    expect(http).toMatchObject({ probe: 'plain HTTP', verdict: 'let through' });
  });

  const ACCOUNT = '444455556666';
  const SERVICE = { Principal: { Service: 'cloudfront.amazonaws.com' } };
  const DISTRIBUTION = `arn:aws:cloudfront::${ACCOUNT}:distribution/E1`;
  test.each<[string, object, string[]]>([
    ['a service, for anybody', SERVICE, ['a service that acts for another account']],
    ['a service for one distribution', { ...SERVICE, Condition: { ArnEquals: { 'aws:SourceArn': DISTRIBUTION } } }, []],
    [
      'a service for the distributions of an account',
      { ...SERVICE, Condition: { ArnLike: { 'aws:SourceArn': DISTRIBUTION.replace('E1', '*') } } },
      [],
    ],
    ['a service for an account', { ...SERVICE, Condition: { StringEquals: { 'aws:SourceAccount': ACCOUNT } } }, []],
    [
      'a service for the distributions of every account',
      { ...SERVICE, Condition: { ArnLike: { 'aws:SourceArn': 'arn:aws:cloudfront::*:distribution/*' } } },
      ['a service that acts for another account'],
    ],
    [
      'a service for every bucket',
      { ...SERVICE, Condition: { ArnLike: { 'aws:SourceArn': 'arn:aws:s3:::*' } } },
      ['a service that acts for another account'],
    ],
    [
      'a role of that name in every account',
      { Condition: { ArnLike: { 'aws:PrincipalArn': 'arn:aws:iam::*:role/MediaRender' } } },
      ['another account'],
    ],
    ['one by text', { Condition: { StringLike: { 'aws:PrincipalArn': '*MediaRender' } } }, ['another account']],
    ['roles of one account', { Condition: { ArnLike: { 'aws:PrincipalArn': `arn:aws:iam::${ACCOUNT}:role/*` } } }, []],
    ...[
      { AWS: `arn:aws:iam::${ACCOUNT}:root` },
      { AWS: ACCOUNT },
      { CanonicalUser: '79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be' },
      { Federated: 'accounts.google.com' },
    ].map((Principal): [string, object, string[]] => [
      Object.entries(Principal).join(),
      { Principal },
      ['whom the policy names: an account, a user of S3, an identity provider'],
    ]),
  ])('strangers of whom nobody can tell: %s', (_, more, unknown) => {
    for (const settings of [undefined, SAFE]) {
      const result = check(also('s3:GetObject', more), settings, KEY);
      expect(those(result, 'unknown').filter((probe) => /account/.test(probe))).toEqual(unknown);
    }
  });

  test.each<[string, object, string]>([
    ['any key of its account', { StringNotLike: { [KMS_KEY]: 'arn:aws:kms:*:111122223333:key/*' } }, 'let through'],
    ['one of two keys', { StringNotEquals: { [KMS_KEY]: [KEY, KEY.replace('1234', '5678')] } }, 'let through'],
    ['that key', { StringNotEquals: { [KMS_KEY]: KEY } }, 'blocked'],
    ['that key in every region', { StringNotLike: { [KMS_KEY]: KEY.replace('eu-central-1', '*') } }, 'let through'],
  ])('a policy that wants %s', (_, condition, verdict) => {
    const { probes } = check(deny({ Null: { [KMS_KEY]: 'false' }, ...condition }), undefined, KEY);
    expect(probes.find(({ probe }) => probe === 'wrong KMS key: aws:kms with another')?.verdict).toBe(verdict);
  });

  test.each<[string, object]>([
    ['but for some objects', { Resource: undefined, NotResource: `${BOTH[0]}/scratch/*` }],
    ['but for a role', { Principal: undefined, NotPrincipal: { AWS: ROLE } }],
  ])('no header is refused %s, so that the default decides', (_, more) => {
    const policy = deny({ Null: { [KMS_KEY.replace(/-aws-kms-key-id$/, '')]: 'true' } }, more);
    const settings = { ...SAFE, defaultEncryption: { type: 'SSE-S3' as const } };
    const { probes } = check(JSON.parse(JSON.stringify(policy)), settings, KEY);
    expect(probes.find(({ probe }) => probe === 'no SSE header')?.verdict).toBe('let through');
  });

  test.each<[BucketSettings['ignoresAcls'], string]>([
    [true, 'blocked'],
    [false, 'unknown'],
    ['unreadable', 'unknown'],
  ])('access control lists ignored: %s', (ignoresAcls, verdict) => {
    const { probes } = check(bucketPolicy({ bucket: BUCKET, kmsKey: KEY }), { ...SAFE, ignoresAcls });
    expect(probes.at(-1)).toMatchObject({ probe: 'anonymous, by an access control list', verdict });
  });

  test('patterns of many asterisks take no longer than others', () => {
    const policy = parsePolicy(deny(undefined, { Resource: `arn:aws:s3:::${'*a'.repeat(5000)}b` }));
    expect(checkBucket({ bucket: BUCKET, policy }).safe).toBe(false);
  });

  test.each([
    ['nothing', {}],
    ['text', 'deny'],
    ['an array', []],
    ['another effect', { Statement: [{ Effect: 'deny', Principal: '*', Action: '*', Resource: '*' }] }],
    ['no principal', { Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }] }],
    [
      'principal and its contrary',
      { Statement: [{ Effect: 'Deny', Principal: '*', NotPrincipal: '*', Action: '*', Resource: '*' }] },
    ],
    [
      'an element nobody knows',
      { Statement: [{ Effect: 'Deny', Principal: '*', Action: '*', Resource: '*', Except: 'me' }] },
    ],
    ['a version to come', { Version: '2030-01-01', Statement: [] }],
    [
      'a condition that is text',
      { Statement: [{ Effect: 'Deny', Principal: '*', Action: '*', Resource: '*', Condition: 'no' }] },
    ],
  ])('%s is no policy', (_, document) => {
    expect(() => parsePolicy(document)).toThrow(expect.objectContaining({ code: 'ERR_STORAGE_INVALID' }));
  });
});
