import { expect, test } from 'vitest';
import { powertoolsTelemetry } from '../../../token-api/telemetry/powertools.ts';

test('everything goes where it is told to and nothing to the process’s own streams, also when much is counted at once', () => {
  const lines: string[] = [];
  const { stdout, stderr } = process;
  const printed: unknown[] = [];
  const [writeOut, writeError] = [stdout.write, stderr.write];
  stdout.write = stderr.write = (chunk: unknown) => printed.push(chunk) > 0;
  try {
    const telemetry = powertoolsTelemetry((line) => lines.push(line));
    for (let i = 0; i < 250; i++) telemetry.metric('TokensMinted', 1);
    telemetry.metric('Denied', 1, { code: 'ERR_ROLE' });
    telemetry.metric('Denied', 1, { code: '' });
    telemetry.metric('RevocationsOmitted', 12, { target: 'edge store' });
    telemetry.request({ requestId: 'a', method: 'GET', route: '/v1/assets', status: 500, durationMs: 1 });
    telemetry.request({ requestId: 'b', method: 'GET', route: '/v1/assets', status: 200, durationMs: 1 });
  } finally {
    [stdout.write, stderr.write] = [writeOut, writeError];
  }
  expect(printed).toEqual([]);
  const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  const minted = parsed.flatMap(({ TokensMinted = [] }) => [TokensMinted].flat());
  expect(minted).toHaveLength(250);
  expect(parsed.filter(({ code }) => code === 'ERR_ROLE')).toHaveLength(1);
  expect(parsed.filter(({ RevocationsOmitted }) => RevocationsOmitted)).toMatchObject([
    { RevocationsOmitted: 12, target: 'edge store' },
  ]);
  expect(parsed.filter(({ requestId }) => requestId === 'a')).toMatchObject([{ level: 'ERROR', status: 500 }]);
  expect(parsed.filter(({ requestId }) => requestId === 'b')).toMatchObject([{ level: 'INFO' }]);
});
