import { Aws } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';

/** An account that stands in documents for the one that they are deployed to: their makers check what they are given. */
export const SOME_ACCOUNT = '000000000000';

/**
 * A document of a capability with what only AWS knows: each text of `known` becomes what it stands for, and `SOME_ACCOUNT` the
 * account that this is deployed to.
 */
export function deployed<Document>(document: Document, known: Record<string, string> = {}): Document {
  let text = JSON.stringify(document);
  for (const [name, value] of Object.entries({ ...known, [SOME_ACCOUNT]: Aws.ACCOUNT_ID })) {
    text = text.replaceAll(name, value);
  }
  return JSON.parse(text);
}

/** Statements in the policy language of IAM, as CDK has them. */
export function policyStatements(statements: readonly object[]): iam.PolicyStatement[] {
  return statements.map((statement) => iam.PolicyStatement.fromJson(statement));
}
