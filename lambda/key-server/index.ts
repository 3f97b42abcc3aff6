import { handle } from 'hono/aws-lambda';
import * as v from 'valibot';
import { awsDataKeys, kmsClient } from '../../enclave-render/kms/kms.ts';
import { createKeyServer } from '../../enclave-render/packaging/key-server.ts';
import { readKeyTableObject } from '../../enclave-render/packaging/key-table-object.ts';
import { s3Client, s3ObjectStore } from '../../enclave-render/storage/s3.ts';
import { readSettings } from '../settings.ts';

const { region, packagesBucket } = readSettings(
  v.strictObject({
    /** Of the KMS key that content keys are encrypted with. */
    region: v.string(),
    packagesBucket: v.string(),
  }),
);
const packages = s3ObjectStore(s3Client(process.env.AWS_ENDPOINT_URL !== undefined), packagesBucket);

/**
 * The key server behind a function URL (payload format 2.0) that only the distribution may invoke. Keys stay in clear for five
 * minutes in a function that is warm.
 */
export const handler = handle(
  createKeyServer({
    readKeyTable: (title) => readKeyTableObject(packages, title),
    dataKeys: awsDataKeys(kmsClient(region)),
    report: (line) => console.error(line),
  }),
);
