import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { ORIGIN_SECRET_HEADER, requestingViewerOf, viewerOf } from '../../../token-api/http/viewer.ts';

/** What an API with this origin secret knows of a viewer whose request shows `shown`; undefined for no such header. */
async function known(originSecret: string, shown: string | undefined): Promise<unknown> {
  const app = new Hono();
  app.get('/', (c) => c.json([viewerOf(c, [originSecret]), requestingViewerOf(c, [originSecret])]));
  const headers = { 'cloudfront-viewer-country': 'DE', ...(shown !== undefined && { [ORIGIN_SECRET_HEADER]: shown }) };
  return (await app.request('/', { headers })).json();
}

test('the edge says where a viewer is when its secret is right', async () => {
  const secret = 's'.repeat(16);
  expect(await known(secret, secret)).toEqual([{ country: 'DE' }, { country: 'DE', headers: {} }]);
});

test.each([
  ['s'.repeat(16), undefined],
  ['s'.repeat(16), ''],
  ['s'.repeat(16), 's'.repeat(15)],
  // A secret that was never set, or can be guessed, is nobody's.
  ['', undefined],
  ['', ''],
  ['s'.repeat(15), 's'.repeat(15)],
])('with secret %j, a request that shows %j is from nowhere', async (secret, shown) => {
  expect(await known(secret, shown)).toEqual([{}, {}]);
});
