import { describe, expect, test } from 'vitest';
import { httpsOnly } from '../../enclave-render/plain-http.ts';

const ask = (protocol: string | undefined, hostname: string) =>
  httpsOnly((message) => new Error(message))(async () => 'sent')({ request: { protocol, hostname } });

describe('a request', () => {
  test.each([
    ['https:', 's3.eu-central-1.amazonaws.com'],
    ['http:', 'localhost'],
    ['http:', '127.0.0.1'],
    ['http:', '127.1.2.3'],
    ['http:', '::1'],
    ['http:', '[::1]'],
  ])('over %s to %s is sent', async (protocol, hostname) => {
    expect(await ask(protocol, hostname)).toBe('sent');
  });

  test.each([
    ['http:', 's3.amazonaws.com'],
    ['http:', '127.0.0.1.example.com'],
    ['http:', 'localhost.example.com'],
    ['http:', 'masters.127.0.0.1'],
    ['http:', '0.0.0.0'],
    ['http:', '10.0.0.1'],
    ['http:', ''],
    [undefined, 's3.amazonaws.com'],
  ])('over %s to %s is refused', async (protocol, hostname) => {
    await expect(ask(protocol, hostname)).rejects.toThrow(/is plain HTTP.*use https/);
  });
});
