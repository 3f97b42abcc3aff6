import { Api, ApiError, type Asset, describe, KeyRejectedError } from './api.ts';
import { showChain } from './chain.ts';
import { Decisions } from './decisions.ts';
import { Detection } from './detection.ts';
import { byId, create, pause } from './dom.ts';
import { forgetKey, Gate, takeKey } from './gate.ts';
import { Player } from './player.ts';
import { Sessions } from './sessions.ts';
import { SuspiciousSessions } from './suspicious-sessions.ts';
import { TokenView } from './token-view.ts';
import { Views } from './views.ts';

const INVITATION = 'Choose a title and press Play';
const RETRY_MILLISECONDS = 2000;

type ConnectionState = 'connecting' | 'connected' | 'interrupted' | 'locked';

const connection = byId('connection', HTMLParagraphElement);
const titleSelect = byId('title-select', HTMLSelectElement);
const playButton = byId('play', HTMLButtonElement);

const player = new Player();
const tokenView = new TokenView();
const views = new Views();
const gate = new Gate((key) => void connect(key));

/** Ends everything that runs for the current sign-in. */
let running = new AbortController();

function showConnection(state: ConnectionState, text: string, where = ''): void {
  // A status is read out on every change of its content: leave it alone while it says the same.
  if (connection.textContent === text + where) return;
  connection.dataset.state = state;
  connection.replaceChildren(text, create('span', '', where));
}

function lock(message: string): void {
  running.abort();
  player.idle(INVITATION);
  views.close();
  showConnection('locked', 'Not connected');
  gate.open(message);
}

async function connect(key: string): Promise<void> {
  if (key === '') return lock('');
  showConnection('connecting', 'Connecting…');
  try {
    const api = await Api.open(key);
    gate.close();
    views.open();
    run(api);
  } catch (error) {
    if (error instanceof KeyRejectedError) {
      forgetKey();
      lock('This key is not accepted. It changes each time portcullis up starts.');
    } else {
      lock(describe(error));
    }
  }
}

function run(api: Api): void {
  running.abort();
  running = new AbortController();
  const { signal } = running;

  showChain(api.chain);
  const titles = new Map<string, string>();
  const sessions = new Sessions(api, (asset) => titles.get(asset) ?? asset, signal);
  const decisions = new Decisions(api, signal);

  const failures = new Map<string, unknown>();
  const health = (source: string) => (error: unknown) => {
    if (signal.aborted) return;
    if (error instanceof KeyRejectedError) {
      forgetKey();
      return lock('The key is no longer accepted. Open the URL that portcullis up printed last.');
    }
    if (error === undefined) failures.delete(source);
    else failures.set(source, error);
    const [failure] = failures.values();
    if (failure === undefined) showConnection('connected', 'Connected', ` to ${api.edgeHost}`);
    else showConnection('interrupted', 'Reconnecting…');
  };
  void sessions.poll(health('sessions'));
  void decisions.follow(health('decisions'));

  const suspicious = new SuspiciousSessions(api, signal);
  const detection = new Detection(api, suspicious, signal);
  void detection.poll(health('detection'));
  views.addEventListener('shown', () => void detection.refresh(), { signal });

  byId('play-form', HTMLFormElement).addEventListener(
    'submit',
    (event) => {
      event.preventDefault();
      void play(api, sessions);
    },
    { signal },
  );
  void loadTitles(api, titles, signal);
}

async function loadTitles(api: Api, titles: Map<string, string>, signal: AbortSignal): Promise<void> {
  playButton.disabled = true;
  let assets: Asset[] | undefined;
  while (assets === undefined && !signal.aborted) {
    try {
      assets = await api.assets();
    } catch (error) {
      showFailure(error);
      await pause(RETRY_MILLISECONDS, signal);
    }
  }
  if (assets === undefined || signal.aborted) return;
  for (const { id, title } of assets) titles.set(id, title);
  titleSelect.replaceChildren(
    ...assets.map(({ id, title }) => {
      const option = create('option', '', title);
      option.value = id;
      return option;
    }),
  );
  playButton.disabled = assets.length === 0;
  player.idle(INVITATION);
}

async function play(api: Api, sessions: Sessions): Promise<void> {
  // Not `disabled`, which would drop the keyboard focus.
  if (playButton.getAttribute('aria-busy') === 'true') return;
  playButton.setAttribute('aria-busy', 'true');
  try {
    const { playbackUrl, sessionId, expiresAt } = await api.playback(titleSelect.value);
    tokenView.show({ playbackUrl, sessionId, expiresAt });
    player.play({
      playbackUrl,
      renew: (url, signal) => api.renewal(url, signal),
      onRenewed: (renewed) => tokenView.show({ ...renewed, sessionId }),
    });
    sessions.own = sessionId;
  } catch (error) {
    showFailure(error);
  } finally {
    playButton.removeAttribute('aria-busy');
  }
}

function showFailure(error: unknown): void {
  if (error instanceof ApiError) player.fail(error.code || `http-${error.status}`, error.message, error.detail);
  else player.fail('unexpected', 'Something went wrong', describe(error));
}

// A console URL opened in a tab that already shows the console only changes the fragment.
window.addEventListener('hashchange', () => {
  const before = location.hash;
  const key = takeKey();
  if (before !== location.hash) void connect(key);
});

void connect(takeKey());
