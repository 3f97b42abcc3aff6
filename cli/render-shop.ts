import { Option } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import { EVENT_CODES, type RenderEvent } from '../enclave-render/render/event-codes.ts';
import type { Isolation } from '../enclave-render/render/sandbox.ts';
import { openDataKeys } from '../local/data-keys.ts';
import { openRenderShop, type RenderShop } from '../local/render-jobs.ts';
import { report } from './command.ts';
import { type Progress, startProgress } from './progress.ts';

/** Options of commands that render. */
export interface ShopOptions {
  data: string;
  config?: string;
  isolation: Isolation;
}

export function isolationOption(): Option {
  return new Option('--isolation <how>', 'how renderers are kept in; none is in every receipt')
    .choices(['bubblewrap', 'none'])
    .default('bubblewrap');
}

/** Opens what jobs are rendered with; `mastering` whether with the mastering key. Rejects with the errors of its parts. */
export async function openShop({ data, config, isolation }: ShopOptions, mastering: boolean): Promise<RenderShop> {
  const { mastering: settings } = await readConfiguration(config);
  // AWS KMS would not believe a simulated enclave: job keys are under keys of this machine.
  const embedded = settings.kms.provider === 'aws' ? undefined : settings.kms;
  const keys = mastering ? { dataKeys: await openDataKeys(settings, data, { create: true }) } : undefined;
  return openRenderShop({
    dataDirectory: data,
    isolation,
    keystore: embedded?.keystore,
    passphraseFile: embedded?.passphraseFile,
    mastering: keys && { ...keys, keyId: settings.keyId },
  });
}

/** Says on stderr what the enclave says, but not that it failed: that is the answer. A bar on a terminal, else every tenth percent. */
export function sayProgress(json: boolean | undefined): { tell: (event: RenderEvent) => void; stop: () => void } {
  let bar: Progress | undefined;
  let tenths = 0;
  const stop = () => {
    bar?.stop();
    bar = undefined;
    tenths = 0;
  };
  const tellPercent = (task: string, percent: number) => {
    if (process.stderr.isTTY) {
      bar ??= startProgress();
      bar.update(task, percent, 100);
    } else if (Math.floor(percent / 10) > tenths) {
      tenths = Math.floor(percent / 10);
      report(`${task}: ${percent} %`);
    }
  };
  const tell = ({ code, task, percent }: RenderEvent) => {
    if (json) return;
    if (code === 'TASK_PROGRESS') return tellPercent(task ?? '', percent ?? 0);
    stop();
    if (code === 'TASK_FAILED' || code === 'JOB_FAILED') return;
    report(`${task === undefined ? '' : `${task}: `}${EVENT_CODES[code]}`);
  };
  return { tell, stop };
}
