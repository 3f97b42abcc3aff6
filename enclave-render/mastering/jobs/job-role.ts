import { SERVICE_CONTEXTS } from '../contexts.ts';
import type { KmsKeyArn, S3Location } from './aws-names.ts';

/** A statement of an IAM policy. */
export interface PolicyStatement {
  Sid: string;
  Effect: 'Allow';
  Action: string | string[];
  Resource: string;
  Condition?: { StringEquals: Record<string, string> };
}

export interface PolicyDocument {
  Version: '2012-10-17';
  Statement: PolicyStatement[];
}

/** What the role of one job reaches: inputs, destinations, and the keys they are under. */
export interface JobReach {
  inputs: S3Location[];
  outputs: S3Location[];
  /** KMS keys of the data keys of client-side encrypted inputs. */
  inputKeys: KmsKeyArn[];
  /** KMS keys of the outputs on S3 (SSE-KMS). */
  outputKeys: KmsKeyArn[];
}

/**
 * The least that the role of a MediaConvert job needs: one object to read, one folder to write, and one key to decrypt with, in the
 * context that MediaConvert sends. MediaConvert calls KMS as the role itself, so `kms:ViaService` fits only the key of
 * the outputs, which S3 uses on the role's behalf (AWS KMS, "Condition keys for AWS KMS"). Decrypt beside GenerateDataKey is what
 * multipart uploads need. S3 calls KMS in the region of the bucket, which must be that of the key (S3, "Using SSE-KMS").
 */
export function jobRolePolicy(reach: JobReach): PolicyDocument {
  const partition = reach.inputKeys[0]?.partition ?? reach.outputKeys[0]?.partition ?? 'aws';
  const object = ({ bucket, key }: S3Location, rest = '') => `arn:${partition}:s3:::${bucket}/${literal(key)}${rest}`;
  const suffix = partition === 'aws-cn' ? 'amazonaws.com.cn' : 'amazonaws.com';
  const { service } = SERVICE_CONTEXTS.mediaconvert;
  const statements: Omit<PolicyStatement, 'Sid' | 'Effect'>[] = [
    ...unique(reach.inputs.map((input) => object(input))).map((Resource) => ({ Action: 's3:GetObject', Resource })),
    ...unique(reach.outputs.map((output) => object(output, '*'))).map((Resource) => ({
      Action: 's3:PutObject',
      Resource,
    })),
    ...unique(reach.inputKeys.map(({ arn }) => arn)).map((Resource) => ({
      Action: 'kms:Decrypt',
      Resource,
      Condition: { StringEquals: { 'kms:EncryptionContext:service': service } },
    })),
    ...[...new Map(reach.outputKeys.map((key) => [key.arn, key])).values()].map(({ arn, region }) => ({
      Action: ['kms:GenerateDataKey', 'kms:Decrypt'],
      Resource: arn,
      Condition: { StringEquals: { 'kms:ViaService': `s3.${region}.${suffix}` } },
    })),
  ];
  return {
    Version: '2012-10-17',
    Statement: statements.map((statement, i) => ({ Sid: `Job${i + 1}`, Effect: 'Allow', ...statement })),
  };
}

/** A key as itself: an object named `*` must not open the bucket (IAM, "Policy variables", special characters). */
function literal(key: string): string {
  return key.replaceAll(/[*?$]/g, (character) => `\${${character}}`);
}

function unique(values: string[]): string[] {
  return [...new Set(values)];
}
