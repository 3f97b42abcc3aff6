import { ChangeMessageVisibilityBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';

/** How soon what failed is tried again, in seconds. */
const AGAIN_SECONDS = 5;

/**
 * Has messages that were received come again in five seconds, instead of when their visibility timeout ends, which is as long as
 * the largest reconciliation may take (ChangeMessageVisibilityBatch). `receiptHandles`: ten at most, which is what a batch has.
 */
export async function receiveAgain(client: SQSClient, queueUrl: string, receiptHandles: string[]): Promise<void> {
  const Entries = receiptHandles.map((ReceiptHandle, i) => ({
    Id: `${i}`,
    ReceiptHandle,
    VisibilityTimeout: AGAIN_SECONDS,
  }));
  await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }));
}
