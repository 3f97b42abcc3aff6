import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isRunning, processName } from '../process-lock.ts';

/**
 * Makes a folder for one launch in that for temporary files, `<kind>-<name of this process>`, mode 0700, and removes those of the same
 * kind and user whose processes were killed before they could.
 */
export async function launchFolder(kind: string): Promise<string> {
  const prefix = `${kind}-`;
  for (const entry of await readdir(tmpdir())) {
    if (!entry.startsWith(prefix) || isRunning(entry.slice(prefix.length))) continue;
    const path = join(tmpdir(), entry);
    const found = await lstat(path).catch(() => undefined);
    // Anybody may write there: a link, or what somebody else has made, is none of ours.
    if (found?.isDirectory() && found.uid === process.geteuid?.()) await rm(path, { recursive: true, force: true });
  }
  const folder = join(tmpdir(), `${prefix}${processName()}`);
  await mkdir(folder, { mode: 0o700 });
  return folder;
}
