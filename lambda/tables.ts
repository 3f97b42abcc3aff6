import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { DETECTIONS_TABLE, LOG_OBJECTS_TABLE } from '../revocation/detect/dynamodb.ts';
import { REVOCATION_HISTORY_TABLE, REVOCATION_TABLES, REVOCATIONS_TABLE } from '../revocation/list/dynamodb.ts';
import { SUSPICIOUS_SESSIONS_TABLE } from '../revocation/suspicious/dynamodb.ts';
import { ASSETS_TABLE } from '../token-api/assets/dynamodb.ts';
import { SUBJECTS_TABLE } from '../token-api/concurrency/dynamodb.ts';
import { ANSWERS_TABLE } from '../token-api/idempotency/dynamodb.ts';
import { POLICIES_TABLE } from '../token-api/policies/dynamodb.ts';
import { REQUEST_COUNTS_TABLE } from '../token-api/rate-limits/dynamodb.ts';
import { SESSIONS_TABLE } from '../token-api/sessions/dynamodb.ts';

/** The tables by the module that makes them, as CreateTable takes them. */
export const TABLES: Record<'api' | 'revocation', CreateTableCommandInput[]> = {
  api: [ASSETS_TABLE, POLICIES_TABLE, SESSIONS_TABLE, SUBJECTS_TABLE, REQUEST_COUNTS_TABLE, ANSWERS_TABLE],
  revocation: [...REVOCATION_TABLES, SUSPICIOUS_SESSIONS_TABLE, LOG_OBJECTS_TABLE, DETECTIONS_TABLE],
};

/**
 * The attribute (epoch seconds) by which DynamoDB deletes items, by table; the others keep theirs. Revocations are kept for a
 * while after they are over, so that their history can be read.
 */
export const TIME_TO_LIVE: Record<string, 'expiresAt' | 'deleteAt'> = {
  [SESSIONS_TABLE.TableName]: 'expiresAt',
  [SUBJECTS_TABLE.TableName]: 'expiresAt',
  [REQUEST_COUNTS_TABLE.TableName]: 'expiresAt',
  [ANSWERS_TABLE.TableName]: 'expiresAt',
  [REVOCATIONS_TABLE.TableName]: 'deleteAt',
  [REVOCATION_HISTORY_TABLE.TableName]: 'deleteAt',
  [SUSPICIOUS_SESSIONS_TABLE.TableName]: 'expiresAt',
  [LOG_OBJECTS_TABLE.TableName]: 'expiresAt',
};
