import type { Fields } from '../../token/viewer.ts';

/** The request of a viewer-request event: header names in lower case, percent escapes as sent. */
export interface EdgeRequest {
  method: string;
  uri: string;
  querystring: Fields;
  headers: Fields;
  cookies: Fields;
}

/** CloudFront Functions event structure, version 1.0, event type viewer-request. */
export interface ViewerRequestEvent {
  version: '1.0';
  context: { distributionDomainName: string; distributionId: string; eventType: 'viewer-request'; requestId: string };
  viewer: { ip: string };
  request: EdgeRequest;
}

/** A response that the function generates instead of forwarding the request. */
export interface EdgeResponse {
  statusCode: number;
  headers: Fields;
}
