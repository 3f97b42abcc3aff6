import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));
const keystore = join(folder, 'keystore.json');
const pcrs = join(folder, 'pcrs.json');
writeFileSync(pcrs, JSON.stringify({ 0: 'ab'.repeat(48), 2: 'cd'.repeat(48) }));
const roles = [
  '--owner-role',
  'arn:aws:iam::111122223333:role/owner',
  '--parent-role',
  'arn:aws:iam::111122223333:role/p',
];

test('makes a key for enclaves, and writes the policy that AWS needs for the same', async () => {
  const made = await portcullis('kms', 'create', '--keystore', keystore, '--attestation', pcrs, '--json');
  expect(JSON.parse(made.stdout)).toMatchObject({ attestation: { pcrs: { 0: 'ab'.repeat(48), 2: 'cd'.repeat(48) } } });
  const policy = await portcullis('kms', 'policy', '--pcrs', pcrs, ...roles);
  const { Statement } = JSON.parse(policy.stdout);
  expect(Statement[1].Condition.StringEqualsIgnoreCase).toEqual({
    'kms:RecipientAttestation:PCR0': 'ab'.repeat(48),
    'kms:RecipientAttestation:PCR2': 'cd'.repeat(48),
  });
});

test('refuses registers without the image, and roles that are none', async () => {
  writeFileSync(join(folder, 'odd.json'), JSON.stringify({ 1: 'ab'.repeat(48) }));
  for (const args of [
    ['create', '--keystore', keystore, '--attestation', join(folder, 'odd.json')],
    ['create', '--keystore', keystore, '--attestation', join(folder, 'nowhere.json')],
    ['policy', '--pcrs', pcrs, '--owner-role', '*', '--parent-role', '*'],
  ]) {
    const { code, stdout } = await portcullis('kms', ...args);
    expect([code, stdout]).toEqual([2, '']);
  }
});
