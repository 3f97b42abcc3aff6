import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { packagePath } from '../../../local/package-root.ts';

test.each([
  ['receipt/receipt-error.ts', 'receipt/verify-receipt.test.ts'],
  ['audit/audit-error.ts', 'audit/audit-log.test.ts'],
])('every code of %s is in docs/receipts.md, and tried in a test', (source, trial) => {
  const codes = readFileSync(packagePath('enclave-render', source), 'utf8').match(/ERR_[A-Z_]+/g) ?? [];
  const document = readFileSync(packagePath('docs', 'receipts.md'), 'utf8');
  const tests = [trial, 'receipt/accept-receipt.test.ts', 'host/enclave-process.test.ts']
    .map((name) => readFileSync(packagePath('test', 'enclave-render', name), 'utf8'))
    .join('\n');
  expect(codes.length).toBeGreaterThan(9);
  expect(codes.filter((code) => !document.includes(`| \`${code}\` |`))).toEqual([]);
  expect(codes.filter((code) => !new RegExp(`\\b${code}\\b`).test(tests))).toEqual([]);
});
