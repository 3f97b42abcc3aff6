import { type Access, Api, ApiError, type Asset, describe, SignedOutError, signInWithKey } from './api.ts';
import { showChain } from './chain.ts';
import { Decisions } from './decisions.ts';
import { Detection } from './detection.ts';
import { byId, create, pause } from './dom.ts';
import { type Gate, KeyGate, LoginGate, takeKey } from './gate.ts';
import { beginLogin, finishLogin } from './oidc.ts';
import { Player } from './player.ts';
import { Sessions } from './sessions.ts';
import { type Login, readSettings } from './settings.ts';
import { SuspiciousSessions } from './suspicious-sessions.ts';
import { TokenView } from './token-view.ts';
import { Views } from './views.ts';

const INVITATION = 'Choose a title and press Play';
const NO_TITLES = 'There is no title yet. Add one with “portcullis asset put”, then reload this page.';
const RETRY_MILLISECONDS = 2000;

type ConnectionState = 'connecting' | 'connected' | 'interrupted' | 'locked';

const connection = byId('connection', HTMLParagraphElement);
const titleSelect = byId('title-select', HTMLSelectElement);
const playButton = byId('play', HTMLButtonElement);

const player = new Player();
const tokenView = new TokenView();
const views = new Views();
let gate: Gate;

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

async function connect(signIn: () => Promise<Access>): Promise<void> {
  showConnection('connecting', 'Connecting…');
  try {
    const api = await Api.open(signIn);
    gate.close();
    views.open();
    run(api);
  } catch (error) {
    lock(error instanceof SignedOutError ? gate.signedOut() : describe(error));
  }
}

function run(api: Api): void {
  running.abort();
  running = new AbortController();
  const { signal } = running;

  if (api.chain) showChain(api.chain);
  const titles = new Map<string, string>();
  const sessions = new Sessions(api, (asset) => titles.get(asset) ?? asset, signal);

  const failures = new Map<string, unknown>();
  const health = (source: string) => (error: unknown) => {
    if (signal.aborted) return;
    if (error instanceof SignedOutError) return lock(gate.signedOut());
    if (error === undefined) failures.delete(source);
    else failures.set(source, error);
    const [failure] = failures.values();
    if (failure === undefined) showConnection('connected', 'Connected', ` to ${api.edgeHost}`);
    else showConnection('interrupted', 'Reconnecting…');
  };
  void sessions.poll(health('sessions'));
  if (api.chain) void new Decisions(api, signal).follow(health('decisions'));

  if (!views.isLeftOut('suspicious')) {
    const suspicious = new SuspiciousSessions(api, signal);
    const detection = new Detection(api, suspicious, signal);
    void detection.poll(health('detection'));
    views.addEventListener('shown', () => void detection.refresh(), { signal });
  }

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
  player.idle('Reading the titles…');
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
  player.idle(assets.length === 0 ? NO_TITLES : INVITATION);
}

async function play(api: Api, sessions: Sessions): Promise<void> {
  // Not `disabled`, which would drop the keyboard focus.
  if (playButton.getAttribute('aria-busy') === 'true') return;
  playButton.setAttribute('aria-busy', 'true');
  player.idle('Asking for a token…');
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

/** On the local stack: with the key in the fragment, or from earlier in this tab. */
function startWithKey(): void {
  const open = (key: string) => (key === '' ? lock('') : void connect(() => signInWithKey(key)));
  gate = new KeyGate(open);
  // A console URL opened in a tab that already shows the console only changes the fragment.
  window.addEventListener('hashchange', () => {
    const before = location.hash;
    const key = takeKey();
    if (before !== location.hash) open(key);
  });
  open(takeKey());
}

/** Deployed: with a token of the issuer, which is kept in memory alone, so that each tab logs in for itself. */
async function startWithLogin(login: Login): Promise<void> {
  // Of these the API on AWS has no data.
  views.leaveOut('mastering');
  byId('decisions-card', HTMLElement).hidden = true;
  if (!login.detection) views.leaveOut('suspicious');
  gate = new LoginGate(() => {
    beginLogin(login).catch((error: unknown) => lock(describe(error)));
  });
  try {
    let token = await finishLogin(login);
    if (token === undefined) return lock('');
    await connect(async () => {
      if (token === undefined) throw new SignedOutError();
      const tokens = { player: token, backend: token, security: token };
      // There is no second one: when it is refused, its time is over.
      token = undefined;
      return { edge: location.origin, tokens };
    });
  } catch (error) {
    lock(describe(error));
  }
}

try {
  const settings = await readSettings();
  if (settings.login === 'oidc') await startWithLogin(settings);
  else startWithKey();
} catch (error) {
  showConnection('locked', 'Not connected');
  const notice = create('p', 'notice', describe(error));
  notice.setAttribute('role', 'alert');
  byId('main', HTMLElement).prepend(notice);
}
