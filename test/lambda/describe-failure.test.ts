import { describe, expect, test } from 'vitest';
import { describeFailure } from '../../lambda/detection-failed/describe-failure.ts';

const TOKEN = `AbCdEf123456.ey${'h'.repeat(98)}.${'p'.repeat(200)}.${'s'.repeat(43)}`;

describe('why a run failed, as the alarm says it', () => {
  test('an error of ours has its message', () => {
    const Cause = JSON.stringify({ errorType: 'ERR_DETECTION_SETUP', errorMessage: 'the workgroup w has no limit' });
    expect(describeFailure({ Error: 'ERR_DETECTION_SETUP', Cause })).toBe(
      'Detection failed: ERR_DETECTION_SETUP: the workgroup w has no limit. Nothing was committed: the next run looks at the same logs again.',
    );
  });

  test('a query says why it failed, without signatures and without its text', () => {
    const QueryExecution = {
      QueryExecutionId: 'q-1',
      Query: `SELECT '${TOKEN}'`,
      Status: { State: 'FAILED', StateChangeReason: `bad line ${TOKEN}\nmore` },
    };
    const said = describeFailure({ Error: 'States.TaskFailed', Cause: JSON.stringify({ QueryExecution }) });
    expect(said).toContain('ERR_DETECTION_QUERY: Athena query q-1 failed: bad line');
    expect(said).not.toContain('s'.repeat(43));
    expect(said).not.toMatch(/SELECT|\n/);
  });

  test.each([
    {},
    { Error: 'TypeError', Cause: JSON.stringify({ errorMessage: `cannot read ${TOKEN}` }) },
    { Error: 'States.Timeout', Cause: TOKEN },
    { Error: `x\n${TOKEN}`, Cause: 'null' },
    { Error: 'Lambda.Unknown', Cause: '[1]' },
  ])('of anything else only the name is told: %o', (failure) => {
    const said = describeFailure(failure);
    expect(said).toMatch(/^Detection failed: [\w.-]{1,100}\. Nothing/);
    expect(said).not.toContain('s'.repeat(43));
  });
});
