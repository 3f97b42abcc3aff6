import Hls, {
  type ErrorData,
  Events,
  FetchLoader,
  type HlsConfig,
  type LoaderCallbacks,
  type LoaderConfiguration,
  type LoaderContext,
} from 'hls.js';
import { createRenewal, type Renewal, type RenewalOptions, renewingLoader } from '../../token-api/player/index.ts';
import { byId, create } from './dom.ts';
import { explain } from './reasons.ts';

type State = 'idle' | 'playing' | 'stopped' | 'error';

// What the edge means to be final.
const FINAL_STATUS = new Set([401, 403, 451]);

const config: Partial<HlsConfig> = {
  // A short buffer, so that a revocation is seen within seconds and not after half a minute of buffered video.
  maxBufferLength: 4,
  maxMaxBufferLength: 6,
  // Else hls.js reads on up to the maximum while that is few bytes, which it is here.
  maxBufferSize: 0,
  backBufferLength: 2,
  // The edge must be asked again when the title loops; the browser's cache does not know about revocation.
  fetchSetup: (context, init) => new Request(context.url, { ...init, cache: 'no-store' }),
  // Segments are fMP4 already: there is no transmuxing to hand to a worker.
  enableWorker: false,
};

function reasonOf(networkDetails: unknown): string {
  return networkDetails instanceof Response ? (networkDetails.headers.get('x-portcullis-reason') ?? '') : '';
}

/**
 * A loader with the latest token that keeps a final refusal to itself: by the time hls.js reports an error it is already
 * trying the other rendition, with the same token.
 */
function loaderWith(renewal: Renewal, onRefused: (reason: string) => void): typeof FetchLoader {
  return class extends renewingLoader(FetchLoader, renewal) {
    override load(
      context: LoaderContext,
      configuration: LoaderConfiguration,
      callbacks: LoaderCallbacks<LoaderContext>,
    ): void {
      super.load(context, configuration, {
        ...callbacks,
        onError: (error, failed, networkDetails, stats) => {
          if (FINAL_STATUS.has(error.code)) onRefused(reasonOf(networkDetails) || `http-${error.code}`);
          else callbacks.onError(error, failed, networkDetails, stats);
        },
      });
    }
  };
}

/** Plays one HLS title and stops for good when the edge refuses a request. */
export class Player {
  readonly #video = byId('video', HTMLVideoElement);
  readonly #status = byId('player-status', HTMLParagraphElement);
  readonly #curtain = byId('curtain', HTMLDivElement);
  readonly #curtainText = byId('curtain-text', HTMLDivElement);
  readonly #still = byId('still', HTMLCanvasElement);
  #hls: Hls | undefined;
  #renewal: Renewal | undefined;

  constructor() {
    // Events are queued: these may still be about the stream before, which is gone or has not given way to data yet.
    const current = () => this.#hls !== undefined && this.#video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    this.#video.addEventListener('playing', () => {
      if (current()) this.#show('playing', 'Playing');
    });
    this.#video.addEventListener('pause', () => {
      if (current() && this.#video.paused) this.#show('playing', 'Paused');
    });
    this.idle('');
  }

  play(playback: Pick<RenewalOptions, 'playbackUrl' | 'renew' | 'onRenewed'>): void {
    this.#release();
    if (!Hls.isSupported()) {
      this.fail('media-source-unsupported', 'This browser cannot play HLS', 'It has no Media Source Extensions.');
      return;
    }
    this.#show('idle', 'Starting…');
    this.#hideCurtain();
    const renewal = createRenewal({
      ...playback,
      // Whatever else keeps the token from being renewed, it is good until it expires.
      onRefused: ({ reason }) => {
        if (reason !== '') this.#deny(reason);
      },
    });
    const hls = new Hls({ ...config, loader: loaderWith(renewal, (reason) => this.#deny(reason)) });
    hls.on(Events.ERROR, (_event, data) => this.#onError(data));
    hls.on(Events.MANIFEST_PARSED, () => {
      // Muted autoplay is generally allowed; where it is not, the controls are there.
      this.#video.play().catch(() => {});
    });
    hls.loadSource(playback.playbackUrl);
    hls.attachMedia(this.#video);
    this.#hls = hls;
    this.#renewal = renewal;
  }

  /** Stops and shows an invitation where the picture was. */
  idle(invitation: string): void {
    this.#release();
    this.#show('idle', 'Nothing is playing');
    this.#drawCurtain('idle', invitation);
  }

  fail(reason: string, headline: string, detail: string): void {
    this.#release();
    this.#show('error', detail === '' ? headline : `${headline}: ${detail}`, reason);
    this.#drawCurtain('error', headline, reason, detail);
  }

  #onError(data: ErrorData): void {
    if (!data.fatal) return;
    const status = data.response?.code ?? 0;
    const reason = reasonOf(data.networkDetails);
    if (reason !== '') this.#deny(reason);
    else this.fail(data.details, 'Playback failed', status > 0 ? `${data.details}, HTTP ${status}` : data.details);
  }

  #deny(reason: string): void {
    const headline = 'Playback stopped by the edge';
    const kept = this.#keepStill();
    this.#release();
    this.#still.hidden = !kept;
    this.#show('stopped', `${headline} — ${reason}`, reason);
    this.#drawCurtain('stopped', headline, reason, explain(reason));
  }

  /** Ends loading and empties the buffer: what is left of it must not go on playing. */
  #release(): void {
    this.#still.hidden = true;
    this.#renewal?.stop();
    this.#renewal = undefined;
    const hls = this.#hls;
    this.#hls = undefined;
    if (!hls) return;
    this.#video.pause();
    hls.destroy();
    this.#video.removeAttribute('src');
    this.#video.load();
  }

  #show(state: State, text: string, reason = ''): void {
    this.#status.dataset.state = state;
    this.#status.dataset.reason = reason;
    this.#status.textContent = text;
  }

  /** Copies the last picture for the curtain; false when there is none. */
  #keepStill(): boolean {
    const { videoWidth, videoHeight } = this.#video;
    if (videoWidth === 0) return false;
    this.#still.width = videoWidth;
    this.#still.height = videoHeight;
    this.#still.getContext('2d')?.drawImage(this.#video, 0, 0);
    return true;
  }

  #drawCurtain(state: State, headline: string, reason = '', detail = ''): void {
    const lines: HTMLElement[] = [create('strong', '', headline)];
    if (reason !== '') lines.push(create('code', 'reason', reason));
    if (detail !== '') lines.push(create('span', '', detail));
    this.#curtainText.replaceChildren(...lines);
    this.#curtain.dataset.state = state;
    this.#curtain.hidden = false;
    // Nothing behind the curtain to operate.
    this.#video.controls = false;
  }

  #hideCurtain(): void {
    this.#curtain.hidden = true;
    this.#video.controls = true;
  }
}
