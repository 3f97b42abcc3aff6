import { Stack, type StackProps } from 'aws-cdk-lib';
import * as cloudfront from 'aws-cdk-lib/aws-cloudfront';
import type { Construct } from 'constructs';
import type { Artefacts } from '../artefacts.ts';

/** What the edge stack is made of. */
export interface EdgeStackProps extends StackProps {
  artefacts: Artefacts;
}

/** What CloudFront runs and reads at every request: functions, KeyValueStore, policies. In us-east-1. */
export class EdgeStack extends Stack {
  readonly keyValueStore: cloudfront.KeyValueStore;
  readonly viewerRequest: cloudfront.Function;

  constructor(scope: Construct, id: string, { artefacts, ...props }: EdgeStackProps) {
    super(scope, id, props);
    this.keyValueStore = new cloudfront.KeyValueStore(this, 'Store', {
      keyValueStoreName: 'portcullis',
      comment: 'Signing keys, revoked sessions, asset blocks, modes: written by the reconcilers alone',
    });
    this.viewerRequest = new cloudfront.Function(this, 'ViewerRequest', {
      functionName: 'portcullis-viewer-request',
      code: cloudfront.FunctionCode.fromInline(artefacts.edgeFunction('viewer-request.js')),
      runtime: cloudfront.FunctionRuntime.JS_2_0,
      keyValueStore: this.keyValueStore,
    });
  }
}
