import cliProgress from 'cli-progress';

/** A bar for something that takes long. */
export interface Progress {
  /** `done` of `total`, in whatever is counted; `phase` says what happens, in a word or two. */
  update(phase: string, done: number, total: number): void;
  /** Takes the bar away; what is printed next begins on a line of its own. */
  stop(): void;
}

/** A bar on stderr; none when that is no terminal, so that logs of scripts stay clean. */
export function startProgress(): Progress {
  if (!process.stderr.isTTY) return { update() {}, stop() {} };
  const bar = new cliProgress.SingleBar({
    format: '{phase} {bar} {percentage} % {eta_formatted} left',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stderr,
  });
  // Phases may count different things, so that the bar shows thousandths.
  bar.start(1000, 0, { phase: '' });
  return {
    update(phase, done, total) {
      bar.update(Math.floor((1000 * done) / Math.max(total, 1)), { phase });
    },
    stop() {
      bar.stop();
    },
  };
}

/** A bar for a file: bytes a second since it began, and the time that is left at that rate. */
export function startByteProgress(phase: string): { update(bytes: number, total: number): void; stop(): void } {
  const { update, stop } = startProgress();
  const began = performance.now();
  return {
    update(bytes, total) {
      const seconds = (performance.now() - began) / 1000;
      const rate = seconds > 0 ? ` ${Math.round(bytes / 1e6 / seconds)} MB/s` : '';
      update(`${phase}${rate}`, bytes, total);
    },
    stop,
  };
}
