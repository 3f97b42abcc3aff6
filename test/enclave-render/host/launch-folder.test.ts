import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { launchFolder } from '../../../enclave-render/host/launch-folder.ts';
import { processName } from '../../../enclave-render/process-lock.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const kept = temporaryDirectory();
afterAll(() => removeDirectory(kept));

test('a launch removes what launches of killed processes left, and neither that of others nor what a link leads to', async () => {
  const kind = `portcullis-test-${process.pid}`;
  const living = await launchFolder(kind);
  const dead = () => join(tmpdir(), `${kind}-${processName().replace(/\.\d+\.\d+\.(?=\w+$)/, '.999999999.1.')}`);
  const [left, link] = [dead(), dead()];
  const foreign = join(tmpdir(), `${kind}-notes`);
  for (const path of [left, foreign]) mkdirSync(path);
  writeFileSync(join(left, 'out.mkv'), 'plaintext');
  writeFileSync(join(kept, 'file'), '');
  symlinkSync(kept, link);
  const second = await launchFolder(kind);
  try {
    expect([left, living, foreign, link, second].map(existsSync)).toEqual([false, true, true, true, true]);
    expect(existsSync(join(kept, 'file'))).toBe(true);
  } finally {
    for (const path of [living, foreign, link, second]) rmSync(path, { recursive: true });
  }
});
