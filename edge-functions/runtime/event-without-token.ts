/**
 * A viewer request without a token, as CloudFront hands it to a function (CloudFront Developer Guide, "CloudFront Functions event
 * structure"). Each of our functions answers it without an error, composed with another one too.
 */
export const EVENT_WITHOUT_TOKEN = {
  version: '1.0',
  context: { eventType: 'viewer-request' },
  viewer: { ip: '203.0.113.7' },
  request: {
    method: 'GET',
    uri: '/title/master.m3u8',
    querystring: {},
    headers: { host: { value: 'media.example.com' } },
    cookies: {},
  },
};
