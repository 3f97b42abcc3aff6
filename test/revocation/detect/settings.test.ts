import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { AthenaSettingsSchema } from '../../../revocation/detect/athena-settings.ts';
import { athenaLogTable, createTableSql } from '../../../revocation/detect/athena-table.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';

describe('the pattern of segments', () => {
  const isTaken = (segmentPattern: string) => v.safeParse(DetectionSettingsSchema, { segmentPattern }).success;

  test.each(['seg([0-9]+)', '_(\\d+)[.]ts$', '(?:video|audio)/([0-9]+)', '([0-9]+)|([a-z]+)'])(
    'may be %s',
    (pattern) => {
      expect(isTaken(pattern)).toBe(true);
    },
  );

  test.each([
    ['is no regular expression', ['(', '([0-9]+', '[9-0]', '([0-9]+)**', 'a{2,1}(b)']],
    ['has no group', ['[0-9]+[.]ts$', '(?:[0-9]+)', '\\([0-9]+\\)', '[(]x[)]']],
    ['has what RE2 does not', ['(?=x)([0-9]+)', '(?<!x)([0-9]+)', '([0-9])\\1', '(?<number>[0-9]+)']],
    ['holds a quote or a control character', ["'([0-9]+)", '([0-9]+)\n']],
  ])('must not be one that %s', (_, patterns) => {
    for (const pattern of patterns) expect([pattern, isTaken(pattern)]).toEqual([pattern, false]);
  });
});

describe('the names of the table on Athena', () => {
  const LOGS = { database: 'cdn', table: 'logs', location: 's3://logs/cdn/', distributionId: 'E1A2B3', workgroup: 'w' };

  test.each(['logs', '_logs', 'logs_2026', '2026_logs', 'Logs', 'a b', 'x"y', ''])(
    '%j is taken by all or by none',
    (name) => {
      for (const field of ['database', 'table']) {
        const { success, output } = v.safeParse(AthenaSettingsSchema, { ...LOGS, [field]: name });
        expect([name, success]).toEqual([name, /^[_a-z]\w+$/.test(name)]);
        if (!success) continue;
        athenaLogTable(output).partitions?.(0, 1);
        createTableSql(output, 0);
      }
    },
  );
});
