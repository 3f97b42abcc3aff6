import { mkdir, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

/** Makes a folder (mode 0700) and those that it lies in; their names are on the disk when this resolves. */
export async function makeFolder(path: string): Promise<void> {
  const place = resolve(path);
  const first = await mkdir(place, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = place; made.length >= first.length; made = dirname(made)) await syncFolder(dirname(made));
}

/** Names are on the disk when their folder is. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r');
  await folder.sync();
}
