import type { Renewal } from './renewal.ts';

/** What is used of the loader classes of hls.js, `Hls.DefaultConfig.loader` and `FetchLoader`: no need for its types here. */
interface Loader {
  stats: { loading: { start: number } };
  load(context: LoaderContext, configuration: unknown, callbacks: LoaderCallbacks): void;
  abort(): void;
  destroy(): void;
}

interface LoaderContext {
  url: string;
}

interface LoaderCallbacks {
  onSuccess(response: { url: string }, stats: unknown, context: LoaderContext, networkDetails: unknown): void;
  onError(error: { code: number }, context: LoaderContext, networkDetails: unknown, stats: unknown): void;
}

type LoaderClass = new (config: never) => Loader;

/**
 * A loader class for the `loader` of hls.js that asks with the latest token of a renewal, and once more when a request was
 * denied as `token-expired`: playlists, segments and keys alike. hls.js goes on seeing the URLs it knows, so nothing that
 * it keeps by URL, such as keys, is lost when the token changes.
 *
 * `Loader` is the class to build on: `Hls.DefaultConfig.loader`, `FetchLoader` or one of your own. Tested with hls.js 1.7.
 */
export function renewingLoader<Class extends LoaderClass>(Loader: Class, renewal: Renewal): Class {
  const Base: LoaderClass = Loader;

  class RenewingLoader extends Base {
    #isOver = false;

    override load(context: LoaderContext, configuration: unknown, callbacks: LoaderCallbacks): void {
      this.#send(renewal.rewrite(context.url), context, configuration, callbacks, true);
    }

    override abort(): void {
      this.#isOver = true;
      super.abort();
    }

    override destroy(): void {
      this.#isOver = true;
      super.destroy();
    }

    #send(
      url: string,
      context: LoaderContext,
      configuration: unknown,
      callbacks: LoaderCallbacks,
      mayRetry: boolean,
    ): void {
      const sent = { ...context, url };
      const known = withContext(callbacks, sent, context);
      super.load(sent, configuration, {
        ...known,
        onSuccess: (response, ...more) => {
          // Not after a redirect, which is for hls.js to know.
          if (response.url === url) response.url = context.url;
          known.onSuccess(response, ...more);
        },
        onError: (error, failed, networkDetails, stats) => {
          const report = () => known.onError(error, failed, networkDetails, stats);
          if (!mayRetry || error.code !== 401 || reasonOf(networkDetails) !== 'token-expired') return report();
          void renewal.retryUrl(url).then((retry) => {
            if (this.#isOver) return;
            if (retry === null) return report();
            // A loader of hls.js is good for one request, and for hls.js this is still the same.
            this.stats.loading.start = 0;
            this.#send(retry, context, configuration, callbacks, false);
          });
        },
      });
    }
  }
  return RenewingLoader as unknown as Class;
}

/** The callbacks, each given the context that hls.js knows in place of the one that was sent. */
function withContext(callbacks: LoaderCallbacks, sent: LoaderContext, known: LoaderContext): LoaderCallbacks {
  const wrapped = Object.entries(callbacks).map(([name, callback]) => [
    name,
    callback && ((...given: unknown[]) => callback(...given.map((value) => (value === sent ? known : value)))),
  ]);
  return Object.fromEntries(wrapped);
}

/** The denial reason in the answer, an XMLHttpRequest or a fetch Response; null when the page may not see it, or there is none. */
function reasonOf(networkDetails: unknown): string | null {
  const details = networkDetails as Partial<Response & { getResponseHeader(name: string): string | null }> | null;
  const name = 'x-portcullis-reason';
  return details?.headers?.get(name) ?? details?.getResponseHeader?.(name) ?? null;
}
