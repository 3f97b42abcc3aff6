import type { IncomingMessage } from 'node:http';
import type { ViewerRequestEvent } from '../../edge-functions/viewer-request/event.ts';
import { addField, type Fields, parseQuerystring } from '../../token/index.ts';

/**
 * The viewer-request event for a request, as CloudFront would hand it to a function: path and escapes as sent, header
 * names in lower case, repetition as `multiValue`. Whatever the viewer sent under a name that CloudFront generates is
 * dropped; `generated` takes its place.
 */
export function viewerRequestEvent(
  request: IncomingMessage,
  path: string,
  query: string,
  ip: string,
  generated: Record<string, string | undefined>,
  requestId: string,
): ViewerRequestEvent {
  const headers: Fields = {};
  const cookies: Fields = {};
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = (request.rawHeaders[i] ?? '').toLowerCase();
    const value = request.rawHeaders[i + 1] ?? '';
    if (name === 'cookie') addCookies(cookies, value);
    else if (!name.startsWith('cloudfront-')) addField(headers, name, value);
  }
  for (const [name, value] of Object.entries(generated)) if (value !== undefined) headers[name] = { value };
  return {
    version: '1.0',
    context: {
      distributionDomainName: request.headers.host ?? '',
      distributionId: 'ELOCAL',
      eventType: 'viewer-request',
      requestId,
    },
    viewer: { ip },
    request: { method: request.method ?? 'GET', uri: path, querystring: parseQuerystring(query), headers, cookies },
  };
}

function addCookies(cookies: Fields, header: string): void {
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=');
    if (equals > 0) addField(cookies, pair.slice(0, equals).trim(), pair.slice(equals + 1).trim());
  }
}
