import type { DetectionRun } from '../../revocation/detect/detection-runs.ts';
import { type Api, ApiError, describe, SignedOutError } from './api.ts';
import { byId, create, pause } from './dom.ts';
import { number, quantity, timeOf } from './format.ts';
import type { SuspiciousSessions } from './suspicious-sessions.ts';

const POLL_MILLISECONDS = 5000;

const MODES: Record<DetectionRun['mode'], string> = {
  off: 'It does not run by itself.',
  log: 'It revokes nothing by itself.',
  enforce: 'It revokes clear cases by itself.',
};

/** What the last run of detection did, and a button for another. */
export class Detection {
  readonly #view = byId('suspicious', HTMLDivElement);
  readonly #button = byId('detect', HTMLButtonElement);
  readonly #progress = byId('detection-progress', HTMLProgressElement);
  readonly #run = byId('detection-run', HTMLParagraphElement);
  readonly #alarm = byId('detection-alarm', HTMLParagraphElement);
  readonly #error = byId('detection-error', HTMLParagraphElement);
  readonly #refused = byId('refused-objects', HTMLDetailsElement);
  readonly #api: Api;
  readonly #sessions: SuspiciousSessions;
  readonly #signal: AbortSignal;
  #asked = false;

  constructor(api: Api, sessions: SuspiciousSessions, signal: AbortSignal) {
    this.#api = api;
    this.#sessions = sessions;
    this.#signal = signal;
    this.#button.addEventListener('click', () => void this.#detect(), { signal });
  }

  /** Follows the runs and what they find for as long as their view is shown. */
  async poll(onHealth: (error: unknown) => void): Promise<void> {
    while (!this.#signal.aborted) {
      const error = await this.refresh();
      // Whatever has an answer is told where it belongs; the rest is about the connection.
      onHealth(
        error instanceof SignedOutError || (error instanceof ApiError && error.status === 0) ? error : undefined,
      );
      await pause(POLL_MILLISECONDS, this.#signal);
    }
  }

  /** Reads and shows the last run and the sessions, when their view is shown; resolves to the error when that failed. */
  async refresh(): Promise<unknown> {
    if (this.#view.hidden) return undefined;
    const [failure, otherFailure] = await Promise.all([this.#refreshRun(), this.#sessions.refresh()]);
    return failure ?? otherFailure;
  }

  async #refreshRun(): Promise<unknown> {
    try {
      const { run, running } = await this.#api.latestDetection(this.#signal);
      this.#show(run);
      // Also one that somebody else has started, or the schedule.
      this.#progress.hidden = !running && !this.#asked;
      return undefined;
    } catch (error) {
      if (this.#signal.aborted) return undefined;
      this.#say(`What detection did last cannot be read. ${describe(error)}`);
      return error;
    }
  }

  async #detect(): Promise<void> {
    // Not `disabled`, which would drop the keyboard focus.
    if (this.#button.getAttribute('aria-busy') === 'true') return;
    this.#button.setAttribute('aria-busy', 'true');
    this.#button.textContent = 'Running…';
    this.#asked = true;
    this.#progress.hidden = false;
    this.#error.hidden = true;
    try {
      await this.#api.detect(this.#signal);
    } catch (error) {
      this.#error.textContent = whyNot(error);
      this.#error.hidden = false;
    } finally {
      this.#asked = false;
      this.#progress.hidden = true;
      this.#button.textContent = 'Run detection now';
      this.#button.removeAttribute('aria-busy');
    }
    await this.#refreshRun();
    await this.#sessions.refresh();
  }

  #say(words: string): void {
    // A status is read out on every change of its content: leave it alone while it says the same.
    if (this.#run.textContent !== words) this.#run.textContent = words;
  }

  #show(run: DetectionRun | undefined): void {
    this.#say(run === undefined ? 'Detection has not run yet.' : inWords(run));
    if (run) this.#sessions.showThresholds(run);
    this.#alarm.textContent = run?.alarm?.message ?? '';
    this.#alarm.hidden = this.#alarm.textContent === '';
    const refused = run?.refused ?? [];
    this.#refused.hidden = refused.length === 0;
    byId('refused-count', HTMLElement).textContent = `${quantity(refused.length, 'log object')} could not be read`;
    byId('refused', HTMLUListElement).replaceChildren(
      ...refused.map(({ name, why }) => create('li', '', create('code', '', name), `: ${why}`)),
    );
  }
}

function whyNot(error: unknown): string {
  const runs = error instanceof ApiError && error.code === 'ERR_DETECTION_RUNNING';
  return runs ? 'Detection is running already. What it finds is shown here when it is done.' : describe(error);
}

function inWords(run: DetectionRun): string {
  const { ranAt, checkedAt, mode, objects, rows, sessionCount, flagged, revoked, odd, cost } = run;
  if (objects === 0)
    return `It last ran at ${timeOf(checkedAt)}, when there was nothing new in the logs. ${MODES[mode]}`;
  const read = `${quantity(rows, 'log line')} of ${quantity(sessionCount, 'session')}`;
  const sentences = [
    `It last ran at ${timeOf(ranAt)}: read ${read}, found ${number(flagged)} suspicious, revoked ${number(revoked)}.`,
    ...(checkedAt > ranAt ? [`There was nothing new in the logs until ${timeOf(checkedAt)}.`] : []),
    MODES[mode],
  ];
  if (odd > 0)
    sentences.push(`What makes no sense in the log lines of ${quantity(odd, 'session')} counts as harmless.`);
  if (cost) sentences.push(`It cost about $${cost.usd.toFixed(4)}.`);
  return sentences.join(' ');
}
