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
