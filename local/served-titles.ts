import { existsSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import type { DataKeys } from '../enclave-render/kms/data-keys.ts';
import { createKeyServer } from '../enclave-render/packaging/key-server.ts';
import { readKeyTable } from '../enclave-render/packaging/key-table-file.ts';
import type { MasteringSettings } from '../enclave-render/settings.ts';
import type { DataDirectory } from './data-directory.ts';
import { openDataKeys } from './data-keys.ts';
import { masterTitle } from './mastered-title.ts';
import { packagePath } from './package-root.ts';
import { openRenderShop, type RenderShop } from './render-jobs.ts';
import type { TitleChain } from './title-chain.ts';

/** The titles that the origin serves. */
export interface ServedTitles {
  chain: TitleChain;
  /** Folder of a title; undefined when there is none. */
  titleFolder: (title: string) => string | undefined;
  keyServer: RequestListener;
}

/** The title that goes the whole way, from its mezzanine on. */
const MASTERED = 'aurora';

/**
 * Renders (unless told not to), masters and packages the title of the stack into the data directory. What is packaged there, under `titles/`, is served from
 * there; what is not, and the title of the stack when it could not be mastered, as it was committed.
 */
export async function openTitles(
  data: DataDirectory,
  mastering: MasteringSettings,
  isRendered: boolean,
  now: () => number,
  report: (line: string) => void,
): Promise<ServedTitles> {
  const dataKeys = await openDataKeys(mastering, data.path(''), { create: true }).catch(withoutKms);
  const titles = data.path('titles');
  const shipped = packagePath('dist', 'title');
  const chain = await masterTitle({
    title: MASTERED,
    committed: join(shipped, MASTERED),
    masters: data.path('masters'),
    titles,
    dataKeys,
    keyId: mastering.keyId,
    openRenderShop: isRendered ? () => openShop(data, mastering, dataKeys) : undefined,
    now,
    report,
  });

  const titleFolder = (title: string) => {
    // Never one beside the other: a segment that is missing here must not come from there, in clear.
    const folders = title === MASTERED && chain.failure ? [shipped] : [titles, shipped];
    return folders.map((folder) => join(folder, title)).find((folder) => existsSync(folder));
  };
  const keyServer = createKeyServer({
    dataKeys,
    async readKeyTable(title) {
      const folder = titleFolder(title);
      return folder ? readKeyTable(join(folder, 'keys.json')) : undefined;
    },
    report,
  });
  return { chain, titleFolder, keyServer: getRequestListener(keyServer.fetch) };
}

/** The enclave of this machine, simulated; its job keys are in a keystore, also where masters are under a key of AWS. */
function openShop(data: DataDirectory, { kms, keyId }: MasteringSettings, dataKeys: DataKeys): Promise<RenderShop> {
  const own = kms.provider === 'embedded' ? { keystore: kms.keystore, passphraseFile: kms.passphraseFile } : {};
  return openRenderShop({
    dataDirectory: data.path(''),
    isolation: 'bubblewrap',
    mastering: { dataKeys, keyId },
    ...own,
  });
}

/** Without KMS a stack has its committed titles, and says why it has no others. */
function withoutKms(error: unknown): DataKeys {
  const refuse = () => Promise.reject(error);
  return { generate: refuse, encrypt: refuse, decrypt: refuse, reEncrypt: refuse };
}
