import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { packagePath } from '../local/package-root.ts';
import { deriveKeys } from '../token-api/key-ring/key-ring.ts';

test('the tables of docs/token.md are those of the code', () => {
  execFileSync(process.execPath, [packagePath('scripts', 'make-docs.mjs'), '--check']);
});

test('the derived keys in docs/token.md are right', () => {
  const text = readFileSync(packagePath('docs', 'token.md'), 'utf8');
  const [, secret = ''] = /For the secret `([\w-]{43})`/.exec(text) ?? [];
  const { sign, bind } = deriveKeys(secret);
  for (const key of [sign, bind]) expect(text).toContain(Buffer.from(key, 'base64url').toString('hex'));
});
