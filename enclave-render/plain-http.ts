/** Where in the `middlewareStack` of an AWS client `httpsOnly` goes: behind what sets and changes the address, once. */
export const HTTPS_ONLY = { step: 'finalizeRequest', name: 'httpsOnly', priority: 'low', override: true } as const;

/**
 * Middleware of an AWS client that refuses a request over plain HTTP, which anyone on the way can read, before anything of it is sent.
 * It looks at each request as it goes out, wherever its address comes from: an option, `AWS_ENDPOINT_URL`, a profile, a redirect. An
 * address of this machine is a stand-in and let through. `refused` makes the error of a message.
 */
export function httpsOnly(refused: (message: string) => Error) {
  return <Arguments extends { request: unknown }, Reply>(next: (args: Arguments) => Promise<Reply>) =>
    async (args: Arguments): Promise<Reply> => {
      const { protocol, hostname = '' } = args.request as { protocol?: string; hostname?: string };
      if (protocol === 'https:' || isThisMachine(hostname)) return next(args);
      throw refused(`the endpoint ${hostname} is plain HTTP, which anyone on the way can read: use https://`);
    };
}

const isThisMachine = (hostname: string) => /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/.test(hostname);
