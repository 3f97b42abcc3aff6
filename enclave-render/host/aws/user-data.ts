import { dirname } from 'node:path';
import * as v from 'valibot';
import { HostError } from '../host-error.ts';
import { parentSettings } from '../parent-settings.ts';

const name = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9/][A-Za-z0-9._/-]{0,500}$/, 'a name of letters, digits, dots, dashes and slashes'),
);

const UserDataSettingsSchema = v.strictObject({
  /** Zip file with what is in `dist/enclave/parent` and the image `render.eif`, in S3: an asset of CDK. */
  artefacts: v.strictObject({ bucket: name, key: name }),
  region: v.string(),
  /** Bucket of the jobs. */
  bucket: v.string(),
  /** Ed25519 public keys whose jobs it takes, as `ParentSettings` has them. */
  owners: v.array(v.string()),
  /** What an enclave gets. So much is taken from the instance at its start, for one enclave at a time. */
  cpus: v.number(),
  memoryMib: v.number(),
  /** Log group of CloudWatch, which is there already. */
  logGroup: name,
});

export type UserDataSettings = v.InferOutput<typeof UserDataSettingsSchema>;

/** Where things are on a parent. */
const HOME = '/opt/portcullis';
const SETTINGS = '/etc/portcullis/parent.json';
const LOG = '/var/log/portcullis/parent.log';

/**
 * The script that makes a parent of an instance of Amazon Linux 2023 when it first starts (cloud-init user data): installs nitro-cli,
 * socat and Node from the distribution, sets memory and processors aside for the enclave, writes the settings, and starts the service.
 * It holds no secret: everybody on the instance can read it. Throws `ERR_HOST_SETTINGS` for settings that are none, also those that
 * would mean something to the shell.
 */
export function parentUserData(settings: UserDataSettings): string {
  const result = v.safeParse(UserDataSettingsSchema, settings);
  if (!result.success) {
    const [issue] = result.issues;
    const expected = issue.type === 'regex' ? issue.message : issue.expected;
    throw new HostError('ERR_HOST_SETTINGS', `user data: ${v.getDotPath(issue) ?? 'settings'} has to be ${expected}`);
  }
  const { artefacts, region, bucket, owners, cpus, memoryMib, logGroup } = result.output;
  const image = `${HOME}/render.eif`;
  const parent = {
    region,
    jobs: { bucket },
    owners,
    image,
    cpus,
    memoryMib,
    work: '/var/lib/portcullis',
    pollSeconds: 10,
  };
  // Held to the schema that the parent reads it by: what passes has no quote in it.
  const checked = parentSettings(parent, 'user data');
  const collected = { file_path: LOG, log_group_name: logGroup, log_stream_name: '{instance_id}' };
  const agent = { logs: { logs_collected: { files: { collect_list: [collected] } } } };
  return `#!/bin/bash
set -euo pipefail
umask 022
dnf install -y aws-nitro-enclaves-cli socat nodejs22 unzip amazon-cloudwatch-agent
useradd --system --no-create-home --shell /sbin/nologin portcullis

cat >/etc/nitro_enclaves/allocator.yaml <<'EOF'
memory_mib: ${checked.memoryMib}
cpu_count: ${checked.cpus}
EOF
systemctl enable --now nitro-enclaves-allocator.service

install -d ${HOME} /etc/portcullis
aws s3 cp --region ${checked.region} s3://${artefacts.bucket}/${artefacts.key} /tmp/portcullis.zip
unzip -o -q /tmp/portcullis.zip -d ${HOME}
rm /tmp/portcullis.zip
cat >${SETTINGS} <<'EOF'
${JSON.stringify(checked, undefined, 2)}
EOF
cat >/opt/aws/amazon-cloudwatch-agent/etc/amazon-cloudwatch-agent.json <<'EOF'
${JSON.stringify(agent, undefined, 2)}
EOF
systemctl enable --now amazon-cloudwatch-agent.service

# On the shared group of nitro-cli, which writes its sockets and logs there.
install -d -o root -g ne -m 0775 /run/nitro_enclaves /var/log/nitro_enclaves
# systemd opens the log before it makes the folder of it (systemd issue 27591).
install -d -o portcullis -g portcullis -m 0750 ${dirname(LOG)}
install -m 0644 ${HOME}/portcullis-parent.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now portcullis-parent.service
`;
}

/** A statement of an IAM policy. */
export interface PolicyStatement {
  Sid: string;
  Effect: 'Allow';
  Action: string[];
  Resource: string[];
  Condition?: Record<string, Record<string, string[]>>;
}

/**
 * What the role of a parent may do: nothing that opens a job. `kms:Decrypt` gives it nothing readable, because the policy of the key
 * asks for the registers of an enclave. ARNs are as CDK has them: of the bucket of jobs, of the KMS keys of jobs, of the artefacts (bucket
 * and key), and of the log group.
 */
export function parentStatements(arns: {
  bucket: string;
  keys: string[];
  artefacts: string;
  logGroup: string;
}): PolicyStatement[] {
  const objects = (...prefixes: string[]) => prefixes.map((prefix) => `${arns.bucket}/${prefix}`);
  const allow = (Sid: string, Action: string[], Resource: string[]): PolicyStatement => ({
    ...{ Sid, Effect: 'Allow', Action, Resource },
  });
  const readable = ['incoming/*', 'inputs/*', 'jobs/*', 'audit.jsonl'];
  return [
    allow('ReadJobs', ['s3:GetObject'], objects(...readable)),
    allow('WriteJobs', ['s3:PutObject', 's3:AbortMultipartUpload'], objects('jobs/*', 'refused/*', 'audit.jsonl')),
    allow('RemoveTakenJobs', ['s3:DeleteObject'], objects('incoming/*', 'jobs/*/failure.json')),
    // Of an object that is not there S3 says so (404) only to who may list it, and else that it may not be read (403).
    { ...allow('ListJobs', ['s3:ListBucket'], [arns.bucket]), Condition: { StringLike: { 's3:prefix': readable } } },
    allow('RelayKeyRequests', ['kms:Decrypt'], arns.keys),
    allow('ReadArtefacts', ['s3:GetObject'], [arns.artefacts]),
    allow(
      'WriteLogs',
      ['logs:CreateLogStream', 'logs:PutLogEvents', 'logs:DescribeLogStreams'],
      [arns.logGroup, `${arns.logGroup}:*`],
    ),
  ];
}
