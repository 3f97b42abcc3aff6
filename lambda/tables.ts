import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { DETECTIONS_TABLE, LOG_OBJECTS_TABLE } from '../revocation/detect/dynamodb.ts';
import { REVOCATION_TABLES } from '../revocation/list/dynamodb.ts';
import { SUSPICIOUS_SESSIONS_TABLE } from '../revocation/suspicious/dynamodb.ts';
import { ASSETS_TABLE } from '../token-api/assets/dynamodb.ts';
import { SUBJECTS_TABLE } from '../token-api/concurrency/dynamodb.ts';
import { ANSWERS_TABLE } from '../token-api/idempotency/dynamodb.ts';
import { POLICIES_TABLE } from '../token-api/policies/dynamodb.ts';
import { REQUEST_COUNTS_TABLE } from '../token-api/rate-limits/dynamodb.ts';
import { SESSIONS_TABLE } from '../token-api/sessions/dynamodb.ts';

/** The tables by the module that makes them, as CreateTable takes them; `expiresAt` is the time to live of each. */
export const TABLES: Record<'api' | 'revocation', CreateTableCommandInput[]> = {
  api: [ASSETS_TABLE, POLICIES_TABLE, SESSIONS_TABLE, SUBJECTS_TABLE, REQUEST_COUNTS_TABLE, ANSWERS_TABLE],
  revocation: [...REVOCATION_TABLES, SUSPICIOUS_SESSIONS_TABLE, LOG_OBJECTS_TABLE, DETECTIONS_TABLE],
};
