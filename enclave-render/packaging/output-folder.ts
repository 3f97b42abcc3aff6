import { randomBytes } from 'node:crypto';
import { lstat, mkdir, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { PackagingError } from './errors.ts';
import { readTitle, TITLE_FILE } from './title.ts';

/**
 * Whether there is a folder that may be replaced: only one that holds a packaged title. Rejects with `ERR_PACKAGE_EXISTS` when what
 * is there has to stay.
 */
export async function requireFree(path: string, force: boolean): Promise<boolean> {
  const there = await lstat(path).catch(() => undefined);
  if (there && !there.isDirectory()) {
    throw new PackagingError('ERR_PACKAGE_EXISTS', `${path} is there and is not a folder: choose another one`);
  }
  if (there && !force) {
    throw new PackagingError(
      'ERR_PACKAGE_EXISTS',
      `${path} is there already: choose another folder, or replace it with --force`,
    );
  }
  if (there) {
    await readTitle(path).catch(() => {
      throw new PackagingError(
        'ERR_PACKAGE_EXISTS',
        `${path} holds no title (${TITLE_FILE}) that --force could replace: choose another folder, or move it away yourself`,
      );
    });
  }
  return there !== undefined;
}

/** Rejects with `ERR_PACKAGE_EXISTS` when a source, or what a link to it stands for, is in the folder that would be replaced. */
export async function refuseSourcesIn(path: string, sources: string[]): Promise<void> {
  const folder = await realpath(path).catch(() => undefined);
  if (folder === undefined) return;
  for (const source of sources) {
    // A manifest is beside the link, the bytes are where it leads.
    const places = [source, dirname(source)].map((place) => realpath(place).catch(() => resolve(place)));
    if ((await Promise.all(places)).some((place) => `${place}${sep}`.startsWith(`${folder}${sep}`))) {
      throw new PackagingError(
        'ERR_PACKAGE_EXISTS',
        `${source} is in ${path}, which would be replaced: choose another folder`,
      );
    }
  }
}

/**
 * Builds a folder beside its place and puts it there when it is complete; what fails leaves nothing behind, and what was there
 * before stays until then. Folders above it are made, and stay. Rejects with `ERR_PACKAGE_EXISTS` unless `force`, with `ERR_PACKAGE_OUTPUT` when it cannot be written,
 * and with whatever `build` rejects with.
 */
export async function buildFolder<Result>(
  path: string,
  force: boolean,
  build: (folder: string) => Promise<Result>,
): Promise<Result> {
  const target = resolve(path);
  const isThere = await requireFree(path, force);
  const sibling = (what: string) =>
    join(dirname(target), `.${basename(target)}.${what}-${randomBytes(4).toString('hex')}`);
  const partial = sibling('partial');
  try {
    await mkdir(dirname(target), { recursive: true });
    await mkdir(partial, { mode: 0o755 });
    const result = await build(partial);
    const replaced = isThere ? sibling('replaced') : undefined;
    if (replaced) await rename(target, replaced);
    await rename(partial, target).catch(async (error) => {
      if (replaced) await rename(replaced, target);
      throw error;
    });
    if (replaced) await rm(replaced, { recursive: true, force: true });
    return result;
  } catch (error) {
    // What failed first is said, not that there was nothing to remove below a file.
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw new PackagingError('ERR_PACKAGE_OUTPUT', `cannot write ${path}: ${code}`);
  }
}
