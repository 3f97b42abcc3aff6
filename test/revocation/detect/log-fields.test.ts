import { expect, test } from 'vitest';
import { columnOf, STANDARD_FIELDS, V2_FIELDS } from '../../../revocation/detect/log-fields.ts';
import { LOG_COLUMNS } from '../../../revocation/detect/sql.ts';
import { V2_FIELDS as ALL_FIELDS, V1_FIELDS } from '../../harness/access-logs.ts';

test('the fields are those of CloudFront, in its order', () => {
  expect(STANDARD_FIELDS).toHaveLength(33);
  expect(STANDARD_FIELDS).toEqual(V1_FIELDS);
  expect([...STANDARD_FIELDS, ...V2_FIELDS]).toEqual(ALL_FIELDS);
});

test.each([
  ['cs(User-Agent)', 'cs_user_agent'],
  ['cs-user-agent', 'cs_user_agent'],
  ['cs_user_agent', 'cs_user_agent'],
  ['cs(Host)', 'cs_host'],
  ['date', 'date'],
  ['x-edge-location', 'x_edge_location'],
])('the column of %s is %s', (field, column) => {
  expect(columnOf(field)).toBe(column);
});

test('each field has a column of its own, and what detection reads is among them', () => {
  const columns = [...STANDARD_FIELDS, ...V2_FIELDS].map(columnOf);
  expect(new Set(columns).size).toBe(36);
  expect(columns).toEqual(expect.arrayContaining([...LOG_COLUMNS]));
});
