import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { type Artefacts, type BuiltHandler, readArtefacts } from '../../infra/artefacts.ts';
import type { HandlerDescription } from '../../lambda/handlers.ts';
import { packagePath } from '../../local/package-root.ts';
import { removeDirectory, temporaryDirectory } from './stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));

const secret = ['secretsmanager:GetSecretValue', 'secretsmanager:DescribeSecret'];

/** Rows of handlers that are still to come. */
const AWAITED: Record<string, HandlerDescription['permissions']> = {
  api: {
    keyRing: ['secretsmanager:GetSecretValue'],
    keyRingKey: ['kms:Decrypt'],
    originSecret: secret,
    publications: ['sqs:SendMessage'],
    'table:portcullis-sessions': ['dynamodb:Query', 'dynamodb:UpdateItem'],
    'table:portcullis-revocations': ['dynamodb:GetItem'],
  },
  'key-rotation': {
    keyRing: [...secret, 'secretsmanager:PutSecretValue', 'secretsmanager:UpdateSecretVersionStage'],
    keyRingKey: ['kms:Decrypt', 'kms:GenerateDataKey'],
    edgeStore: ['cloudfront-keyvaluestore:DescribeKeyValueStore', 'cloudfront-keyvaluestore:UpdateKeys'],
    edgeFunction: ['cloudfront:UpdateFunction'],
  },
  'origin-secret-rotation': {
    originSecret: secret,
    distribution: ['cloudfront:GetDistributionConfig', 'cloudfront:UpdateDistribution'],
  },
  deployment: {
    keyRing: [...secret, 'secretsmanager:PutSecretValue'],
    keyRingKey: ['kms:Decrypt', 'kms:GenerateDataKey'],
    edgeStore: ['cloudfront-keyvaluestore:UpdateKeys'],
    edgeFunction: ['cloudfront:CreateFunction'],
    ruleGroup: ['wafv2:GetRuleGroup', 'wafv2:UpdateRuleGroup'],
    '*': ['wafv2:ListRuleGroups'],
    'table:portcullis-revocations': ['dynamodb:Scan'],
  },
};

/** What was built, with a stand-in for every handler that is not there yet. */
export function builtArtefacts(): Artefacts {
  const artefacts = readArtefacts(packagePath('dist'));
  const awaited = Object.entries(AWAITED).map(([name, permissions]): [string, BuiltHandler] => {
    mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, name, 'index.mjs'), 'export const handler = async () => {};\n');
    const described = { purpose: `Stands in for ${name}`, memoryMiB: 256, timeoutSeconds: 30, permissions };
    return [name, { ...described, bytes: 39, sha256: '0'.repeat(64), folder: join(folder, name) }];
  });
  return { ...artefacts, handlers: { ...Object.fromEntries(awaited), ...artefacts.handlers } };
}
